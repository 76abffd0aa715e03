"""``template validate|import|package|publish|rm|create``: folders are packed here, with the caller's own rights."""

from __future__ import annotations

import os
import sys

from multios.cli import credentials
from multios.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values

_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_KNOWN = ("template.toml", "lesson.md", "template.lock", "README.md", "LICENSE", "rootfs")


def validate(values: Values, context: Context) -> int:
    """Say whether a folder or archive is a template."""
    facts = _with_archive(values["path"], context, "templates.validate", {})
    sys.stdout.write(f"{values['path']}: template {facts['name']} {facts['version']} is valid\n")
    return 0


def bring(values: Values, context: Context) -> int:
    """Import folders, archives, what registries have, what indexes list, or what converters make of other formats."""
    sources, directory = values["sources"], values["to"]
    named = [source for source in sources if values["index"] or _is_name(source)]
    if named and directory is not None:
        raise _nothing_to_convert(named[0])
    status = context.each(
        [source for source in sources if source not in named],
        lambda source: _bring_one(source, values["shared"], directory, context),
    )
    if named:
        from multios.cli import template_indexes  # deferred: it reads indexes, which few do

        status = template_indexes.bring(named, values["index"], values["shared"], context) or status
    return status


def _bring_one(source: str, shared: bool, directory: str | None, context: Context) -> None:
    if _may_be_foreign(source) and _convert(source, shared, directory, context):
        return
    if directory is not None:
        raise _nothing_to_convert(source)
    if os.path.exists(source) or _is_path(source):
        facts = _with_archive(source, context, "templates.import", {"shared": shared})
    else:
        descriptors = credentials.handed_over(credentials.find(credentials.registry_of(source)))
        try:
            params = {"reference": source, "where": source, "shared": shared}
            facts = context.call("templates.import", params, descriptors)
        finally:
            close(descriptors)
        tell_left_out(facts)
    sys.stdout.write(f"{facts['name']}\n")
    sys.stdout.flush()


def _is_name(source: str) -> bool:
    """Whether it is to be looked up in indexes: neither a path nor, without a slash, a registry's reference."""
    return "/" not in source and not _is_path(source) and not os.path.exists(source)


def _may_be_foreign(source: str) -> bool:
    """Whether it is a folder without a ``template.toml``, or a file that is no archive by its name."""
    if os.path.isdir(source):
        return not os.path.lexists(os.path.join(source, "template.toml"))
    return os.path.isfile(source) and not source.endswith(_ARCHIVES)


def _nothing_to_convert(source: str) -> InvalidInput:
    return InvalidInput(
        f"{source}: is nothing to convert", "leave out --to: it is for templates of other formats"
    )


def _convert(source: str, shared: bool, directory: str | None, context: Context) -> bool:
    """Have a converter bring it; ``False`` for a file that none knows, which may be an archive after all."""
    from multios.cli import template_conversion  # deferred: it loads plugins

    def give(folder: str, where: str) -> str:
        facts = _with_archive(folder, context, "templates.import", {"shared": shared}, where=where)
        return str(facts["name"])

    known = template_conversion.bring(source, directory, give, context)
    if not known and os.path.isdir(source):
        raise InvalidInput(
            f"{source}: there is no template.toml in it",
            f"a template is a folder with one; {template_conversion.formats()}",
        )
    return known


def _is_path(source: str) -> bool:
    """Whether somebody who wrote this meant a file, though it is not there."""
    return source.startswith(("/", "./", "../", "~")) or source.endswith((*_ARCHIVES, "/"))


def package(values: Values, context: Context) -> int:
    """Write a folder as an archive."""
    target = values["output"]
    if target is None:
        if os.isatty(1):
            raise InvalidInput("an archive does not belong on a terminal", "use --output FILE.tar.gz")
        _with_archive(values["path"], context, "templates.package", {}, [1])
        return 0
    facts = write_package(values["path"], target, context)
    sys.stdout.write(f"sha256:{facts['digest']}\n")
    return 0


