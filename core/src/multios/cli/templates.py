"""``template …``, which is also the program ``multios-container-template``."""

from __future__ import annotations

import sys

from multios.cli.grammar import FLAG, LIST, PAIRS, TEXT, Argument, Command, Option
from multios.cli.output import FORMAT, print_records, print_rows
from multios.cli.tables import clip, memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from multios.cli.context import Context
    from multios.cli.grammar import Handler, Values
    from multios.cli.output import Columns


def _resources(row: dict[str, Any]) -> str:
    resources = row.get("resources") or {}
    cpus, limit = resources.get("cpu_limit"), resources.get("memory_limit")
    parts = [f"{cpus:g} CPU"] if cpus else []
    return ", ".join([*parts, memory(limit)] if limit else parts)


_COLUMNS: Columns = (
    ("NAME", "Name", lambda row: row["name"]),
    ("VERSION", "Version", lambda row: row["version"]),
    ("BASE", "Base", lambda row: row["base"]),
    ("RESOURCES", "Resources", _resources),
    ("BUILT", "Built", lambda row: "yes" if row["built"] else "no"),
    ("SUMMARY", "Summary", lambda row: clip(row["summary"], 60)),
)


def _list(values: Values, context: Context) -> int:
    print_rows(context.call("templates.list"), _COLUMNS, values["format"])
    return 0


def _show(values: Values, context: Context) -> int:
    lesson = context.call("templates.show", {"name": values["name"]})["lesson"]
    sys.stdout.write(lesson if lesson.endswith("\n") else lesson + "\n")
    return 0


def _inspect(values: Values, context: Context) -> int:
    params = {"name": values["name"], "options": values["options"]}
    print_records([context.call("templates.inspect", params)], values["format"])
    return 0


def _build(values: Values, context: Context) -> int:
    params = {"name": values["name"], "options": values["options"], "locked": values["locked"]}
    sys.stdout.write(f"{context.call('templates.build', params)['image']}\n")
    return 0


def _test(values: Values, context: Context) -> int:
    from multios.cli.template_testing import test  # deferred: it streams

    options = dict(values["options"])
    if values["base"] is not None:
        options["base"] = values["base"]
    return test(context, values["name"], options, values["locked"], values["format"])


def _files(name: str) -> Handler:
    """A command of ``template_files``, which is imported when it is run."""

    def run(values: Values, context: Context) -> int | None:
        from multios.cli import template_files

        status: int | None = getattr(template_files, name)(values, context)
        return status

    return run


def _indexes(name: str) -> Handler:
    """A command of ``template_indexes``, which is imported when it is run."""

    def run(values: Values, context: Context) -> int | None:
        from multios.cli import template_indexes

        status: int | None = getattr(template_indexes, name)(values, context)
        return status

    return run


_ONE = Argument("name", "TEMPLATE", completes="templates")
_OPTIONS = Option("--option --template-option -o", "options", PAIRS, "An option of the template", "KEY=VALUE")

_PATH = Argument("path", "PATH", completes="files")
_BASE = Option("--base", "base", TEXT, "The image it is built on: short for --option base=IMAGE", "IMAGE")
_INDEX = Option(
    "--index",
    "index",
    LIST,
    "A folder or an address to look in, instead of those of the settings (repeatable, in order)",
    "WHERE",
    completes="files",
)
_LOCKED = Option("--locked", "locked", FLAG, "Fail unless the template has a lock for its base")

