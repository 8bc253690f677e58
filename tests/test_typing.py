"""What a type checker says of a user's program, and what Python says of a wrong import."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import chatcache
from chatcache import MissingPackageError

ROOT = Path(__file__).parents[1]

PROGRAM = """
from datetime import timedelta

import langchain_chatcache
import litellm_chatcache
from chatcache import Mode, Refusal, ResponseCache, cached

litellm_chatcache.enable(store_id="s", mode="replay", ttl="90d")
for kind in (ResponseCache, langchain_chatcache.DOCache, litellm_chatcache.DOCache):
    with kind("s", mode="replay", allow=["length", Refusal.EMPTY], ttl=timedelta(days=1)) as cache:
        with cache.using(mode=Mode.OFF), cache.disabled():
            cache.clear()
cache = ResponseCache("s", accept=lambda answer: answer["ok"])


@cached(cache, ttl="12h")
def add(a: int, b: int) -> int:
    return a + b


number: int = add(1, 2)
"""

WRONG = """
import langchain_chatcache
import litellm_chatcache
from chatcache import ResponseCache, cached

one = ResponseCache("s", mode="reply")
two = litellm_chatcache.DOCache("s", mode="reply")
three = langchain_chatcache.DOCache("s", mode="reply")
one.using(mode="reply")
two.using(mode="reply")
one.call({}, len, mode="reply")
four = ResponseCache("s", allow=["too_large"])
five = three.from_env(store_id="s").stats().hits + "1"


@cached(one)
def add(a: int) -> int:
    return a


add("1")
"""


def checked(program: str, folder: Path) -> list[int]:
    """Return the lines at which mypy finds fault with a program, as a user runs it."""
    file = folder / "program.py"
    file.write_text(program)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        f"--cache-dir={ROOT / '.mypy_cache'}",
        "--config-file=",
        str(file),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [int(line) for line in re.findall(r"^[^\n:]*program\.py:(\d+): error", done.stdout, re.MULTILINE)]


def test_what_is_right_passes(tmp_path: Path) -> None:
    assert checked(PROGRAM, tmp_path) == []


def test_a_name_that_is_no_mode_or_reason_is_flagged(tmp_path: Path) -> None:
    assert checked(WRONG, tmp_path) == [6, 7, 8, 9, 10, 11, 12, 13, 21]


@pytest.mark.parametrize(
    ("name", "packages"),
    [
        ("DOCache", {"litellm_chatcache", "langchain_chatcache"}),
        ("enable", {"litellm_chatcache"}),
        ("DONodeCache", {"langchain_chatcache"}),
    ],
)
def test_an_import_from_the_wrong_package_says_which_one_is_right(name: str, packages: set[str]) -> None:
    with pytest.raises(MissingPackageError, match=f"chatcache has no {name}") as error:
        exec(f"from chatcache import {name}", {})  # noqa: S102 - an import as a user writes it
    assert {*re.findall(r"from (\w+) import", str(error.value))} == packages
    assert not hasattr(chatcache, "anything_else")
