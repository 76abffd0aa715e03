"""``template search``, ``template index``, and ``template import`` of a name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from multios.cli import credentials, template_files
from multios.cli.index_places import Folder, Indexes, Place, copied, fetched
from multios.cli.output import print_rows
from multios.cli.tables import clip
from multios.errors import Conflict, InvalidInput, MultiosError
from multios.template_format import index
from multios.template_format.index import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Values
    from multios.cli.output import Columns

_ARCHIVE = ".tar.gz"
_COLUMNS: Columns = (
    ("NAME", "Name", lambda row: row["name"]),
    ("VERSION", "Version", lambda row: row["version"]),
    ("BASE", "Base", lambda row: row["base"]),
    ("SUMMARY", "Summary", lambda row: clip(row["summary"], 60)),
    ("INDEX", "Index", lambda row: row["index"]),
)


def _opened(given: Sequence[str], context: Context) -> Indexes:
    """The indexes that the user names, else those of the engine's settings."""
    wheres = list(given) or context.call("system.info").get("template_indexes", [])
    if not wheres:
        raise InvalidInput(
            "no index of templates is known",
            "say --index WHERE, or [templates] indexes in the engine's settings",
        )
    return Indexes(wheres)


# --- template search ------------------------------------------------------------------------------


def search(values: Values, context: Context) -> int:
    """List what indexes have; one that cannot be read is told, and the others are listed."""
    indexes = _opened(values["index"], context)
    rows: list[dict[str, Any]] = []
    known: set[str] = set()
    status = 0
    for place in indexes.places:
        try:
            entries = indexes.entries(place)
        except MultiosError as error:
            context.report(error)
            status = status or error.exit_status
            continue
        shown = entries if values["all"] else [one for one in index.newest(entries) if one.name not in known]
        matching = [entry for entry in shown if _has(entry, values["words"])]
        rows += [_row(entry, place.where) for entry in sorted(matching, key=lambda entry: entry.order)]
        known |= {entry.name for entry in entries}
    print_rows(rows, _COLUMNS, values["format"])
    return status


def _has(entry: Entry, words: Sequence[str]) -> bool:
    text = f"{entry.name} {entry.description}".lower()
    return all(word.lower() in text for word in words)


def _row(entry: Entry, where: str) -> dict[str, Any]:
    return {
        "name": entry.name,
        "version": entry.version,
        "summary": entry.description,
        "license": entry.license,
        "base": entry.base,
        "source": entry.reference or where + entry.file,
        "index": where,
    }


# --- template import ------------------------------------------------------------------------------


def bring(wanted: Sequence[str], given: Sequence[str], shared: bool, context: Context) -> int:
    """Import templates by their names."""
    indexes = _opened(given, context)

    def one(text: str) -> None:
        place, entry = indexes.find(text)
        with _handed_over(place, entry) as descriptors:
            params = {
                "where": entry.reference or place.where + entry.file,
                "reference": entry.reference,
                "shared": shared,
                "expected": {"name": entry.name, "version": entry.version},
            }
            template_files.tell_left_out(context.call("templates.import", params, descriptors))
        sys.stderr.write(f"{entry.name} {entry.version} from {place.where}\n")
        sys.stdout.write(f"{entry.name}\n")
        sys.stdout.flush()

    return context.each(wanted, one)


@contextmanager
def _handed_over(place: Place, entry: Entry) -> Iterator[list[int]]:
    """What the engine gets with the request: the archive, or the caller's credentials at the registry."""
    if not entry.reference:
        with fetched(place, entry) as descriptor:
            yield [descriptor]
        return
    descriptors = credentials.handed_over(credentials.find(credentials.registry_of(entry.reference)))
    try:
        yield descriptors
    finally:
        template_files.close(descriptors)


# --- template index -------------------------------------------------------------------------------


def write(values: Values, context: Context) -> int:
    """Pack the template folders in a directory and list all archives there; nothing is listed if one is wrong."""
    place = Folder(values["directory"])
    if os.path.lexists(f"{place.where}template.toml"):
        raise InvalidInput(f"{place.where} is a template itself", "give the directory that it lies in")
    packed: dict[str, str] = {}
    for name in sorted(os.listdir(place.where)):
        if os.path.lexists(os.path.join(place.where, name, "template.toml")):
            _pack(place, name, packed, context)
    entries = _references(place)
    for name in sorted(os.listdir(place.where)):
        if name.endswith(_ARCHIVE) and not name.startswith("."):
            entries.append(_entry(place, name, context))
    _check_unique(entries)
    data = index.text(entries).encode()
    index.read(data, place.where + index.FILE)
    with _replaced(place.where, index.FILE) as file:
        file.write(data)
    count = len(entries)
    sys.stdout.write(f"{place.where}{index.FILE}: {count} template{'' if count == 1 else 's'}\n")
    return 0


def _pack(place: Folder, folder: str, packed: dict[str, str], context: Context) -> None:
    """Write the archive of a folder beside it; ``packed`` are the folders of the archives written so far."""
    temporary = f"{place.where}.{folder}.{os.getpid()}.new"
    facts = template_files.write_package(place.where + folder, temporary, context)
    name = f"{facts['name']}-{facts['version']}"
    other = packed.setdefault(name, folder)
    if other != folder:
        os.unlink(temporary)
        raise _same(other, folder, facts["name"], facts["version"])
    os.replace(temporary, f"{place.where}{name}{_ARCHIVE}")


def _same(first: str, second: str, name: str, version: str) -> Conflict:
    return Conflict(
        f"{first} and {second} are both {name} {version}", "remove one, or give it another version"
    )


def _references(place: Folder) -> list[Entry]:
    """The registries' templates of the index that there is: they are written into it by hand, and stay."""
    if not os.path.lexists(place.where + index.FILE):
        return []
    return [entry for entry in Indexes([place.where]).entries(place) if entry.reference]


def _entry(place: Folder, name: str, context: Context) -> Entry:
    """What the index says of an archive, which the engine reads as it would to import it."""
    shown = place.where + name
    if not index.PATH.fullmatch(name):
        raise InvalidInput(
            f"{shown}: cannot be listed", "name it with letters, digits, '.', '_', '+' and '-'"
        )
    with copied(place, name, index.LARGEST_ARCHIVE) as (descriptor, digest, size):
        facts = context.call("templates.validate", {"where": shown}, [descriptor])
    template_files.tell_left_out(facts)
    return Entry(
        facts["name"],
        facts["version"],
        facts["summary"],
        facts["license"],
        facts["base"],
        file=name,
        sha256=digest,
        size=size,
    )


def _check_unique(entries: Sequence[Entry]) -> None:
    seen: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        other = seen.setdefault((entry.name, entry.version), entry)
        if other is not entry:
            raise _same(other.file or other.reference, entry.file, entry.name, entry.version)


@contextmanager
def _replaced(directory: str, name: str) -> Iterator[IO[bytes]]:
    """A new file that takes the place of another when it is whole."""
    temporary = f"{directory}.{name}.{os.getpid()}.new"
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, directory + name)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
