"""From parsed options to the container document that the daemon checks."""

from __future__ import annotations

import os

from multios.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WHOLE_FIELDS = [
    "name",
    "template",
    "image",
    "user",
    "working_directory",
    "hostname",
    "groups",
    "init",
    "open_stdin",
    "terminal",
    "auto_remove",
    "restart_policy",
    "stop_signal",
    "stop_timeout",
    "template_options",
    "shm_size",
    "sysctls",
]
_LOG_OPTIONS = {"max-size": "max_size", "max-file": "max_files", "max-files": "max_files"}


def document(values: dict[str, Any]) -> dict[str, Any]:
    """The document of a ``create`` or ``run``. Raises ``InvalidInput``."""
    result: dict[str, Any] = read_json(values["config"]) if values["config"] else {}
    for key, value in values.items():
        given = value is not None and value is not False and value not in ([], {})  # 0 takes a limit away
        if given and key in _WHOLE_FIELDS:
            _set(result, [key], value)
        elif given and "." in key:
            _set(result, key.split("."), value)
    if values["template"] and not values["image"]:
        result.pop("image", None)
    if values["image"] and not values["template"]:
        result.pop("template", None)
    _special(values, result)
    _positionals(values["words"], values, result)
    return result


def _set(into: dict[str, Any], path: list[str], value: Any) -> None:
    """Put an option where it belongs: texts replace, lists and mappings add to what the file has."""
    for name in path[:-1]:
        into = _section(into, name)
    name = path[-1]
    if isinstance(value, list):
        into[name] = [*into.get(name, ()), *value]
    elif isinstance(value, dict):
        into[name] = {**into.get(name, {}), **value}
    else:
        into[name] = value


def _section(into: dict[str, Any], name: str) -> dict[str, Any]:
    section = into.setdefault(name, {})
    if not isinstance(section, dict):
        raise InvalidInput(f"{name}: expected an object", "see 'The container document' in the documentation")
    return section


def _special(values: dict[str, Any], result: dict[str, Any]) -> None:
    """The options whose text is more than a field's value."""
    environment = environment_of(values)
    if environment:
        _set(result, ["environment"], environment)
    if values["labels"]:
        _set(result, ["labels"], dict(_pair(text) for text in values["labels"]))
    if values["entrypoint"] is not None:
        result["entrypoint"] = values["entrypoint"].split()
    if values["networks"]:
        networking = _section(result, "networking")
        networking.pop("network", None)
        networking["networks"] = []
        for text in values["networks"]:
            name, wanted = _network(text)
            networking["networks"].append(name)
            if wanted:
                _set(result, ["networking", "attachments"], {name: wanted})
    if values["bandwidth"]:
        _set(result, ["networking", "bandwidth"], _bandwidth(values["bandwidth"]))
    for text in values["ports"]:
        _set(result, ["networking", "ports"], ports(text))
    for text in values["add_host"]:
        name, separator, address = text.partition(":")
        _refuse_unless(bool(separator and name), "--add-host", text, "NAME:ADDRESS")
        _set(result, ["networking", "extra_hosts"], {name: address})
    _health(values, result)
    for text in values["volumes"]:
        _set(result, ["volumes"], [volume(text)])
    for text in values["devices"]:
        _set(result, ["devices"], [_device(text)])
    for text in values["tmpfs"]:
        _set(result, ["tmpfs"], [_tmpfs(text)])
    for text in values["ulimit"]:
        _set(result, ["rlimits"], _ulimit(text))
    if values["read_only_tmpfs"] is not None:
        _set(result, ["security", "read_only_tmpfs"], values["read_only_tmpfs"] == "true")
    for text in values["security_opt"]:
        option = _security_option(text)
        for key, value in option.items():
            _set(result, ["security", key], value)
    for key, text in values["log_opt"].items():
        _refuse_unless(key in _LOG_OPTIONS, "--log-opt", key, "max-size or max-files")
        value = int(text) if key != "max-size" and text.isdecimal() else text
        _set(result, ["log"], {_LOG_OPTIONS[key]: value})


def _health(values: dict[str, Any], result: dict[str, Any]) -> None:
    """``--health-cmd`` and ``--no-healthcheck``; its other options are fields of the document."""
    command = values["health_cmd"]
    if values["no_healthcheck"]:
        others = [
            key for key, value in values.items() if key.startswith("healthcheck.") and value is not None
        ]
        if others or command is not None:
            raise InvalidInput("both --no-healthcheck and --health-… are given", "leave out one of them")
        result["healthcheck"] = {"test": ["NONE"]}
    elif command == "none":
        _section(result, "healthcheck")["test"] = ["NONE"]
    elif command is not None:
        _section(result, "healthcheck")["test"] = _health_test(command)


