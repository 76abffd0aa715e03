"""Every fault of networks that the end-to-end tests make: their parameters, and the source of docs/reference/network-faults.md.

In commands ``{n}`` is a number that keeps engines apart, ``{subnet}`` the default network's, ``{used}`` a port of the
host on which a program listens, ``{mine}`` one that is published for ada, ``{free}`` a free one.
"""

from __future__ import annotations

from dataclasses import dataclass

SUBNET = "10.240.{n}.0/24"
"""Of the network *desk*, on which the container *ada* has .10 and the MAC 02:00:00:00:00:0a; *grace* is on *default*."""


@dataclass(frozen=True)
class Refusal:
    """A command that is refused: one line of cause and, if there is something to do, one of that."""

    title: str
    command: str
    cause: str
    remedy: str = ""
    never: str = ""
    """What must not be said."""


def _create(title: str, options: str, cause: str, remedy: str = "") -> Refusal:
    return Refusal(title, f"network create bad {options}", cause, remedy)


def _run(title: str, options: str, cause: str, remedy: str = "") -> Refusal:
    return Refusal(title, f"run --rm --name bad {options} small:1 true", cause, remedy)


SUBNETS = (
    _create(
        "a part of another network's subnet",
        "--subnet 10.240.{n}.128/25",
        "overlaps 10.240.{n}.0/24 of network 'desk'",
        "choose another subnet",
    ),
    _create(
        "a subnet around another network's",
        "--subnet 10.240.0.0/13",
        "overlaps 10.240.{n}.0/24 of network 'desk'",
        "choose another subnet",
    ),
    _create(
        "the default network's subnet", "--subnet {subnet}", "of network 'default'", "choose another subnet"
    ),
    _create("a subnet without its length", "--subnet 10.241.0.0", "no prefix length", "10.241.0.0/24"),
    _create("an address in place of a subnet", "--subnet 10.241.0.7/24", "host bits set", "10.241.0.0/24"),
    _create("a subnet without room", "--subnet 10.241.0.0/31", "between /8 and /30", "/24"),
    _create("all addresses there are", "--subnet 0.0.0.0/0", "between /8 and /30", "/24"),
    _create("the loopback's addresses", "--subnet 127.1.0.0/16", "is reserved", "172.20.0.0/16"),
    _create("multicast addresses", "--subnet 224.0.1.0/24", "is reserved", "172.20.0.0/16"),
    _create("a word in place of a subnet", "--subnet hello", "'hello' is no IPv4 subnet", "172.20.0.0/16"),
    _create(
        "two subnets of one family",
        "--subnet 10.241.0.0/24 --subnet 10.242.0.0/24",
        "of one family",
        "one of",
    ),
    _create(
        "a gateway elsewhere",
        "--subnet 10.241.0.0/24 --gateway 10.242.0.1",
        "'10.242.0.1' is no host of 10.241.0.0/24",
        "10.241.0.1",
    ),
    _create(
        "the network's own address as gateway",
        "--subnet 10.241.0.0/24 --gateway 10.241.0.0",
        "is no host of 10.241.0.0/24",
        "10.241.0.1",
    ),
    _create(
        "the broadcast address as gateway",
        "--subnet 10.241.0.0/24 --gateway 10.241.0.255",
        "is no host of 10.241.0.0/24",
        "10.241.0.1",
    ),
    _create(
        "a word in place of a gateway",
        "--subnet 10.241.0.0/24 --gateway hello",
        "'hello' is no",
        "10.241.0.1",
    ),
    _create(
        "a range elsewhere",
        "--subnet 10.241.0.0/24 --ip-range 10.242.0.0/25",
        "'10.242.0.0/25' is not within 10.241.0.0/24",
        "a part of the subnet",
    ),
    _create(
        "a range that is no subnet",
        "--subnet 10.241.0.0/24 --ip-range 10.241.0.1/25",
        "host bits set",
        "10.241.0.0/25",
    ),
)

