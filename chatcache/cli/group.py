"""The group of all commands, and what they have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from chatcache.errors import printable
from chatcache.interrupts import raise_interrupt
from chatcache.storage.paths import expanded

from .output import as_json

__all__ = ["FOLDER", "OBJECT", "PATHS", "ExpandedPath", "chatcache", "reading"]


class ExpandedPath(click.Path):
    """A path whose ``~`` is expanded, which a shell does not do in ``--path=~/x``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path.

        Raises:
            InvalidInputError: there is no such home folder.
        """
        return super().convert(expanded(value), param, ctx)


PATHS = click.argument("paths", nargs=-1, type=ExpandedPath(path_type=Path))
FOLDER = click.option("--path", "folder", type=ExpandedPath(path_type=Path), help="The folder of the store's object.")
OBJECT = click.option("--object", "thing", default="default", show_default=True, help="The object of the store.")
_STORE = click.option("--store", help="Take the store of this id, and nothing else.")
_FOLDER = click.option("--path", "folder", type=ExpandedPath(path_type=Path), help="Take the stores in this folder.")
_OBJECT = click.option("--object", "thing", help="Take the stores in this object only.")


def reading(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which records it takes; `places` takes them."""
    for option in (as_json, _OBJECT, _FOLDER, _STORE, PATHS):
        command = option(command)
    return command


class _Group(click.Group):
    """Commands whose errors are printed without what cannot be seen."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            raise_interrupt(error)
            vars(error).update(message=printable(error.message, keep="\n"))
            raise


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chatcache")
def chatcache() -> None:
    """Look into recorded LLM calls, and take care of them.

    PATHS are bundles (*.chatcache), and folders of bundles and stores. Without any, a command takes the bundles in the
    working folder and the folders below it, and the stores in CHATCACHE_DIR, or else in .chatcache.
    """
