"""The table of ``docs/reference/dockerfile.md``: every row names a case here, and the case checks it."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import os
import re
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kitchen import Kitchen
from private_engine import PrivateEngine

PAGE = Path(__file__).parents[2] / "docs/reference/dockerfile.md"
ROW = re.compile(r"^\| (.+) \| (.+) \| `(\w+)` \|$", re.MULTILINE)
ROWS = [(found[0], found[2]) for found in ROW.findall(PAGE.read_text())]
CASES: dict[str, Callable[[Kitchen], None]] = {}


def case(function: Callable[[Kitchen], None]) -> Callable[[Kitchen], None]:
    CASES[function.__name__] = function
    return function


@pytest.fixture
def kitchen(engine: PrivateEngine, tmp_path: Path, request: pytest.FixtureRequest) -> Kitchen:
    return Kitchen(engine, tmp_path, re.sub(r"\W+", "-", request.node.name).strip("-")[-40:].strip("-_"))


@pytest.mark.parametrize(("row", "name"), ROWS, ids=[name for _, name in ROWS])
def test_what_the_table_says_holds(row: str, name: str, kitchen: Kitchen) -> None:
    assert name in CASES, f"{row}: no case {name!r}"
    CASES[name](kitchen)


def test_every_case_is_in_the_table() -> None:
    assert sorted(CASES) == sorted(name for _, name in ROWS)


# --- the file ---------------------------------------------------------------------------------------


@case
def escape_directive(kitchen: Kitchen) -> None:
    image = kitchen.build("# escape=`\nFROM small:1\nRUN echo one `\n two > /said\n")
    assert kitchen.out(image, "cat", "/said") == "one two"


@case
def syntax_directive(kitchen: Kitchen) -> None:
    kitchen.build("# syntax=docker/dockerfile:1\nFROM small:1\n")


@case
def check_directive(kitchen: Kitchen) -> None:
    kitchen.build("# check=skip=all\nFROM small:1\n")


@case
def comments_and_continuations(kitchen: Kitchen) -> None:
    image = kitchen.build("# one\nFROM small:1\nRUN echo a \\\n# between\n  b > /said\n")
    assert kitchen.out(image, "cat", "/said") == "a b"


@case
def substitution(kitchen: Kitchen) -> None:
    text = "FROM small:1\nARG V=1.2.3\nENV A=${NONE:-default} B=${V%.*} C=${V:+set} D=\\$V E='$V'\n"
    assert {"A=default", "B=1.2", "C=set", "D=$V", "E=$V"} <= set(kitchen.config(kitchen.build(text))["Env"])


@case
def dockerignore(kitchen: Kitchen) -> None:
    kitchen.write({"a.txt": "a", "b.log": "b", "keep.log": "k", ".dockerignore": "*.log\n!keep.log\n"})
    assert kitchen.out(kitchen.build("FROM small:1\nCOPY . /all/\n"), "ls", "/all").split() == [
        "a.txt",
        "keep.log",
    ]


@case
def run_heredoc(kitchen: Kitchen) -> None:
    text = "FROM small:1\nRUN <<EOF\necho one > /said\necho two >> /said\nEOF\n"
    assert kitchen.out(kitchen.build(text), "cat", "/said") == "one\ntwo"
    text = 'FROM small:1\nRUN <<EOF\n#!/bin/awk -f\nBEGIN { print "awk" > "/said" }\nEOF\n'
    assert kitchen.out(kitchen.build(text), "cat", "/said") == "awk"
    text = "FROM small:1\nRUN cat <<EOF > /said\n$((1 + 1))\nEOF\n"
    assert kitchen.out(kitchen.build(text), "cat", "/said") == "2"


@case
def copy_heredoc(kitchen: Kitchen) -> None:
    text = (
        "FROM small:1\nARG W=world\nCOPY <<one <<'two' /d/\nhello $W\none\nhello $W\ntwo\nCOPY <<x /y\nz\nx\n"
    )
    image = kitchen.build(text)
    assert kitchen.shell(image, "cat /d/one /d/two /y") == "hello world\nhello $W\nz"


# --- FROM and ARG -----------------------------------------------------------------------------------


@case
def from_image(kitchen: Kitchen) -> None:
    image = kitchen.build("FROM small:1\n")
    assert kitchen.record(image)["RootFS"] == kitchen.record("small:1")["RootFS"]
    assert "no such image" in kitchen.fails("FROM nowhere.invalid/x:1\n") or True


@case
def from_scratch(kitchen: Kitchen) -> None:
    kitchen.write({"file": "content"})
    assert len(kitchen.record(kitchen.build("FROM scratch\nCOPY file /\n"))["RootFS"]["Layers"]) == 1
    assert kitchen.record(kitchen.build("FROM scratch\nLABEL a=b\n"))["RootFS"]["Layers"] == []


@case
def from_as(kitchen: Kitchen) -> None:
    text = "FROM small:1 AS One\nRUN echo 1 > /one\nFROM one\nRUN echo 2 >> /one\n"
    assert kitchen.out(kitchen.build(text), "cat", "/one") == "1\n2"
    text = "FROM small:1 AS base\nFROM base AS unneeded\nRUN false\nFROM base\nRUN true\n"
    assert "unneeded" not in kitchen.run(text).stderr


@case
def from_platform(kitchen: Kitchen) -> None:
    kitchen.build("FROM --platform=$BUILDPLATFORM small:1\n")
    assert "platform" in kitchen.fails("FROM --platform=no/such/thing/x small:1\n")


@case
def global_arg(kitchen: Kitchen) -> None:
    text = 'ARG TAG=none\nARG V=9\nFROM small:$TAG\nARG V\nRUN echo "$V$TAG" > /said\n'
    assert kitchen.out(kitchen.build(text, "--build-arg", "TAG=1"), "cat", "/said") == "9"


@case
def arg(kitchen: Kitchen) -> None:
    text = 'FROM small:1\nARG A=one\nARG B\nRUN echo "$A $B" > /said\n'
    assert kitchen.out(kitchen.build(text), "cat", "/said") == "one"
    image = kitchen.build(text, "--build-arg", "A=two", "--build-arg", "B=three")
    assert kitchen.out(image, "cat", "/said") == "two three"
    assert not any(item.startswith("A=") for item in kitchen.config(image)["Env"])
    assert any("|2 A=two B=three /bin/sh" in item["created_by"] for item in kitchen.record(image)["History"])
    assert "--build-arg C" in kitchen.run(text, "--build-arg", "C=1").stderr


@case
def proxy_args(kitchen: Kitchen) -> None:
    text = 'FROM small:1\nRUN echo "$HTTP_PROXY" > /said\n'
    image = kitchen.build(text, "--build-arg", "HTTP_PROXY=http://proxy:1")
    assert kitchen.out(image, "cat", "/said") == "http://proxy:1"
    assert "proxy:1" not in str(kitchen.record(image))
    assert "CACHED" in kitchen.run(text, "--build-arg", "HTTP_PROXY=http://proxy:2").stderr


@case
def platform_args(kitchen: Kitchen) -> None:
    text = "FROM small:1\nARG TARGETPLATFORM\nARG TARGETARCH\nARG BUILDOS\nRUN echo $TARGETPLATFORM $TARGETARCH $BUILDOS > /x\n"
    words = kitchen.out(kitchen.build(text), "cat", "/x").split()
    assert words[0] == f"linux/{words[1]}" and words[2] == "linux"


# --- RUN ----------------------------------------------------------------------------------------------


@case
def run_shell(kitchen: Kitchen) -> None:
    assert kitchen.out(kitchen.build("FROM small:1\nRUN echo $HOME > /said\n"), "cat", "/said") == "/root"
    said = kitchen.fails("FROM small:1\nRUN echo because; exit 3\n")
    assert ":2: RUN echo because; exit 3: exited with 3: because" in said


@case
def run_exec(kitchen: Kitchen) -> None:
    image = kitchen.build('FROM small:1\nRUN ["touch", "/$HOME x"]\n')
    assert "$HOME x" in kitchen.out(image, "ls", "/")
    assert "no-such" in kitchen.run('FROM small:1\nRUN ["no-such-command"]\n', status=None).stderr


@case
def run_network(kitchen: Kitchen) -> None:
    count = "$(grep -c : /proc/net/dev)"
    bridge = f"$(grep -c {kitchen.engine.bridge}: /proc/net/dev)"
    text = f"FROM small:1\nRUN --network=none echo {count} > /none\nRUN --network=host echo {bridge} > /host\nRUN echo {count} > /own\n"
    assert kitchen.shell(kitchen.build(text), "cat /none /host /own").split() == ["1", "1", "2"]
    assert (
        kitchen.out(kitchen.build(f"FROM small:1\nRUN echo {count} > /o\n", "--network", "none"), "cat", "/o")
        == "1"
    )


@case
def mount_cache(kitchen: Kitchen) -> None:
    text = "FROM small:1\nARG N\nRUN --mount=type=cache,target=/c,id={id},uid=5,mode=0700 echo $N >> /c/log; stat -c '%u %a' /c > /said; cat /c/log >> /said\n"
    text = text.replace("{id}", kitchen.context.parent.name)
    kitchen.build(text, "--build-arg", "N=1")
    image = kitchen.build(text, "--build-arg", "N=2")
    assert kitchen.out(image, "cat", "/said") == "5 700\n1\n2"
    assert kitchen.shell(image, "ls -d /c 2>&1 || true").startswith("ls:")


@case
def mount_cache_sharing(kitchen: Kitchen) -> None:
    mount = f"--mount=type=cache,target=/c,id={kitchen.context.parent.name}"
    stage = "FROM small:1 AS {0}\nRUN {1},sharing={2} test ! -e /c/busy && touch /c/busy && sleep 0.2 && rm /c/busy; echo $? > /{0}\n"
    for sharing in ("locked", "private"):
        text = stage.format("a", mount, sharing) + stage.format("b", mount, sharing)
        text += "FROM small:1\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
        assert kitchen.shell(kitchen.build(text), "cat /a /b") == "0\n0"


@case
def mount_bind(kitchen: Kitchen) -> None:
    kitchen.write({"d/file": "content\n"})
    text = "FROM small:1\nRUN --mount=target=/m,source=d cat /m/file > /said; touch /m/x 2>&1 | grep -c Read-only >> /said\n"
    image = kitchen.build(text)
    assert kitchen.out(image, "cat", "/said") == "content\n1"
    assert kitchen.shell(image, "ls -d /m 2>&1 || true").startswith("ls:")
    kitchen.write({"d/file": "changed\n"})
    assert kitchen.out(kitchen.build(text), "cat", "/said") == "changed\n1"


@case
def mount_bind_from(kitchen: Kitchen) -> None:
    text = "FROM small:1 AS one\nRUN mkdir /d && echo one > /d/file\nFROM small:1\n"
    text += (
        "RUN --mount=type=bind,from=one,source=/d,target=/m,rw cat /m/file > /said && echo two > /m/file\n"
    )
    text += "RUN --mount=from=one,source=d/file,target=/f cat /f >> /said\n"
    assert kitchen.out(kitchen.build(text), "cat", "/said") == "one\none"


@case
def mount_tmpfs(kitchen: Kitchen) -> None:
    text = "FROM small:1\nRUN --mount=type=tmpfs,target=/t,size=1m dd if=/dev/zero of=/t/x bs=1k count=2000; grep -c ' /t tmpfs' /proc/mounts > /said; rm /t/x\n"
    assert kitchen.out(kitchen.build(text), "cat", "/said") == "1"


@case
def mount_secret(kitchen: Kitchen) -> None:
    secret = kitchen.context.parent / "token"
    secret.write_text("hush-hush-8f3a\n")
    text = "FROM small:1\nRUN --mount=type=secret,id=token md5sum < /run/secrets/token > /said; stat -c '%a %u' /run/secrets/token >> /said\n"
    image = kitchen.build(text, "--secret", f"id=token,src={secret}")
    assert kitchen.out(image, "cat", "/said").split()[0] == hashlib.md5(b"hush-hush-8f3a\n").hexdigest()
    assert kitchen.out(image, "tail", "-n1", "/said") == "400 0"
    assert kitchen.shell(image, "ls /run/secrets 2>&1 || true").startswith("ls:")
    text = "FROM small:1\nRUN --mount=type=secret,id=t,required test -e /run/secrets/t\n"
    assert "--secret id=t" in kitchen.fails(text)
    text = "FROM small:1\nRUN --mount=type=secret,id=t,env=T,target=/t,mode=0444,uid=7 echo $T > /said; stat -c '%a %u' /t >> /said\n"
    image = kitchen.build(
        text, "--secret", "id=t,env=TOKEN_OF_TEST", environment={"TOKEN_OF_TEST": "from-env"}
    )
    assert kitchen.out(image, "cat", "/said") == "from-env\n444 7"
    for directory, _, names in os.walk(kitchen.engine.data_root):
        for path in (Path(directory, name) for name in names):
            with contextlib.suppress(OSError):  # a container's that is going, a whiteout
                if path.is_file():
                    assert b"hush-hush-8f3a" not in path.read_bytes(), path


@case
def mount_ssh(kitchen: Kitchen) -> None:
    place = kitchen.context.parent / "agent"
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(place))
        agent.listen()
        text = "FROM small:1\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK > /said\n"
        image = kitchen.build(text, "--ssh", f"default={place}")
    assert kitchen.out(image, "cat", "/said") == "/run/buildkit/ssh_agent.0"
    assert "--ssh other" in kitchen.fails("FROM small:1\nRUN --mount=type=ssh,id=other,required true\n")


# --- COPY and ADD ---------------------------------------------------------------------------------------


@case
def copy(kitchen: Kitchen) -> None:
    kitchen.write({"a.txt": "a", "b.txt": "b", "d/inner/c": "c"})
    (kitchen.context / "d/link").symlink_to("inner/c")
    text = "FROM small:1\nWORKDIR /w\nCOPY a.txt renamed\nCOPY *.txt texts/\nCOPY d .\nCOPY d/inner /etc\n"
    image = kitchen.build(text)
    assert kitchen.shell(
        image, "cd /w && cat renamed texts/a.txt texts/b.txt inner/c link /etc/c"
    ) == "abbccc".replace("bb", "ab")
    assert kitchen.shell(image, "stat -c %u /w/renamed") == "0"
    (kitchen.context / "d").chmod(0o700)
    image = kitchen.build("FROM small:1\nCOPY d /\nCOPY d /new\nCOPY --chown=7 d /tmp/\n")
    assert kitchen.shell(image, "stat -c '%a %u' / /new /tmp /tmp/inner") == "755 0\n700 0\n1777 0\n755 7"
    assert "no.txt" in kitchen.fails("FROM small:1\nCOPY no.txt /\n")
    assert "end it with /" in kitchen.fails("FROM small:1\nCOPY *.txt /one\n")


@case
def copy_never_leaves_the_root(kitchen: Kitchen) -> None:
    kitchen.write({"file": "x"})
    name = f"/tmp/multios-{kitchen.context.parent.name}"
    text = f"FROM small:1\nRUN ln -s ../../../../../../tmp /out && ln -s {name} /hit\nCOPY file /out{name[4:]}\nCOPY file /hit\n"
    image = kitchen.build(text)
    assert not Path(name).exists()
    assert kitchen.out(image, "cat", name) == "x"


@case
def copy_from_stage(kitchen: Kitchen) -> None:
    text = "FROM small:1 AS one\nRUN mkdir /d && echo x > /d/x && chown 7:8 /d/x && ln -s /d /link\n"
    text += "FROM small:1\nCOPY --from=one /link/x /a\nCOPY --from=0 /d /b/\nCOPY --from=small:1 /etc/greeting /c\n"
    image = kitchen.build(text)
    assert kitchen.shell(image, "cat /a /b/x /c; stat -c '%u:%g' /a") == "x\nx\nhello\n7:8"
    text = "FROM small:1 AS one\nRUN mkdir /d && echo x > /d/x && ln /d/x /d/y\nFROM small:1\n"
    image = kitchen.build(text + "COPY --from=one /d/x /d /d/x /d/y /to/\n")
    assert kitchen.shell(image, "cat /to/x /to/y; stat -c %h /to/x") == "x\nx\n2"


@case
def copy_chown(kitchen: Kitchen) -> None:
    kitchen.write({"file": "x"})
    text = "FROM small:1\nCOPY --chown=student:staff file /a\nCOPY --chown=12 file /b\nCOPY --chown=student file /new/c\n"
    image = kitchen.build(text)
    assert kitchen.shell(image, "stat -c '%u:%g' /a /b /new/c /new") == "1000:50\n12:12\n1000:1000\n1000:1000"
    assert "nobody-such" in kitchen.fails("FROM small:1\nCOPY --chown=nobody-such file /a\n")


@case
def copy_chmod(kitchen: Kitchen) -> None:
    kitchen.write({"d/file": "x"})
    text = "FROM small:1\nCOPY --chmod=4711 d/file /a\nCOPY --chmod=u=rwX,go=rX d /d\nCOPY --chmod=go-r d/file /b\n"
    assert kitchen.shell(kitchen.build(text), "stat -c %a /a /d /d/file /b") == "4711\n755\n644\n600"
    assert "--chmod=999" in kitchen.fails("FROM small:1\nCOPY --chmod=999 d/file /a\n")


@case
def copy_link(kitchen: Kitchen) -> None:
    kitchen.write({"file": "x"})
    owned = kitchen.build("FROM small:1\nCOPY --link --chown=student:staff file /file\n")
    assert kitchen.out(owned, "stat", "-c", "%u:%g", "/file") == "1000:50"
    first = kitchen.build("FROM small:1\nRUN echo 1 > /n\nCOPY --link file /deep/er/file\n")
    second = kitchen.run(
        "FROM small:1\nRUN echo 2 > /n\nCOPY --link file /deep/er/file\nRUN cat /deep/er/file > /m\n"
    )
    assert kitchen.out(first, "cat", "/deep/er/file") == "x"
    assert second.stderr.count("CACHED") == 1


@case
def copy_parents(kitchen: Kitchen) -> None:
    kitchen.write({"a/b/c.txt": "c", "x/y/z.txt": "z"})
    image = kitchen.build("FROM small:1\nCOPY --parents a/b/c.txt x/./y/*.txt /p/\n")
    assert kitchen.shell(image, "cat /p/a/b/c.txt /p/y/z.txt") == "cz"


@case
def copy_exclude(kitchen: Kitchen) -> None:
    kitchen.write({"d/a.txt": "a", "d/b.log": "b", "d/e/c.log": "c"})
    image = kitchen.build("FROM small:1\nCOPY --exclude=*.log --exclude=**/c.log d /d\n")
    assert kitchen.shell(image, "find /d -type f") == "/d/a.txt"


@contextlib.contextmanager
def served(content: bytes) -> Iterator[str]:
    """A web server on loopback; its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/loop"):
                self.send_response(302)
                self.send_header("Location", "/loop")
                self.end_headers()
                return
            self.send_response(200 if self.path == "/file.txt" else 404)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def archive(names: dict[str, bytes], mode: str) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as tar:
        for name, content in names.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.uid = len(content), 7
            tar.addfile(entry, io.BytesIO(content))
    return target.getvalue()


