"""Find random texts in a request, such as a key without a prefix. Answers are not searched for them. Pure.

The mask of a random text holds its digest, so requests with different random texts have different keys. Random texts
that are not secret stay: digests, public keys, URLs, and ids and signatures, recognized by their names.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from .examples import is_random
from .formats import Span

__all__ = ["SORT", "is_opaque", "random_in"]

SORT = "a random text"

_SHORTEST = 32  # characters
_LONG = re.compile(rf"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_=-]{{{_SHORTEST},}}(?![A-Za-z0-9+/_=-])")
_OPAQUE = re.compile(
    r"id|.*_id|ids|.*fingerprint|.*signature|container|.*encrypted.*|.*redacted.*|b64_json|data|url|image_url|file_data|hash|sha\d*"
    r"|etag|thought_signatures?|reasoning_details|name",
    re.IGNORECASE,
)
_URL = re.compile(r"://(?<=[A-Za-z0-9+.-]://)[^\s\"'<>]+")  # after its scheme
_PUBLIC = re.compile(
    r"sha(?:1|224|256|384|512)-|AAAA(?:B3NzaC1|C3NzaC1|E2VjZHNh|Gnsc2g)|M[IF][A-Za-z0-9+/]{2}"
    r"|(?:Qm[1-9A-HJ-NP-Za-km-z]{44}|[13][1-9A-HJ-NP-Za-km-z]{25,33})$"
    r"|(?:chatcmpl|cmpl|msg|resp|run|req|file|asst|thread|batch|call|toolu|tooluse|gen|rs|fc|item|ws|org|proj)[-_]"
)
_BEFORE_PUBLIC = ("SHA256:", "MD5:", 'W/"', "base64,")


def random_in(text: str, name: str, begin: int, end: int) -> Iterator[Span]:
    """Yield the random texts in a part of the text of a name."""
    if end - begin < _SHORTEST or is_opaque(name):
        return
    urls = (match.span() for match in _URL.finditer(text, begin, end)) if "://" in text else iter(())
    url = next(urls, None)
    for match in _LONG.finditer(text, begin, end):
        while url is not None and url[1] <= match.start():
            url = next(urls, None)
        if url is not None and url[0] <= match.end():  # a scheme ends where its URL is found
            continue
        first = match.start() + _is_escape(text, match.start())
        if is_random(text[first : match.end()]) and not _is_public(text, first, match.end()):
            yield Span(first, match.end(), SORT)


@lru_cache(maxsize=4096)
def is_opaque(name: str) -> bool:
    """Whether the texts of a name are random and no secret."""
    return _OPAQUE.fullmatch(name) is not None


def _is_escape(text: str, begin: int) -> bool:
    r"""Whether the first letter at a place belongs to an escape, such as ``\n``."""
    return text[begin - 1 : begin] == "\\" and text[begin] in "nrtbf"


def _is_public(text: str, begin: int, end: int) -> bool:
    return text[max(0, begin - 8) : begin].endswith(_BEFORE_PUBLIC) or _PUBLIC.match(text, begin, end) is not None
