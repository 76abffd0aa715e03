"""nftables over netlink: batches, sets and the few expressions that our rules need.

Layouts are those of the kernel's linux/netfilter/nf_tables.h and nfnetlink.h; integers are big-endian.
A batch is atomic: packets see all of it or nothing.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from multios.netlink.messages import (
    F_ACK,
    F_APPEND,
    F_CREATE,
    Connection,
    Message,
    attribute,
    attributes,
    nested,
    text,
    walk,
)

PROTOCOL = 12  # NETLINK_NETFILTER
_SUBSYSTEM = 10
_BEGIN, _END = 16, 17
NEW_TABLE, GET_TABLE, DELETE_TABLE, NEW_CHAIN, GET_CHAIN = 0, 1, 2, 3, 4
NEW_RULE, DELETE_RULE, NEW_SET, NEW_ELEMENT, GET_ELEMENT, DELETE_ELEMENT = 6, 8, 9, 12, 13, 14
GET_GENERATION = 16

FAMILY_INET, FAMILY_BRIDGE = 1, 7
PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
INTERVAL, MAP, TIMEOUT, CONCATENATION = 4, 8, 16, 128
INTERVAL_END = 1
DROP, ACCEPT = 0, 1
IIFNAME, OIFNAME, L4PROTO = 6, 7, 16
CT_STATE, CT_STATUS = 0, 2
ESTABLISHED_RELATED, DESTINATION_NAT = 2 | 4, 1 << 5
LOCAL = 2  # RTN_LOCAL
# Data types as nft(8) numbers them, so that it can print the sets; a concatenation is 6 bits a part.
MAC_TYPE, PROTOCOL_TYPE, PORT_TYPE, INTERFACE_TYPE = 9, 12, 13, 41

_LIST_ELEMENT = 1
_DATA_VALUE, _DATA_VERDICT = 1, 2
# Elements a message: a list of them is one attribute, which ends at 64 KiB.
_CHUNK = 500


def register(word: int) -> int:
    """The number of the 32-bit register ``word`` (NFT_REG32_00 …)."""
    return 8 + word


class Family(NamedTuple):
    """A protocol of addresses: its number, and an address's type (as nft(8) numbers them), length, and places in packets."""

    number: int
    address_type: int
    length: int
    source: int
    destination: int

    @property
    def words(self) -> int:
        """How many registers an address takes."""
        return self.length // 4


IPV4 = Family(2, 7, 4, 12, 16)
IPV6 = Family(10, 8, 16, 8, 24)


class Element(NamedTuple):
    """A member of a set, or of a map when it has ``data``.

    ``end`` is the last key of a range in a set of ranges of concatenations; ``timeout`` is in milliseconds.
    """

    key: bytes
    data: bytes = b""
    flags: int = 0
    end: bytes = b""
    timeout: int = 0


class BaseChain(NamedTuple):
    """A chain that hangs on a hook; ``policy`` is ``ACCEPT`` or ``DROP``."""

    family: str
    table: str
    name: str
    hook: int
    policy: int


class Batch:
    """Changes of one table, sent as one transaction by :func:`commit`."""

    def __init__(self, table: str, family: int = IPV4.number) -> None:
        self.table, self.family = table, family
        self.messages: list[Message] = []

    def _add(self, kind: int, flags: int, *parts: bytes) -> None:
        self.messages.append(message(kind, flags, *parts, family=self.family))

    def make_table(self) -> None:
        """Make the table, or leave it as it is."""
        self._add(NEW_TABLE, F_CREATE, text(1, self.table))

    def delete_table(self) -> None:
        """Delete the table with all that it holds; an absent one is an error (ENOENT)."""
        self._add(DELETE_TABLE, 0, text(1, self.table))

    def make_chain(self, name: str, kind: str, hook: int, priority: int) -> None:
        """Make a base chain that accepts by default, or leave it as it is."""
        place = nested(4, _number(1, hook), attribute(2, struct.pack(">i", priority)))
        self._add(
            NEW_CHAIN, F_CREATE, text(1, self.table), text(3, name), place, _number(5, ACCEPT), text(7, kind)
        )

    def clear_rules(self) -> None:
        """Delete the rules of all chains of the table."""
        self._add(DELETE_RULE, 0, text(1, self.table))

    def append_rule(self, chain: str, *expressions: bytes) -> None:
        """Add a rule at a chain's end."""
        listed = nested(4, *expressions)
        self._add(NEW_RULE, F_CREATE | F_APPEND, text(1, self.table), text(2, chain), listed)

    def make_set(
        self,
        name: str,
        number: int,
        key: tuple[int, int],
        data: tuple[int, int],
        flags: int,
        fields: tuple[int, ...] = (),
        counting: bool = False,
    ) -> None:
        """Make a set or leave it as it is; ``key`` and ``data`` are type (as nft(8) shows it) and length.

        ``fields`` are the lengths of a concatenation's parts, where ranges of them are members. With ``counting``
        each member counts the packets that it was found for; kernels before Linux 5.7 leave that out.
        """
        parts = [
            text(1, self.table),
            text(2, name),
            _number(3, flags),
            _number(4, key[0]),
            _number(5, key[1]),
        ]
        if flags & MAP:
            parts += [_number(6, data[0]), _number(7, data[1])]
        if fields:
            listed = (nested(_LIST_ELEMENT, _number(1, length)) for length in fields)
            parts.append(nested(9, nested(2, *listed)))
        if key[0] == INTERFACE_TYPE:
            # For nft(8) only: names are in the host's byte order, or it prints them backwards.
            parts.append(attribute(13, struct.pack("=BBI", 0, 4, 1)))
        if counting:
            parts.append(nested(17, text(1, "counter"), nested(2)))
        self._add(NEW_SET, F_CREATE, *parts, _number(10, number))

    def add_elements(self, name: str, elements: Sequence[Element]) -> None:
        """Add to a set; what is in it already stays, but other data for a present key is an error."""
        self._change(NEW_ELEMENT, F_CREATE, name, elements)

    def delete_elements(self, name: str, elements: Sequence[Element]) -> None:
        """Take from a set; an absent element is an error (ENOENT)."""
        self._change(DELETE_ELEMENT, 0, name, elements)

    def _change(self, kind: int, flags: int, name: str, elements: Sequence[Element]) -> None:
        for start in range(0, len(elements), _CHUNK):
            listed = nested(3, *(_element(item) for item in elements[start : start + _CHUNK]))
            self._add(kind, flags, text(1, self.table), text(2, name), listed)


