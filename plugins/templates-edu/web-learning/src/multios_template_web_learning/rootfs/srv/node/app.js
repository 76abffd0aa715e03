// The guests as JSON. Apache passes /node/ on to port 3000.
'use strict';

const http = require('http');
const mysql = require('mysql');

const database = mysql.createPool({
    socketPath: '/run/mysqld/mysqld.sock',
    user: 'web',
    password: 'learning',
    database: 'web',
    charset: 'utf8mb4',
});

function answer(response, status, value) {
    response.writeHead(status, {'Content-Type': 'application/json; charset=utf-8'});
    response.end(JSON.stringify(value) + '\n');
}

const server = http.createServer((request, response) => {
    database.query('SELECT name, words FROM guest ORDER BY id', (error, guests) => {
        if (error) {
            answer(response, 503, {error: error.message});
        } else {
            answer(response, 200, {from: `Node.js ${process.version}`, guests});
        }
    });
});

server.listen(3000, '127.0.0.1', () => console.log('listening on 127.0.0.1:3000'));
process.on('SIGTERM', () => process.exit(0));