def _health_test(text: str) -> list[str]:
    """A shell line, or a JSON list: of words, or as the document has it."""
    if not text.startswith("["):
        return ["CMD-SHELL", text]
    from json import JSONDecodeError, loads  # deferred: few probes are lists

    try:
        words = loads(text)
    except (JSONDecodeError, RecursionError):
        return ["CMD-SHELL", text]  # [ is a program, too
    return words if words and words[0] in ("CMD", "CMD-SHELL", "NONE") else ["CMD", *words]


def _positionals(words: list[str], values: dict[str, Any], result: dict[str, Any]) -> None:
    """Give the words after the options their meaning: the name where ``--template``, ``--image`` or the file says
    of what the container is made, else what it is made of; the rest is the command."""
    source = result.get("template") or result.get("image")
    if not source and not words:
        raise InvalidInput(
            "no image or template is given", "name one: multios-container create IMAGE [COMMAND]"
        )
    if words and not source:
        result["image"], words = words[0], words[1:]
    elif words and (values["name"] or (values["config"] and result.get("name"))):
        words = words[1:] if words[0] == source else words
    elif words:
        result["name"], words = words[0], words[1:]
    if words:
        result["command"] = words


def environment_of(values: dict[str, Any]) -> dict[str, str]:
    """What ``--env-file`` and ``--env`` say together; a bare name takes the caller's value, if there is one."""
    lines: list[str] = []
    for path in values["env_file"]:
        lines += [
            line for line in _read(path).splitlines() if line.strip() and not line.lstrip().startswith("#")
        ]
    result: dict[str, str] = {}
    for text in [*lines, *values["environment"]]:
        name, separator, value = text.partition("=")
        _refuse_unless(bool(name.strip()), "--env", text, "KEY=VALUE")
        if separator:
            result[name.strip()] = value
        elif name in os.environ:
            result[name] = os.environ[name]
    return result


_NETWORK_OPTIONS = {"ip": "address", "ip6": "address6", "mac": "mac", "mac_address": "mac"}


def _network(text: str) -> tuple[str, dict[str, Any]]:
    """``NAME[:ip=…,ip6=…,mac=…,alias=…]`` or ``container:NAME``, as podman writes it."""
    if text.startswith("container:"):
        return text, {}
    name, _, options = text.partition(":")
    wanted: dict[str, Any] = {}
    for option in options.split(",") if options else ():
        key, _, value = option.partition("=")
        _refuse_unless(
            bool(value) and (key == "alias" or key in _NETWORK_OPTIONS),
            "--network",
            text,
            "NETWORK[:ip=ADDRESS,ip6=ADDRESS,mac=MAC,alias=NAME]",
        )
        if key == "alias":
            wanted["aliases"] = [*wanted.get("aliases", ()), value]
        else:
            wanted[_NETWORK_OPTIONS[key]] = value
    return name, wanted


def _bandwidth(text: str) -> dict[str, str] | str:
    """``RATE``, or ``in=RATE,out=RATE``."""
    if "=" not in text:
        return text
    rates = dict(part.partition("=")[::2] for part in text.split(","))
    _refuse_unless(set(rates) <= {"in", "out"}, "--bandwidth", text, "RATE or in=RATE,out=RATE")
    return rates


def ports(text: str, option: str = "--publish") -> list[dict[str, Any]]:
    """``[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]``, ports or ranges of them, as port mappings."""
    wanted = "[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]"
    numbers, slash, protocol = text.partition("/")
    rest, _, inside = numbers.rpartition(":")
    address, outside = _host_side(rest)
    inner = _range(inside) if protocol or not slash else []
    outer = _range(outside) if outside else [0] * len(inner)
    _refuse_unless(bool(inner) and len(inner) == len(outer), option, text, wanted)
    result: list[dict[str, Any]] = []
    for container, host in zip(inner, outer, strict=True):
        mapping: dict[str, Any] = {"container": container}
        mapping.update({"host": host} if host else {})
        mapping.update({"protocol": protocol.lower()} if protocol else {})
        mapping.update({"address": address} if address else {})
        result.append(mapping)
    return result


def _host_side(text: str) -> tuple[str, str]:
    """The address and the ports in ``ADDRESS:PORTS``, ``[ADDRESS]:PORTS``, either alone, or nothing."""
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        outside = rest.removeprefix(":")
        is_right = address and bracket and (rest.startswith(":") or not rest)
        return (address, outside) if is_right else ("", text)
    address, separator, outside = text.rpartition(":")
    if not separator and text.count(".") == 3:
        return text, ""
    return address, outside


