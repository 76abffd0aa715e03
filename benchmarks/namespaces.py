"""Network namespaces that the benchmark makes: a host of its own for every engine, and hosts outside, on a cable to it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from multios.supervisor.flags import CLONE_NEWNET
from multios.supervisor.syscalls import Syscalls

_HERE = "/proc/thread-self/ns/net"
_kernel = Syscalls()


class Namespace:
    """A network namespace. With the last process in it and this object's descriptor go its links and rules."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @classmethod
    def new(cls) -> Namespace:
        """A fresh one, its loopback up."""
        home = cls(_HERE)
        try:
            _kernel.unshare(CLONE_NEWNET)
            try:
                _kernel.interface_up("lo")
                return cls(_HERE)
            finally:
                _kernel.setns(home._descriptor, CLONE_NEWNET)
        finally:
            home.close()

    @classmethod
    def of(cls, pid: int) -> Namespace:
        """A process's."""
        return cls(f"/proc/{pid}/ns/net")

    @property
    def path(self) -> str:
        """A file by which other programs find it, as long as it is open here."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in it, and so are processes that it starts and sockets that it makes meanwhile."""
        home = Namespace(_HERE)
        try:
            _kernel.setns(self._descriptor, CLONE_NEWNET)
            try:
                yield
            finally:
                _kernel.setns(home._descriptor, CLONE_NEWNET)
        finally:
            home.close()

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


def lay_cable(inner: Namespace, inner_address: str, outer: Namespace, outer_address: str) -> None:
    """Join two namespaces by a veth pair, ``cable`` in each; addresses are given with their prefix."""
    with inner.entered():
        _ip("link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", outer.path)
    for place, address in ((inner, inner_address), (outer, outer_address)):
        with place.entered():
            _ip("address", "add", address, "dev", "cable")
            _ip("link", "set", "cable", "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
