"""What goes on inside the pods of the tests' API server: commands in one root filesystem, logs, and ports of this host's loopback."""

from __future__ import annotations

import json
import os
import pty
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ
from typing import Any

from kubernetes_store import Answer
from websocket_server import WebSocket

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _STATUS, _SIZE, _CLOSE = 0, 1, 2, 3, 4, 255


_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


@dataclass
class Pods:
    """``root`` is the root filesystem that all share, into which one must be able to chroot(2). With ``own_roots`` each has a
    copy of it there, by its uid, in which /home/student is its namespace's where the pod has a claim.

    ``ports`` maps ports of pods to ports of this host. Without ``has_v5`` the server is an older one.
    """

    root: Path | None = None
    own_roots: Path | None = None
    ports: dict[int, int] = field(default_factory=dict)
    has_v5: bool = True
    cuts_streams: bool = False
    """Whether commands are cut off instead of ended."""
    changed: threading.Condition = field(default_factory=threading.Condition)
    written: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)
    """What each pod has written, with the time."""
    logs: int = 0
    """Log streams that are open."""
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _begun: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _mounts: list[Path] = field(default_factory=list)

    def root_of(self, pod: dict[str, Any]) -> Path:
        """What the pod sees as its root filesystem."""
        assert self.root is not None
        if self.own_roots is None:
            return self.root
        metadata = pod["metadata"]
        with self._lock:
            made = self.own_roots / metadata["uid"]
            if not made.exists():
                subprocess.run(["cp", "-a", self.root, made], check=True)
                home = made / "home/student"
                home.mkdir(parents=True, exist_ok=True)
                if any("persistentVolumeClaim" in volume for volume in pod["spec"].get("volumes") or ()):
                    kept = self.own_roots / f"home-{metadata['namespace']}"
                    kept.mkdir(exist_ok=True)
                    subprocess.run(["mount", "--bind", kept, home], check=True)
                    self._mounts.append(home)
        return made

    # --- logs ---------------------------------------------------------------------------------------

    def say(self, pod: str, line: str, moment: str = "") -> None:
        """The pod writes a line."""
        moment = moment or f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"
        with self.changed:
            self.written.setdefault(pod, []).append((moment, line.encode()))
            self.changed.notify_all()

    def begin(self, pod: dict[str, Any]) -> None:
        """Run the pod's own command, unless it runs: what it writes is its log."""
        name, container = pod["metadata"]["name"], pod["spec"]["containers"][0]
        command = [*container.get("command", ()), *container.get("args", ())]
        if self.root is None or not command or name in self._begun:
            return
        self._begun.add(name)
        words = [word.replace("$$", "$") for word in command]
        process = subprocess.Popen(
            ["chroot", self.root_of(pod), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=_ENVIRONMENT,
        )  # fmt: skip
        self._processes.append(process)
        threading.Thread(target=self._collect, args=(name, process), daemon=True).start()

    def lines(self, pod: str, query: dict[str, str], begin: int) -> tuple[list[bytes], int]:
        """What a stream of its log has from the line ``begin`` on, and the line at which it goes on."""
        with self.changed:
            found = self.written.get(pod, [])[begin:]
        end = begin + len(found)
        if since := query.get("sinceTime", "")[:19]:  # in whole seconds, as the API has it
            found = [item for item in found if item[0][:19] >= since]
        if begin == 0 and "tailLines" in query:
            count = int(query["tailLines"])
            found = found[len(found) - count :] if count < len(found) else found
        has_times = query.get("timestamps") == "true"
        return [(f"{moment} ".encode() if has_times else b"") + line + b"\n" for moment, line in found], end

    def end(self) -> None:
        """End what runs."""
        for process in self._processes:
            process.kill()
            process.wait()
        for mount in self._mounts:
            subprocess.run(["umount", "--lazy", mount], check=True)

    def _collect(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.say(name, line.decode().rstrip("\n"))

    # --- commands -----------------------------------------------------------------------------------

    def execute(self, socket: WebSocket, query: list[tuple[str, str]], pod: dict[str, Any]) -> None:
        """Run a command, with its streams on channels, and tell its exit status on the one of errors."""
        command = [value for key, value in query if key == "command"]
        asked = {key for key, value in query if value == "true"}
        if self.root is None or shutil.which(command[0], path=f"{self.root}/bin") is None:
            told = f'exec: "{command[0]}": executable file not found in $PATH: unknown'
            _tell(socket, {"status": "Failure", "reason": "InternalError", "message": told})
        elif "tty" in asked:
            self._in_terminal(socket, command, self.root_of(pod))
        else:
            self._with_pipes(socket, command, asked, self.root_of(pod))
        socket.close()

    def _with_pipes(self, socket: WebSocket, command: list[str], asked: set[str], root: Path) -> None:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            ["chroot", root, *command],
            stdin=pipe if "stdin" in asked else subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=_ENVIRONMENT,
        )  # fmt: skip
        self._processes.append(process)
        assert process.stdout and process.stderr
        readers = [
            threading.Thread(target=_copy, args=(socket, channel, stream.fileno()), daemon=True)
            for channel, stream in ((_STDOUT, process.stdout), (_STDERR, process.stderr))
        ]
        if process.stdin:
            feed = threading.Thread(target=_feed, args=(socket, process.stdin.fileno(), process), daemon=True)
            feed.start()
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        self._ended(socket, process)

    def _in_terminal(self, socket: WebSocket, command: list[str], root: Path) -> None:
        master, slave = pty.openpty()
        process = subprocess.Popen(
            ["chroot", root, *command],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=_ENVIRONMENT,
        )  # fmt: skip
        self._processes.append(process)
        os.close(slave)
        threading.Thread(target=_feed, args=(socket, master, process), daemon=True).start()
        _copy(socket, _STDOUT, master)
        self._ended(socket, process)

    def _ended(self, socket: WebSocket, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        if self.cuts_streams:
            return
        if code == 0:
            _tell(socket, {"metadata": {}, "status": "Success"})
            return
        causes = [{"reason": "ExitCode", "message": str(code if code > 0 else 128 - code)}]
        message = f"command terminated with non-zero exit code: {code}"
        status = {"status": "Failure", "reason": "NonZeroExitCode", "message": message}
        _tell(socket, {**status, "details": {"causes": causes}})

    # --- ports --------------------------------------------------------------------------------------

    def forward(self, websocket: WebSocket, port: int) -> None:
        """One connection to a port: data on channel 0, what failed on channel 1, each after the port's number."""
        for channel in (0, 1):
            websocket.send(bytes((channel,)) + struct.pack("<H", port))
        try:
            inside = socket.create_connection(("127.0.0.1", self.ports[port]), 5)
        except (OSError, KeyError) as error:
            websocket.send(b"\x01" + f"cannot connect to {port}: {error}".encode())
            websocket.close()
            return
        with inside:
            inside.settimeout(None)
            reader = threading.Thread(target=self._to_inside, args=(websocket, inside), daemon=True)
            reader.start()
            _copy(websocket, 0, inside.fileno())
            websocket.close()
            reader.join(5)

    @staticmethod
    def _to_inside(websocket: WebSocket, inside: socket.socket) -> None:
        with suppress(OSError):
            for message in websocket.messages():
                if message[0] == 0:
                    inside.sendall(message[1:])
        with suppress(OSError):
            inside.shutdown(socket.SHUT_RDWR)


def check(pod: dict[str, Any] | None, name: str, query: dict[str, str]) -> dict[str, Any]:
    """The pod, if it can be entered; ``Answer`` as the API server answers."""
    if pod is None:
        raise Answer(404, "NotFound", f'pods "{name}" not found')
    container = pod["spec"]["containers"][0]["name"]
    if query.get("container", container) != container:
        raise Answer(400, "BadRequest", f"container {query['container']} is not valid for pod {name}")
    if pod["status"].get("phase") == "Pending":
        raise Answer(400, "BadRequest", f'container "{container}" in pod "{name}" is waiting to start')
    return pod


def _tell(socket: WebSocket, status: dict[str, Any]) -> None:
    with suppress(OSError):
        socket.send(bytes((_STATUS,)) + json.dumps(status).encode())


def _copy(socket: WebSocket, channel: int, source: int) -> None:
    with suppress(OSError):
        for data in _pieces(source):
            socket.send(bytes((channel,)) + data)


def _pieces(source: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(source, 32768)
        except OSError:
            return
        if not data:
            return
        yield data


def _feed(socket: WebSocket, target: int, process: subprocess.Popen[bytes]) -> None:
    """What the client sends, to the command; the command is killed when the client goes."""
    for message in socket.messages():
        channel, data = message[0], message[1:]
        if channel == _STDIN:
            view = memoryview(data)
            with suppress(OSError):
                while view:
                    view = view[os.write(target, view) :]
        elif channel == _SIZE:
            size = json.loads(data)
            ioctl(target, TIOCSWINSZ, struct.pack("HHHH", size["Height"], size["Width"], 0, 0))
        elif channel == _CLOSE and data == bytes((_STDIN,)) and socket.protocol == V5:
            assert process.stdin
            process.stdin.close()
            break
    else:
        process.kill()