def _range(text: str) -> list[int]:
    first, separator, last = text.partition("-")
    if not (first.isdecimal() and (last.isdecimal() or not separator)) or len(first) > 5 or len(last) > 5:
        return []
    return list(range(int(first), int(last or first) + 1))


def volume(text: str) -> dict[str, Any]:
    """``SOURCE:CONTAINER[:MODE]``; a source with a slash or a leading dot is a host path, else a volume."""
    source, separator, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not separator and text.startswith("/"):
        raise InvalidInput(f"--volume: {text!r} has no source", "write --volume SOURCE:CONTAINER")
    _refuse_unless(bool(source and target), "--volume", text, "SOURCE:CONTAINER[:ro]")
    result: dict[str, Any] = {"container": target, "mode": "rw"}
    for word in mode.split(",") if mode else ():
        known = word in ("ro", "rw", "nocopy", "z", "Z", "U")
        _refuse_unless(known, "--volume", text, "SOURCE:CONTAINER[:ro|:rw|:nocopy]")
        if word == "nocopy":
            result["nocopy"] = True
        result["mode"] = word if word in ("ro", "rw") else result["mode"]
    is_path = "/" in source or source.startswith((".", "~"))
    return {
        ("host" if is_path else "volume"): os.path.abspath(os.path.expanduser(source)) if is_path else source,
        **result,
    }


def _device(text: str) -> dict[str, str]:
    """``HOST[:CONTAINER][:ACCESS]``; a second part without a slash is the access."""
    host, *rest = text.split(":")
    inside = rest.pop(0) if rest and "/" in rest[0] else host
    access = rest.pop(0) if rest else "rwm"
    _refuse_unless(
        bool(host and access) and not rest, "--device", text, "HOST[:CONTAINER][:rwm], such as /dev/fuse"
    )
    return {"host": os.path.abspath(host), "container": inside, "access": access}


def _tmpfs(text: str) -> dict[str, str]:
    target, _, options = text.partition(":")
    result = {"container": target}
    for option in options.split(",") if options else ():
        name, _, value = option.partition("=")
        _refuse_unless(name == "size" and bool(value), "--tmpfs", text, "CONTAINER[:size=SIZE]")
        result["size"] = value
    return result


def _ulimit(text: str) -> dict[str, list[int]]:
    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    try:
        return {name: [int(soft), int(hard or soft)]}
    except ValueError:
        raise InvalidInput(f"--ulimit: {text!r} cannot be read", "write it as NAME=SOFT[:HARD]") from None


def _security_option(text: str) -> dict[str, Any]:
    name, separator, value = text.partition("=" if "=" in text else ":")
    if name == "seccomp" and value:
        return {"seccomp_profile": _read(value) if "/" in value or value.endswith(".json") else value}
    if name == "apparmor" and value:
        return {"apparmor_profile": value}
    if name == "explain" and (not separator or value in ("true", "false", "all")):
        return {"explain": "all" if value == "all" else value != "false"}
    if (
        name.replace("-", "").replace("_", "").isalnum()
        and name not in ("no-new-privileges", "explain", "label")
        and value
    ):
        is_file = value.startswith(("/", "./", "../"))
        return {"profiles": {name: _read(value) if is_file else value}}
    if name == "no-new-privileges" and (not separator or value in ("true", "false")):
        return {"no_new_privileges": value != "false"}
    expected = (
        "DRIVER=PROFILE, as seccomp=unconfined, no-new-privileges[=true|false] or explain[=true|false|all]"
    )
    raise InvalidInput(f"--security-opt: {text!r} is not known", f"use {expected}")


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    _refuse_unless(bool(name), "--label", text, "KEY[=VALUE]")
    return name, value


def _refuse_unless(right: bool, option: str, text: str, expected: str) -> None:
    if not right:
        raise InvalidInput(f"{option}: {text!r} cannot be read", f"write it as {expected}")


def read_json(path: str) -> dict[str, Any]:
    """The JSON object in the file ``path`` (``-``: stdin), read with the caller's own rights."""
    from json import JSONDecodeError, loads  # deferred: only --config and validate need its error positions

    try:
        value = loads(_read(path))
    except (JSONDecodeError, RecursionError) as error:
        raise InvalidInput(f"{path}: not JSON: {error}", "correct the file") from None
    if not isinstance(value, dict):
        raise InvalidInput(f"{path}: not a JSON object", "see 'The container document' in the documentation")
    return value


def _read(path: str) -> str:
    try:
        with open(0 if path == "-" else path, encoding="utf-8", closefd=path != "-") as file:
            return file.read(8 * 1024 * 1024)
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}", "give a file that you may read") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path}: not UTF-8 text", "give a text file") from None