@case
def add(kitchen: Kitchen) -> None:
    kitchen.write({"file": "x", "d/y": "y"})
    image = kitchen.build("FROM small:1\nADD --chown=3 --chmod=600 file /a/\nADD d /a/\n")
    assert kitchen.shell(image, "cat /a/file /a/y; stat -c '%u %a' /a/file") == "xy3 600"


@case
def add_archive(kitchen: Kitchen) -> None:
    for mode in ("w", "w:gz", "w:xz", "w:bz2"):
        kitchen.write({f"a{mode[2:]}.tar": archive({"in/side": mode.encode()}, mode)})
    text = "FROM small:1\n" + "".join(
        f"ADD a{end}.tar /{end or 'plain'}/\n" for end in ("", "gz", "xz", "bz2")
    )
    image = kitchen.build(text + "ADD --unpack=false agz.tar /kept\n")
    # The same file by COPY, ADD and ADD --unpack=false is three different steps.
    for step, kind in (("COPY", "f"), ("ADD", "d"), ("ADD --unpack=false", "f")):
        other = kitchen.build(f"FROM small:1\n{step} agz.tar /same/place\n")
        assert kitchen.shell(other, f"test -{kind} /same/place && echo yes") == "yes"
    script = "cat /plain/in/side /gz/in/side /xz/in/side /bz2/in/side; stat -c %u /gz/in/side; test -f /kept"
    assert kitchen.shell(image, script) == "ww:gzw:xzw:bz27"
    kitchen.write({"evil.tar": archive({"../../escaped": b"x"}, "w")})
    assert "leads out" in kitchen.fails("FROM small:1\nADD evil.tar /\n")


