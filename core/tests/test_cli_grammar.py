"""The fast parser and click, made from the same tables, read every accepted command line the same way."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multios.cli import click_group, grammar
from multios.cli.commands import ALIASES, COMMANDS, GROUPS, load, resolve
from multios.cli.grammar import FLAG

NAMES = sorted(COMMANDS)
VALUES = [
    "",
    "x",
    "-",
    "-x",
    "--",
    "--name",
    "1",
    "-1",
    "0.5",
    "50%",
    "a=b",
    "=",
    "a=",
    "KEY",
    "ä b",
    "8080:80",
    "auto",
]


def click_reads(name: str, words: list[str]) -> dict[str, Any]:
    """What click makes of ``words``; raises ``click.ClickException`` for what is wrong."""
    command = click_group.command_of(name)
    with command.make_context(name, list(words)) as context:
        return click_group.values_of(load(name), context.params)


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[str, list[str]]:
    name = draw(st.sampled_from(NAMES))
    words: list[str] = []
    options = load(name).options
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.integers(0, 5))
        value = draw(st.sampled_from(VALUES) | st.text(max_size=4).filter(lambda text: "\0" not in text))
        if not options or kind == 0:
            words.append(value)
            continue
        option = draw(st.sampled_from(options))
        flag = draw(st.sampled_from(option.names))
        if option.choices and kind % 2:
            value = option.choices[0]
        short = flag[:2] != "--"
        if kind == 1 and short:
            letters = "".join(
                item.names[i][1]
                for item in options
                for i in range(len(item.names))
                if item.kind == FLAG and item.names[i][:2] != "--"
            )
            words.append(
                "-" + draw(st.text(letters or "z", max_size=2)) + flag[1] + draw(st.sampled_from(["", value]))
            )
        elif kind == 2 and not short:
            words.append(f"{flag}={value}")
        elif kind == 3:
            words.append(flag)
        else:
            words += [flag] if option.kind == FLAG else [flag, value]
    return name, words


@settings(max_examples=600, deadline=None)
@given(command_lines())
def test_what_the_fast_parser_accepts_click_reads_the_same(line: tuple[str, list[str]]) -> None:
    name, words = line
    values = grammar.parse(load(name), words)
    if values is not None:
        assert click_reads(name, words) == values


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_with_examples_that_parse(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = load(name)
    assert command.examples
    for example in command.examples:
        words = shlex.split(example.split(" | ")[0].split(" < ")[0].split(" > ")[0])
        found = resolve(words)
        assert found is not None and load(found[0]) is command, example
        assert grammar.parse(command, found[1]) is not None, example
    with pytest.raises(click.exceptions.Exit):
        click_reads(name, ["--help"])
    shown = capsys.readouterr().out
    assert COMMANDS[name][1] in shown.replace("\n  ", " ")
    assert command.examples[0] in shown


@pytest.mark.parametrize("name", NAMES)
def test_no_command_declares_a_name_or_key_twice(name: str) -> None:
    command = load(name)
    names = [word for option in command.options for word in option.names]
    keys = [item.key for item in (*command.options, *command.arguments)]
    assert len(set(names)) == len(names)
    assert len(set(keys)) == len(keys)
    assert all(option.metavar for option in command.options if option.kind != FLAG)
    assert all(argument.most == 1 and argument.least == 1 for argument in command.arguments[:-1])


def test_every_declared_command_is_in_the_table_and_every_alias_leads_to_one() -> None:
    modules = {module for module, _ in COMMANDS.values()}
    for module in modules:
        declared = set(__import__(f"multios.cli.{module}", fromlist=["COMMANDS"]).COMMANDS)
        assert declared == {name for name, (where, _) in COMMANDS.items() if where == module}
    assert set(ALIASES.values()) <= set(COMMANDS)
    assert {name.split()[0] for name in COMMANDS if " " in name} == set(GROUPS)


def test_options_end_at_the_first_word_of_run_and_exec() -> None:
    values = grammar.parse(load("run"), ["--rm", "-it", "debian:12", "ls", "--rm", "-la"])
    assert values is not None
    assert values["words"] == ["debian:12", "ls", "--rm", "-la"]
    values = grammar.parse(load("exec"), ["-it", "-e", "A=1", "-eB=2", "c", "sh", "-c", "x"])
    assert values is not None
    assert (values["interactive"], values["tty"], values["environment"]) == (True, True, ["A=1", "B=2"])
    assert values["command"] == ["sh", "-c", "x"]


def test_importing_the_tables_does_not_need_click() -> None:
    assert "click" in sys.modules  # this test imports it; the command line's own proof is in test_cli_imports
    assert not any("click" in load(name).run.__code__.co_names for name in NAMES)
