"""``python -m chatcache``: the command line."""

from .cli import main

main()
