"""The name server as a process of its own in a namespace: who learns what, what goes on, what it bears."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rrset
import pytest

from multios.engine import resolver_process
from multios.engine.names import Names
from multios.errors import MultiosError
from multios.model.network import NamedEndpoint, Network
from multios.testing.network_box import Namespace

pytestmark = pytest.mark.needs_root

NET = Network("n" * 64, "net", "bridge", "127.61.0.0/24", "127.61.0.1", "lo")
OTHER = Network("o" * 64, "other", "bridge", "127.62.0.0/24", "127.62.0.1", "lo")
UPSTREAM = "127.63.0.1"
LOOK_UP_ECHOES = 4
"""How many times as long as what only sends back a message the look-up of a name may take."""


class Server:
    """An upstream name server: every name is 192.0.2.42, ``big.`` has many addresses, ``slow.`` is not answered."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._sockets = [
            socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
        ]
        for one in self._sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((UPSTREAM, 53))
        self._sockets[1].listen()
        for target in (self._datagrams, self._streams):
            threading.Thread(target=target, daemon=True).start()

    def _answer(self, data: bytes, limit: int) -> bytes:
        query = dns.message.from_wire(data)
        question = query.question[0]
        self.asked.append(question.name.to_text().rstrip("."))
        if self.asked[-1].startswith("slow."):
            return b""
        response = dns.message.make_response(query)
        count = 100 if self.asked[-1].startswith("big.") else 1
        addresses = [f"192.0.2.{42 + number}" for number in range(count)]
        response.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", *addresses))
        if len(response.to_wire()) > limit:
            response.answer.clear()
            response.flags |= dns.flags.TC
        return bytes(response.to_wire())

    def _datagrams(self) -> None:
        while True:
            try:
                data, sender = self._sockets[0].recvfrom(4096)
                if answer := self._answer(data, 512):
                    self._sockets[0].sendto(answer, sender)
            except OSError:
                return

    def _streams(self) -> None:
        while True:
            try:
                connection, _ = self._sockets[1].accept()
            except OSError:
                return
            with connection:
                length = int.from_bytes(connection.recv(2), "big")
                answer = self._answer(connection.recv(length), 65535)
                connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def close(self) -> None:
        for one in self._sockets:
            one.shutdown(socket.SHUT_RDWR) if one.type == socket.SOCK_STREAM else None
            one.close()


