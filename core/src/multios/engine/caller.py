"""Who asks: the user behind a connection, and what only an administrator may ask for."""

from __future__ import annotations

import ipaddress
import os
import pwd
from dataclasses import dataclass

from multios.errors import NotFound, Refused
from multios.model import sysctls
from multios.model.container import ContainerConfig

LOWEST_FREE_PORT = 1024
GROUP = "multios"
"""Its members may use a system's daemon."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A user on this host, as ``SO_PEERCRED`` tells."""

    uid: int
    gid: int
    pid: int = 0

    @property
    def is_administrator(self) -> bool:
        """Root, or the user whose own daemon this is."""
        return self.uid in (0, os.geteuid())

    @property
    def groups(self) -> list[int]:
        """The user's groups from the host's database, the connection's own group first."""
        try:
            return list(dict.fromkeys([self.gid, *os.getgrouplist(pwd.getpwuid(self.uid).pw_name, self.gid)]))
        except KeyError:
            return [self.gid]

    def on_behalf_of(self, user: str) -> Caller:
        """Whose a new thing shall be: the caller's own without ``user``, else that user's, which only an administrator may say.

        It is then asked for with the user's rights and quotas, not with the administrator's: nobody owns what he could
        not have made himself. Raises ``Refused``, and ``NotFound`` for a name without an account.
        """
        if not user:
            return self
        if not self.is_administrator:
            raise Refused("making things for another user is for administrators", "leave out the owner")
        try:
            account = pwd.getpwnam(user)
        except (KeyError, ValueError):
            raise NotFound(f"no such user on this host: {user!r}", "see `getent passwd`") from None
        return Caller(account.pw_uid, account.pw_gid, self.pid)

    def may_see(self, owner: int) -> bool:
        """Whether a thing of ``owner`` exists as far as this caller is concerned."""
        return self.is_administrator or owner == self.uid


def check_request(config: ContainerConfig, caller: Caller) -> None:
    """Raise ``Refused`` for what an ordinary user may not ask for (root-equivalence by another name)."""
    if caller.is_administrator:
        return
    security, networking = config.security, config.networking
    low_port = next((port.host for port in networking.ports if 0 < port.host < LOWEST_FREE_PORT), None)
    beyond = next((name for name in config.sysctls if sysctls.reaches_beyond(name)), "")
    refusals = (
        (security.privileged, "a privileged container"),
        (security.user_namespace == "host", "the host's user namespace"),
        (security.user_namespace.startswith("map="), "a chosen id range"),
        (bool(security.profiles), "a security driver's own profile"),
        (networking.networks == ("host",), "the host's network"),
        (bool(security.capabilities), "added capabilities"),
        (bool(config.devices), "a device of the host's"),
        (not security.no_new_privileges, "running without no_new_privileges"),
        (security.seccomp_profile not in ("", "default"), "another seccomp profile"),
        (security.apparmor_profile not in ("", "default"), "another AppArmor profile"),
        (bool(config.drivers.keys() & {"isolation", "security"}), "another isolation or security driver"),
        (bool(config.driver_options), "options of drivers"),
        (
            any(ipaddress.ip_address(server).is_loopback for server in networking.dns),
            "a name server on the host's loopback",
        ),
        (bool(beyond), f"the kernel parameter {beyond}, which reaches beyond the container,"),
        (low_port is not None, f"host port {low_port}, below {LOWEST_FREE_PORT}"),
    )
    for asked, what in refusals:
        if asked:
            raise Refused(f"{what} is for administrators", "leave it out, or ask the administrator")