NAMES = (
    Refusal(
        "a name that is taken", "network create desk", "the network name 'desk' is in use", "another name"
    ),
    Refusal("the name 'none'", "network create none", "'none' is in use", "another name"),
    Refusal("the name 'host'", "network create host", "'host' is in use", "another name"),
    Refusal("an empty name", "network create ''", "network name '' is not allowed", "letters, digits"),
    Refusal("a path as a name", "network create ../desk", "'../desk' is not allowed", "letters, digits"),
    Refusal("a name with a space", "network create 'my desk'", "'my desk' is not allowed", "letters, digits"),
    Refusal(
        "a name that is an option", "network create -- --desk", "'--desk' is not allowed", "letters, digits"
    ),
    Refusal("a name of 129 letters", "network create {long}", "is not allowed", "at most 128"),
    Refusal(
        "a network that is not there", "network rm dest", "no such network: 'dest'", "did you mean 'desk'?"
    ),
    Refusal(
        "a container on a network that is not there",
        "run --rm --name bad --network dest small:1 true",
        "no such network: 'dest'",
        "did you mean 'desk'?",
    ),
)

OPTIONS = (
    _create("a key that is nearly one", "--opt mtuu=1400", "mtuu: no such setting", "did you mean 'mtu'?"),
    _create("another", "--opt isolat=true", "isolat: no such setting", "did you mean 'isolate'?"),
    _create("a word in place of a number", "--opt mtu=large", "mtu: 'large' is not valid", "whole number"),
    _create("a number out of bounds", "--opt mtu=70000", "mtu: 70000 is not between 576 and 65535"),
    _create(
        "a word that is no yes or no", "--opt isolate=perhaps", "'perhaps' is not valid", "true or false"
    ),
    _create("no value", "--opt mtu", "'mtu' is not KEY=VALUE", "--help"),
    _create(
        "a driver that is nearly one",
        "--driver brige",
        "driver: 'brige'",
        "did you mean 'bridge'? installed: ",
    ),
    _create(
        "a driver that is none",
        "--driver nonsense",
        "no such network driver: 'nonsense'",
        "installed: bridge",
    ),
    _create(
        "an allow-list that is none",
        "--egress-allow 192.0.2.0/33",
        "'192.0.2.0/33' is no",
        "for example 192.0.2.7",
    ),
)

PLACES = (
    _run(
        "an address outside the subnet",
        "--network desk --ip 10.241.0.5",
        "address 10.241.0.5 is outside 10.240.{n}.0/24",
        "one inside",
    ),
    _run("the gateway's address", "--network desk --ip 10.240.{n}.1", "address 10.240.{n}.1 is", "another"),
    _run(
        "the broadcast address",
        "--network desk --ip 10.240.{n}.255",
        "10.240.{n}.255 is no host's",
        "another",
    ),
    _run(
        "the network's own address",
        "--network desk --ip 10.240.{n}.0",
        "10.240.{n}.0 is no host's",
        "another",
    ),
    _run(
        "an address that is in use",
        "--network desk --ip 10.240.{n}.10",
        "address 10.240.{n}.10 is in use on 'desk'",
        "another",
    ),
    _run(
        "what is no address",
        "--network desk --ip 10.240.{n}.999",
        "got '10.240.{n}.999'",
        "correct the field",
    ),
    _run(
        "a MAC that is in use",
        "--network desk:mac=02:00:00:00:00:0a",
        "MAC 02:00:00:00:00:0a is in use",
        "another",
    ),
    _run(
        "the same in capitals",
        "--network desk:mac=02:00:00:00:00:0A",
        "02:00:00:00:00:0a is in use",
        "another",
    ),
    _run(
        "a MAC of a group of interfaces",
        "--network desk:mac=01:00:00:00:00:01",
        "a MAC of one interface",
        "correct the field",
    ),
    _run(
        "a place that cannot be read",
        "--network desk:up=1",
        "'desk:up=1' cannot be read",
        "NETWORK[:ip=ADDRESS",
    ),
    _run("'none' beside another network", "--network none --network desk", "stand alone", "only one of them"),
    Refusal(
        "connecting at an address outside the subnet",
        "network connect --ip 10.241.0.5 desk grace",
        "address 10.241.0.5 is outside 10.240.{n}.0/24",
        "one inside",
    ),
    Refusal(
        "connecting at an address that is in use",
        "network connect --ip 10.240.{n}.10 desk grace",
        "address 10.240.{n}.10 is in use on 'desk'",
        "another",
    ),
    Refusal(
        "connecting under an alias that is no name",
        "network connect --alias 'a b' desk grace",
        "expected a host name",
        "correct the field",
    ),
)

