"""Hosts, containers and packets for tests of networks: namespaces, servers and clients in them, frames by hand."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Network, IPv6Network

from multios.model.network import Endpoint, Network
from multios.supervisor.flags import CLONE_NEWNET
from multios.supervisor.syscalls import Syscalls

WAIT = 5.0
"""Seconds that a test waits for a packet which must come: TCP tries again after one and after three (RFC 6298)."""
SILENCE = 0.2
"""Seconds without a packet that count as: it does not come."""

_kernel = Syscalls()


class Namespace:
    """A network namespace, open as ``descriptor``; it lives as long as something in it or the descriptor does."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def new(cls) -> Namespace:
        """A fresh one, with its loopback up."""
        opened: list[int] = []

        def leave() -> None:
            _kernel.unshare(CLONE_NEWNET)
            _kernel.interface_up("lo")
            opened.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

        thread = threading.Thread(target=leave)
        thread.start()
        thread.join()
        if not opened:
            raise OSError("cannot make a network namespace")
        return cls(opened[0])

    @classmethod
    def of(cls, pid: int) -> Namespace:
        """A process's."""
        return cls(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    @property
    def path(self) -> str:
        """A file by which other programs find it, as long as it is open here."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    @classmethod
    def current(cls) -> Namespace:
        """The calling thread's."""
        return cls(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread, and threads that it starts meanwhile, are in it."""
        home = Namespace.current()
        try:
            _kernel.setns(self.descriptor, CLONE_NEWNET)
            try:
                yield
            finally:
                _kernel.setns(home.descriptor, CLONE_NEWNET)
        finally:
            home.close()

    def socket(self, kind: socket.SocketKind = socket.SOCK_STREAM, address: str = "") -> socket.socket:
        """A socket that stays in it, whoever uses it; for IPv4 unless ``address`` is of IPv6."""
        with self.entered():
            made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        made.settimeout(WAIT)
        return made

    def interfaces(self) -> set[str]:
        """The names of its interfaces."""
        with self.entered():
            return {name for _, name in socket.if_nameindex()}

    def close(self) -> None:
        """Close the descriptor; closing twice is no error."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


@contextmanager
def serving(
    where: Namespace, port: int, kind: socket.SocketKind = socket.SOCK_STREAM, address: str = "0.0.0.0"
) -> Iterator[None]:
    """Something that answers each message at ``port`` with the sender's address and the message."""
    with closing(where.socket(kind, address)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.settimeout(0.05)
        if kind is socket.SOCK_STREAM:
            server.listen(64)
        stop = threading.Event()
        thread = threading.Thread(target=_answer, args=(server, kind, stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _answer(server: socket.socket, kind: socket.SocketKind, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            if kind is socket.SOCK_STREAM:
                stream, sender = server.accept()
                with stream:
                    stream.settimeout(WAIT)
                    stream.sendall(sender[0].encode() + b" " + stream.recv(64))
            else:
                data, sender = server.recvfrom(64)
                server.sendto(sender[0].encode() + b" " + data, sender)
        except OSError:
            continue


def ask(
    where: Namespace,
    address: str,
    port: int,
    kind: socket.SocketKind = socket.SOCK_STREAM,
    wait: float = WAIT,
) -> str:
    """Who the server at ``address`` says is asking; ``OSError`` when there is no answer."""
    with closing(where.socket(kind, address)) as client:
        client.settimeout(wait)
        client.connect((address, port))
        if kind is socket.SOCK_STREAM:
            client.send(b"hello")
            answer = client.recv(128)
        else:
            answer = _answer_to_datagrams(client, wait)
        sender, _, rest = answer.decode().partition(" ")
        assert rest == "hello"
        return sender


def _answer_to_datagrams(client: socket.socket, wait: float) -> bytes:
    """UDP does not try again as TCP does, and the kernel may not have a new link's port up yet."""
    end = time.monotonic() + wait
    while True:
        client.settimeout(max(0.01, min(1.0, end - time.monotonic())))
        client.send(b"hello")
        try:
            return client.recv(128)
        except TimeoutError:
            if time.monotonic() >= end:
                raise


def reaches(
    where: Namespace,
    address: str,
    port: int,
    kind: socket.SocketKind = socket.SOCK_STREAM,
    wait: float = SILENCE,
) -> bool:
    """Whether a server at ``address`` answers."""
    try:
        ask(where, address, port, kind, wait)
    except OSError:
        return False
    return True


def endpoint_on(network: Network, number: int) -> Endpoint:
    """The endpoint of the ``number``-th address of a network."""
    subnet = IPv4Network(network.subnet)
    address = subnet[number]
    return Endpoint(
        id=f"{number:032x}",
        container_id=f"{number:064x}",
        network_id=network.id,
        address=f"{address}/{subnet.prefixlen}",
        gateway=network.gateway,
        mac="02:6d:" + ":".join(f"{octet:02x}" for octet in address.packed),
        host_interface=f"t{network.id[:4]}v{number}",
        address6=f"{IPv6Network(network.subnet6)[number]}/64" if network.subnet6 else "",
        gateway6=network.gateway6,
    )


def bare(endpoint: Endpoint) -> str:
    """An endpoint's address without prefix length."""
    return endpoint.address.partition("/")[0]


def bare6(endpoint: Endpoint) -> str:
    """An endpoint's IPv6 address without prefix length."""
    return endpoint.address6.partition("/")[0]


def own_address(where: Namespace, towards: str) -> str:
    """The address that packets to ``towards`` would leave with; empty when there is no route."""
    with closing(where.socket(socket.SOCK_DGRAM, towards)) as probe:
        try:
            probe.connect((towards, 9))
        except OSError as error:
            if error.errno == errno.ENETUNREACH:
                return ""
            raise
        return str(probe.getsockname()[0])


def mac_of(where: Namespace, interface: str) -> str:
    """An interface's MAC."""
    import fcntl

    with closing(where.socket(socket.SOCK_DGRAM)) as probe:
        answer = fcntl.ioctl(probe, 0x8927, interface.encode().ljust(40, b"\0"))  # SIOCGIFHWADDR
    return answer[18:24].hex(":")


def send_frame(where: Namespace, place: Endpoint, target: Endpoint, mac: str, address: str) -> None:
    """Send a UDP datagram to port 7000 of ``target`` as a frame by hand, from a MAC and an address of one's choice."""
    datagram = struct.pack(">HHHH", 7001, 7000, 8 + 5, 0) + b"hello"
    header = struct.pack(
        ">BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(datagram),
        1,
        0,
        64,
        17,
        0,
        *map(socket.inet_aton, (address, bare(target))),
    )
    total = sum(struct.unpack(">10H", header))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    header = header[:10] + struct.pack(">H", checksum) + header[12:]
    send_raw(where, place, bytes_of(target.mac) + bytes_of(mac) + b"\x08\x00" + header + datagram)


def reaches_by_arp(
    where: Namespace, place: Endpoint, target: Endpoint, mac: str, address: str, wait: float = SILENCE
) -> bool:
    """Whether ``target`` answers an ARP request that names this MAC and address as its sender's."""
    sender = bytes_of(mac) + socket.inet_aton(address)
    request = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + sender + bytes(6) + socket.inet_aton(bare(target))
    frame = b"\xff" * 6 + bytes_of(place.mac) + b"\x08\x06" + request
    with where.entered():
        listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    with closing(listening):
        listening.bind((place.interface, 0x0806))
        listening.settimeout(wait)
        send_raw(where, place, frame)
        try:
            while True:
                answer = listening.recv(64)
                if answer[20:22] == b"\0\2" and answer[28:32] == socket.inet_aton(bare(target)):
                    return True
        except TimeoutError:
            return False


def send_raw(where: Namespace, place: Endpoint, frame: bytes) -> None:
    """Send a frame by hand."""
    with where.entered():
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with closing(sender):
        sender.bind((place.interface, 0))
        sender.send(frame)


def bytes_of(mac: str) -> bytes:
    """A MAC's six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def throughput(source: Namespace, to: Namespace, address: str, seconds: float = 0.8) -> float:
    """Bits a second of a TCP connection, after its first 0.3 seconds."""
    stop = threading.Event()
    with closing(to.socket(address=address)) as server, closing(source.socket(address=address)) as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, 7010))
        server.listen()

        def send() -> None:
            data = bytes(65536)
            with contextlib.suppress(OSError):
                client.connect((address, 7010))
                while not stop.is_set():
                    client.send(data)

        thread = threading.Thread(target=send)
        thread.start()
        with server.accept()[0] as stream:
            begin = time.monotonic()
            while time.monotonic() < begin + 0.3:
                stream.recv(1 << 20)
            begin, count = time.monotonic(), 0
            while time.monotonic() < begin + seconds:
                count += len(stream.recv(1 << 20))
            measured = count * 8 / (time.monotonic() - begin)
            stop.set()
        thread.join()
    return measured


def free_port(where: Namespace) -> int:
    """A TCP port that nothing listens on there."""
    with closing(where.socket()) as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])
