"""Known texts, found in one pass whatever their number. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

__all__ = ["Literals"]

_FEW = 16  # texts: up to this number, it is faster to check first whether any of them occurs
_HEAD = 4  # characters: texts are looked up by their first ones


class Literals:
    """Texts to replace, each by its own replacement.

    A text that is part of a longer word is not found. If two texts begin at one place, the longer one counts.

    Args:
        replacements: the replacement of each text. Texts of less than 4 characters are left out.
    """

    def __init__(self, replacements: Mapping[str, str]) -> None:
        self._replacements = {text: other for text, other in replacements.items() if len(text) >= _HEAD}

    def __bool__(self) -> bool:
        return bool(self._replacements)

    def find(self, text: str, parts: Sequence[tuple[int, int]] | None = None) -> Iterator[tuple[int, int, str]]:
        """Yield the begin, the end and the replacement of each known text, in order and without overlaps.

        Args:
            text: the text to search.
            parts: the begins and ends of the parts to search, by default the whole text.
        """
        if len(self._replacements) <= _FEW and not any(each in text for each in self._replacements):
            return
        for at, end in [(0, len(text))] if parts is None else parts:
            if end - at >= _HEAD:
                yield from self._in_part(text, at, end)

    def _in_part(self, text: str, at: int, end: int) -> Iterator[tuple[int, int, str]]:
        for match in self._heads.finditer(text, at, end):
            begin = match.start()
            if begin >= at and text[begin : begin + _HEAD] in self._sizes:
                found = self._at(text, begin, end)
                if found is not None:
                    at = begin + len(found)
                    yield begin, at, self._replacements[found]

    def replaced(self, text: str) -> str:
        """Return a text with each known text replaced."""
        parts, at = [], 0
        for begin, end, other in self.find(text):
            parts += [text[at:begin], other]
            at = end
        return "".join([*parts, text[at:]]) if parts else text

    def _at(self, text: str, begin: int, end: int) -> str | None:
        """Return the longest known text that begins at a place, and is over at the end of the part."""
        for size in self._sizes[text[begin : begin + _HEAD]]:
            known = text[begin : begin + size]
            if (
                begin + size <= end
                and known in self._replacements
                and not (known[-1].isalnum() and text[begin + size : begin + size + 1].isalnum())
            ):
                return known
        return None

    @cached_property
    def _sizes(self) -> dict[str, list[int]]:
        """The lengths of the texts that begin with the same characters, the longest first."""
        sizes: dict[str, set[int]] = {}
        for text in self._replacements:
            sizes.setdefault(text[:_HEAD], set()).add(len(text))
        return {head: sorted(each, reverse=True) for head, each in sizes.items()}

    @cached_property
    def _heads(self) -> re.Pattern[str]:
        """The pattern of the first character of a known text."""
        firsts = {text[0] for text in self._replacements}
        words = "".join(sorted(each for each in firsts if each.isalnum()))
        others = "".join(sorted(firsts - {*words}))
        parts = [rf"(?:(?<![0-9a-zA-Z])|(?<=\\[nrtbf]))[{re.escape(words)}]"] if words else []
        return re.compile("|".join([*parts, *([f"[{re.escape(others)}]"] if others else [])]))