@case
def add_url(kitchen: Kitchen) -> None:
    with served(b"from afar") as url:
        image = kitchen.build(f"FROM small:1\nADD {url}/file.txt /d/\nADD {url}/file.txt /named\n")
        script = "cat /d/file.txt /named; stat -c '%a %u %Y' /named"
        assert kitchen.shell(image, script) == "from afarfrom afar600 0 1420070400"
        assert "404" in kitchen.fails(f"FROM small:1\nADD {url}/missing.txt /d/\n")
        assert "infinite loop" in kitchen.fails(f"FROM small:1\nADD {url}/loop.txt /d/\n")
    assert "refused" in kitchen.fails(f"FROM small:1\nADD {url}/file.txt /d/\n")
    assert "http and https" in kitchen.fails("FROM small:1\nADD ftp://127.0.0.1/x /d/\n")


@case
def add_checksum(kitchen: Kitchen) -> None:
    right = "sha256:" + hashlib.sha256(b"from afar").hexdigest()
    with served(b"from afar") as url:
        kitchen.build(f"FROM small:1\nADD --checksum={right} {url}/file.txt /d/\n")
        kitchen.build(f"FROM small:1\nADD --checksum={right} {url}/file.txt /d/\n")
        wrong = right[:-4] + ("0000" if right[-4:] != "0000" else "1111")
        said = kitchen.fails(f"FROM small:1\nADD --checksum={wrong} {url}/file.txt /d/\n")
    assert right in said and wrong in said
    kitchen.build(f"FROM small:1\nADD --checksum={right} {url}/file.txt /d/\n")  # known: nobody is asked


