"""DNS messages, with dnspython as the judge of what they say."""

from __future__ import annotations

import ipaddress
import struct

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.resolver import wire

LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=63)
NAME = st.lists(LABEL, min_size=1, max_size=3).map(".".join)
ADDRESS = st.ip_addresses().map(str)


def query(name: str, kind: str = "A", size: int | None = None) -> bytes:
    made = dns.message.make_query(name, kind, use_edns=size is not None, payload=size or 0)
    return bytes(made.to_wire())


@given(
    NAME,
    st.sampled_from(["A", "AAAA", "PTR", "TXT", "ANY", "HTTPS"]),
    st.sampled_from([None, 100, 1232, 4096]),
)
def test_a_query_is_read_as_it_was_asked(name: str, kind: str, size: int | None) -> None:
    data = query(name, kind, size)
    read = wire.read_query(data)
    assert (read.name, read.kind, read.klass) == (name, int(dns.rdatatype.from_text(kind)), 1)
    assert read.id.to_bytes(2, "big") == data[:2] and read.is_standard
    assert read.has_options is (size is not None)
    assert wire.PLAIN_SIZE <= read.size <= wire.LARGEST_UDP


@given(NAME, st.lists(ADDRESS, max_size=8), st.booleans())
def test_an_answer_says_what_it_should(name: str, addresses: list[str], has_options: bool) -> None:
    read = wire.read_query(query(name, "A", 1232 if has_options else None))
    data = wire.answer(read, wire.NO_ERROR, [wire.host_record(item) for item in addresses], 5, 65535)
    message = dns.message.from_wire(data)
    told = [str(ipaddress.ip_address(item.address)) for part in message.answer for item in part]
    assert sorted(told) == sorted({str(ipaddress.ip_address(item)) for item in addresses})
    assert message.question[0].name == dns.name.from_text(name)
    assert message.flags & dns.flags.QR and message.flags & dns.flags.RA and message.flags & dns.flags.RD
    assert (message.edns >= 0) is has_options


@given(st.lists(ADDRESS, min_size=1, max_size=200), st.integers(512, 4096))
def test_what_does_not_fit_is_cut_and_says_so(addresses: list[str], size: int) -> None:
    read = wire.read_query(query("many", "A", 1232))
    data = wire.answer(read, wire.NO_ERROR, [wire.host_record(item) for item in addresses], 5, size)
    assert len(data) <= size
    message = dns.message.from_wire(data)
    assert bool(message.flags & dns.flags.TC) is not bool(message.answer)


@given(st.binary(max_size=120))
def test_any_bytes_are_a_query_or_malformed(data: bytes) -> None:
    try:
        wire.read_query(data)
    except wire.Malformed:
        refusal = wire.format_error(data)
        assert refusal == b"" or dns.message.from_wire(refusal).rcode() == 1


@given(st.binary(max_size=200), st.integers(0, 65535))
def test_any_answer_section_is_read_or_malformed(data: bytes, count: int) -> None:
    question = b"\3www\7example\3org\0\0\1\0\1"
    message = struct.pack(">HHHHHH", 1, 0x8180, 1, count, 0, 0) + question + data
    try:
        wire.read_addresses(message, question)
    except wire.Malformed:
        pass


@given(st.lists(ADDRESS, min_size=1, max_size=6, unique=True), st.integers(1, 100000))
def test_addresses_are_found_behind_aliases(addresses: list[str], ttl: int) -> None:
    asked = dns.message.make_query("www.example.org", "A")
    response = dns.message.make_response(asked)
    response.answer.append(dns.rrset.from_text("www.example.org.", ttl, "IN", "CNAME", "far.example.net."))
    for address in addresses:
        kind = "AAAA" if ":" in address else "A"
        response.answer.append(dns.rrset.from_text("far.example.net.", ttl, "IN", kind, address))
    data = response.to_wire()
    question = wire.read_query(asked.to_wire()).question
    found, seconds = wire.read_addresses(data, question)
    assert (set(found), seconds) == (set(addresses), ttl)
    assert wire.is_answer_to(data, asked.id, question)
    assert not wire.is_answer_to(data, asked.id ^ 1, question)
    assert not wire.is_answer_to(data, asked.id, b"\3ftp" + question[4:])


@given(st.ip_addresses())
def test_the_way_back_to_an_address_is_read(address: ipaddress.IPv4Address) -> None:
    assert wire.reversed_address(address.reverse_pointer) == str(address)


@pytest.mark.parametrize(
    "name", ["", "arpa", "1.in-addr.arpa", "300.1.1.1.in-addr.arpa", "x.1.1.1.in-addr.arpa", "1.ip6.arpa"]
)
def test_other_names_lead_back_to_nothing(name: str) -> None:
    assert wire.reversed_address(name) is None


def test_a_dot_within_a_label_is_not_one_between_labels() -> None:
    data = query("a.b")[:12] + b"\3a.b\0\0\1\0\1"
    assert wire.read_query(data).name != "a.b"
