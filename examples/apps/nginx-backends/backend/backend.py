"""A page that says which container of which service has answered; it ends when all that was asked is answered."""

from __future__ import annotations

import os
import signal
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = f"{os.environ['SERVICE']} {os.environ.get('VERSION', '1')} {os.uname().nodename}\n"


class Page(BaseHTTPRequestHandler):
    """Any path is the one page."""

    def do_GET(self) -> None:
        """Answer with who answers."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(NAME)))
        self.end_headers()
        self.wfile.write(NAME.encode())


class Server(ThreadingHTTPServer):
    """Its end waits for the threads that answer."""

    daemon_threads = False


if __name__ == "__main__":
    if "--check" in sys.argv:
        urllib.request.urlopen("http://127.0.0.1:8000/", timeout=1).close()
    else:
        server = Server(("", 8000), Page)
        # A handler runs in the thread that serves, which shutdown() waits for: so another one calls it.
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever()
        server.server_close()
