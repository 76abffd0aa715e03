"""Limiting what an interface sends: a token bucket filter at its root; tc-tbf(8), the kernel's linux/pkt_sched.h."""

from __future__ import annotations

import struct

from multios.netlink.messages import F_ACK, F_CREATE, F_REPLACE, Message, attribute, nested, text

NEW_QUEUEING = 36
_ROOT = 0xFFFFFFFF
_KIND, _OPTIONS = 1, 2
_PARAMETERS, _RATE_64, _BURST = 1, 4, 6
_ETHERNET = 1
_LARGEST_32 = 0xFFFFFFFF

_QUEUE_SECONDS = 0.05
"""How long a packet may wait at most: longer queues make connections slow to notice."""
_SMALLEST_BURST = 32 * 1024
_BURST_SECONDS = 0.01


def limit(index: int, rate: int) -> Message:
    """Let interface ``index`` send at most ``rate`` bits a second."""
    each_second = rate // 8
    burst = max(_SMALLEST_BURST, int(each_second * _BURST_SECONDS))
    queue = burst + int(each_second * _QUEUE_SECONDS)
    speed = struct.pack("=BBHhHI", 0, _ETHERNET, 0, 0, 0, min(each_second, _LARGEST_32))
    parameters = speed + bytes(12) + struct.pack("=III", min(queue, _LARGEST_32), 0, 0)
    options = [
        attribute(_PARAMETERS, parameters),
        attribute(_BURST, struct.pack("=I", min(burst, _LARGEST_32))),
    ]
    if each_second > _LARGEST_32:
        options.append(attribute(_RATE_64, struct.pack("=Q", each_second)))
    head = struct.pack("=BxxxiIII", 0, index, 0, _ROOT, 0)
    return Message(
        NEW_QUEUEING, F_ACK | F_CREATE | F_REPLACE, head + text(_KIND, "tbf") + nested(_OPTIONS, *options)
    )
