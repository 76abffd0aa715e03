"""What the documents say is so: commands exist, links lead somewhere, generated pages are current."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/**/*.md"),
        *ROOT.glob("plugins/**/README.md"),
    ]
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def command_lines() -> Iterator[tuple[str, str]]:
    """Every line of ours in a shell block, with its page; continued lines joined, prompts and comments cut off."""
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text()):
            if language not in ("bash", "sh", "console"):
                continue
            for line in block.replace("\\\n", " ").splitlines():
                text = line.strip()
                if language == "console":
                    if not text.startswith("$ "):
                        continue
                    text = text.removeprefix("$ ")
                text = text.removeprefix("sudo ").removeprefix(".venv/bin/")
                if text.startswith(
                    ("multios-container ", "multios-containerd ", "multios-container-template ")
                ):
                    yield str(page.relative_to(ROOT)), text


def words_of(line: str) -> list[str]:
    """The words of the first simple command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words = []
    for word in lexer:
        if word and set(word) <= set("|&;<>()"):
            break
        words.append(word)
    return words


@pytest.mark.parametrize(("page", "line"), sorted(set(command_lines())))
def test_a_documented_command_exists(page: str, line: str) -> None:
    from multios.cli.click_group import _plugin_command
    from multios.cli.commands import load, resolve
    from multios.cli.grammar import parse
    from multios.daemon import _parser

    program, *words = words_of(line)
    if program == "multios-containerd":
        _parser().parse_args(words)
        return
    if program == "multios-container-template":
        words = ["template", *words]
    if words[-1] == "--help":
        return
    found = resolve(words)
    if found is None and (added := _plugin_command(words[0])):
        _parse_added(added, words)
        return
    assert found is not None, f"{page}: no such command: {line}"
    assert parse(load(found[0]), found[1]) is not None, f"{page}: {line}"


def _parse_added(command: click.Command, words: list[str]) -> None:
    """Let click read the words of a plugin's command, down to the last command of its groups."""
    name, *rest = words
    while isinstance(command, click.Group):
        context = click.Context(command, info_name=name)
        found, following, rest = command.resolve_command(context, rest)
        assert following is not None, f"no such command: {rest}"
        name, command = found or "", following
    command.make_context(name, rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


def test_generated_pages_are_current() -> None:
    subprocess.run([sys.executable, ROOT / "scripts/generate-reference", "--check"], check=True)


def test_every_hook_is_documented_and_tested() -> None:
    from multios import hookspecs

    page = (ROOT / "docs/reference/hooks.md").read_text()
    tests = "".join(
        file.read_text() for folder in ("core/tests", "tests") for file in (ROOT / folder).rglob("*.py")
    )
    for name in vars(hookspecs):
        if name.startswith("multios_"):
            assert f"`{name}`" in page
            assert name in tests or name.removeprefix("multios_") in tests, f"{name} has no test"


def test_nothing_unfinished_or_private_is_left() -> None:
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b|work/" r"shared|work/" r"main")
    for name in files:
        file = ROOT / name
        if file.suffix in (".png", ".svg") or not file.is_file():
            continue
        match = words.search(file.read_text(errors="replace"))
        assert match is None, f"{name}: {match and match[0]}"