class World:
    """Names in a namespace of their own; containers are addresses of its loopback."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.learned: list[tuple[str, str, tuple[str, ...], int]] = []
        self.refuse = False
        self.insides: dict[str, Namespace] = {}
        self.names = self.daemon()
        self.ports = {network.id: self.names.serve(network) for network in (NET, OTHER)}

    def daemon(self) -> Names:
        return Names(self.run, self._learn, self._open)

    def _open(self, container_id: str) -> int:
        if container_id not in self.insides:
            raise MultiosError("it has ended", "")
        return os.dup(self.insides[container_id].descriptor)

    def _learn(self, *told: Any) -> None:
        if self.refuse:
            raise MultiosError("no", "")
        self.learned.append(told)

    def put(self, number: int, *names: str, network: Network = NET, **fields: Any) -> NamedEndpoint:
        base = network.subnet.rpartition(".")[0]
        made = NamedEndpoint(
            **{
                "endpoint_id": f"{network.name}-{number}",
                "network_id": network.id,
                "addresses": (f"{base}.{number}",),
                "names": names,
                "owner": 1000,
                "container_id": f"c{number}",
                "upstream": (UPSTREAM,),
                **fields,
            }
        )
        self.names.put(made)
        return made

    def ask(
        self, who: NamedEndpoint, name: str, kind: str = "A", tcp: bool = False, wait: float = 5
    ) -> dns.message.Message:
        gateway = NET.gateway if who.network_id == NET.id else OTHER.gateway
        send = dns.query.tcp if tcp else dns.query.udp
        return send(
            dns.message.make_query(name, kind),
            gateway,
            timeout=wait,
            port=self.ports[who.network_id],
            source=who.addresses[0],
        )

    def told(self, who: NamedEndpoint, name: str, kind: str = "A", **options: Any) -> list[str]:
        message = self.ask(who, name, kind, **options)
        if message.rcode():
            return [dns.rcode.to_text(message.rcode())]
        return sorted(item.to_text() for part in message.answer for item in part)

    def pid(self) -> int:
        mark = f"{self.run}/empty".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    line = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if b"multios.resolver" in line and mark in line:
                    return int(entry.name)
        return 0


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(resolver_process, "RESOLV_CONF", tmp_path / "resolv.conf")
    (tmp_path / "resolv.conf").write_text(f"nameserver {UPSTREAM}\n")
    host = Namespace.new()
    with host.entered():
        made = World(tmp_path)
        try:
            yield made
        finally:
            made.names.leave()
            made.names.close()
            if pid := made.pid():  # a test has let go of it
                os.kill(pid, signal.SIGKILL)
    host.close()


@pytest.fixture
def upstream(world: World) -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def eventually(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)
    return found


def test_names_are_known_on_ones_networks_only(world: World) -> None:
    one, two = world.put(2, "one"), world.put(3, "two", "alias")
    far = world.put(2, "far", network=OTHER, container_id="elsewhere")
    assert world.told(one, "two") == world.told(one, "ALIAS") == ["127.61.0.3"]
    assert world.told(one, "two", tcp=True) == ["127.61.0.3"]
    assert world.told(one, "two", "AAAA") == []
    assert world.told(one, "far") == world.told(far, "one") == ["NXDOMAIN"]
    joined = world.put(9, "two", "alias", network=OTHER, container_id=two.container_id)
    assert world.told(two, "far") == ["127.62.0.2"], "by whichever gateway"
    assert world.told(far, "two") == list(joined.addresses)
    assert world.told(one, "3.0.61.127.in-addr.arpa", "PTR") == ["two."]
    assert world.told(one, "2.0.62.127.in-addr.arpa", "PTR") == ["NXDOMAIN"]
    world.names.remove(two.endpoint_id)
    assert world.told(one, "two") == ["NXDOMAIN"]
    assert world.told(two, "one") == ["REFUSED"], "it is no endpoint any more"


def test_names_are_known_to_the_same_owner_and_the_administrators_to_all(world: World) -> None:
    alice, bob = world.put(2, "alice", owner=1000), world.put(3, "bob", owner=1001)
    teacher = world.put(4, "teacher", owner=0)
    assert world.told(alice, "bob") == world.told(bob, "alice") == ["NXDOMAIN"]
    assert world.told(alice, "2.0.61.127.in-addr.arpa", "PTR") == ["alice."]
    assert world.told(bob, "2.0.61.127.in-addr.arpa", "PTR") == ["NXDOMAIN"]
    assert world.told(alice, "teacher") == world.told(bob, "teacher") == ["127.61.0.4"]
    assert world.told(teacher, "bob") == ["127.61.0.3"]


def test_several_of_a_name_are_told_in_an_order_that_spreads_who_takes_the_first(world: World) -> None:
    asker = world.put(2, "asker")
    for number in range(3, 8):
        world.put(number, f"w{number}", "pool")
    firsts: Counter[str] = Counter()
    for _ in range(250):
        message = world.ask(asker, "pool")
        found = [item.to_text() for part in message.answer for item in part]
        assert len(found) == 5
        assert all(part.ttl <= 5 for part in message.answer)
        firsts[found[0]] += 1
    assert len(firsts) == 5 and min(firsts.values()) >= 20


def test_one_of_several_that_leaves_is_not_told_in_the_next_answer(world: World) -> None:
    asker = world.put(2, "asker")
    made = [world.put(number, "pool") for number in (3, 4)]
    for one, other in ((made[0], made[1]), (made[1], made[0])):
        world.names.remove(one.endpoint_id)
        assert world.told(asker, "pool") == list(other.addresses)
        world.names.put(one)
        assert len(world.told(asker, "pool")) == 2


def test_other_names_go_upstream_unless_there_is_no_way_out(world: World, upstream: Server) -> None:
    one = world.put(2, "one")
    assert world.told(one, "www.example.org") == ["192.0.2.42"]
    assert world.ask(one, "big.example.org").flags & dns.flags.TC
    assert len(world.told(one, "big.example.org", tcp=True)) == 100
    assert world.told(one, "single") == ["NXDOMAIN"]
    inner = world.put(3, "inner", outside=False)
    assert world.told(inner, "www.example.org") == ["NXDOMAIN"] and world.told(inner, "one") == ["127.61.0.2"]
    hosts = world.put(4, "hosts", upstream=())
    assert world.told(hosts, "other.example.org") == ["192.0.2.42"], "the host's own servers"
    assert set(upstream.asked) == {"www.example.org", "big.example.org", "other.example.org"}


def test_the_next_server_is_asked_when_one_is_silent(world: World, upstream: Server) -> None:
    one = world.put(2, "one", upstream=("127.63.0.9", UPSTREAM))
    assert world.told(one, "www.example.org") == ["192.0.2.42"]
    nobody = world.put(3, "nobody", upstream=("127.63.0.9",))
    assert world.told(nobody, "www.example.org") == ["SERVFAIL"]


def test_who_is_confined_learns_only_what_may_be_reached(world: World, upstream: Server) -> None:
    exam = world.put(2, "exam", domains=("submit.example.org", "*.docs.example.org"))
    assert world.told(exam, "www.example.org") == ["REFUSED"]
    assert world.told(exam, "submit.example.org") == ["192.0.2.42"]
    assert world.told(exam, "a.docs.example.org") == ["192.0.2.42"]
    assert world.told(exam, "docs.example.org") == ["REFUSED"]
    assert world.learned == [
        (exam.endpoint_id, "submit.example.org", ("192.0.2.42",), 60),
        (exam.endpoint_id, "a.docs.example.org", ("192.0.2.42",), 60),
    ]
    world.refuse = True
    assert world.told(exam, "submit.example.org") == ["SERVFAIL"]
    world.names.close()
    assert eventually(lambda: world.told(exam, "submit.example.org") == ["SERVFAIL"]), (
        "nobody lets it through"
    )
    assert set(upstream.asked) == {"submit.example.org", "a.docs.example.org"}


def test_it_outlives_the_daemon_and_the_next_takes_it_over(world: World) -> None:
    one, two = world.put(2, "one"), world.put(3, "two")
    before = world.pid()
    world.names.close()
    assert world.told(one, "two") == ["127.61.0.3"]
    world.names = world.daemon()
    assert {network.id: world.names.serve(network) for network in (NET, OTHER)} == world.ports
    assert world.told(one, "two") == ["127.61.0.3"]
    assert world.pid() == before
    world.names.replace_all([one])
    assert world.told(one, "two") == ["NXDOMAIN"] and world.told(two, "one") == ["REFUSED"]


def test_one_that_is_killed_is_started_again_with_all_that_it_knew(world: World) -> None:
    one = world.put(2, "one")
    for number in range(3, 130):
        world.put(number, f"host-{number}")
    before = world.pid()
    os.kill(before, signal.SIGKILL)
    eventually(lambda: world.pid() not in (0, before))
    eventually(lambda: _answers(world, one, "host-129"))
    world.put(200, "late")
    assert world.told(one, "late") == ["127.61.0.200"]


def _answers(world: World, who: NamedEndpoint, name: str) -> bool:
    try:
        return bool(world.told(who, name, wait=0.5))
    except Exception:
        return False


def test_it_ends_with_its_last_network_and_daemon(world: World) -> None:
    before = world.pid()
    for network in (NET, OTHER):
        world.names.stop(network.id)
    assert world.pid() == before
    world.names.close()
    eventually(lambda: world.pid() == 0)


def inside_of(world: World, container_id: str) -> Namespace:
    """A container's namespace in which names are served."""
    namespace = world.insides[container_id] = Namespace.new()
    world.names.serve_inside(container_id, namespace.descriptor)
    return namespace