def message(kind: int, flags: int, *parts: bytes, family: int = IPV4.number) -> Message:
    """One nf_tables message."""
    return Message(_SUBSYSTEM << 8 | kind, flags, struct.pack(">BBH", family, 0, 0) + b"".join(parts))


def commit(connection: Connection, *batches: Batch) -> None:
    """Send batches as one transaction; raises ``OSError``, and then nothing of them was done."""
    messages = [item for batch in batches for item in batch.messages]
    if not messages:
        return
    edge = struct.pack(">BBH", 0, 0, _SUBSYSTEM)
    *before, last = messages
    last = last._replace(flags=last.flags | F_ACK)
    connection.request([Message(_BEGIN, 0, edge), *before, last, Message(_END, 0, edge)])


def read_elements(connection: Connection, table: str, name: str, family: int = IPV4.number) -> set[Element]:
    """What a set holds; an absent table or set is empty."""
    try:
        replies = connection.dump(message(GET_ELEMENT, 0, text(1, table), text(2, name), family=family))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return set()
        raise
    found = set()
    for reply in replies:
        for _, item in walk(attributes(reply[4:]).get(3, b"")):
            fields = attributes(item)
            data = attributes(fields[2]).get(_DATA_VALUE, b"") if 2 in fields else b""
            flags = int.from_bytes(fields.get(3, b"\0"), "big")
            end = attributes(fields[10]).get(_DATA_VALUE, b"") if 10 in fields else b""
            found.add(Element(attributes(fields[1])[_DATA_VALUE], data, flags, end))
    return found


def read_counts(connection: Connection, table: str, name: str, family: int) -> dict[bytes, int]:
    """How many packets each member of a counting set was found for, by key; an absent set is empty."""
    try:
        replies = connection.dump(message(GET_ELEMENT, 0, text(1, table), text(2, name), family=family))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return {}
        raise
    found = {}
    for reply in replies:
        for _, item in walk(attributes(reply[4:]).get(3, b"")):
            fields = attributes(item)
            if 7 in fields:
                counter = attributes(attributes(fields[7])[2])
                found[attributes(fields[1])[_DATA_VALUE]] = int.from_bytes(counter[2], "big")
    return found


# --- expressions --------------------------------------------------------------------------------


def load_meta(key: int, to: int) -> bytes:
    """Put a packet's ``key`` (``IIFNAME``, ``OIFNAME``, ``L4PROTO``) into register ``to``."""
    return _expression("meta", _number(2, key), _number(1, to))


def load_source_address(family: Family, to: int) -> bytes:
    """Put the source address into the registers from ``to``."""
    return _payload(to, 1, family.source, family.length)


def load_source_mac(to: int) -> bytes:
    """Put the frame's source MAC into the two registers from ``to``, padded with zeros."""
    return _payload(to, 0, 6, 6)


def load_ether_type(to: int) -> bytes:
    """Put the frame's type into register ``to``."""
    return _payload(to, 0, 12, 2)


def load_arp_sender_mac(to: int) -> bytes:
    """Put the MAC that an ARP packet says is its sender's into the two registers from ``to`` (RFC 826)."""
    return _payload(to, 1, 8, 6)


def load_arp_sender_address(to: int) -> bytes:
    """Put the IPv4 address that an ARP packet says is its sender's into register ``to``."""
    return _payload(to, 1, 14, 4)