CONNECTIONS = (
    Refusal("connecting twice", "network connect desk ada", "container 'ada' is on network 'desk' already"),
    Refusal(
        "leaving a network that it is not on",
        "network disconnect default ada",
        "container 'ada' is not on network 'default'",
        "it is on desk",
    ),
    Refusal("removing a network in use", "network rm desk", "network 'desk' has a running container", "stop"),
    Refusal("connecting nobody", "network connect desk nobody", "no such container: 'nobody'", "ps --all"),
    Refusal(
        "connecting to 'none'",
        "network connect none grace",
        "'none'",
        never="did you mean 'none'",
    ),
    Refusal(
        "connecting to 'host'",
        "network connect host grace",
        "'host'",
        never="did you mean 'host'",
    ),
    Refusal(
        "removing 'none'",
        "network rm none",
        "'none'",
        never="did you mean 'none'",
    ),
)

PORTS = (
    _run("a port of another program", "-p {used}:80", "host port {used}/tcp is in use", "another host port"),
    _run(
        "a port of another container", "-p {mine}:80", "host port {mine}/tcp is in use", "another host port"
    ),
    _run(
        "one port twice", "-p {free}:80 -p {free}:81", "host port {free}/tcp is in use", "another host port"
    ),
    _run("a host port that is none", "-p 65536:80", "from 0 to 65535, got 65536", "correct the field"),
    _run("a container's port 0", "-p 8080:0", "from 1 to 65535, got 0", "correct the field"),
    _run(
        "a container's port that is none", "-p 8080:65536", "from 1 to 65535, got 65536", "correct the field"
    ),
    _run("a negative port", "-p -1:80", "'-1:80' cannot be read", "HOST:]CONTAINER"),
    _run(
        "ranges, the wrong way round", "-p 8090-8080:90-80", "'8090-8080:90-80' cannot be read", "CONTAINER"
    ),
    _run("a protocol that has no ports", "-p 8080:80/icmp", "got 'icmp'", "correct the field"),
    _run("a port on the network 'none'", "--network none -p 8080:80", "'none' has none", "leave out"),
    _run("a port on the host's network", "--network host -p 8080:80", "'host' has none", "leave out"),
    _run(
        "a port on an internal network",
        "--network inner -p 8080:80",
        "'inner' is internal",
        "another network",
    ),
    Refusal(
        "forwarding a port of another program",
        "port-forward ada {used}:80",
        "host port {used}/tcp is in use",
        "another host port",
    ),
    Refusal(
        "forwarding a port that is forwarded",
        "port-forward ada {mine}:81",
        "host port {mine}/tcp is forwarded to container 'ada' already",
        "--remove",
    ),
    Refusal(
        "forwarding another container's port",
        "port-forward grace {mine}:80",
        "host port {mine}/tcp is in use",
        "another host port",
    ),
    Refusal(
        "forwarding at an address that is not the host's",
        "port-forward ada 203.0.113.9:8080:80",
        "203.0.113.9 is no address of this host",
    ),
    Refusal(
        "taking away what is not forwarded",
        "port-forward --remove ada 8080:80",
        "container 'ada' has no forward 8080:80/tcp",
        "multios-container port ada",
    ),
)

REFUSALS = {
    "Subnets, gateways, ranges": SUBNETS,
    "Names": NAMES,
    "Options and drivers": OPTIONS,
    "Addresses and MACs": PLACES,
    "Connections": CONNECTIONS,
    "Ports": PORTS,
}


@dataclass(frozen=True)
class Kill:
    """``kill -9`` of the daemon while ``command`` is under way; ``step`` is as the fault injection names it."""

    operation: str
    step: str
    when: str

    def __str__(self) -> str:
        return f"{self.operation}: {self.when} {self.step}"


