"""What ADD fetches: bounded, verified, and never from anywhere but the web."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from multios.build import download
from multios.build.download import check_url, fetch, is_url
from multios.errors import InvalidInput, MultiosError, StepFailed

CONTENT = b"content" * 1000


class Handler(http.server.BaseHTTPRequestHandler):
    """A path is what is wrong with the answer."""

    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        if self.path == "/endless":
            self.send_response(307)
            self.send_header("Location", "/x")
            self.end_headers()
            self.close_connection = True
            with contextlib.suppress(OSError):  # until nobody listens
                while True:
                    self.wfile.write(CONTENT)
            return
        self.send_response(503 if self.path == "/busy" else 200)
        length = len(CONTENT) + (10 if self.path == "/short" else 0)
        self.send_header("Content-Length", str(length))
        self.send_header(
            "Last-Modified", "not a date" if self.path == "/undated" else "Thu, 01 Jan 2015 00:00:00 GMT"
        )
        self.end_headers()
        if self.path == "/stalled":
            time.sleep(20)
        self.wfile.write(CONTENT)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def wanted() -> bool:
    return False


def test_a_file_is_fetched_with_its_name_digest_and_time(server: str, tmp_path: Path) -> None:
    found = fetch(f"{server}/some%20file", "", tmp_path, wanted)
    assert found.path.read_bytes() == CONTENT and found.path.parent == tmp_path
    assert found.name == "some file"
    assert found.digest == "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    assert found.modified == 1420070400
    assert fetch(f"{server}/undated", found.digest, tmp_path, wanted).modified == 0
    assert fetch(f"{server}/to/{server}/x", found.digest, tmp_path, wanted).name == "x"


def test_the_body_of_a_redirect_is_not_read_however_long_it_is(server: str, tmp_path: Path) -> None:
    assert fetch(f"{server}/endless", "", tmp_path, wanted).path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "checksum", "said"),
    [
        ("busy", "", "503"),
        ("short", "", "cut off"),
        ("stalled", "", "timed out"),
        ("to/file:///etc/passwd", "", "not allowed"),
        ("to/ftp://127.0.0.1/x", "", ""),
        ("to/http://127.0.0.1:1/x", "", "refused"),
        ("", "", "no file's name"),
        ("..%2f", "", "no file's name"),
        ("x%00", "", "no file's name"),
        ("x", "sha256:" + "0" * 64, "the content is sha256:"),
        ("x", "md5:1", "64 hexadecimal digits"),
    ],
)
def test_what_goes_wrong_is_one_error_and_leaves_no_file(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, checksum: str, said: str
) -> None:
    monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    with pytest.raises(MultiosError) as caught:
        fetch(f"{server}/{path}", checksum, tmp_path, wanted)
    assert said in caught.value.cause and "\n" not in caught.value.cause
    assert not list(tmp_path.iterdir())


def test_sizes_times_and_patience_are_bounded(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StepFailed, match="cancelled"):
        fetch(f"{server}/x", "", tmp_path, lambda: True)
    with monkeypatch.context() as patch, pytest.raises(StepFailed, match="more than"):
        patch.setattr(download, "LARGEST", 100)
        fetch(f"{server}/x", "", tmp_path, wanted)
    with monkeypatch.context() as patch, pytest.raises(StepFailed, match="longer than"):
        patch.setattr(download, "LONGEST_SECONDS", -1.0)
        fetch(f"{server}/x", "", tmp_path, wanted)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/x",
        "http:///x",
        "https://h/x.git",
        "git@h:x",
        "ssh://h/x",
        "git://h/x",
        "https://h/x.git#main:d",
    ],
)
def test_only_files_of_the_web_are_fetched(url: str) -> None:
    assert is_url(url)
    with pytest.raises(InvalidInput):
        check_url(url, "")