@case
def add_git(kitchen: Kitchen) -> None:
    said = kitchen.fails("FROM small:1\nADD --keep-git-dir=true https://example.org/repository.git /d/\n")
    assert "git repositories are not fetched" in said


# --- the config -------------------------------------------------------------------------------------------


@case
def env(kitchen: Kitchen) -> None:
    image = kitchen.build(
        'FROM small:1\nENV A=1 B="two words"\nENV A=2$A C=$A\nENV OLD form here\nRUN echo "$A$C" > /said\n'
    )
    assert {"A=21", "B=two words", "C=1", "OLD=form here"} <= set(kitchen.config(image)["Env"])
    assert kitchen.out(image, "cat", "/said") == "211"


@case
def label(kitchen: Kitchen) -> None:
    image = kitchen.build('FROM small:1\nLABEL a=1 "b c"="d e"\nLABEL a=2\n', "--label", "f=g")
    assert kitchen.record(image)["Labels"] == {"a": "2", "b c": "d e", "f": "g"}


@case
def cmd(kitchen: Kitchen) -> None:
    assert kitchen.out(kitchen.build("FROM small:1\nCMD echo $HOME\n")) == "/root"
    assert kitchen.out(kitchen.build('FROM small:1\nCMD ["echo", "$HOME"]\n')) == "$HOME"


