"""Texts in a request that nobody wrote, such as a key without a prefix. In an answer nothing looks for them. Pure.

A mask for one of them holds a digest of it, so it can be put back and tells two of them apart. Texts that are random
without being secret stay: digests, public keys, what stands in a URL, and ids and signatures by the names they stand
under.
"""

import re
from collections.abc import Iterator

from .examples import is_random
from .formats import Span

__all__ = ["SORT", "random_in"]

SORT = "a random text"

_SHORTEST = 32  # characters
_LONG = re.compile(rf"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_=-]{{{_SHORTEST},}}(?![A-Za-z0-9+/_=-])")
_OPAQUE = re.compile(
    r"id|.*_id|ids|.*fingerprint|.*signature|container|.*encrypted.*|b64_json|data|url|image_url|file_data|hash|sha\d*"
    r"|etag|thought_signatures?|reasoning_details|name",
    re.IGNORECASE,
)
_URL = re.compile(r"[a-z][a-z0-9+.-]{1,20}://[^\s\"'<>]+", re.IGNORECASE)
_PUBLIC = re.compile(
    r"sha(?:1|224|256|384|512)-|AAAA(?:B3NzaC1|C3NzaC1|E2VjZHNh|Gnsc2g)|M[IF][A-Za-z0-9+/]{2}"
    r"|(?:Qm[1-9A-HJ-NP-Za-km-z]{44}|[13][1-9A-HJ-NP-Za-km-z]{25,33})$"
    r"|(?:chatcmpl|cmpl|msg|resp|run|req|file|asst|thread|batch|call|toolu|tooluse|gen|rs|fc|item|ws|org|proj)[-_]"
)
_BEFORE_PUBLIC = ("SHA256:", "MD5:", 'W/"', "base64,")


def random_in(text: str, name: str, begin: int, end: int) -> Iterator[Span]:
    """Yield the random texts in a part of a text that stands under a name."""
    if end - begin < _SHORTEST or _OPAQUE.fullmatch(name):
        return
    urls = (match.span() for match in _URL.finditer(text, begin, end)) if "://" in text else iter(())
    url = next(urls, None)
    for match in _LONG.finditer(text, begin, end):
        while url is not None and url[1] <= match.start():
            url = next(urls, None)
        if url is not None and url[0] < match.end():
            continue
        first = match.start() + _is_escape(text, match.start())
        if is_random(text[first : match.end()]) and not _is_public(text, first, match.end()):
            yield Span(first, match.end(), SORT)


def _is_escape(text: str, begin: int) -> bool:
    r"""Whether the first letter at a place belongs to an escape, such as ``\n``."""
    return text[begin - 1 : begin] == "\\" and text[begin] in "nrtbf"


def _is_public(text: str, begin: int, end: int) -> bool:
    return text[max(0, begin - 8) : begin].endswith(_BEFORE_PUBLIC) or _PUBLIC.match(text, begin, end) is not None
