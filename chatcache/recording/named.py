"""Find credentials in a text by the words before them: ``password = ...``, ``https://user:...@host``. Pure.

The name alone is not enough. ``"cookie": "oatmeal raisin"``, ``api_key: ${API_KEY}`` and ``password=getpass()`` stay as
they are; `chatcache.recording.examples` decides whether a value looks like a credential.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from .examples import SHORTEST, is_credible, is_machine_made
from .formats import Span

__all__ = ["SORT", "is_named", "is_of_place", "named_in"]

SORT = "a value under the name of a secret"

# Names of arguments and headers whose value is a credential whatever it looks like.
_OF_PLACE = re.compile(
    r"[\w-]{0,40}(?:api|access|secret|private|subscription|account)[_-]?keys?(?:[_-]id)?|(?:proxy-)?authorization"
    r"|[\w-]{0,40}passw(?:or)?d|passphrase|[\w-]{1,40}[_-]secret|[a-z]{1,40}Secret|set-cookie"
    r"|[\w-]{0,40}(?:auth|access|refresh|id|bearer|session|security|api|ad|hf|bot)[_-]?token",
    re.IGNORECASE,
)
# Names in texts and in answers, whose value is a credential only if it looks like one.
_NAMED = re.compile(
    rf"{_OF_PLACE.pattern}|[\w-]{{0,40}}(?:signing|encryption|master|storage|auth|shared|license|service|deploy|admin"
    r"|session|hmac|webhook|jwt)[_-]?(?:access[_-]?)?keys?|client[_-]key[_-]data|preshared[_-]?key|functions?[_-]key"
    r"|[\w-]{0,40}secret|[\w-]{0,40}pwd|[\w-]{0,40}pass|credentials?|cookie|x?[_-]?auth|_authtoken"
    r"|[\w-]{0,40}(?:token|csrf\w{0,10})|[\w-]{0,10}sess(?:ion)?_?id|connect\.sid",
    re.IGNORECASE,
)
_SIGNED = re.compile(r"sig|(?:x-(?:amz|goog)-)?signature", re.IGNORECASE)  # in the query of an URL
_NO_SECRETS = re.compile(  # that end like the others: parts of a text, and of a list
    r"(?:[\w-]*(?:page|next|prev(?:ious)?|start|end|continuation|cursor|sync|pad|bos|eos|unk|mask|sep|cls|stop|first|last"
    r"|special|max|min|num|per|by|word|sub|image|audio|text|new|completion|prompt|input|output|cached?|reasoning"
    r"|is|has|to|of|out|thought|encrypted|compass|by|tres|surpass|over|under|tres)[_-]?)(?:token|pass|signature)",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"(?:.*[_-])?(?:auth(?!or)\w*|cookie2?|secret|token|credentials?|passw(?:or)?d)"
    r"|.*(?:api|access|secret|subscription|functions?|master|private|auth)[_-]?key",
    re.IGNORECASE,
)

_GIVEN = re.compile(
    r"(?P<keyword>key(?:s|_?id|[_-]data)?|token|secret|passw(?:or)?d|passphrase|pwd|pass|credentials?|cookie|csrf\w{0,10}"
    r"|authorization|auth|sig(?:nature)?|sess(?:ion)?_?id|\.sid)(?P<closed>\\{0,3}[\"'`]?\]?)"
    r"(?P<sep>\s{0,4}(?:=>|:=|={1,2}|:|>)\s{0,4}|\s{1,2}(?:is|was)\s{1,2}|\s{1,2})"
    r"(?P<opened>\\{0,3}[\"'`]?)(?=[^\s\"'`]{5})",
    re.ASCII,
)
_IS = re.compile(r"\s+(?:is|was)\s+")
_LOWER = {ord(each): each.lower() for each in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_KEYWORDS = (
    "key",
    "token",
    "secret",
    "pass",
    "pwd",
    "credential",
    "cookie",
    "csrf",
    "auth",
    "sig",
    "session",
    ".sid",
    "sess",
)
_BEFORE = re.compile(r"[\w.-]{0,40}(?: [\w-]{1,40}){0,2}", re.ASCII)  # read backwards, which takes one look
_PLAIN = re.compile(r"[^\s\"'`,;&()\[\]{}<>|\\]{5,8192}")
_PAIR = re.compile(r"\s?[!#$%&*+.^_|~\w-]{1,64}=([^;\s\"'\\,]{8,4096})")
_LONGEST = 8_192  # characters of a value
_FAR = 100  # characters before a keyword that may belong to its name
_LONG = 64  # characters: what is longer and no credential is not looked at again
_MARKS = ".,;:!?)"  # that end a sentence

_SCHEME = re.compile(
    r"(?:authorization\\{0,3}[\"'`]?\s{0,3}[:=,]\s{0,3}\\{0,3}[\"'`]?(?:[a-z][\w-]{2,20}\s{1,2})?|\b(?:bearer|basic)\s{1,2})"
    r"(?=[a-z+/_=.~:-]{0,200}\d)(?P<value>[a-z0-9+/_=.~:-]{12,8192})",
    re.IGNORECASE | re.ASCII,
)
_USER = re.compile(r"""://[^/\s:@?#"'<>]{0,64}:(?P<value>[^/\s@"'<>]{1,256})@""")
_CURL = re.compile(r"""(?:-u|--(?:proxy-)?user)[ =]["']?[^\s:"']{1,64}:(?P<value>[^\s"']{8,256})""")


