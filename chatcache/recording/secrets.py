"""Secrets, which are in no record: what looks like one is masked before it is keyed, and before it is written.

A secret is a text of the form in which a provider makes its keys, the value under a name such as ``api_key`` or
``Authorization``, also within a text, the value of an environment variable of such a name, or a text of so many
different characters that nobody wrote it. Ids, signatures and images are such texts, too: what stands under their names
is left.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from itertools import chain
from typing import Any

__all__ = ["MASK", "Masks", "is_told", "known_in", "named_in", "scrubbed", "secrets_in", "secrets_of"]

Masks = dict[str, str]
"""What was masked, and by what."""

MASK = "<<secret>>"
"""The mask of what is a secret for sure: the key of a request does not depend on which one it is."""

_RANDOM = "a random text"
_FORMS = {
    "Anthropic key": r"sk-ant-[\w-]{20,}",
    "OpenRouter key": r"sk-or-v1-[0-9a-f]{40,}",
    "OpenAI key": r"sk-(?:proj|svcacct|admin)-[\w-]{20,}",
    "API key": r"sk-(?:[A-Za-z0-9]{1,20}[_-]){0,4}(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{16,}[\w-]*",
    "Google key": r"AIza[\w-]{35}",
    "Google token": r"ya29\.[\w-]{20,}",
    "AWS key id": r"(?:AKIA|ASIA)[0-9A-Z]{16}",
    "Groq key": r"gsk_[A-Za-z0-9]{40,}",
    "Hugging Face token": r"hf_[A-Za-z0-9]{30,}",
    "xAI key": r"xai-[A-Za-z0-9]{40,}",
    "Perplexity key": r"pplx-[A-Za-z0-9]{40,}",
    "NVIDIA key": r"nvapi-[\w-]{40,}",
    "Replicate token": r"r8_[A-Za-z0-9]{30,}",
    "Tavily key": r"tvly-[\w-]{20,}",
    "LangSmith key": r"lsv2_(?:pt|sk)_[0-9a-f_]{30,}",
    "GitHub token": r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{40,}",
    "GitLab token": r"glpat-[\w-]{20,}",
    "Slack token": r"xox[abprs]-[A-Za-z0-9-]{10,}",
    "Stripe key": r"(?:sk|rk)_live_[A-Za-z0-9]{20,}",
    "JSON Web Token": r"eyJ[\w-]{8,4000}\.eyJ[\w-]{8,8000}\.[\w-]{8,}",
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?!-----BEGIN).)*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    "credentials in a header": r"(?:[Bb]earer|[Bb]asic) (?=[A-Za-z+/_=.~-]*\d)[A-Za-z0-9+/_=.~-]{16,}",
}
_SORTS = [*_FORMS]
# what is in each text in which `_form` finds something, and a quicker search
_HINTS = (
    *("sk-", "AIza", "ya29.", "AKIA", "ASIA", "gsk_", "hf_", "xai-", "pplx-", "nvapi-", "r8_", "tvly-", "lsv2_"),
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "_live_", "eyJ"),
    *("PRIVATE KEY", "earer ", "asic "),
)

_NAME = (
    r"(?:[\w-]{0,40}(?:api|access|secret|private|subscription|account)[_-]?keys?(?:[_-]id)?|(?:proxy-)?authorization"
    r"|[\w-]{0,40}passw(?:or)?d|passphrase|[\w-]{0,40}secret|(?:set-)?cookie"
    r"|[\w-]{0,40}(?:auth|access|refresh|id|bearer|session|security|api|ad|hf|bot)[_-]?token)"
)
_NAMED = re.compile(_NAME, re.IGNORECASE)
# the same of `_given`
_NAME_HINTS = ("key", "authorization", "passw", "passphrase", "secret", "cookie", "token", "://")
_REPLACED = re.compile(r"<<[a-z][a-z0-9_]*(?:-[0-9a-f]+)?>>")  # by a mask, or as what is volatile
_LONG = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_=-]{32,}(?![A-Za-z0-9+/_=-])")
_LONGEST = 200  # characters; what is longer is data, such as an image
_SHORTEST_RANDOM = 20  # characters
_LEAST_ENTROPY = 3.8  # bits a character
_NO_SECRETS = re.compile(
    r"id|.*_id|ids|.*fingerprint|.*signature|container|.*encrypted.*|b64_json|data|url|image_url|file_data|hash|sha\d*"
    r"|etag|thought_signatures?|reasoning_details|name",
    re.IGNORECASE,
)
_ENDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIALS")  # of names of environment variables
_ENDS_IN_BYTES = tuple(end.encode() for end in _ENDS)
_SHORTEST = 12  # characters, of a secret in the environment
_SHORTEST_WITHIN, _SHORTEST_FORM = 7, 15  # characters, of a text that holds one, and of one that is known by its form
_TOLD = re.compile(r"(?=.*\d)(?=.*[A-Za-z]).{8,}", re.DOTALL)
_SCHEMA = {"type", "anyOf", "oneOf", "allOf", "$ref", "enum"}  # some of which are in each JSON schema


def scrubbed(value: Any, masks: Masks | None = None, *, random: bool = True) -> Any:
    """Return a JSON value with a mask in the place of each secret.

    Args:
        value: the value.
        masks: what was masked before, with its masks, to which is added what is masked now.
        random: whether texts that nobody wrote count as secrets. In an answer they do not: what a model says is used,
            as the argument of a tool, for example. Their masks are made of them, since they may be no secrets.
    """
    masks = {} if masks is None else masks
    if _holds_named(value):
        for text in filter(_is_secret, named_in(value)):
            _mask(text, "", masks)
    own = [*_of_the_environment(), *filter(is_told, masks)]
    return _Scrubbing(own, random).of(value, "", masks)


def is_told(secret: str) -> bool:
    """Whether a secret is one wherever else it stands, and no word, as the value of a key for nothing may be."""
    return _TOLD.fullmatch(secret) is not None


def named_in(value: Any) -> list[str]:
    """Return what stands under the names of secrets in a JSON value, as text."""
    return [str(leaf) for _, name, leaf in _leaves(value, "$", "") if _is_named(name)]


def known_in(text: str) -> list[str]:
    """Return the sorts of the secrets in a text that have the form of one, or are of this process."""
    return [span.sort for span in _Scrubbing(_of_the_environment(), random=False).known_in(text)]


def secrets_of(request: Any, answer: Any) -> list[str]:
    """Return what secrets a call holds, as `secrets_in` does."""
    return [*secrets_in(request), *secrets_in(answer, random=False)]


def secrets_in(value: Any, *, random: bool = True) -> list[str]:
    """Return what secrets a JSON value holds, each as its sort and where it is; for what was scrubbed that is none.

    Also looked at are names, and what the chunks of a stream say together.

    Args:
        value: the value.
        random: as in `scrubbed`.
    """
    by = _Scrubbing(_of_the_environment(), random)
    found, said = [], dict[str, str]()
    for path, name, leaf in _leaves(value, "$", ""):
        found += [f"{sort} at {path}" for sort in by.sorts(leaf, name)]
        if isinstance(leaf, str):
            spot = re.sub(r"\[\d+\]", "[]", path)
            said[spot] = said.get(spot, "") + leaf
    if not found:
        together = ((path, span) for path, text in said.items() for span in by.known_in(text))
        found = [f"{span.sort} over several texts at {path}" for path, span in together]
    return found


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a secret is in a text, and what sort of one it is."""

    begin: int
    end: int
    sort: str


