"""Find credentials in a text by the words before them: ``password = ...``, ``https://user:...@host``. Pure.

The name alone is not enough. ``"cookie": "oatmeal raisin"``, ``api_key: ${API_KEY}`` and ``password=getpass()`` stay as
they are; `chatcache.recording.examples` decides whether a value looks like a credential.
"""

import re
from collections.abc import Generator, Iterator
from functools import lru_cache

from chatcache.credentials import may_be_credential_name

from .examples import SHORTEST, is_credible, is_guessable, is_machine_made
from .formats import Span

__all__ = ["SORT", "in_setting", "is_address_or_headers", "is_headers", "is_named", "named_in", "names_secret"]

SORT = "a value under the name of a secret"

_SESSION = re.compile(r"[\w-]{0,10}sess(?:ion)?_?id|connect\.sid|csrf\w{0,10}", re.IGNORECASE)  # of cookies
_SIGNED = re.compile(r"sig|(?:x-(?:amz|goog)-)?signature", re.IGNORECASE)  # in the query of a URL

_GIVEN = re.compile(
    r"(?P<keyword>key(?:s|_?id|[_-]data)?|token|secret|passw(?:or)?d|passphrase|pwd|pass|credentials?|cookie|csrf\w{0,10}"
    r"|authorization|auth|sig(?:nature)?|sess(?:ion)?_?id|\.sid)(?P<closed>\\{0,3}[\"'`]?\]?)"
    r"(?P<sep>\s{0,4}(?:=>|:=|={1,2}|:|>)\s{0,4}|\s{1,2}(?:is|was)\s{1,2}|\s{1,2})"
    r"(?P<opened>\\{0,3}[\"'`]?)(?=[^\s\"'`]{5}\S{3})",
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
_BEFORE = re.compile(r"[\w.-]{0,60}(?: [\w-]{1,40}){0,2}", re.ASCII)  # read backwards, which takes one look
_PLAIN = re.compile(r"[^\s\"'`,;&()\[\]{}<>|\\]+")
_PAIR = re.compile(r"\s?[!#$%&*+.^_|~\w-]{1,64}=([^;\s\"'\\,]{8,4096})")
_LONGEST = 8_192  # characters of a value
_FAR = 100  # characters before a keyword that may belong to its name
_LONG = 64  # characters: a longer value is not searched for further names
_SPACE = re.compile(r"\s")
_MARKS = ".,;:!?)"  # that end a sentence

_SCHEME = re.compile(
    r"(?:authorization\\{0,3}[\"'`]?\s{0,3}[:=,]\s{0,3}\\{0,3}[\"'`]?(?:[a-z][\w-]{2,20}\s{1,2})?|\b(?:bearer|basic)\s{1,2})"
    r"(?P<value>[a-z0-9+/_=.~:-]{12,8192})",
    re.ASCII,
)
_DIGIT = re.compile(r"[^0-9]{0,200}[0-9]")  # of the value after a scheme, or it may be a word
_USER = re.compile(r"""://[^/\s:@?#"'<>]{0,64}:(?P<value>[^/\s@"'<>]{1,256})@""")
_CURL = re.compile(r"""(?:-u|--(?:proxy-)?user)[ =]["']?[^\s:"']{1,64}:(?P<value>[^\s"']{8,256})""")

_PASSWORD = re.compile(r"""(?:://|^(?!\w+://))[^/\s:@?#"'<>]{0,64}:(?P<value>(?:(?!://)[^\s@?#"'<>]){1,256})@""")
_PARAMETER = re.compile(r"[?&;](?P<name>[\w.-]{1,64})=(?P<value>[^&;#\s<>]{1,8192})")
_LINE = re.compile(r"^(?P<name>[\w-]{1,64}):[ \t]*(?P<value>[^\s<>][^\r\n]{0,8191})", re.MULTILINE)
_IN_QUERY = frozenset({"key", "sig", "signature", "token"})
_ADDRESS = re.compile(
    r"(?:.*[_-])?(?:address|api_?base|base|endpoint|host|https?|proxy|proxies|uri|url)", re.IGNORECASE
)


def in_setting(text: str, name: str) -> Iterator[Span]:
    """Yield the credentials in an address, or in headers, told by its name, whatever they look like."""
    if is_headers(name):
        yield from _settings(_LINE, text)
    elif _ADDRESS.fullmatch(name) and " " not in text:
        yield from _settings(_PARAMETER, text)
        yield from (Span(*match.span("value"), SORT) for match in _PASSWORD.finditer(text))


def is_headers(name: str) -> bool:
    """Whether the texts of this name are headers."""
    lower = name.lower()
    return lower == "headers" or lower.endswith("_headers")


@lru_cache(maxsize=4096)
def is_address_or_headers(name: str) -> bool:
    """Whether a text of this name may hold further credentials; see `in_setting`."""
    return is_headers(name) or _ADDRESS.fullmatch(name) is not None


def _settings(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    for match in pattern.finditer(text):
        if match["name"].lower() in _IN_QUERY or may_be_credential_name(match["name"]):
            yield Span(*match.span("value"), SORT)


def is_named(name: str) -> bool:
    """Return whether the value of this name is a credential if it looks like one."""
    return may_be_credential_name(name) or _SESSION.fullmatch(name) is not None


@lru_cache(maxsize=4096)
def names_secret(name: str) -> bool:
    """Return whether the text of a member of this name is a credential if it looks like one."""
    return is_named(name) or name.lower().endswith("-key")


def named_in(text: str, begin: int, end: int) -> Iterator[Span]:
    """Yield the credentials in a part of a text that stand after a name, a scheme or a user; they may overlap."""
    lower = _lower(text[begin:end])
    if any(map(lower.__contains__, _KEYWORDS)):
        yield from _given(text, lower, begin, end)
    if "uthorization" in lower or "earer" in lower or "asic" in lower:
        for match in _SCHEME.finditer(lower):
            first, last = match.span("value")
            value = text[begin + first : begin + last]
            if _DIGIT.match(value) and is_credible(value):
                yield Span(begin + first, begin + last, SORT)
    if "://" in lower:
        yield from _values(_USER, text, begin, end)
    if "curl" in lower:
        yield from _values(_CURL, text, begin, end)


def _values(pattern: re.Pattern[str], text: str, begin: int, end: int) -> Iterator[Span]:
    for match in pattern.finditer(text, begin, end):
        if is_credible(match["value"]):
            yield Span(*match.span("value"), SORT)


def _lower(text: str) -> str:
    """Return a text of the same length in lower case."""
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
    at = cookies = run = last_of_run = begin
    for match in _GIVEN.finditer(lower):
        if begin + match.start() < at:
            continue
        first = begin + match.end()
        keyword, closed, sep, opened = match.groups()
        keyword_end = begin + match.end("keyword")
        if keyword == "cookie" and first >= cookies and _is_name(text, keyword_end, closed, sep, ""):
            cookies = yield from _cookies(text, first, end)
        if opened and opened[-1] != "\\":
            last = _end_of_quoted(text, first, min(end, first + _LONGEST), opened)
        else:
            if first >= run:  # or it ends as the value before, which holds it
                run, last_of_run = _end_of_plain(text, first, end)
            last = last_of_run
        if not SHORTEST <= last - first <= _LONGEST:
            continue
        value = text[first:last]
        if len(value) > _LONG:  # to read the value takes longer than to read the name
            if not _is_name(text, keyword_end, closed, sep, value):
                continue
            at = last
            is_secret = _is_secret(value, sep)
        else:
            is_secret = _is_secret(value, sep) and _is_name(text, keyword_end, closed, sep, value)
        if is_secret:
            at = last
            yield Span(first, last, SORT)


def _is_secret(value: str, sep: str) -> bool:
    """Whether a value is a credential; in a sentence, such as ``the password is ...``, it must be mixed as well."""
    return is_credible(value) and (not _IS.fullmatch(sep) or is_machine_made(value))


def _is_name(text: str, end: int, closed: str, sep: str, value: str) -> bool:
    """Whether a keyword is the end of a name that a separator follows: of one word, or of two, such as ``api key``.

    Args:
        text: the text.
        end: the end of the keyword.
        closed: the quotes and brackets between the keyword and the separator.
        sep: the separator. After a space, such as in ``the token ...``, only a random value counts, except for an
            option, such as ``--password ...``.
        value: the value.
    """
    before = _BEFORE.match(text[max(0, end - _FAR) : end][::-1])
    words = "" if before is None else before[0][::-1]
    last = words.rpartition(" ")[2]
    if sep.isspace() and not closed:
        return is_named(last) and (last[:1] == "-" or not is_guessable(value))
    if is_named(last):
        return True
    if sep == "=" and _SIGNED.fullmatch(last):
        return text[end - len(last) - 1 : end - len(last)] in {"?", "&", ";"}
    return last is not words and is_named("_".join(words.split(" ")[-2:]))


def _end_of_plain(text: str, begin: int, end: int) -> tuple[int, int]:
    """Return the end of a run of characters without quotes, and the end of the value in it.

    The value ends before punctuation. A call such as ``getpass()`` is not a value.
    """
    found = _PLAIN.match(text, begin, end)
    if found is None:
        return begin, begin
    run = found.end()
    return run, begin if run < end and text[run] in "([{" else begin + len(found[0].rstrip(_MARKS))


def _end_of_quoted(text: str, begin: int, end: int, quote: str) -> int:
    """Return the end of a quoted value, or -1 if it has spaces: then it is no credential, but may hold one.

    The closing quote repeats the backslashes of the opening one.
    """
    at = begin
    while (at := text.find(quote, at, end)) >= 0:
        if len(quote) > 1 or text[at - 1] != "\\":
            return at if _SPACE.search(text, begin, at) is None else -1
        at += 1
    return -1


def _cookies(text: str, begin: int, end: int) -> Generator[Span, None, int]:
    """Yield the values of cookies, ``theme=dark; session=...``, and return the end of the last one."""
    while (pair := _PAIR.match(text, begin, end)) is not None:
        if is_credible(pair[1]):
            yield Span(*pair.span(1), SORT)
        begin = pair.end() + (text[pair.end() : pair.end() + 1] == ";")
    return begin