def told_inside(where: Namespace, name: str) -> list[str]:
    """What is told at 127.0.0.11, over UDP and TCP alike."""
    answers = []
    with where.entered():
        for send in (dns.query.udp, dns.query.tcp):
            message = send(dns.message.make_query(name, "A"), "127.0.0.11", timeout=5)
            answers.append(
                [item.to_text() for part in message.answer for item in part]
                or [dns.rcode.to_text(message.rcode())]
            )
    assert answers[0] == answers[1]
    return answers[0]


def test_names_are_told_inside_a_container_that_reaches_no_gateway(world: World, upstream: Server) -> None:
    one = world.put(2, "one", network=OTHER)
    world.put(3, "two")
    world.put(4, "three", network=OTHER)
    namespace = inside_of(world, one.container_id)
    assert told_inside(namespace, "three") == ["127.62.0.4"]
    assert told_inside(namespace, "two") == ["NXDOMAIN"], "it is not on that network"
    assert told_inside(namespace, "www.example.org") == ["192.0.2.42"]
    world.names.serve_inside(one.container_id, namespace.descriptor)
    assert told_inside(namespace, "three") == ["127.62.0.4"]
    namespace.close()


def test_nothing_of_ours_keeps_a_namespace_in_which_names_are_no_longer_told(world: World) -> None:
    one = world.put(2, "one")
    namespace = inside_of(world, one.container_id)
    world.names.stop_inside(one.container_id)
    world.names.stop_inside(one.container_id)
    with namespace.entered(), closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as free:
        free.bind(("127.0.0.11", 53))
    namespace.close()


