"""docs/cli.md holds what ``--help`` says. To write it anew: ``WRITE=1 pytest tests/docs/test_cli.py``."""

import os
from collections.abc import Iterator
from pathlib import Path

import click

from chatcache.cli.commands import chatcache

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
HEAD = """\
# The command line

From a clone: `pip install '.[cli]'`. Every command takes `--json`. The exit code is 0 if all is well, 1 if what was
asked for was not found or is not as it should be, 2 if the command itself cannot be right. This page is what `--help`
says.
"""


def pages() -> Iterator[str]:
    yield HEAD
    yield helped(chatcache, "chatcache", None)
    context = chatcache.make_context("chatcache", [], resilient_parsing=True)
    for name, command in sorted(chatcache.commands.items()):
        yield f"## {name}\n"
        yield helped(command, name, context)


def helped(command: click.Command, name: str, parent: click.Context | None) -> str:
    context = command.make_context(name, ["--help"], parent, resilient_parsing=True, terminal_width=100)
    return f"```\n{command.get_help(context).strip()}\n```\n"


def test_the_page_says_what_help_says() -> None:
    text = "\n".join(pages())
    if os.environ.get("WRITE"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text


def test_every_command_and_option_says_what_it_does() -> None:
    for name, command in chatcache.commands.items():
        assert command.help, name
        options = [each for each in command.params if isinstance(each, click.Option)]
        assert [each.name for each in options if not each.help] == [], name
