"""What went over a container's network interfaces (proc_pid_net(5))."""

from __future__ import annotations

from dataclasses import replace

from multios.model.container import Stats


def network_bytes(pid: int, stats: Stats) -> Stats:
    """``stats`` with the bytes of all interfaces but loopback in the network namespace of ``pid``."""
    try:
        with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
            lines = file.read().splitlines()[2:]
    except (FileNotFoundError, ProcessLookupError):
        return stats
    received = sent = 0
    for line in lines:
        name, _, rest = line.partition(":")
        numbers = rest.split()
        if name.strip() != "lo":
            received, sent = received + int(numbers[0]), sent + int(numbers[8])
    return replace(stats, received_bytes=received, sent_bytes=sent)