def test_names_inside_survive_the_daemon_and_the_resolver(world: World) -> None:
    one = world.put(2, "one")
    namespace = inside_of(world, one.container_id)
    gone = world.put(5, "gone")
    inside_of(world, gone.container_id)
    world.names.close()
    world.names = world.daemon()
    world.names.serve_inside(one.container_id, -1)  # it is served already: the descriptor is not looked at
    assert told_inside(namespace, "one") == ["127.61.0.2"]
    for network in (NET, OTHER):
        world.names.serve(network)
    world.put(2, "one")
    world.insides.pop(gone.container_id).close()
    former = world.pid()
    os.kill(former, signal.SIGKILL)
    eventually(lambda: world.pid() not in (0, former))
    eventually(lambda: _answers_inside(namespace, "one"))
    assert told_inside(namespace, "one") == ["127.61.0.2"]
    world.names.stop_inside(gone.container_id)
    namespace.close()


def _answers_inside(where: Namespace, name: str) -> bool:
    try:
        with where.entered():
            dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.11", timeout=0.5)
        return True
    except Exception:
        return False


def test_a_new_daemon_ends_what_the_former_one_served_inside(world: World) -> None:
    one, two = world.put(2, "one"), world.put(3, "two")
    former, kept = inside_of(world, one.container_id), inside_of(world, two.container_id)
    world.names.close()
    world.names = world.daemon()
    world.names.stop_inside(one.container_id)
    with former.entered(), closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as free:
        free.bind(("127.0.0.11", 53))
    again = inside_of(world, one.container_id)
    assert told_inside(again, "two") == ["127.61.0.3"]
    world.names.keep_inside([one.container_id])
    with kept.entered(), closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as free:
        free.bind(("127.0.0.11", 53))
    assert told_inside(again, "two") == ["127.61.0.3"]
    for namespace in (former, kept, again):
        namespace.close()


def test_a_taken_port_inside_is_said(world: World) -> None:
    with Namespace.new().entered(), closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
        taken.bind(("0.0.0.0", 53))
        here = Namespace.current()
        with pytest.raises(MultiosError, match="serve names inside the container"):
            world.names.serve_inside("c2", here.descriptor)
        here.close()


