"""The guests as JSON. Apache passes /python/ on to port 5000."""

import platform

import pymysql
from flask import Flask, jsonify

app = Flask(__name__)


def guests():
    """Every guest, the oldest first."""
    connection = pymysql.connect(
        unix_socket="/run/mysqld/mysqld.sock",
        user="web",
        password="learning",
        database="web",
        charset="utf8mb4",
        cursorclass=pymysql.cursors.DictCursor,
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, words FROM guest ORDER BY id")
        found = cursor.fetchall()
    connection.close()
    return found


@app.route("/")
def index():
    return jsonify({"from": f"Python {platform.python_version()}", "guests": guests()})


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=5000)
