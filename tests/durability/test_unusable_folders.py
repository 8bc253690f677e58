"""A folder that becomes unusable while a cache is open: calls go on without it, and use it again once it is mended."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from chatcache import PersistenceError, ResponseCache
from chatcache.storage import database
from tests.forms import FORMS, Provider, ask

Spoil = Callable[[Path], None]


def deleted(folder: Path) -> None:
    shutil.rmtree(folder)


def replaced_by_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder")


def replaced_by_a_loop_of_links(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(folder.name)


def replaced_by_a_link_that_leads_nowhere(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to("nowhere")


def replaced_by_an_empty_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def not_to_be_entered(folder: Path) -> None:
    folder.chmod(0o000)


def not_to_be_written(folder: Path) -> None:
    folder.chmod(0o500)