def test_garbage_is_borne(world: World) -> None:
    one = world.put(2, "one")
    target = (NET.gateway, world.ports[NET.id])
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.bind((one.addresses[0], 0))
        for data in (
            b"",
            b"x",
            b"\0" * 12,
            b"\xff" * 600,
            b"\0\1\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1",
            os.urandom(500),
        ):
            client.sendto(data, target)
    streams = []
    for data in (b"\0\5ab", b"\xff\xff" + b"x" * 100, b"\0\0\0\0"):
        stream = socket.create_connection(target, source_address=(one.addresses[0], 0))
        stream.sendall(data)
        streams.append(stream)
    assert world.told(one, "one") == ["127.61.0.2"]
    for stream in streams:
        stream.close()


def test_a_flood_of_one_does_not_stop_another(world: World, upstream: Server) -> None:
    flooder, other = world.put(2, "flooder"), world.put(3, "other")
    target = (NET.gateway, world.ports[NET.id])
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.bind((flooder.addresses[0], 0))
        for number in range(2000):
            client.sendto(dns.message.make_query(f"slow.{number}.org", "A").to_wire(), target)
        held = [
            socket.create_connection(target, source_address=(flooder.addresses[0], 0)) for _ in range(100)
        ]
        assert world.told(other, "www.example.org") == ["192.0.2.42"]
        assert world.told(other, "flooder") == ["127.61.0.2"]
        assert len([name for name in upstream.asked if name.startswith("slow.")]) <= 64
        for stream in held:
            stream.close()


def test_look_ups_are_quick(world: World) -> None:
    asker = world.put(2, "asker")
    for number in range(3, 253):
        world.put(number, f"host-{number}")
    query = dns.message.make_query("host-200", "A").to_wire()
    with (
        echoing() as (echo, echo_pid),
        on_one_processor([world.pid(), echo_pid]),
        round_trips(echo, "127.0.0.1", query) as bare,
        round_trips((NET.gateway, world.ports[NET.id]), asker.addresses[0], query) as look_ups,
    ):
        rounds = [(bare(), look_ups()) for _ in range(30)]
    bare_time, look_up = (min(times) for times in zip(*rounds, strict=True))
    print(f"look-up: {look_up * 1000:.3f} ms, {look_up / bare_time:.1f} times an echo of another process")
    assert look_up < LOOK_UP_ECHOES * bare_time
    told = []
    for _ in range(10):
        begin = time.perf_counter()
        for _ in range(20):
            world.put(2, "asker")
        told.append((time.perf_counter() - begin) / 20)
    print(f"put: {min(told) * 1000:.3f} ms")
    assert min(told) < 0.002


ECHO = """
import socket
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
made.bind(("127.0.0.1", 0))
print(made.getsockname()[1], flush=True)
while True:
    made.sendto(*made.recvfrom(512))
"""


@contextmanager
def echoing() -> Iterator[tuple[tuple[str, int], int]]:
    """The address of a process that sends back what it gets, and its id."""
    with subprocess.Popen([sys.executable, "-S", "-c", ECHO], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield ("127.0.0.1", int(process.stdout.readline())), process.pid
        finally:
            process.kill()


@contextmanager
def on_one_processor(pids: list[int]) -> Iterator[None]:
    """This thread and these processes share a processor: waking another one takes longer than a look-up."""
    allowed = os.sched_getaffinity(0)
    for pid in (0, *pids):
        os.sched_setaffinity(pid, {max(allowed)})
    try:
        yield
    finally:
        for pid in (0, *pids):
            os.sched_setaffinity(pid, allowed)


@contextmanager
def round_trips(target: tuple[str, int], source: str, message: bytes) -> Iterator[Callable[[], float]]:
    """What gives the seconds of the middle one of a hundred messages and answers, one after another."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.bind((source, 0))
        client.connect(target)
        client.settimeout(30)

        def median() -> float:
            times = []
            for _ in range(100):
                begin = time.perf_counter()
                client.send(message)
                client.recv(512)
                times.append(time.perf_counter() - begin)
            return statistics.median(times)

        yield median


def test_it_is_small(world: World) -> None:
    world.put(2, "one")
    pages = Path(f"/proc/{world.pid()}/smaps_rollup").read_text()
    pss = next(int(line.split()[1]) for line in pages.splitlines() if line.startswith("Pss:"))
    print(f"resolver: PSS {pss} kB")
    assert pss < 20_000
