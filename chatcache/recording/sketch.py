"""What a request looks like, in 64 bits: requests that are alike have sketches that are alike.

Each word of a request falls into one of 64 buckets, and a bucket's bit is one of the least of its words' hashes. Of two
requests as many bits are equal as, in expectation, they have words in common, and a half of the others: a one-bit
MinHash (Li and König, 2010) with one permutation. It only says which records are worth a look when a miss is explained.
Pure.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from zlib import crc32

from chatcache.keys import canonical_json

from .payloads import outside_payloads
from .texts import Edit, Leaf, Part, rewritten

__all__ = ["SKETCH", "distance", "sketch_of", "words_in", "words_of"]

SKETCH = 16  # hex digits
_BETWEEN = b"\"'{}[](),:;.!?"  # words, beside white space
_APART = bytes.maketrans(_BETWEEN, b" " * len(_BETWEEN))
_HEAD = 64  # characters of a payload
_BUCKETS = 64
_MIX = 0x9E3779B1


def sketch_of(request: Any) -> str:
    """Return the sketch of a request, a JSON value: 16 hex digits."""
    least = [1 << 32] * _BUCKETS
    for word in {*words_of(rewritten(request, _shortened))}:
        value = crc32(word) * _MIX & 0xFFFFFFFF  # the CRCs of short words are alike
        bucket = value >> 26
        least[bucket] = min(least[bucket], value & 0x3FFFFFF)
    bits = sum((value & 1) << bucket for bucket, value in enumerate(least))
    return f"{bits:0{SKETCH}x}"


def _shortened(leaves: Sequence[Leaf]) -> Iterator[Part]:
    return ((number, *edit) for number, leaf in enumerate(leaves) for edit in _ends_of_payloads(leaf.value))


def _ends_of_payloads(text: str) -> list[Edit]:
    """Return the edits of a text that leave the beginning of each payload, which is enough to tell it."""
    made, at = list[Edit](), 0
    for begin, end in [*outside_payloads(text), (len(text), len(text))]:
        if begin - at > _HEAD:
            made.append((at + _HEAD, begin, ""))
        at = end
    return made


def distance(one: int, other: int) -> int:
    """Return how many bits of two sketches are not equal."""
    return (one ^ other).bit_count()


def words_of(request: Any) -> list[bytes]:
    """Return the words of a request, names among them, in order."""
    return words_in(canonical_json(request))


def words_in(text: bytes) -> list[bytes]:
    """Return the words of JSON, or of a part of it, in order."""
    return text.translate(_APART).split()
