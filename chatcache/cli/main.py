"""The program ``chatcache``."""

import sys

from chatcache.errors import ChatcacheError

__all__ = ["main"]


def main() -> None:
    """Run the program, with the arguments of the command line."""
    try:
        from .commands import chatcache
    except ImportError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.exit(f"chatcache: the command line needs {error.name}: pip install 'chatcache[cli]'")
    try:
        chatcache(prog_name="chatcache")
    except ChatcacheError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201 - a program
        sys.exit(2)
