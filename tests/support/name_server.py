"""A name server of the tests' own on the host's loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset


@contextmanager
def name_server(where: str, known: Mapping[str, str] | str) -> Iterator[list[str]]:
    """Serve at a loopback address; the names that it was asked for, as they come.

    ``known`` maps names to IPv4 addresses, or is the address of every name.
    """
    asked: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((where, 53))
        server.settimeout(0.05)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    data, sender = server.recvfrom(512)
                except TimeoutError:
                    continue
                server.sendto(_answer(data, known, asked), sender)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            stop.set()
            thread.join()


def _answer(data: bytes, known: Mapping[str, str] | str, asked: list[str]) -> bytes:
    query = dns.message.from_wire(data)
    question = query.question[0]
    name = question.name.to_text(omit_final_dot=True)
    asked.append(name)
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA
    address = known if isinstance(known, str) else known.get(name)
    if address is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif question.rdtype == dns.rdatatype.A:
        response.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", address))
    return bytes(response.to_wire())
