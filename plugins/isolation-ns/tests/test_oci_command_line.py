"""The runtime's command line: parsed as Go's flag packages do, whatever comes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multios.errors import InvalidInput
from multios_isolation_ns.oci_runtime import command_line, store
from multios_isolation_ns.oci_runtime.control_group import path_of
from multios_isolation_ns.oci_runtime.failures import failure
from multios_isolation_ns.oci_runtime.operations import exec as execution
from multios_isolation_ns.oci_runtime.operations.kill import signal_number

TABLE = {"--bundle": "value", "-b": "--bundle", "--force": "flag", "--env": "list"}


@pytest.mark.parametrize(
    "words",
    [
        ["--bundle", "x", "id"],
        ["--bundle=x", "id"],
        ["-b", "x", "id"],
        ["-bundle", "x", "id"],
        ["id", "-b=x"],
    ],
)
def test_every_spelling_of_an_option(words: list[str]) -> None:
    assert command_line.parse(words, TABLE) == ({"--bundle": "x"}, ["id"])


def test_lists_grow_and_flags_can_be_denied() -> None:
    assert command_line.parse(["--env", "a=b", "--env=c", "--force=false"], TABLE) == (
        {"--env": ["a=b", "c"], "--force": False},
        [],
    )


def test_the_words_of_a_command_are_no_options() -> None:
    words = ["-t", "id", "ls", "-l", "--force"]
    assert command_line.parse(words, execution.OPTIONS, 1) == ({"--tty": True}, ["id", "ls", "-l", "--force"])


def test_a_misspelt_option_names_the_nearest() -> None:
    with pytest.raises(InvalidInput) as caught:
        command_line.parse(["--bundel", "x"], TABLE)
    assert "--bundle" in caught.value.remedy


@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_command_line_is_parsed_or_refused(words: list[str]) -> None:
    try:
        values, others = command_line.parse(words, TABLE)
    except InvalidInput:
        return
    assert set(values) <= {"--bundle", "--force", "--env"} and len(others) <= len(words)


@given(st.text(max_size=300))
def test_an_id_is_one_directory_or_refused(text: str) -> None:
    try:
        store.check_id(text)
    except InvalidInput:
        return
    assert "/" not in text and text not in ("", ".", "..") and len(text) <= 255 and text.isascii()


@given(st.text(max_size=60))
def test_a_cgroups_path_leads_nowhere_else(text: str) -> None:
    try:
        path = path_of(text, "id", systemd=False)
    except InvalidInput:
        return
    assert path and not path.startswith("/") and not {"..", ".", ""} & set(path.split("/"))


@given(st.text(max_size=6))
@example("\xb2")
@example("--5")
def test_a_number_is_one_or_refused(text: str) -> None:
    request = command_line.Request({}, "run")
    request.own["--preserve-fds"] = text
    for read in (lambda: command_line.number(request, "--preserve-fds"), lambda: execution._id(text)):
        try:
            assert isinstance(read(), int)
        except InvalidInput:
            pass


@given(st.text(max_size=12))
@example("\xb2")
@example("RTMIN+\xb2")
def test_a_signal_is_a_number_of_the_kernels_or_refused(text: str) -> None:
    try:
        assert 1 <= signal_number(text) <= 64
    except InvalidInput:
        pass


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ({"errno": 2, "detail": "x", "status": 127}, 'exec: "x": executable file not found in $PATH'),
        ({"errno": 2, "detail": "/x", "status": 127}, 'exec: "/x": no such file or directory'),
        ({"errno": 13, "detail": "x", "status": 126}, 'exec: "x": permission denied'),
        ({"errno": 1, "detail": "/a", "step": "mount", "status": 125}, "mount: /a: operation not permitted"),
    ],
)
def test_failures_are_in_the_words_that_podman_and_docker_look_for(
    error: dict[str, object], told: str
) -> None:
    assert failure(error).cause == told
