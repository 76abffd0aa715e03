"""``app -f FILE up``: the options of a group that stand before its command."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.cli.commands import in_order, load, resolve
from multios.cli.grammar import parse


@pytest.mark.parametrize(
    ("words", "ordered"),
    [
        ("app up -d", "app up -d"),
        ("app -f a.yaml up -d", "app up --file a.yaml -d"),
        ("app --file=a.yaml -p shop up web", "app up --file a.yaml --project-name shop web"),
        ("app -f a -f b --profile debug config", "app config --file a --file b --profile debug"),
        ("app --env-file x.env exec web sh", "app exec --project-env-file x.env web sh"),
        ("app -f", "app -f"),
        ("app -f a.yaml", "app -f a.yaml"),
        ("app --nothing up", "app --nothing up"),
        ("app", "app"),
        ("ps -a", "ps -a"),
        ("", ""),
    ],
)
def test_what_stands_before_the_command_is_the_commands(words: str, ordered: str) -> None:
    assert in_order(words.split()) == ordered.split()


def test_of_exec_the_files_variables_stand_before_and_the_processs_behind() -> None:
    found = resolve(["app", "--env-file", "files.env", "exec", "--env-file", "process.env", "web", "env"])
    assert found is not None
    values = parse(load(found[0]), found[1])
    assert values is not None and values["env_files"] == ["files.env"]
    assert values["command"] == ["env"]


@given(
    st.lists(st.sampled_from(["app", "-f", "--file=x", "-p", "up", "exec", "--", "-", "web", "=", "-f=", ""]))
)
def test_no_words_are_lost_or_made_up(words: list[str]) -> None:
    ordered = in_order(words)
    assert ordered is words or (ordered[0] == "app" and len(ordered) >= len(words))
    assert in_order(list(ordered)) == ordered
