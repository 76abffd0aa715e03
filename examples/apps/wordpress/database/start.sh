# What the image mysql does with its variables: a directory that is empty becomes a database and its user.
set -eu
install --directory --owner=mysql --group=mysql /run/mysqld
if ! [ -d /var/lib/mysql/mysql ]; then
    mariadb-install-db --user=mysql --skip-test-db
fi >&2
install --owner=mysql --mode=0600 /dev/null /run/mysqld/init.sql
cat > /run/mysqld/init.sql <<SQL
CREATE DATABASE IF NOT EXISTS \`$MYSQL_DATABASE\`;
CREATE USER IF NOT EXISTS '$MYSQL_USER'@'%' IDENTIFIED BY '$MYSQL_PASSWORD';
GRANT ALL PRIVILEGES ON \`$MYSQL_DATABASE\`.* TO '$MYSQL_USER'@'%';
CREATE USER IF NOT EXISTS 'root'@'%' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
GRANT ALL PRIVILEGES ON *.* TO 'root'@'%' WITH GRANT OPTION;
SQL
exec mariadbd --user=mysql --bind-address=0.0.0.0 --init-file=/run/mysqld/init.sql "$@"