def is_of_place(name: str, *, is_header: bool) -> bool:
    """Whether the value of an argument, or of a header, of this name is a credential whatever it looks like."""
    return _is_header(name) if is_header else _is_argument(name)


@lru_cache(maxsize=4096)
def _is_argument(name: str) -> bool:
    return _OF_PLACE.fullmatch(name) is not None


@lru_cache(maxsize=4096)
def _is_header(name: str) -> bool:
    return _HEADER.fullmatch(name) is not None


@lru_cache(maxsize=4096)
def is_named(name: str) -> bool:
    """Whether the value of this name is a credential if it looks like one."""
    return _NAMED.fullmatch(name) is not None and _NO_SECRETS.fullmatch(name) is None


def named_in(text: str, begin: int, end: int) -> Iterator[Span]:
    """Yield the credentials in a part of a text that stand after a name, a scheme or a user; they may overlap."""
    lower = _lower(text[begin:end])
    if any(map(lower.__contains__, _KEYWORDS)):
        yield from _given(text, lower, begin, end)
    if "uthorization" in lower or "earer" in lower or "asic" in lower:
        yield from _values(_SCHEME, text, begin, end)
    if "://" in lower:
        yield from _values(_USER, text, begin, end)
    if "curl" in lower:
        yield from _values(_CURL, text, begin, end)


def _values(pattern: re.Pattern[str], text: str, begin: int, end: int) -> Iterator[Span]:
    for match in pattern.finditer(text, begin, end):
        if is_credible(match["value"]):
            yield Span(*match.span("value"), SORT)


def _lower(text: str) -> str:
    """Return a text in lower case, in which each character has its place."""
    lower = text.lower()
    return lower if len(lower) == len(text) else text.translate(_LOWER)


def _given(text: str, lower: str, begin: int, end: int) -> Iterator[Span]:
    """Yield the credible values of names in a part of a text.

    Args:
        text: the text.
        lower: the part in lower case, to find keywords.
        begin: the start of the part.
        end: its end.
    """
    at = begin
    while (match := _GIVEN.search(lower, at - begin)) is not None:
        at = begin + match.end("sep")
        first = begin + match.end()
        if match["keyword"] == "cookie" and _is_name(lower, match):
            yield from _cookies(text, first, end)
        last = _end_of_value(text, first, end, match["opened"])
        if last - first < SHORTEST:
            continue
        is_secret = is_credible(text[first:last]) and (
            not _IS.fullmatch(match["sep"]) or is_machine_made(text[first:last])
        )
        if (is_secret or last - first > _LONG) and _is_name(lower, match):
            at = max(at, last)
            if is_secret:
                yield Span(first, last, SORT)


def _is_name(text: str, match: re.Match[str]) -> bool:
    """Whether a keyword is the end of a name that a separator follows: of one word, or of two, such as ``api key``."""
    before = _BEFORE.match(text[max(0, match.start() - _FAR) : match.start()][::-1])
    words = f"{'' if before is None else before.group()[::-1]}{match['keyword']}".split(" ")
    last, sep = words[-1], match["sep"]
    if sep.isspace() and not match["closed"]:  # of an option: --password value
        return last.startswith("-") and is_named(last.lstrip("-"))
    if sep == "=" and text[match.end("keyword") - len(last) - 1 : match.end("keyword") - len(last)] in {"?", "&", ";"}:
        return is_named(last) or _SIGNED.fullmatch(last) is not None
    return is_named(last.lstrip("-")) or (len(words) > 1 and is_named("_".join(words[-2:])))


def _end_of_value(text: str, begin: int, end: int, opened: str) -> int:
    """Return the end of the value after a name, or -1 if no value begins there, or a call such as ``getpass()``."""
    if opened.endswith(("'", '"', "`")):
        return _end_of_quoted(text, begin, min(end, begin + _LONGEST), opened)
    found = _PLAIN.match(text, begin, end)
    if found is None:
        return -1
    last = found.end()
    if last < end and text[last] in "([{":
        return -1
    while last > begin and text[last - 1] in _MARKS:
        last -= 1
    return last


def _end_of_quoted(text: str, begin: int, end: int, quote: str) -> int:
    """Return the position of the closing quote, which repeats the backslashes of the opening one, or -1."""
    at = begin
    while (at := text.find(quote, at, end)) >= 0:
        if len(quote) > 1 or text[at - 1] != "\\":
            return at
        at += 1
    return -1


def _cookies(text: str, begin: int, end: int) -> Iterator[Span]:
    """Yield the values of cookies: ``theme=dark; session=...``."""
    while (pair := _PAIR.match(text, begin, end)) is not None:
        if is_credible(pair[1]):
            yield Span(*pair.span(1), SORT)
        begin = pair.end() + (text[pair.end() : pair.end() + 1] == ";")