COMMANDS = {
    "template list": Command(_list, (FORMAT,), (), "", ("template list",)),
    "template show": Command(_show, (), (_ONE,), "", ("template show python-learning",)),
    "template inspect": Command(
        _inspect, (_OPTIONS, FORMAT), (_ONE,), "", ("template inspect python-learning",)
    ),
    "template build": Command(
        _build,
        (_OPTIONS, _LOCKED),
        (_ONE,),
        "create and run build it too, when it is not there.",
        ("template build python-learning",),
    ),
    "template test": Command(
        _test,
        (_OPTIONS, _BASE, _LOCKED, FORMAT),
        (_ONE,),
        "A container of the template is made, started and removed again. When its services are ready, every check runs "
        "inside. The exit status is 1 if one does not hold.",
        ("template test python-learning", "template test python-learning --base ubuntu:22.04"),
    ),
    "template create": Command(
        _files("create"),
        (
            Option("--base", "base", TEXT, "The image that it is built on (default debian:12)", "IMAGE"),
            Option(
                "--directory -C", "directory", TEXT, "Write it below this directory", "DIR", completes="files"
            ),
        ),
        (Argument("name", "NAME"),),
        "A folder NAME with template.toml, lesson.md and rootfs/ is written, which is valid and builds as it is.",
        ("template create my-template --base ubuntu:20.04",),
    ),
    "template validate": Command(
        _files("validate"),
        (),
        (_PATH,),
        "PATH is a folder or an archive of one. No program of the template is run. What is wrong is said with file, line and "
        "key.",
        ("template validate ./my-template",),
    ),
    "template import": Command(
        _files("bring"),
        (
            Option("--shared", "shared", FLAG, "Give it to everyone on this host (administrators only)"),
            _INDEX,
            Option(
                "--to",
                "to",
                TEXT,
                "Write what it is converted to below this directory instead",
                "DIR",
                completes="files",
            ),
        ),
        (Argument("sources", "PATH|REFERENCE|NAME[==VERSION]", 1, 0, completes="files"),),
        "PATH is a folder or an archive of one, REFERENCE what template publish stored at a registry, NAME what an index lists: "
        "the first index that has the name gives its newest version, or the one that is asked for. With --index all are names. "
        "The template is yours alone, and replaces one that you imported under the same name. A PATH to a dev container, a "
        "Kathará lab or a containerlab topology is converted as far as it maps, and what was left out is said.",
        (
            "template import ./my-template",
            "template import registry.example.org/templates/my-template:1.0",
            "template import --index https://school.example.org/templates/ my-template==1.0",
            "template import ./my-lab --to ./converted",
        ),
    ),
    "template search": Command(
        _indexes("search"),
        (
            _INDEX,
            Option("--all", "all", FLAG, "Also older versions, and names that an index before has"),
            FORMAT,
        ),
        (Argument("words", "WORD", 0, 0),),
        "Those with every WORD in name or summary are listed, the newest version of each.",
        ("template search", "template search --index /media/usb/templates python"),
    ),
    "template index": Command(
        _indexes("write"),
        (),
        (Argument("directory", "DIRECTORY", completes="files"),),
        "index.json is written: what the archives in DIRECTORY are. Folders of templates in it are packed beside first. The same "
        "templates give the same bytes. With DIRECTORY on a web server or a USB stick others import from it by name.",
        ("template index /srv/templates",),
    ),
    "template package": Command(
        _files("package"),
        (Option("--output -o", "output", TEXT, "Write to this file", "FILE", completes="files"),),
        (_PATH,),
        "The same folder gives the same bytes. The sha256 of what is packed is printed.",
        ("template package ./my-template -o my-template.tar.gz",),
    ),
    "template publish": Command(
        _files("publish"),
        (),
        (_PATH, Argument("reference", "REFERENCE")),
        "The registry stores it as an OCI artifact of the type application/vnd.multios.template.v1. Its digest is printed.",
        ("template publish ./my-template registry.example.org/templates/my-template:1.0",),
    ),
    "template rm": Command(
        _files("remove"),
        (),
        (Argument("names", "TEMPLATE", 1, 0, completes="templates"),),
        "Containers of it stay, and the images that they are made from. An installed template is removed with pip.",
        ("template rm my-template",),
    ),
    "template lock": Command(
        _files("lock"),
        (
            _OPTIONS,
            _BASE,
            Option("--output", "output", TEXT, "Write to this file", "FILE", completes="files"),
        ),
        (Argument("name", "TEMPLATE|PATH", completes="templates"),),
        "It is built, and what it was built of is written down: the base by its digest, every package by its version. For a "
        "PATH, a folder, that is its template.lock; for a TEMPLATE it is printed. From then on every build keeps to it.",
        ("template lock ./my-template", "template lock python-learning --output template.lock"),
    ),
}
