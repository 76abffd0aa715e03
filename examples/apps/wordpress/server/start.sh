# Apache in the foreground, as Debian sets it up. A new volume at /var/www/html has got WordPress from the image.
set -e
. /etc/apache2/envvars
mkdir -p "$APACHE_RUN_DIR"
exec apache2 -D FOREGROUND