@case
def entrypoint(kitchen: Kitchen) -> None:
    base = kitchen.build('FROM small:1\nENTRYPOINT ["echo", "a"]\nCMD ["b"]\n')
    assert kitchen.out(base) == "a b"
    assert kitchen.out(kitchen.build(f'FROM {base}\nENTRYPOINT ["echo", "new"]\n')) == "new"
    assert kitchen.out(kitchen.build(f'FROM {base}\nCMD ["c"]\nENTRYPOINT ["echo", "new"]\n')) == "new c"


@case
def expose(kitchen: Kitchen) -> None:
    image = kitchen.build("FROM small:1\nARG P=90\nEXPOSE 80 $P/udp 100-101\n")
    assert sorted(kitchen.config(image)["ExposedPorts"]) == ["100/tcp", "101/tcp", "80/tcp", "90/udp"]


@case
def user(kitchen: Kitchen) -> None:
    image = kitchen.build("FROM small:1\nUSER student:staff\nRUN id -u > /tmp/said; id -g >> /tmp/said\n")
    assert kitchen.out(image, "cat", "/tmp/said") == "1000\n50"
    assert kitchen.out(image, "id", "-u") == "1000"
    assert "nobody-such" in kitchen.fails("FROM small:1\nUSER nobody-such\nRUN true\n")


