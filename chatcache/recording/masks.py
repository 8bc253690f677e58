"""Masks, which replace secrets in a recorded call.

Masks decide which requests share a key. A credential in the place of one, or from the environment, gets a number:
``<<secret>>``, ``<<secret-2>>``. So the key of a request does not depend on the API key of the run. Any other mask in a
request holds a digest, so requests with different texts have different keys, even if a text only looks like a secret:

* a random text gets a SHA-256 digest, because nobody can guess the text;
* a made-up password could be guessed from its SHA-256, so its digest goes through scrypt (16 MiB, about 50 ms per
  guess). One scrypt covers all passwords of a request: an attacker has to guess all of them at once.

Text of a call that looks like a mask is escaped; see `MARK`. Pure.
"""

import re
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from hashlib import scrypt, sha256
from typing import Any, Self

from .examples import is_guessable
from .texts import leaves, mapped

__all__ = ["MARK", "MASK", "Masks", "escaped", "has_marks", "is_replaced", "unescaped", "unmasked"]

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
        taken: the numbers of masks that the call contains already.

    Attributes:
        texts: the secret behind each mask.
    """

    def __init__(self, taken: Collection[int] = ()) -> None:
        self.texts: dict[str, str] = {}
        self._by_text: dict[str, str] = {}
        self._highest = max(taken, default=0)
        self._next = self._highest + 1 if 1 in taken else 1

    @classmethod
    def beside(cls, value: Any) -> Self:
        """Return masks that avoid the numbers in a JSON value."""
        return cls({number for leaf in leaves(value) for number in _numbers_in(leaf.value)} if has_marks(value) else ())

    def copy(self) -> "Masks":
        """Return an independent copy."""
        made = Masks()
        made.texts, made._by_text = {**self.texts}, {**self._by_text}
        made._highest, made._next = self._highest, self._next
        return made

    def get(self, text: str) -> str | None:
        """Return the mask of a text, or None."""
        return self._by_text.get(text)

    def numbered(self, text: str) -> str:
        """Return the mask of a text. If it has no mask, add a numbered one."""
        return self._by_text.get(text) or self.of_place(text)

    def of_place(self, text: str) -> str:
        """Add a numbered mask for one place, so masks do not reveal whether two places hold equal texts."""
        number = self._next
        self._highest = max(self._highest, number)
        self._next = self._highest + 1
        mask = MASK if number == 1 else f"<<secret-{number}>>"
        self.texts[mask] = text
        self._by_text.setdefault(text, mask)
        return mask

    def digested(self, texts: Iterable[str], random: Iterable[str] = ()) -> None:
        """Add a mask with a digest for each text without a mask.

        Args:
            texts: the texts.
            random: further texts, which nobody can guess.
        """
        new = sorted({text for text in texts if text not in self._by_text})
        guessable = tuple(text for text in new if is_guessable(text))
        self._add_digests(guessable, _stretched(guessable) if guessable else b"")
        self._add_digests((*new, *random), b"")

    def _add_digests(self, texts: Iterable[str], key: bytes) -> None:
        for text in texts:
            if text not in self._by_text:
                mask = f"<<secret-{sha256(key + _bytes(text)).hexdigest()[:_DIGITS]}>>"
                self.texts[mask] = text
                self._by_text[text] = mask

    def known(self, is_told: Callable[[str], bool]) -> dict[str, str]:
        """Return the masks of the texts to mask wherever they occur, by text."""
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
    waiting = [value]
    for each in waiting:  # it grows: a call for each list would take longer than all else
        if type(each) is str:
            if "<<" in each:
                return True
        elif type(each) is dict:
            waiting += each
            waiting += each.values()
        elif type(each) in {list, tuple}:
            waiting += each
    return False


def escaped(value: Any) -> Any:
    """Return a JSON value in which no text looks like a mask, so that none shares the key of a masked secret."""
    return mapped(value, lambda text: MARK.sub(_escape, text)) if has_marks(value) else value


def unescaped(text: str) -> str:
    """Return a text as it was before `escaped`."""
    return MARK.sub(_unescape, text)


def unmasked(value: Any) -> tuple[Any, bool]:
    """Return a recorded JSON value as it was before `escaped`, and whether it is all there: whether it has no masks."""
    if not has_marks(value):
        return value, True
    masks: list[str] = []

    def restored(text: str) -> str:
        masks.extend(match.group() for match in MARK.finditer(text) if not match["escape"])
        return unescaped(text)

    return mapped(value, restored), not masks


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
