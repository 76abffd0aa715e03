"""The spec's ``linux.seccomp`` section compiled to a BPF program, once (runtime-spec, config-linux.md, Seccomp).

Building a filter with libseccomp takes tens of milliseconds; installing a ready one takes one. So programs
are kept in a directory under the hash of all that they depend on.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import marshal
import os
from _thread import allocate_lock

from multios.errors import InvalidInput, Unsupported
from multios_isolation_ns import socketcall

TYPE_CHECKING = False  # typing is too heavy for the one-shot OCI runtime
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_FORMAT = 3
_MAX_RULES = 10_000
_FLAGS = {"SECCOMP_FILTER_FLAG_LOG": 2, "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4, "SECCOMP_FILTER_FLAG_TSYNC": 1}
_KILL_PROCESS, _KILL_THREAD, _TRAP, _LOG, _ALLOW = 0x80000000, 0, 0x30000, 0x7FFC0000, 0x7FFF0000
_ACTIONS = {
    "SCMP_ACT_KILL": _KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": _KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": _KILL_PROCESS,
    "SCMP_ACT_TRAP": _TRAP,
    "SCMP_ACT_LOG": _LOG,
    "SCMP_ACT_ALLOW": _ALLOW,
}
_KNOWN: dict[tuple[bytes, str], str] = {}
_MOST_KNOWN = 256
_compiling = allocate_lock()
"""Containers that are the first with a profile, and start at once, shall not all build the same program."""
_ERRNO, _TRACE = 0x50000, 0x7FF00000
_OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}


def program_file(section: Mapping[str, Any], directory: str | os.PathLike[str]) -> str:
    """The path of the file in ``directory`` with the filter's BPF instructions; made if it is not there.

    Raises ``InvalidInput`` for a section that is malformed, ``Unsupported`` for what we cannot install.
    """
    known = _short_key(section), os.fspath(directory)
    if known in _KNOWN and os.path.exists(_KNOWN[known]):
        return _KNOWN[known]
    with _compiling:
        path = _KNOWN[known] = _program_file(section, known[1])
    if len(_KNOWN) > _MOST_KNOWN:
        _KNOWN.pop(next(iter(_KNOWN)), None)
    return path


def _short_key(section: Mapping[str, Any]) -> bytes:
    """A digest for this process only: six times as fast as that of sorted JSON. Version 2 depends on the values alone."""
    return hashlib.blake2b(marshal.dumps(dict(section), 2)).digest()


def _program_file(section: Mapping[str, Any], directory: str) -> str:
    host = os.uname()
    key = json.dumps([_FORMAT, host.release, host.machine, section], sort_keys=True)
    path = os.path.join(directory, f"{hashlib.sha256(key.encode()).hexdigest()}.bpf")
    if os.path.exists(path):
        return path
    compiled = compile_program(section)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(compiled)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    return path


def installation_flags(section: Mapping[str, Any]) -> int:
    """The flags of seccomp(2) that the section asks for."""
    number = 0
    for name in section.get("flags") or ():
        if name not in _FLAGS:
            raise Unsupported(f"seccomp: unsupported flag {name!r}", f"supported are {', '.join(_FLAGS)}")
        number |= _FLAGS[name]
    return number


def actions() -> list[str]:
    """The actions that a profile may name."""
    return [*_ACTIONS, "SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"]


def operators() -> list[str]:
    """The comparisons that a profile may name."""
    return list(_OPERATORS)


def flag_names() -> list[str]:
    """The flags that a profile may name."""
    return list(_FLAGS)


def compile_program(section: Mapping[str, Any]) -> bytes:
    """Build the filter with libseccomp."""
    if section.get("listenerPath"):
        raise Unsupported("seccomp: listenerPath (user notification) is not supported")
    try:
        import pyseccomp  # heavy, and wanted only when a program is not in the cache
    except (ImportError, RuntimeError, OSError) as error:
        raise Unsupported(
            f"seccomp filters cannot be built: {error}", "install libseccomp2 and pyseccomp"
        ) from error
    with _well_formed():
        default = _action(section["defaultAction"], section.get("defaultErrnoRet"))
        rules = list(_rules(section))
    if default & 0xFFFF0000 == _ERRNO and default & 0xFFFF == 0:
        raise InvalidInput("seccomp: a default errno of 0 would pretend success", "set defaultErrnoRet to 1")
    filter_ = pyseccomp.SyscallFilter(default)
    with contextlib.suppress(OSError):  # a binary tree, which the kernel goes through faster; libseccomp 2.5
        filter_.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, 2)
    _add_architectures(pyseccomp, filter_, section)
    for names, action, arguments in rules:
        if action == default:
            continue
        for name in names:
            number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
            if number == -1:  # not a system call of this machine, as far as libseccomp knows
                continue
            for alternative in arguments:
                compared = [pyseccomp.Arg(*one) for one in alternative]
                _add_rule(filter_, action, number, name, compared)
    with os.fdopen(os.memfd_create("bpf", os.MFD_CLOEXEC), "r+b") as file:
        filter_.export_bpf(file)
        file.seek(0)
        program = file.read()
    return socketcall.closed(program, section) if os.uname().machine == "x86_64" else program


def _add_rule(filter_: Any, action: int, number: int, name: str, compared: list[Any]) -> None:
    try:
        filter_.add_rule(action, number, *compared)
    except OSError as error:
        if error.errno == errno.EEXIST:
            return
        cause = f"seccomp: libseccomp refuses the rule for {name}: {error.strerror}"
        raise InvalidInput(cause, "simplify the rule") from error


def _add_architectures(pyseccomp: Any, filter_: Any, section: Mapping[str, Any]) -> None:
    """The native one is there already; others of the same machine are 32-bit and x32 programs."""
    for name in section.get("architectures") or ():
        number = getattr(pyseccomp.Arch, str(name).removeprefix("SCMP_ARCH_"), None)
        if number is None:
            raise InvalidInput(
                f"seccomp: unknown architecture {name!r}", "see SCMP_ARCH_* in the runtime spec"
            )
        if not filter_.exist_arch(number):
            filter_.add_arch(number)


def _rules(
    section: Mapping[str, Any],
) -> Iterator[tuple[list[str], int, list[list[tuple[int, int, int, int]]]]]:
    entries = section.get("syscalls") or []
    if sum(len(entry["names"]) for entry in entries) > _MAX_RULES:
        raise InvalidInput(f"seccomp: more than {_MAX_RULES} rules", "shorten the profile")
    for entry in entries:
        arguments = [_comparison(one) for one in entry.get("args") or ()]
        indices = [one[0] for one in arguments]
        # Comparisons of one argument cannot be joined in one rule: as runc, they are alternatives.
        alternatives = [[one] for one in arguments] if len(set(indices)) < len(indices) else [arguments]
        yield (
            [str(name) for name in entry["names"]],
            _action(entry["action"], entry.get("errnoRet")),
            alternatives,
        )


def _comparison(argument: Mapping[str, Any]) -> tuple[int, int, int, int]:
    index, operator = int(argument["index"]), str(argument["op"])
    if not 0 <= index <= 5 or operator not in _OPERATORS:
        raise InvalidInput(f"seccomp: bad argument {dict(argument)}", "index is 0 to 5, op one of SCMP_CMP_*")
    return index, _OPERATORS[operator], int(argument["value"]), int(argument.get("valueTwo") or 0)


def _action(name: str, value: int | None) -> int:
    if name == "SCMP_ACT_ERRNO":
        return _ERRNO | ((errno.EPERM if value is None else int(value)) & 0xFFFF)
    if name == "SCMP_ACT_TRACE":
        return _TRACE | (int(value or errno.EPERM) & 0xFFFF)
    if name not in _ACTIONS:
        raise Unsupported(
            f"seccomp: unsupported action {name!r}", f"supported are SCMP_ACT_ERRNO, {', '.join(_ACTIONS)}"
        )
    return _ACTIONS[name]


@contextlib.contextmanager
def _well_formed() -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        cause = f"seccomp: malformed profile ({type(error).__name__}: {error})"
        raise InvalidInput(cause, "see the runtime spec, config-linux.md, Seccomp") from error