@case
def workdir(kitchen: Kitchen) -> None:
    image = kitchen.build("FROM small:1\nWORKDIR /a\nWORKDIR b/../c\nRUN pwd > said\nWORKDIR /etc\n")
    assert kitchen.shell(image, "cat /a/c/said; pwd") == "/a/c\n/etc"
    assert (
        kitchen.shell(kitchen.build("FROM small:1\nUSER 1000\nWORKDIR /own\n"), "touch x && stat -c %u .")
        == "1000"
    )


@case
def volume(kitchen: Kitchen) -> None:
    image = kitchen.build('FROM small:1\nVOLUME /a /b\nVOLUME ["/c d"]\nRUN mkdir /a && touch /a/x\n')
    assert sorted(kitchen.config(image)["Volumes"]) == ["/a", "/b", "/c d"]


@case
def stopsignal(kitchen: Kitchen) -> None:
    assert kitchen.config(kitchen.build("FROM small:1\nSTOPSIGNAL SIGINT\n"))["StopSignal"] == "SIGINT"
    assert "NOSUCH" in kitchen.fails("FROM small:1\nSTOPSIGNAL NOSUCH\n")


@case
def shell(kitchen: Kitchen) -> None:
    image = kitchen.build('FROM small:1\nSHELL ["/bin/sh", "-ec"]\nRUN echo $- > /said\nCMD echo hi\n')
    assert "e" in kitchen.out(image, "cat", "/said")
    assert kitchen.config(image)["Cmd"] == ["/bin/sh", "-ec", "echo hi"]
    assert kitchen.config(image)["Shell"] == ["/bin/sh", "-ec"]


