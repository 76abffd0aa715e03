"""``multios-containerd``: the daemon, and the words that steer it."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import logging.handlers
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path

from multios.errors import MultiosError, Unavailable
from multios.rootless import roots
from multios.settings import Settings, load

log = logging.getLogger("multios.daemon")
STARTED_SECONDS = 60.0
"""A slow machine that has read nothing of it yet needs half of them; a daemon that dies is noticed at once."""
LOOKED_AT_SECONDS = 1.0
NOTHING_RUNS = 3
"""``status`` exits with this when no daemon runs (LSB init scripts, status action)."""


def main() -> int:
    """The program's entry point; its exit status."""
    arguments = _parser().parse_args()
    try:
        settings = load(arguments.config, os.environ)
        return int(_COMMANDS[arguments.command](settings, arguments))
    except MultiosError as error:
        print(f"multios-containerd: {error.cause}", file=sys.stderr)
        if error.remedy:
            print(f"  {error.remedy}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(f"multios-containerd: {error}", file=sys.stderr)
        print("  see that its directories can be written: --config, MULTIOS_DATA_ROOT", file=sys.stderr)
        return MultiosError.exit_status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="multios-containerd", description="The MultiOS container daemon.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--daemon", action="store_true", help="go to the background once requests are served")
    mode.add_argument("--foreground", action="store_true", help="stay in the foreground (the default)")
    mode.add_argument("--on-demand", action="store_true", help="stay in the foreground, leave when idle")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the TOML file to read")
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), help="what to log; overrides the file"
    )
    parser.add_argument(
        "command", nargs="?", choices=tuple(_COMMANDS), default="serve",
        help="serve (default), or tell a running daemon: stop, reload, status",
    )  # fmt: skip
    return parser


# --- serving -------------------------------------------------------------------------------------------


def _serve(settings: Settings, arguments: argparse.Namespace) -> int:
    from multios import features  # deferred: `stop`, `status` and `--help` do not need it

    features.require()
    if places := roots.own():
        roots.make_private(str(settings.exec_root), places.uid)
    else:
        settings.exec_root.mkdir(mode=0o711, parents=True, exist_ok=True)
    if arguments.daemon:
        return _serve_in_background(settings, arguments)
    lock = _lock_pid_file(settings)
    _enter_own_namespace(settings)
    _begin_logging(settings, arguments.log_level, to_terminal=arguments.foreground)
    try:
        Daemon(settings, arguments.config, arguments.on_demand, arguments.log_level).run()
    except MultiosError as error:
        log.error("%s", error.cause)
        raise
    except Exception:
        log.exception("the daemon failed")
        raise
    finally:
        settings.pid_file.unlink(missing_ok=True)
        os.close(lock)
    return 0


def _enter_own_namespace(settings: Settings) -> None:
    """An ordinary user's daemon becomes root of a user namespace, and goes on as the system's does."""
    if roots.own() is None:
        return
    from multios.rootless import holder  # deferred: the system's daemon needs none

    places = roots.keep()
    holder.enter(settings.exec_root, places.uid)
    settings.data_root.mkdir(mode=0o700, parents=True, exist_ok=True)
    holder.check_ids(settings.data_root)


def _serve_in_background(settings: Settings, arguments: argparse.Namespace) -> int:
    if (running := _running_pid(settings)) is not None:
        raise Unavailable(f"a daemon runs already (process {running})", "multios-containerd stop")
    words = [sys.executable, "-m", "multios.daemon"]
    for name, value in (("--config", arguments.config), ("--log-level", arguments.log_level)):
        words += [name, str(value)] if value else []
    if roots.own():
        from multios.rootless.delegation import delegated  # deferred: the system's daemon needs none

        words = delegated(words)
    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    pid = os.posix_spawn(words[0], words, os.environ, file_actions=null, setsid=True)
    deadline = time.monotonic() + STARTED_SECONDS
    while time.monotonic() < deadline:
        if _answers(settings):
            print(f"multios-containerd runs as process {pid}")
            return 0
        if os.waitpid(pid, os.WNOHANG)[0]:
            break
        time.sleep(0.02)
    raise Unavailable("the daemon did not start", f"see {settings.logging.file}")


