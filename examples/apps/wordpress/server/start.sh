# What the image wordpress does: a directory that is empty gets WordPress, with a configuration from the variables.
set -e
if ! [ -e /var/www/html/index.php ]; then
    cp --recursive --dereference /usr/share/wordpress/. /var/www/html
    cp /etc/wordpress/wp-config.php /var/www/html/wp-config.php
    chown --recursive www-data:www-data /var/www/html
fi
. /etc/apache2/envvars
mkdir -p "$APACHE_RUN_DIR"
exec apache2 -D FOREGROUND