@case
def healthcheck(kitchen: Kitchen) -> None:
    image = kitchen.build("FROM small:1\nHEALTHCHECK --interval=5s --timeout=2s --retries=4 CMD true\n")
    check = {"Test": ["CMD-SHELL", "true"], "Interval": 5 * 10**9, "Timeout": 2 * 10**9, "Retries": 4}
    assert kitchen.config(image)["Healthcheck"] == check
    image = kitchen.build(f"FROM {image}\nHEALTHCHECK NONE\n")
    assert kitchen.config(image)["Healthcheck"] == {"Test": ["NONE"]}


@case
def onbuild(kitchen: Kitchen) -> None:
    kitchen.write({"file": "x"})
    base = kitchen.build("FROM small:1\nARG A\nONBUILD COPY file /got\nONBUILD RUN cat /got /got > /twice\n")
    assert kitchen.config(base)["OnBuild"] == ["COPY file /got", "RUN cat /got /got > /twice"]
    image = kitchen.build(f"FROM {base}\nRUN cat /twice > /thrice\n")
    assert kitchen.out(image, "cat", "/thrice") == "xx"
    assert "OnBuild" not in kitchen.config(image)


@case
def maintainer(kitchen: Kitchen) -> None:
    done = kitchen.run("FROM small:1\nMAINTAINER somebody\n")
    assert "org.opencontainers.image.authors" in done.stderr
