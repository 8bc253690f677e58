"""Requests that are asked for again and again: they find their records in memory by what they are, without their keys.

To compute the key of a request, a SHA-256, and to go through the layers of the store is much of what a hit in memory
takes otherwise.
"""

from collections.abc import Callable
from typing import Any

from chatcache.backing import ObjectStore
from chatcache.interrupts import raise_interrupt, suppress

__all__ = ["Repeats"]

_MOST = 8_192  # requests that are known to have been asked for


class Repeats:
    """The requests of one store that were asked for before.

    Who asks for something once does not pay for it to be remembered: that is for the second time, and of use from the
    third on.

    Args:
        store: the store of the records.
        store_id: its id.
        hit: is told what a record saves that was recalled.
    """

    def __init__(self, store: ObjectStore, store_id: str, hit: Callable[[list[Any]], None]) -> None:
        self._store = store
        self._prefix = f"{store_id}\n".encode()  # of which there is none in a canonical form
        self._hit = hit
        self._asked: set[int] = set()

    def asked(self, canonical: bytes) -> bytes | None:
        """Take note that a request is asked for; return its name, or None where it is the first time."""
        asked = hash(canonical)
        if asked in self._asked:
            return self._prefix + canonical
        if len(self._asked) >= _MOST:
            self._asked.clear()
        self._asked.add(asked)
        return None

    def recall(self, name: bytes, absent: Any) -> Any:
        """Return the answer that is remembered under a name, counted as a hit, or `absent`."""
        try:
            record = self._store.recall(name)
        except Exception as error:  # noqa: BLE001 - whatever the store raises, `lookup` is asked next
            raise_interrupt(error)
            return absent
        if type(record) is not dict or "answer" not in record or type(record.get("saves")) is not list:
            return absent
        self._hit(record["saves"])
        return record["answer"]

    def remember(self, name: bytes, key: str) -> None:
        """Remember the record of a key, which was read just now, under a name."""
        with suppress(Exception):  # the answer is there, and the next lookup finds it without its name
            self._store.remember(key, name)
