"""The command line: what is in bundles and stores, and what is to be done about it.

Every command takes ``--json``. The exit code is 0 where all is well, 1 where what was asked for was not found or is not
as it should be, and 2 where the command itself cannot be right.
"""

from .main import main

__all__ = ["main"]