@dataclass(frozen=True, slots=True)
class _Scrubbing:
    """What is a secret.

    Attributes:
        own: the secrets of this process.
        random: whether texts that nobody wrote are some.
    """

    own: Sequence[str]
    random: bool

    def of(self, value: Any, name: str, masks: Masks) -> Any:
        """Return a value that stands under a name, with its secrets masked."""
        match value:
            case str():
                return self._of_text(value, name, masks)
            case dict():
                return {each: self.of(item, _within(name, value, each), masks) for each, item in sorted(value.items())}
            case list() | tuple():
                return [self.of(item, name, masks) for item in value]
            case int() | float() if type(value) is not bool and _is_named(name):
                return _mask(str(value), "", masks)
            case _:
                return value

    def sorts(self, leaf: Any, name: str) -> Iterator[str]:
        """Yield the sorts of the secrets that a text or a number under a name holds."""
        if _is_named(name) and _is_secret(str(leaf)):
            yield f"the value under {name!r}"
        elif isinstance(leaf, str):
            yield from (span.sort for span in self._spans(leaf, name))

    def _of_text(self, text: str, name: str, masks: Masks) -> str:
        if _is_named(name) and _is_secret(text):
            return _mask(text, "", masks)
        if len(text) < _SHORTEST_WITHIN:
            return text
        parts, at = [], 0
        for span in self._spans(text, name):
            parts += [text[at : span.begin], _mask(text[span.begin : span.end], span.sort, masks)]
            at = span.end
        return "".join([*parts, text[at:]]) if parts else text

    def _spans(self, text: str, name: str) -> Iterator[_Span]:
        """Yield where the secrets of a text are, in order, none over another."""
        end = 0
        spans = [*self._all_spans(text, name)]
        for span in sorted(spans, key=lambda span: (span.begin, -span.end)) if spans else ():
            if span.end > end:
                yield _Span(max(span.begin, end), span.end, span.sort)
                end = span.end

    def _all_spans(self, text: str, name: str) -> Iterator[_Span]:
        yield from self.known_in(text)
        lower = text.lower()
        if any(map(lower.__contains__, _NAME_HINTS)):
            for match in chain.from_iterable(pattern.finditer(text) for pattern in _given()):
                begin, end = match.span(str(match.lastgroup))
                if not _REPLACED.search(text, begin, end):
                    yield _Span(begin, end, "a value under the name of a secret")
        if self.random and len(text) >= _SHORTEST_RANDOM and not _NO_SECRETS.fullmatch(name):
            for match in _LONG.finditer(text):
                if _is_random(match.group()):
                    yield _Span(match.start(), match.end(), _RANDOM)

    def known_in(self, text: str) -> Iterator[_Span]:
        """Yield where a text has the form of a secret, or one of this process."""
        for secret in self.own:
            if secret in text:
                for match in re.finditer(re.escape(secret), text):
                    yield _Span(match.start(), match.end(), "the value of an environment variable")
        if len(text) >= _SHORTEST_FORM and any(map(text.__contains__, _HINTS)):
            for match in _form().finditer(text):
                yield _Span(match.start(), match.end(), _SORTS[int(str(match.lastgroup)[1:])])