def write_package(path: str, target: str, context: Context) -> dict[str, Any]:
    """Write a folder as the archive ``target``; what it is."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        facts: dict[str, Any] = _with_archive(path, context, "templates.package", {}, [descriptor])
    except BaseException:
        os.unlink(target)
        raise
    finally:
        os.close(descriptor)
    return facts


def publish(values: Values, context: Context) -> int:
    """Store a folder or archive at a registry."""
    reference = values["reference"]
    descriptors = credentials.handed_over(credentials.find(credentials.registry_of(reference)))
    try:
        facts = _with_archive(
            values["path"], context, "templates.publish", {"reference": reference}, descriptors
        )
    finally:
        close(descriptors)
    sys.stdout.write(f"{facts['digest']}\n")
    return 0


def lock(values: Values, context: Context) -> int:
    """Write down what a template is built of."""
    options = dict(values["options"])
    if values["base"] is not None:
        options["base"] = values["base"]
    name, target = values["name"], values["output"]
    if "/" in name or os.path.isdir(name):
        text = _with_archive(name, context, "templates.lock", {"options": options})["lock"]
        target = target or (os.path.join(name, "template.lock") if os.path.isdir(name) else None)
    else:
        text = context.call("templates.lock", {"name": name, "options": options})["lock"]
    if target is None:
        sys.stdout.write(text)
        return 0
    temporary = f"{target}.{os.getpid()}.new"
    with open(temporary, "x", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, target)
    sys.stdout.write(f"{target}\n")
    return 0


def remove(values: Values, context: Context) -> int:
    """Forget imported templates."""

    def forget(name: str) -> None:
        context.call("templates.remove", {"name": name})
        sys.stdout.write(f"{name}\n")

    return context.each(values["names"], forget)


def _with_archive(
    path: str,
    context: Context,
    method: str,
    params: dict[str, Any],
    fds: list[int] | None = None,
    where: str = "",
) -> Any:
    """Call a method with the template at ``path``, in errors ``where``, as its first descriptor."""
    descriptor = _opened(path)
    try:
        where = where or path.rstrip("/") or "/"
        facts = context.call(method, {**params, "where": where}, [descriptor, *(fds or [])])
    finally:
        os.close(descriptor)
    tell_left_out(facts)
    return facts


def tell_left_out(facts: dict[str, Any]) -> None:
    """Say what was in an archive that is not a template's."""
    if facts["left_out"]:
        from multios.cli.tables import harmless

        sys.stderr.write(f"left out, not a template's: {harmless(', '.join(facts['left_out']))}\n")


def _opened(path: str) -> int:
    """A descriptor of an archive: the file itself, or what the folder has of a template, packed."""
    if not os.path.isdir(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(descriptor, True)
        return descriptor
    return _packed(path)


def _packed(folder: str) -> int:
    import tarfile  # deferred: only a folder is packed
    import tempfile

    if not os.path.lexists(os.path.join(folder, "template.toml")):
        raise InvalidInput(f"{folder}: there is no template.toml in it", "a template is a folder with one")
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name in _KNOWN:
                path = os.path.join(folder, name)
                if os.path.lexists(path):
                    archive.add(path, arcname=name)
        file.seek(0)
        return os.dup(file.fileno())


def close(descriptors: list[int]) -> None:
    """Close what a request was sent with."""
    for descriptor in descriptors:
        os.close(descriptor)


def create(values: Values, context: Context) -> int:
    """Write the folder of a new template."""
    from multios.scaffold.template_folder import write  # deferred: it writes files, once

    target = write(values["name"], values["base"] or "debian:12", values["directory"] or ".")
    sys.stdout.write(
        f"{target}\n"
        f"Next: multios-container template validate {target}\n"
        f"      multios-container template import {target} && multios-container template test {values['name']}\n"
    )
    return 0
