"""The launcher: from a cloned child to the container's command (see ``multios.supervisor.launcher``).

Read :func:`create` and :func:`execute` from top to bottom: that is how a container is made. The plan comes from
``multios_isolation_ns.plan``. Whatever is needed is imported here, because after pivot_root(2) nothing can be.
"""

from __future__ import annotations

import errno
import os

from multios.supervisor.launcher import LaunchError
from multios.supervisor.syscalls import kernel
from multios_isolation_ns import filesystem, mandatory, own_program, privileges, reaper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOT_FOUND = (errno.ENOENT, errno.ENOTDIR)


def create(plan: dict[str, Any], descriptors: list[int]) -> None:
    """Everything short of exec, inside the new namespaces."""
    work = filesystem.Workplace(plan, descriptors)
    furnish(work)
    leave(work)


def furnish(work: filesystem.Workplace) -> None:
    """All of the container's file system and names, with the host's root still within reach."""
    plan = work.plan
    _step("take the namespace's root id", privileges.become_root, True)
    _step("set oom_score_adj", privileges.set_oom_score, plan["process"]["oom_score_adj"])
    _step("make mounts private", filesystem.make_private, work)
    _step("change root", filesystem.enter_root, work)
    _step("mount", filesystem.mount_all, work)
    _step("make devices", filesystem.make_devices, work)
    _step("make console", filesystem.make_console_place, work)
    _step("make working directory", filesystem.make_working_directory, work)
    _step("mount /proc", filesystem.mount_proc, work)
    _step("bring loopback up", _loopback, plan)
    _step("set hostname", _names, plan)
    _step("set sysctl", filesystem.set_sysctls, work)
    _step("make paths read-only", filesystem.make_read_only, work)
    _step("mask paths", filesystem.mask, work)


def leave(work: filesystem.Workplace) -> None:
    """Let go of the host's root, and of what only the making needed."""
    _step("leave the old root", filesystem.leave_old_root, work)
    _step("make the root read-only", filesystem.close_root, work)
    _step("new keyring", privileges.new_keyring)
    _step("make Landlock ruleset", mandatory.make_ruleset, work.plan["process"])
    _step("hide", privileges.hide)


def enter(plan: dict[str, Any], descriptors: list[int]) -> None:
    """A process of exec: the namespaces are the container's already, and so are those who could watch."""
    _step("set oom_score_adj", privileges.set_oom_score, plan["process"]["oom_score_adj"])
    _step("take the namespace's root id", privileges.become_root, False)
    _step("new keyring", privileges.new_keyring)
    _step("make Landlock ruleset", mandatory.make_ruleset, plan["process"])
    _step("hide", privileges.hide)


def execute(plan: dict[str, Any]) -> NoReturn:
    """Give up everything that the command may not have, and become it."""
    process = plan["process"]
    if process["init"]:
        _step("name the init", reaper.take_name)
    if plan["terminal"]:
        _step("take console", filesystem.take_console, plan)
    os.umask(process["umask"])
    entered = _step("change directory", _change_directory, process, False)
    _step("set limits", privileges.set_limits, process)
    _step("choose AppArmor profile", mandatory.choose_profile, process)
    _step("drop capabilities", privileges.limit_bounding_set, process)
    if not process["no_new_privileges"]:  # later, the right to install a filter is gone
        _step("enforce Landlock ruleset", mandatory.enforce_ruleset, process)
        _step("install seccomp filter", privileges.install_filter, process)
    _step("set user and groups", privileges.set_ids, process)
    _step("set capabilities", privileges.set_capabilities, process)
    if not entered:
        _step("change directory", _change_directory, process, True)
    command = found(process)
    own_program.refuse(command)
    _step("set no_new_privs", privileges.forbid_new_privileges, process)
    if process["no_new_privileges"]:
        _step("enforce Landlock ruleset", mandatory.enforce_ruleset, process)
        _step("install seccomp filter", privileges.install_filter, process)
    if process["init"]:
        reaper.run(lambda: _exec(command, process))
    _exec(command, process)


def _step(name: str, action: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return action(*arguments)
    except OSError as error:
        about = str(error.filename or "")
        raise LaunchError(name, error.errno or 0, about) from error


def _loopback(plan: dict[str, Any]) -> None:
    if plan["own_network"]:
        kernel.interface_up("lo")


def _names(plan: dict[str, Any]) -> None:
    if plan["hostname"]:
        kernel.sethostname(plan["hostname"])
    if plan["domainname"]:
        kernel.setdomainname(plan["domainname"])


def _change_directory(process: dict[str, Any], last_chance: bool) -> bool:
    """Tried as root first, then as the user: either may be the one who can see it."""
    try:
        os.chdir(process["cwd"])
    except PermissionError:
        if last_chance:
            raise
        return False
    return True


def found(process: dict[str, Any]) -> str:
    """The path of the command: as given, or searched for in the container's own PATH."""
    name: str = process["args"][0]
    if "/" in name:
        candidates = [name]
    else:
        path = next(
            (word[5:] for word in reversed(process["env"]) if word.startswith("PATH=")), _DEFAULT_PATH
        )
        candidates = [f"{directory or '.'}/{name}" for directory in path.split(":")]
    refused = 0
    for candidate in candidates:
        if os.access(candidate, os.X_OK, effective_ids=True) and not os.path.isdir(candidate):
            return candidate
        if os.path.exists(candidate) and not (os.path.isdir(candidate) and len(candidates) > 1):
            refused = errno.EACCES
    if refused:
        raise LaunchError("exec", refused, name, 126)
    raise LaunchError("exec", errno.ENOENT, name, 127)


def _exec(command: str, process: dict[str, Any]) -> NoReturn:
    environment = dict(word.split("=", 1) for word in process["env"])
    try:
        os.execve(command, process["args"], environment)
    except OSError as error:
        status = 127 if error.errno in _NOT_FOUND else 126
        raise LaunchError("exec", error.errno or 0, process["args"][0], status) from error
