"""``course.toml``: what is taken, and that every refusal names file, line and key."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from multios.errors import InvalidInput
from multios_courses import validation
from multios_courses.course_file import line, load, parse

FILE = Path("/course/course.toml")
WHOLE = """\
schema = 1
name = "python-101"
title = "Python, first term"
version = "2026.1"
roster = "students.csv"

[[plugins]]
distribution = "multios-template-python-learning"
version = "0.1.0"

[[templates]]
name = "python-learning"
options = { jupyter = true, version = "3.11" }
lock = "locks/python.lock"

[[templates]]
image = "debian:12"
command = ["sleep", "infinity"]

[[labs]]
path = "labs/first"
opens = 2026-10-01
due = 2026-10-08T23:59:00+02:00

[quota]
memory = "1GB"
cpus = 1.5
disk = "2GB"
processes = 200
containers = 2

[network]
policy = "shared"

[dates]
begins = 2026-10-01
ends = "2027-02-15"
"""
SMALL = 'schema = 1\nname = "a"\ntitle = "A"\nversion = "1"\n'


def refusal(text: str) -> str:
    with pytest.raises(InvalidInput) as refused:
        parse(text, FILE)
    assert refused.value.remedy
    return refused.value.cause


def with_labs(folder: Path, entries: str, **own: str) -> Path:
    """A course with these entries, and folders below ``labs`` with these files."""
    for name, text in own.items():
        (folder / "labs" / name).mkdir(parents=True)
        (folder / "labs" / name / "lab.toml").write_text(text)
    (folder / "course.toml").write_text(SMALL + entries)
    return folder


def test_labs_go_by_the_names_in_their_own_files(tmp_path: Path) -> None:
    paths = [f'[[labs]]\npath = "labs/{name}"\n' for name in ("one", "two", "three", "four")]
    own = {"one": 'name = "first"', "two": 'name = "="', "three": "no = toml ="}
    course = load(with_labs(tmp_path, "".join(paths), **own))
    assert [lab.name for lab in course.labs] == ["first", "two", "three", "four"]


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ('[[labs]]\nname = "other"\npath = "labs/one"\n', "course.toml:6: labs.name: the lab in"),
        (
            '[[labs]]\npath = "labs/one"\n[[labs]]\npath = "labs/two"\n',
            "two labs that call themselves 'first'",
        ),
    ],
)
def test_a_lab_of_another_name_or_of_the_same_as_another_is_refused(
    tmp_path: Path, entries: str, says: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        load(with_labs(tmp_path, entries, one='name = "first"', two='name = "first"'))
    assert says in refused.value.cause and refused.value.remedy


def test_a_whole_course_is_read() -> None:
    course = parse(WHOLE, FILE)
    assert (course.name, course.policy, course.roster) == (
        "python-101",
        "shared",
        Path("/course/students.csv"),
    )
    first, second = course.templates
    assert dict(first.options) == {"jupyter": "true", "version": "3.11"}
    assert first.lock == Path("/course/locks/python.lock") and second.command == ("sleep", "infinity")
    assert course.quota.memory == 1 << 30 and course.quota.cpus == 1.5
    assert course.labs[0].name == "first" and course.labs[0].opens is not None
    assert course.labs[0].due == datetime.datetime.fromisoformat("2026-10-08T21:59:00+00:00")


def test_a_small_course_gets_the_safest_network() -> None:
    assert parse(SMALL, FILE).policy == "isolated"


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('schema = 1', 'schema = 2', 1, "schema: 2 is not known"),
        ('name = "python-101"', 'name = "Python 101"', 2, "name:"),
        ('title = "Python, first term"', 'titel = "x"', 1, "title: it is missing"),
        ('version = "0.1.0"', 'version = ">=0.1"', 9, "plugins.version:"),
        ('name = "python-learning"', 'nam = "python-learning"', 12, "templates.nam: no such key"),
        ('lock = "locks/python.lock"', 'lock = "../python.lock"', 14, "templates.lock:"),
        ('image = "debian:12"', 'image = "debian:12"\nname = "x"', 18, "templates.name:"),
        ('command = ["sleep", "infinity"]', 'command = "sleep"', 18, "templates.command:"),
        ('path = "labs/first"', 'path = "/labs/first"', 21, "labs.path:"),
        ("due = 2026-10-08T23:59:00+02:00", "due = 2026-09-08", 23, "labs.due: it is not after"),
        ("due = 2026-10-08T23:59:00+02:00", "due = 5", 23, "labs.due: 5 is no date"),
        ('memory = "1GB"', 'memory = "lots"', 26, "quota.memory: 'lots' is not a size"),
        ("cpus = 1.5", "cpus = 0", 27, "quota.cpus:"),
        ("processes = 200", "processes = true", 29, "quota.processes:"),
        ("containers = 2", "containers = 1", 30, "quota.containers: 1 is less than the 2 templates"),
        ('policy = "shared"', 'policy = "share"', 33, "network.policy:"),
        ('ends = "2027-02-15"', "ends = 2026-09-30", 37, "dates.ends:"),
        ("[quota]", "[quotas]", 25, "quotas: no such key"),
        ("[quota]", "[quota", 25, ""),
        ("[[labs]]", '[[templates]]\nimage = "debian:12"\n[[labs]]', 20, "templates: 'debian:12' stands in line 16"),
    ],
)  # fmt: skip
def test_a_refusal_names_file_line_and_key(old: str, new: str, line: int, words: str) -> None:
    assert old in WHOLE
    cause = refusal(WHOLE.replace(old, new, 1))
    assert cause.startswith(f"/course/course.toml:{line}: ") and words in cause, cause


def test_a_misspelt_key_is_answered_with_the_nearest() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse(WHOLE.replace("processes", "proceses"), FILE)
    assert refused.value.remedy == "did you mean 'processes'?"


@pytest.mark.parametrize("path", ["..", "a/../../b", "/etc", "", "a\\b", "a\nb", "\u202e"])
def test_a_path_stays_in_the_courses_folder(path: str) -> None:
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n")
    assert "labs.path" in refusal(f'{SMALL}[[labs]]\npath = "{escaped}"\n')


def test_a_file_that_is_no_text_or_too_large_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "course.toml"
    file.write_bytes(b"schema = 1\nname = '\xff'\n")
    with pytest.raises(InvalidInput, match=":2: this is no UTF-8"):
        load(tmp_path)
    file.write_bytes(b"#" * (1 << 21))
    with pytest.raises(InvalidInput, match="larger than"):
        load(file)
    with pytest.raises(InvalidInput, match="no such file"):
        load(tmp_path / "other")


@given(st.text(max_size=300))
def test_no_text_is_answered_with_anything_but_a_refusal(text: str) -> None:
    for document in (text, SMALL + text):
        try:
            parse(document, FILE)
        except InvalidInput as error:
            assert error.cause.startswith(f"{FILE}:") and "\n" not in error.cause[:80]


_VALUES = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text(max_size=20), st.floats(allow_nan=False), st.dates()),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
    ),
    max_leaves=5,
)
_KEYS = (
    "schema", "name", "title", "version", "plugins", "templates", "labs", "quota", "network", "dates", "roster",
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(_KEYS), _VALUES))
def test_no_value_of_any_type_gets_through_or_breaks_the_parser(
    values: dict[str, object],
) -> None:
    document = {**tomli.loads(WHOLE), **values}
    try:
        course = parse(_written(document), FILE)
    except InvalidInput as error:
        assert error.cause.startswith(f"{FILE}:")
    else:
        assert course.name and course.policy in ("none", "isolated", "shared", "open")


def _written(value: object) -> str:
    """A document as TOML, each key in one line."""
    assert isinstance(value, dict)
    return "".join(f"{_quoted(key)} = {_inline(item)}\n" for key, item in value.items())


def _inline(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)} = {_inline(item)}" for key, item in value.items()) + "}"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    return '"' + "".join(
        f"\\U{ord(letter):08x}" if not letter.isalnum() and ord(letter) != 0x20 else letter for letter in text
    ) + '"'  # fmt: skip


def test_lines_are_found_through_strings_of_several_lines() -> None:
    text = (
        'a = """\n[no.table]\nb = 1\n"""\n[t.u]\n"b" = 1\nc.d = 2\n[[r]]\nx = 1\n[[r]]\nx = 2\n[r.s]\ny = 3\n'
    )
    assert line(text, ("b",)) == 1
    assert line(text, ("t", "u", "b")) == 6
    assert line(text, ("t", "u", "c", "d")) == 7
    assert line(text, ("r", 1, "x")) == 11
    assert line(text, ("r", 1, "s", "y")) == 13
    assert line(text, ("r", 0, "missing")) == 8


def test_a_machine_whose_part_of_the_memory_is_too_small_to_run_is_refused() -> None:
    small = SMALL + '[[templates]]\nimage = "a:1"\n[[templates]]\nimage = "b:1"\n[quota]\nmemory = "11MB"\n'
    refused = refusal(small)
    assert refused.startswith("/course/course.toml:10: quota.memory: ") and "2 machines" in refused
    assert parse(small.replace("11MB", "12MB"), FILE).quota.memory == 12 << 20


def test_a_lab_that_is_no_toml_is_named_with_its_line(tmp_path: Path) -> None:
    course = load(with_labs(tmp_path, '[[labs]]\npath = "labs/first"\n', first='name = "first"\nsteps = [\n'))
    with pytest.raises(InvalidInput) as refused:
        validation.check_files(course)
    assert refused.value.cause.startswith(f"{tmp_path}/labs/first/lab.toml:") and refused.value.remedy
