"""The text of the profile ``multios-default`` (apparmor.d(5)).

A second wall behind namespaces, mounts and seccomp: what must not happen even where one of those is missing. What it
allows is everything that a container's other walls allow.
"""

from __future__ import annotations

_TEXT = """\
# Made by multios-security-apparmor; a change here is overwritten.
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  network,
  unix,
  dbus,
{more}
  # No file system appears, moves or goes.
  deny mount,
  deny remount,
  deny umount,
  deny pivot_root,

  # The kernel's own settings and memory.
  deny /proc/sys/** wl,
  deny /proc/sysrq-trigger rwl,
  deny /proc/kcore rwl,
  deny /proc/kmem rwl,
  deny /proc/mem rwl,
  deny /proc/acpi/** wl,
  deny /proc/bus/** wl,
  deny /proc/fs/** wl,
  deny /proc/irq/** wl,
  deny /proc/scsi/** wl,
  deny /sys/** wl,
  deny /sys/kernel/security/** rwl,
  deny /sys/firmware/** rwl,
  deny /sys/devices/virtual/powercap/** rwl,

  # Only each other is signalled and traced; the engine, which is not confined, ends them.
  signal (send, receive) peer={name},
  signal (receive) peer=unconfined,
  ptrace (trace, tracedby, read, readby) peer={name},
}}
"""


def text(name: str, message_queues: bool) -> str:
    """The profile's source; ``message_queues`` where kernel and compiler know POSIX message queues as a class of their own."""
    return _TEXT.format(name=name, more="  mqueue,\n" if message_queues else "")
