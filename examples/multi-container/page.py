"""A page that counts its visits in a database, of which it knows the name only."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pymysql


def visits(visitor: str) -> int:
    """Record a visit and count all."""
    connection = pymysql.connect(
        host="database", user="web", password="page", database="school", autocommit=True, connect_timeout=5
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO visit (visitor) VALUES (%s)", (visitor,))
        cursor.execute("SELECT COUNT(*) FROM visit")
        return int(cursor.fetchone()[0])


class Page(BaseHTTPRequestHandler):
    """Any path is the one page."""

    def do_GET(self) -> None:
        """Answer with the count, or with why there is none."""
        try:
            status, text = 200, f"visit {visits(self.client_address[0])}\n"
        except pymysql.MySQLError as error:
            status, text = 503, f"no database: {error}\n"
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        self.wfile.write(text.encode())


if __name__ == "__main__":
    ThreadingHTTPServer(("", 80), Page).serve_forever()