def _lock_pid_file(settings: Settings) -> int:
    """Hold the pid file, so that no second daemon serves the same roots; the descriptor that holds it."""
    settings.pid_file.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + LOOKED_AT_SECONDS
    while True:
        descriptor = os.open(settings.pid_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            running = _running_pid(settings)
            if running is None and time.monotonic() < deadline:
                time.sleep(0.01)  # someone only looks whether it is held
                continue
            raise Unavailable(
                f"a daemon runs already (process {running})", "multios-containerd stop"
            ) from None
        with contextlib.suppress(FileNotFoundError):
            if os.stat(settings.pid_file).st_ino == os.fstat(descriptor).st_ino:
                break  # not the file that an ending daemon has just removed
        os.close(descriptor)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _begin_logging(settings: Settings, level: str | None, to_terminal: bool) -> None:
    handlers: list[logging.Handler] = []
    if to_terminal:
        handlers.append(logging.StreamHandler())
    else:
        settings.logging.file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(
            logging.handlers.RotatingFileHandler(settings.logging.file, maxBytes=10_000_000, backupCount=3)
        )
        # What a library or the supervisor writes to stderr belongs in the log too.
        descriptor = os.open(
            settings.logging.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640
        )
        os.dup2(descriptor, 2)
        os.close(descriptor)
    logging.basicConfig(
        level=(level or settings.logging.level).upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=handlers,
        force=True,
    )
    for handler in handlers:
        handler.addFilter(_is_wanted)


def _is_wanted(record: logging.LogRecord) -> bool:
    """At debug pyroute2 writes every packet, and at its import it sets its own logger's level."""
    return record.levelno >= logging.WARNING or not record.name.startswith("pyroute2")


class Daemon:
    """One running daemon: engine and door, until a signal or idleness ends it."""

    def __init__(
        self, settings: Settings, config: Path | None, leave_when_idle: bool, log_level: str | None = None
    ) -> None:
        # Deferred: `stop`, `status` and `--help` need none of these.
        from multios.api.audit import AuditLog
        from multios.api.methods import table
        from multios.api.server import Server
        from multios.engine.engine import Engine

        self._config, self._leave_when_idle = config, leave_when_idle
        self._log_level = log_level
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        """Its put is reentrant: a handler may interrupt the very thread that waits."""
        self._engine = Engine(settings)
        self._server = Server(
            settings.exec_root / "api.sock",
            table(self._engine),
            self._engine.hooks.authorize,
            AuditLog(settings.logging.audit).write,
        )

    def run(self) -> None:
        """Serve until told to end."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda received, frame: self._signals.put(received))
        self._engine.begin()
        self._server.open()
        _tell_systemd("READY=1")
        log.info("serving, process %d", os.getpid())
        threading.Thread(target=self._server.serve, name="accept", daemon=True).start()
        self._wait_for_end()
        _tell_systemd("STOPPING=1")
        self._server.close()
        self._engine.leave()
        log.info("ended; %d containers go on", self._engine.counts()["running"])
        self._engine.close()

    def _is_idle(self) -> bool:
        counts = self._engine.counts()
        return (
            self._server.is_idle
            and time.monotonic() - self._server.last_request > self._engine.settings.daemon.idle_seconds
            and counts["running"] + counts["paused"] == 0
        )

    def _wait_for_end(self) -> None:
        while True:
            try:
                if self._signals.get(timeout=1.0) != signal.SIGHUP:
                    return
                self._reload()
            except queue.Empty:
                if self._leave_when_idle and self._is_idle():
                    return

    def _reload(self) -> None:
        try:
            settings = load(self._config, os.environ)
            self._engine.reload(settings)
        except MultiosError as error:
            log.error("reload refused: %s", error.cause)
            return
        if self._log_level is None:
            logging.getLogger().setLevel(settings.logging.level.upper())
        log.info("settings read again")


def _tell_systemd(state: str) -> None:
    """sd_notify(3), when systemd waits for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        import socket

        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, contextlib.suppress(OSError):
            notify.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


# --- steering a running daemon -------------------------------------------------------------------------


def _running_pid(settings: Settings) -> int | None:
    """The process that holds the pid file's lock, or ``None``."""
    try:
        descriptor = os.open(settings.pid_file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        text = os.read(descriptor, 32).decode().strip()
        return int(text) if text.isdecimal() else None
    finally:
        os.close(descriptor)


def _answers(settings: Settings) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(settings.exec_root / "api.sock"))
        except OSError:
            return False
    return True


def _need_pid(settings: Settings) -> int:
    pid = _running_pid(settings)
    if pid is None:
        raise Unavailable("no daemon runs here", "start one: multios-containerd --daemon")
    return pid


def _stop(settings: Settings, arguments: argparse.Namespace) -> int:
    pid = _need_pid(settings)
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STARTED_SECONDS
    while _running_pid(settings) is not None:
        if time.monotonic() > deadline:
            raise Unavailable(f"process {pid} does not end", f"see {settings.logging.file}")
        time.sleep(0.02)
    print("stopped")
    return 0


def _reload(settings: Settings, arguments: argparse.Namespace) -> int:
    os.kill(_need_pid(settings), signal.SIGHUP)
    print("reloading")
    return 0


def _status(settings: Settings, arguments: argparse.Namespace) -> int:
    pid = _running_pid(settings)
    if pid is None:
        print("not running")
        return NOTHING_RUNS
    print(f"running as process {pid}; {'answers' if _answers(settings) else 'does not answer'} on "
          f"{settings.exec_root / 'api.sock'}")  # fmt: skip
    return 0


_COMMANDS = {"serve": _serve, "stop": _stop, "reload": _reload, "status": _status}


if __name__ == "__main__":
    sys.exit(main())
