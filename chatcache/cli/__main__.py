"""``python -m chatcache.cli``."""

from .main import main

main()