def _mask(text: str, sort: str, masks: Masks) -> str:
    if text not in masks:  # one that is random may be no secret: another text has another mask
        masks[text] = f"<<secret-{sha256(text.encode()).hexdigest()[:8]}>>" if sort == _RANDOM else MASK
    return masks[text]


def _within(name: str, value: dict[str, Any], each: str) -> str:
    """Return what a member of an object stands under: all in an object under the name of a secret is one."""
    return name if _is_named(name) and _SCHEMA.isdisjoint(value) else each


def _is_secret(text: str) -> bool:
    """Whether a text that stands under the name of a secret is one, and was not replaced so far."""
    return bool(text) and _REPLACED.fullmatch(text) is None


def _holds_named(value: Any) -> bool:
    """Whether a JSON value has the name of a secret in it."""
    if type(value) is dict:
        return any(map(_is_named, value)) or any(map(_holds_named, value.values()))
    return type(value) in {list, tuple} and any(map(_holds_named, value))


@cache
def _form() -> re.Pattern[str]:
    """Return the pattern of what has the form of a secret. It takes a while to be made, and few texts need it."""
    forms = "|".join(f"(?P<f{at}>{form})" for at, form in enumerate(_FORMS.values()))
    return re.compile(f"(?<![A-Za-z0-9])(?:{forms})", re.DOTALL)


@cache
def _given() -> tuple[re.Pattern[str], ...]:
    """Return the patterns of what is given a name in a text: between quotes and in URLs; and without any of these."""
    marked = (
        rf'"{_NAME}"\s*:\s*(?:"(?P<v1>(?:[^"\\]|\\.)+)"|(?P<v2>\d{{4,}}))',
        rf'\\"{_NAME}\\"\s*:\s*\\"(?P<v3>(?:(?!\\").)+)\\"',
        rf"'{_NAME}'\s*:\s*'(?P<v4>(?:[^'\\]|\\.)+)'",
        r"""://[^/\s:@?#]{1,64}:(?P<v5>[^/\s@"']{1,256})@""",
        rf"""[?&]{_NAME}=(?P<v6>[^&\s"'#]+)""",
    )
    plain = (
        r"""(?:(?:proxy-)?authorization|(?:set-)?cookie): ?(?=[^\n"'\\]{0,400}\d)(?P<v1>[^\n"'\\]{8,4000})""",
        rf"""{_NAME}\s?=\s?(?:"(?P<v2>[^"\n]{{1,4000}})"|'(?P<v3>[^'\n]{{1,4000}})')""",
        rf"""{_NAME}(?:=|: ?)(?=[^\s"',;&]{{0,400}}\d)(?P<v4>[^\s"',;&]{{8,4000}})""",
    )
    return (
        re.compile("|".join(marked), re.IGNORECASE),
        re.compile(f"(?<![\\w-])(?:{'|'.join(plain)})", re.IGNORECASE),
    )


@lru_cache(maxsize=1024)
def _is_named(name: str) -> bool:
    return _NAMED.fullmatch(name) is not None


def _is_random(text: str) -> bool:
    """Whether nobody wrote a text: a part of it, between slashes or dashes as in a URL, has all sorts of signs."""
    return len(text) <= _LONGEST and any(
        len(part) >= _SHORTEST_RANDOM
        and all(re.search(sort, part) for sort in (r"\d", "[a-z]", "[A-Z]"))
        and -sum(n / len(part) * math.log2(n / len(part)) for n in Counter(part).values()) >= _LEAST_ENTROPY
        for part in re.split(r"[/_=-]", text)
    )


def _of_the_environment() -> list[str]:
    """Return the secrets of this process, the longest first."""
    if os.supports_bytes_environ:
        raw = getattr(os.environb, "_data", os.environb)  # or each name would be decoded and encoded for each request
        values = {os.fsdecode(value) for name, value in raw.items() if name.endswith(_ENDS_IN_BYTES)}
    else:
        values = {value for name, value in os.environ.items() if name.endswith(_ENDS)}
    return sorted((value for value in values if len(value) >= _SHORTEST), key=len, reverse=True)


def _leaves(value: Any, path: str, name: str) -> Iterator[tuple[str, str, Any]]:
    """Yield the texts and numbers of a JSON value, with their paths and what they stand under, and its names."""
    match value:
        case dict():
            for each, item in sorted(value.items()):
                yield f"the name of {path}.{each}", "", each
                yield from _leaves(item, f"{path}.{each}", _within(name, value, each))
        case list() | tuple():
            for at, item in enumerate(value):
                yield from _leaves(item, f"{path}[{at}]", name)
        case str():
            yield path, name, value
        case int() | float() if type(value) is not bool:
            yield path, name, value
