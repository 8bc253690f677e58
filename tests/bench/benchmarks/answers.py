"""An object with the chat answers of a hundred thousand requests, made once for all rows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from chatcache import DurableObject, ObjectNamespace

from .provider import ANSWER

__all__ = ["COUNT", "Batches", "Entry", "answer", "answers", "key"]

COUNT = 100_000
_AT_A_TIME = 5_000

Entry = tuple[str, dict[str, Any]]


def key(number: int) -> str:
    return f"answer:{number:09d}"


def answer(number: int) -> dict[str, Any]:
    """Return an answer unlike that of any other number, and as long: 1.9 kB as JSON."""
    return {
        "id": f"chatcmpl-{number:012d}",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": ANSWER, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 331, "completion_tokens": 388, "total_tokens": 719},
    }


class Batches:
    """The keys that a contender reads or writes, batch by batch, all over the file.

    Each contender has one of these, and so the same keys in the same rounds. They are random: a page that SQLite
    remembers is seldom read again (it has room for 2 MB of 200), nor a row that our memory of what was read lately
    holds (8 MB). They are not in the order of the rows either, as keys are not that are made by a hash.
    """

    _written = count(COUNT)  # no number twice: to put equal bytes writes nothing

    def __init__(self, size: int) -> None:
        self._size = size
        self._random = Random(2026)  # noqa: S311 - no secrets

    def keys(self) -> list[str]:
        return [key(self._random.randrange(COUNT)) for _ in range(self._size)]

    def entries(self) -> list[Entry]:
        """Return keys with answers that were never written before."""
        return [(each, answer(next(self._written))) for each in self.keys()]

    def new_entries(self) -> list[Entry]:
        """Return new keys, each behind the one before, with such answers."""
        numbers = [next(self._written) for _ in range(self._size)]
        return [(key(number), answer(number)) for number in numbers]


@contextmanager
def answers(**settings: Any) -> Iterator[DurableObject]:
    """Give the object with the answers, under these settings of its namespace."""
    thing = ObjectNamespace(_folder().name, **settings).get_by_name("answers")
    yield thing
    thing.close()


@cache
def _folder() -> "TemporaryDirectory[str]":
    folder = TemporaryDirectory(prefix="chatcache-bench-")  # deleted when the program ends
    fill(Path(folder.name), "answers", answer)
    return folder


def fill(folder: Path, name: str, value: Callable[[int], Any], rows: int = COUNT) -> None:
    """Make an object with so many rows, and release its file."""
    thing = ObjectNamespace(folder).get_by_name(name)
    for start in range(0, rows, _AT_A_TIME):
        thing.storage.put_many({key(number): value(number) for number in range(start, start + _AT_A_TIME)})
    thing.close()
