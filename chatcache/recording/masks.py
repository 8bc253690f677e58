"""What stands for a secret in a recorded call.

The masks of a request decide which requests share a key. A credential that is told by its format, or by its place in
the request, is numbered: ``<<secret>>``, ``<<secret-2>>``. So the key of a request does not depend on which key a run
has. Every other mask holds a digest, so two requests that differ in such a text have two keys:

* of a text that nobody wrote it is a SHA-256, since nobody can guess such a text;
* a password that somebody made up could be found by trying, if a committed file held its SHA-256. Its digest goes
  through scrypt (16 MiB, about 50 ms for each guess), once for all such texts of a request: to try one of them is to
  guess all of them.

Pure.
"""

import re
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from hashlib import scrypt, sha256
from typing import Any, Self

from .examples import is_guessable
from .texts import leaves, mapped

__all__ = ["MARK", "MASK", "Masks", "escaped", "has_marks", "is_replaced", "unescaped"]

MASK = "<<secret>>"
"""The mask of the first credential of a request."""

MARK = re.compile(r"<<(?P<escape>=*)[a-z][a-z0-9_]*(?:-[0-9a-f]+)?>>")
"""A mask or a placeholder. With ``=`` it is literal text of the call: ``<<secret>>`` is recorded as ``<<=secret>>``."""

_NUMBERED = re.compile(r"<<secret(?:-(\d{1,9}))?>>")
_DIGITS = 16  # hex digits of a digest
_COST, _BLOCKS = 2**14, 8  # of scrypt


class Masks:
    """The masks of one call.

    Args:
        taken: the numbers that are not free, since a text has such a mask already.

    Attributes:
        texts: what each mask stands for.
    """

    def __init__(self, taken: Collection[int] = ()) -> None:
        self.texts: dict[str, str] = {}
        self._by_text: dict[str, str] = {}
        self._taken = {*taken}
        self._highest = max(self._taken, default=0)

    @classmethod
    def beside(cls, value: Any) -> Self:
        """Return masks that are none of those that a JSON value has in it already."""
        return cls({number for leaf in leaves(value) if type(leaf.value) is str for number in _numbers_in(leaf.value)})

    def copy(self) -> "Masks":
        """Return a copy, to which other masks can be added."""
        made = Masks(self._taken)
        made.texts, made._by_text = {**self.texts}, {**self._by_text}
        return made

    def get(self, text: str) -> str | None:
        """Return the mask of a text, if it has one."""
        return self._by_text.get(text)

    def numbered(self, text: str) -> str:
        """Return the mask of a text, a numbered one if it has none so far."""
        return self._by_text.get(text) or self.of_place(text)

    def of_place(self, text: str) -> str:
        """Return a numbered mask that no other place has, so equal and different texts have the same masks."""
        number = self._highest + 1 if 1 in self._taken else 1
        self._taken.add(number)
        self._highest = max(self._highest, number)
        mask = MASK if number == 1 else f"<<secret-{number}>>"
        self.texts[mask] = text
        self._by_text.setdefault(text, mask)
        return mask

    def digested(self, texts: Iterable[str]) -> None:
        """Give each of these texts that has no mask one with its digest."""
        new = sorted({text for text in texts if text not in self._by_text})
        guessable = dict.fromkeys(text for text in new if is_guessable(text))
        stretched = _stretched(tuple(guessable)) if guessable else b""
        for text in new:
            key = stretched if text in guessable else b""
            mask = f"<<secret-{sha256(key + _bytes(text)).hexdigest()[:_DIGITS]}>>"
            self.texts[mask] = text
            self._by_text[text] = mask

    def known(self, is_told: Callable[[str], bool]) -> dict[str, str]:
        """Return the texts that are secrets wherever else they stand, with their masks."""
        return {text: mask for text, mask in self._by_text.items() if is_told(text)}


def _numbers_in(text: str) -> set[int]:
    """Return the numbers of the masks in a text."""
    return {int(number or 1) for number in _NUMBERED.findall(text)} if MASK[:-2] in text else set()


def is_replaced(text: str) -> bool:
    """Whether a text is a mask or a placeholder."""
    match = MARK.fullmatch(text)
    return match is not None and not match["escape"]


def has_marks(value: Any) -> bool:
    """Whether a text or a name in a JSON value may look like a mask."""
    match value:
        case str():
            return "<<" in value
        case dict():
            return any("<<" in name or has_marks(item) for name, item in value.items())
        case list() | tuple():
            return any(map(has_marks, value))
        case _:
            return False


def escaped(value: Any) -> Any:
    """Return a JSON value in which no text looks like a mask, so that none shares the key of a masked secret."""
    return mapped(value, lambda text: MARK.sub(_escape, text)) if has_marks(value) else value


def unescaped(text: str) -> str:
    """Return a text as it was before `escaped`."""
    return MARK.sub(_unescape, text)


def _escape(match: re.Match[str]) -> str:
    return f"<<={match.group()[2:]}"


def _unescape(match: re.Match[str]) -> str:
    return f"<<{match.group()[3:]}" if match["escape"] else match.group()


@lru_cache(maxsize=64)
def _stretched(texts: tuple[str, ...]) -> bytes:
    data = b"\0".join(map(_bytes, texts))
    return scrypt(data, salt=b"chatcache", n=_COST, r=_BLOCKS, p=1, dklen=32)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
