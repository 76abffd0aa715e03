"""The conformance suite of commands that plugins add to the command line.

A command's tests subclass :class:`CommandSuite` and name the click command::

    class TestHello(CommandSuite):
        command = multios_command_hello.command
"""

from __future__ import annotations

from typing import ClassVar

import click
from click.testing import CliRunner


class CommandSuite:
    """What every command must do."""

    command: ClassVar[click.Command]

    def test_it_is_a_click_command_with_a_name(self) -> None:
        assert isinstance(self.command, click.Command)
        assert self.command.name

    def test_it_says_in_one_line_what_it_does(self) -> None:
        assert self.command.get_short_help_str()

    def test_help_answers_without_a_daemon(self) -> None:
        result = CliRunner().invoke(self.command, ["--help"])
        assert result.exit_code == 0, result.output
        assert "Usage" in result.output

    def test_an_unknown_option_is_a_usage_error(self) -> None:
        assert CliRunner().invoke(self.command, ["--no-such-option"]).exit_code == 2