def load_destination_address(family: Family, to: int) -> bytes:
    """Put the destination address into the registers from ``to``."""
    return _payload(to, 1, family.destination, family.length)


def load_destination_port(to: int) -> bytes:
    """Put the TCP, UDP or SCTP destination port into register ``to``."""
    return _payload(to, 2, 2, 2)


def is_icmp6(word: int) -> bytes:
    """Go on only with ICMPv6 messages; uses register ``word``."""
    return load_meta(L4PROTO, word) + equals(word, b"\x3a")


def load_icmp_type(to: int) -> bytes:
    """Put the type of an ICMP message into register ``to``."""
    return _payload(to, 2, 0, 1)


def load_advertised_address(to: int) -> bytes:
    """Put the address of which a neighbour advertisement tells into the registers from ``to`` (RFC 4861, 4.4)."""
    return _payload(to, 2, 8, IPV6.length)


def load_connection(key: int, to: int) -> bytes:
    """Put conntrack's ``CT_STATE`` or ``CT_STATUS`` into register ``to``."""
    return _expression("ct", _number(2, key), _number(1, to))


def load_destination_kind(to: int) -> bytes:
    """Put the route type of the destination address (``LOCAL`` …) into register ``to``: nft's ``fib daddr type``."""
    return _expression("fib", _number(1, to), _number(2, 3), _number(3, 2))


def mask(where: int, value: bytes) -> bytes:
    """Bitwise and of register ``where``, in place."""
    length = len(value)
    return _expression(
        "bitwise",
        _number(1, where),
        _number(2, where),
        _number(3, length),
        nested(4, attribute(_DATA_VALUE, value)),
        nested(5, attribute(_DATA_VALUE, bytes(length))),
    )


def equals(where: int, value: bytes) -> bytes:
    """Go on only if register ``where`` is ``value``."""
    return _expression("cmp", _number(1, where), _number(2, 0), nested(3, attribute(_DATA_VALUE, value)))


def differs(where: int, value: bytes) -> bytes:
    """Go on only if register ``where`` is not ``value``."""
    return _expression("cmp", _number(1, where), _number(2, 1), nested(3, attribute(_DATA_VALUE, value)))


def member(name: str, number: int, where: int) -> bytes:
    """Go on only if the set holds what starts in register ``where``."""
    return _expression("lookup", text(1, name), _number(2, where), _number(4, number))


def no_member(name: str, number: int, where: int) -> bytes:
    """Go on only if the set does not hold it."""
    return _expression("lookup", text(1, name), _number(2, where), _number(4, number), _number(5, 1))


def translate(name: str, number: int, where: int, to: int) -> bytes:
    """Go on only if the map has the key in register ``where``; its data goes to register ``to``."""
    return _expression("lookup", text(1, name), _number(2, where), _number(3, to), _number(4, number))


def destination_nat(family: Family, address: int, port: int) -> bytes:
    """Send the connection to the address and port in these registers."""
    return _expression("nat", _number(1, 1), _number(2, family.number), _number(3, address), _number(5, port))


def masquerade() -> bytes:
    """Give the connection the outgoing interface's address as its source."""
    return _expression("masq")


def verdict(code: int) -> bytes:
    """``ACCEPT`` or ``DROP``."""
    return _expression("immediate", _number(1, 0), nested(2, nested(_DATA_VERDICT, _number(1, code))))


def host_word(value: int) -> bytes:
    """A 32-bit register's content for values that the kernel keeps in the host's byte order."""
    return struct.pack("=I", value)


def base_chains(connection: Connection) -> Iterator[BaseChain]:
    """Every base chain that sees IP packets, whoever made it."""
    for family, called in ((FAMILY_INET, "inet"), (IPV4.number, "ip"), (IPV6.number, "ip6")):
        for reply in connection.dump(message(GET_CHAIN, 0, family=family)):
            fields = attributes(reply[4:])
            if 4 in fields and 5 in fields:
                table, name = (fields[number].rstrip(b"\0").decode(errors="replace") for number in (1, 3))
                hook = int.from_bytes(attributes(fields[4])[1], "big")
                yield BaseChain(called, table, name, hook, int.from_bytes(fields[5], "big"))


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(_LIST_ELEMENT, text(1, name), nested(2, *parts))


def _payload(to: int, base: int, offset: int, length: int) -> bytes:
    return _expression("payload", _number(1, to), _number(2, base), _number(3, offset), _number(4, length))


def _element(item: Element) -> bytes:
    parts = [nested(1, attribute(_DATA_VALUE, item.key))]
    if item.data:
        parts.append(nested(2, attribute(_DATA_VALUE, item.data)))
    if item.flags:
        parts.append(_number(3, item.flags))
    if item.timeout:
        parts.append(attribute(4, struct.pack(">Q", item.timeout)))
    if item.end:
        parts.append(nested(10, attribute(_DATA_VALUE, item.end)))
    return nested(_LIST_ELEMENT, *parts)


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value))
