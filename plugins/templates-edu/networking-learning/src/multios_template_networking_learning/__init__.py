"""The template ``networking-learning``: see ``template.toml`` for what is in it, ``lesson.md`` for the lesson."""

from __future__ import annotations

from typing import ClassVar

from multios.drivers.declarative_template import DeclarativeTemplate

__version__ = "0.1.0"


class NetworkingLearning(DeclarativeTemplate):
    """Networking with tcpdump, tshark, netcat, iperf and nmap."""

    name: ClassVar[str] = "networking-learning"
    summary: ClassVar[str] = "Networking with tcpdump, tshark, netcat, iperf and nmap"
    package: ClassVar[str] = __name__
