"""Short texts, joined so that one search looks at all of them. Pure.

A search costs as much to start as it takes to read some hundred characters, and values such as long lists or streams
hold many short texts. Nothing that is searched for goes on after `BETWEEN`, which stands between two texts.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

__all__ = ["BETWEEN", "Together"]

BETWEEN = '\n"\n'


class Together:
    """Texts, joined.

    Args:
        texts: the texts.

    Attributes:
        text: the joined text.
        begins: the place of each text in it.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.text = BETWEEN.join(texts)
        self.begins = [0, *accumulate(len(text) + len(BETWEEN) for text in texts)][: len(texts)]
        self._texts = texts

    def divided(self, parts: Iterable[tuple[int, int, str]]) -> Iterator[tuple[int, int, int, str]]:
        """Yield the number of the text, and the part in that text, for each part of the joined text.

        Args:
            parts: begins, ends and what belongs to them, in order.
        """
        number, last = -1, 0
        for begin, end, other in parts:
            while begin >= last:
                number += 1
                last = self.begins[number] + len(self._texts[number]) + len(BETWEEN)
            at = self.begins[number]
            yield number, begin - at, min(end - at, len(self._texts[number])), other
