"""This engine and its peers with one face, each in a network namespace of its own: none runs into another's rules."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import measuring
import peers

from multios import connect
from multios.testing.network_box import Namespace
from private_engine import PrivateEngine

MOST_CONTAINERS = 320


class Engine:
    """What is asked of all of them. The namespace ``place`` is its host."""

    name: str
    bridge: str
    """The network that a container is on unless it says otherwise."""
    image: str
    delete_words: Sequence[str] = ("rm", "--force")
    create_words: Sequence[str] = peers.LIMITS

    def __init__(self, place: Namespace, base: Sequence[str], environment: Mapping[str, str]) -> None:
        self.place, self._base, self._environment = place, list(base), environment

    def version(self) -> str:
        """Its version, and what makes its networks if that is a choice."""
        raise NotImplementedError

    def start(self, name: str) -> None:
        """Start a created container."""
        self._process("start", name)

    def run_true(self, network: str) -> None:
        """Run ``true`` in a container that is made for it and removed."""
        self._process("run", "--rm", "--network", network, *self.create_words, self.image, "true")

    def create(self, name: str, network: str, *command: str, port: int = 0) -> None:
        """Make a container; ``port`` is published under the same number."""
        published = ("-p", f"{port}:{port}") if port else ()
        words = ("create", "--name", name, "--network", network, *self.create_words, *published)
        self.run(*words, self.image, *command)

    def begin(self, name: str, network: str, *command: str, port: int = 0) -> None:
        """Make a container and start it."""
        self.create(name, network, *command, port=port)
        self.start(name)

    def delete(self, *names: str) -> None:
        """Kill containers and remove them."""
        self.run(*self.delete_words, *names)

    def run(self, *words: str) -> str:
        """What a command printed."""
        with self.place.entered():
            done = subprocess.run(
                [*self._base, *words],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
            )
        if done.returncode:
            raise RuntimeError(f"{self.name} {' '.join(words)}: {done.stdout[-300:]}{done.stderr[-600:]}")
        return done.stdout.strip()

    def _process(self, *words: str) -> None:
        with self.place.entered():
            measuring.process([*self._base, *words], self._environment)()

    def namespace(self, name: str) -> Namespace:
        """A running container's."""
        return Namespace.of(int(self.run("inspect", "--format", "{{.State.Pid}}", name)))

    def address(self, name: str) -> str:
        """The IPv4 address of a running container's first interface."""
        printed = self.run("exec", name, "ip", "-o", "-4", "address", "show", "dev", "eth0")
        return printed.split()[3].partition("/")[0]

    def name_server(self, name: str) -> str:
        """Whom a running container asks for names."""
        lines = self.run("exec", name, "cat", "/etc/resolv.conf").splitlines()
        return next(line.split()[1] for line in lines if line.startswith("nameserver"))


class Ours(Engine):
    """Starts and runs are requests through a connection that is there already."""

    name, bridge, image = "MultiOS", "default", peers.IMAGE
    create_words, delete_words = (), ("delete", "--force")

    def __init__(self, place: Namespace, directory: Path, rootfs: Path, ending: ExitStack) -> None:
        engine = PrivateEngine(directory / "multios", containers=MOST_CONTAINERS)
        ending.callback(engine.end)
        engine.start()
        engine.run("image", "import", "-", self.image, input=rootfs.read_bytes())
        self._client = ending.enter_context(connect(str(engine.exec_root / "api.sock")))
        super().__init__(place, engine.command(), engine.environment)

    def version(self) -> str:
        return self.run("--version").split()[-1]

    def start(self, name: str) -> None:
        self._client.call("containers.start", {"ref": name})

    def run_true(self, network: str) -> None:
        finished = self._client.run(image=self.image, command=["true"], networking={"network": network})
        assert finished.exit_code == 0


class Podman(Engine):
    """Networks by what podman itself chooses: netavark where it is installed, else CNI."""

    name, bridge, image = "podman", "podman", f"localhost/{peers.IMAGE}"
    delete_words = ("rm", "--force", "--time", "0")

    def __init__(self, place: Namespace, peer: peers.Podman, directory: Path) -> None:
        peer.base += ["--network-config-dir", str(directory / "podman-networks")]
        super().__init__(place, peer.base, peers.environment())
        self._peer = peer

    def version(self) -> str:
        return f"{self._peer.version()} with {self.run('info', '--format', '{{.Host.NetworkBackend}}')}"


class Docker(Engine):
    """The daemon that was started for the benchmark."""

    name, bridge, image = "docker", "bridge", peers.IMAGE

    def __init__(self, place: Namespace, peer: peers.Docker) -> None:
        super().__init__(place, peer.base, peers.environment())
        self._peer = peer

    def version(self) -> str:
        return self._peer.version()


def ours(directory: Path, rootfs: Path, ending: ExitStack) -> Ours:
    """This engine, its daemon in a namespace of its own; ``ending`` ends both."""
    with _new_place(ending) as (place, inner):
        return Ours(place, directory, rootfs, inner)


def podman(directory: Path, rootfs: Path, ending: ExitStack) -> Podman | None:
    """podman if it is installed and works here."""
    with _new_place(ending) as (place, inner):
        peer = peers.available(peers.Podman, directory, rootfs, inner)
        return Podman(place, peer, directory) if peer else None


def docker(directory: Path, rootfs: Path, ending: ExitStack) -> Docker | None:
    """docker if it is installed and works here."""
    with _new_place(ending) as (place, inner):
        peer = peers.available(peers.Docker, directory, rootfs, inner)
        return Docker(place, peer) if peer else None


@contextmanager
def _new_place(ending: ExitStack) -> Iterator[tuple[Namespace, ExitStack]]:
    """Be in a fresh namespace; what the inner stack ends, it ends in there."""
    place, inner = Namespace.new(), ExitStack()
    ending.callback(place.close)
    ending.callback(_end_within, place, inner)
    with place.entered():
        yield place, inner


def _end_within(place: Namespace, ending: ExitStack) -> None:
    with place.entered():
        ending.close()