OPERATIONS = {
    "create": "network create --subnet 10.243.{n}.0/24 made",
    "remove": "network rm made",
    "run": "run -d --name bob --network made -p {mine}:80 small:1 httpd -f -p 80 -h /etc",
    "connect": "network connect made bob",
    "disconnect": "network disconnect made bob",
    "forward": "port-forward bob {free}:80",
    "withdraw": "port-forward --remove bob {mine}:80",
}
BRIDGE_MADE, PAIR_MADE = "the rules (the bridge is there)", "the address (the veth pair is there)"
RULES_GONE = "the bridge goes (the rules have gone)"
_BOTH = ("before", "after")
_STEPS = {
    "create": {
        "record": _BOTH,
        "create network": _BOTH,
        BRIDGE_MADE: ("before",),
        "serve names": _BOTH,
    },
    "remove": {"driver delete_network": _BOTH, RULES_GONE: ("before",)},
    "run": {"driver add": _BOTH, PAIR_MADE: ("before",), "driver publish": _BOTH},
    "connect": {
        "make network": _BOTH,
        "driver add": _BOTH,
        PAIR_MADE: ("before",),
        "tell its names": ("after",),
        "write network files": _BOTH,
    },
    "disconnect": {
        "unpublish ports": _BOTH,
        "publish ports": ("after",),
        "write network files": _BOTH,
        "driver delete": _BOTH,
    },
    "forward": {"driver publish": _BOTH},
    "withdraw": {"driver unpublish": _BOTH},
}
KILLS = tuple(
    Kill(operation, step, when)
    for operation, steps in _STEPS.items()
    for step, moments in steps.items()
    for when in moments
)


@dataclass(frozen=True)
class Scenario:
    """Something that goes on for longer than a command; ``test`` is FILE::NAME below tests/end_to_end."""

    tried: str
    done: str
    test: str


_HERE = "test_network_faults.py::test_"
SCENARIOS = {
    "Full networks": (
        Scenario(
            "a sixth container on a /29",
            "refused: no free address, a larger subnet is named as the remedy; as soon as one of the five is deleted, "
            "the next gets its address",
            _HERE + "a_full_network_refuses_in_words_until_a_place_is_free",
        ),
        Scenario(
            "253 containers on a /24, from eight clients at once",
            "each has an address of its own and is reached by the host and by a neighbour; the 254th is refused in words; "
            "when they are deleted, all addresses are free",
            _HERE + "253_containers_fill_a_class_c_network_all_are_reached_and_all_places_are_free_again",
        ),
    ),
    "Ports": (
        Scenario(
            "a host port on which a program listens",
            "refused before the container's process is started; the container stays *created*",
            _HERE + "a_port_that_is_taken_is_refused_before_anything_starts",
        ),
        Scenario("port 0 of the host", "any free port", _HERE + "port_zero_of_the_host_is_any_free_one"),
    ),
    "Other programs": (
        Scenario(
            "a subnet over a route of the host",
            "refused; the route and its interface are named",
            _HERE + "a_subnet_over_a_route_of_the_host_is_refused_and_the_route_named",
        ),
        Scenario(
            "the ruleset is flushed",
            "`network repair` and the next daemon put rules, published ports and confinement back",
            "test_networks.py::test_what_another_program_has_flushed_is_put_back",
        ),
        Scenario(
            "the bridge is taken down",
            "`network repair` and the next daemon take it up; names, neighbours and published ports are reached",
            _HERE + "a_bridge_that_another_program_has_taken_down_is_put_back",
        ),
        Scenario(
            "the bridge's address is taken away",
            "`network repair` and the next daemon put it back; names, neighbours and published ports are reached",
            _HERE + "an_address_that_another_program_has_taken_from_a_bridge_is_put_back",
        ),
        Scenario(
            "the bridge is deleted while containers are on it",
            "`network repair` and the next daemon put it back with its containers",
            _HERE + "a_bridge_that_another_program_has_deleted_is_put_back_with_its_containers",
        ),
    ),
    "Many at once": (
        Scenario(
            "`port-forward` of one port by eight clients, for eight containers and for one",
            "exactly one wins, the others are told that the port is in use",
            _HERE + "of_8_clients_that_forward_one_port_exactly_one_wins",
        ),
        Scenario(
            "`network connect` and `network disconnect` of one container by eight clients",
            "each is done or refused; records and interfaces agree afterwards",
            _HERE + "8_clients_connect_and_disconnect_one_container_and_it_stays_whole",
        ),
        Scenario(
            "a container exits while `network connect` runs, at nine moments",
            "connected or refused; its place is given back and it starts again",
            _HERE + "a_container_that_exits_while_it_is_connected_leaves_nothing",
        ),
    ),
}
REFUSAL_TEST = _HERE + "what_cannot_be_is_refused_in_words_and_leaves_nothing"
KILL_TEST = _HERE + "a_daemon_that_is_killed_leaves_the_next_one_the_truth"
