<?php
/** The database of this container, by its local socket. Outside /var/www/html no browser can ask for this file. */
function database(): mysqli
{
    mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
    $database = new mysqli('localhost', 'web', 'learning', 'web');
    $database->set_charset('utf8mb4');
    return $database;
}
