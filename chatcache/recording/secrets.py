"""Secrets, which are in no record: they are masked before a request is keyed, and before anything is written.

A text is a secret for one of five reasons:

* its **format**: see `chatcache.recording.formats`;
* its **place** in a request: the argument ``api_key``, the header ``Authorization``. Messages, prompts and tools are no
  such place: what stands there is what the model reads;
* its **name**, if it looks like a credential: ``password = ...`` in a text; see `chatcache.recording.named`;
* it is the value of an **environment variable** of this process, such as ``OPENAI_API_KEY``;
* in a request, nobody wrote it: see `chatcache.recording.random_texts`.

`chatcache.recording.masks` says what stands for it, and which requests share a key. Base64 payloads are not looked at.

A text with more than 1,000 secrets, and more than one in 100 characters, is a dump of credentials. It is masked as a
whole, so the time for a text is bounded; if patterns allow some texts, its secrets are masked one by one.
"""

import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import Any

from chatcache.credentials import is_credential_name, may_be_credential_name

from . import random_texts
from .examples import is_credible, is_example
from .formats import Span, formats_in
from .literals import Literals
from .masks import MASK, Masks, is_replaced
from .named import SORT as NAMED
from .named import is_named, named_in
from .payloads import outside_payloads
from .texts import Edit, Edits, Leaf, StreamTexts, edited, leaves, rewritten

__all__ = [
    "MASK",
    "Allowed",
    "Masks",
    "is_told",
    "known_in",
    "mask_answer",
    "mask_stream",
    "scrubbed",
    "secrets_in",
    "secrets_in_names",
    "secrets_of",
    "texts_of_places",
]

Allowed = re.Pattern[str] | None
"""Texts that are no secrets though they look like some."""

_OWN = "the value of an environment variable"
_DIGESTED = {NAMED, random_texts.SORT}
_SHORTEST_WITHIN = 7  # characters of a text that holds a secret
_SHORT = 64  # characters
_MANY, _DENSE = 1_000, 100  # a text with more secrets than these, and more than one in these characters, is a dump
_ENDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIALS")  # of names of environment variables
_ENDS_IN_BYTES = tuple(end.encode() for end in _ENDS)
_SHORTEST_OWN = 12  # characters, of a secret in the environment
_TOLD = re.compile(r"(?=.*\d)(?=.*[A-Za-z]).{8,}", re.DOTALL)
_SCHEMA = {"type", "anyOf", "oneOf", "allOf", "$ref", "enum"}  # some of which are in each JSON schema
_SAID = re.compile(  # names of what the model reads: nothing in it is an argument of the call
    r"messages?|inputs?|prompts?|contents?|system(?:_?(?:prompt|instructions?|message))?|instructions?|parts|text|query"
    r"|questions?|documents?|context|history|parameters|input_schema|schema|json_schema|properties|examples",
    re.IGNORECASE,
)
_HEADERS = re.compile(r"(?:\w+_)?headers", re.IGNORECASE)


def scrubbed(value: Any, masks: Masks | None = None, *, random: bool = True, allowed: Allowed = None) -> Any:
    """Return a JSON value with a mask in the place of each secret.

    Args:
        value: the value.
        masks: takes the masks.
        random: whether the value is a request, in which places count, and texts that nobody wrote. In an answer they do
            not: what a model says is used, as the argument of a tool, for example.
        allowed: what is no secret.
    """
    masks = Masks.beside(value) if masks is None else masks
    return _Request(value, masks, allowed).scrubbed() if random else mask_answer(value, masks, allowed, [])


def mask_answer(answer: Any, masks: Masks, allowed: Allowed, lost: list[str]) -> Any:
    """Return an answer with its secrets masked.

    Args:
        answer: the answer.
        masks: those of its request, to which others are added.
        allowed: what is no secret.
        lost: takes the secrets that are not in the request: their sorts, and where they are.
    """
    return rewritten(answer, _edits_of_answer(masks, allowed, lost))


def mask_stream(texts: StreamTexts, masks: Masks, allowed: Allowed, lost: list[str]) -> None:
    """Mask the secrets in the texts of a stream, as if each text was one; see `mask_answer`."""
    edits = _edits_of_answer(masks, allowed, lost)
    texts.edit(edits)
    texts.edit_pieces(edits)


def _edits_of_answer(masks: Masks, allowed: Allowed, lost: list[str]) -> Edits:
    own = own_secrets()

    def edits(text: str, name: str, path: str) -> list[Edit]:
        made = []
        for span in _spans(text, name, own, allowed, is_request=False):
            secret = text[span.begin : span.end]
            mask = masks.get(secret)
            if mask is None:
                mask = masks.of_place(secret)
                lost.append(f"{span.sort} at {path}")
            made.append((span.begin, span.end, mask))
        return made

    return edits


def is_told(secret: str) -> bool:
    """Whether a secret is one wherever else it stands, and no word, as the value of a key for nothing may be."""
    return _TOLD.fullmatch(secret) is not None


def texts_of_places(request: Any) -> list[str]:
    """Return what stands in a request where credentials are passed."""
    return [str(leaf.value) for leaf in _places(request, "$", "") if leaf.is_place]


def known_in(text: str) -> list[str]:
    """Return the sorts of the secrets in a text that have the form of one, or are of this process."""
    return [span.sort for span in _united([*_known(text, 0, len(text), own_secrets())])]


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
    own = own_secrets()
    found = secrets_in_names(value)
    clean: set[tuple[str, str]] = set()  # short texts without a secret, which the chunks of a stream repeat
    for leaf in _places(value, "$", "") if random else leaves(value):
        if leaf.is_place and str(leaf.value) and not is_replaced(str(leaf.value)):
            found.append(f"the value under {leaf.name!r} at {leaf.path}")
        elif isinstance(leaf.value, str) and (leaf.name, leaf.value) not in clean:
            spans = _spans(leaf.value, leaf.name, own, None, is_request=random)
            found += [f"{span.sort} at {leaf.path}" for span in spans]
            if not spans and len(leaf.value) <= _SHORT:
                clean.add((leaf.name, leaf.value))
    if not found and type(value) is list:
        for text in StreamTexts(value):
            spans = _spans(text.value, text.name, own, None, is_request=False)
            found += [f"{span.sort} over several texts at {text.path}" for span in spans]
    return found


def secrets_in_names(value: Any) -> list[str]:
    """Return what secrets the names in a JSON value hold, as `secrets_in` does; they are not masked."""
    return [*_in_names(value, "$", own_secrets())]


def _in_names(value: Any, path: str, own: Sequence[str]) -> Iterator[str]:
    if type(value) is dict:
        for each, item in value.items():
            if len(each) >= _SHORTEST_WITHIN:
                yield from (f"{sort} at the name of {path}.{each[:4]}…" for sort in _sorts(each, tuple(own)))
            if type(item) in {dict, list}:
                yield from _in_names(item, f"{path}.{each}", own)
    elif type(value) is list:
        for at, item in enumerate(value):
            if type(item) in {dict, list}:
                yield from _in_names(item, f"{path}[{at}]", own)


@lru_cache(maxsize=4096)
def _sorts(name: str, own: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(span.sort for span in _united([*_known(name, 0, len(name), own)]))


class _Request:
    """A request whose secrets are masked.

    Args:
        value: the request.
        masks: takes the masks.
        allowed: what is no secret.
    """

    def __init__(self, value: Any, masks: Masks, allowed: Allowed) -> None:
        self._value = value
        self._masks = masks
        self._allowed = allowed
        self._spans: dict[str, list[Span]] = {}
        self._places: dict[str, str] = {}

    def scrubbed(self) -> Any:
        """Return the request with its secrets masked."""
        self._find()
        self._known = Literals(self._masks.known(is_told))
        return self._of(self._value, "$")

    def _find(self) -> None:
        """Find the secrets, and give each its mask: those of places first, since their texts may stand elsewhere."""
        own, texts = own_secrets(), list[tuple[str, str]]()
        for leaf in _places(self._value, "$", ""):
            text = str(leaf.value)
            if leaf.is_place and text and not is_replaced(text):
                self._places[leaf.path] = self._masks.of_place(text)
            elif leaf.value is text and len(text) >= _SHORTEST_WITHIN:
                spans = _spans(text, leaf.name, own, self._allowed, is_request=True)
                if spans:
                    self._spans[leaf.path] = spans
                    texts += [(span.sort, text[span.begin : span.end]) for span in spans]
        for sort, text in texts:
            if sort not in _DIGESTED:
                self._masks.numbered(text)
        self._masks.digested(
            [text for sort, text in texts if sort == NAMED],
            [text for sort, text in texts if sort == random_texts.SORT],
        )

    def _of(self, value: Any, path: str) -> Any:
        if path in self._places and type(value) not in {dict, list, tuple}:
            return self._places[path]
        match value:
            case str():
                return edited(value, self._edits(value, self._spans.get(path, [])))
            case dict():
                return {each: self._of(item, f"{path}.{each}") for each, item in sorted(value.items())}
            case list() | tuple():
                return [self._of(item, f"{path}[{at}]") for at, item in enumerate(value)]
            case _:
                return value

    def _edits(self, text: str, spans: list[Span]) -> list[Edit]:
        """Return what is replaced in a text: its own secrets, and between them those that were found elsewhere."""
        edits = [(span.begin, span.end, str(self._masks.get(text[span.begin : span.end]))) for span in spans]
        if self._known:
            begins, ends = [0, *(span.end for span in spans)], [*(span.begin for span in spans), len(text)]
            edits += self._known.find(text, [*zip(begins, ends, strict=True)])
        return sorted(edits)


def _spans(text: str, name: str, own: Sequence[str], allowed: Allowed, *, is_request: bool) -> list[Span]:
    """Return where the secrets of a text that stands under a name are, in order, none over another."""
    if len(text) < _SHORTEST_WITHIN:
        return []
    if (is_named(name) or name.lower().endswith("-key")) and is_credible(text) and not is_replaced(text):
        found = [Span(0, len(text), NAMED)]
    else:
        found = [
            span
            for begin, end in outside_payloads(text, name)
            for span in _all_spans(text, name, begin, end, own, allowed=allowed, is_request=is_request)
        ]
    if allowed is not None:
        return [span for span in found if allowed.fullmatch(text, span.begin, span.end) is None]
    return found


def _all_spans(  # noqa: PLR0913 - a text, its part, and what counts
    text: str, name: str, begin: int, end: int, own: Sequence[str], *, allowed: Allowed, is_request: bool
) -> list[Span]:
    spans = chain(_known(text, begin, end, own), named_in(text, begin, end))
    guessed = random_texts.random_in(text, name, begin, end) if is_request else iter(())
    # With patterns for what is allowed a text is not masked as a whole, since it may hold nothing else.
    most = max(_MANY, (end - begin) // _DENSE) if allowed is None else end - begin
    found, others = [*islice(spans, most + 1)], [*islice(guessed, most + 1)]
    if len(found) > most or len(others) > most:
        return [Span(begin, end, NAMED)]
    found = _united(found)
    return sorted([*found, *_apart(others, found)]) if others else found


def _known(text: str, begin: int, end: int, own: Sequence[str]) -> Iterator[Span]:
    """Yield where a part of a text has the form of a secret, or is one of this process."""
    for secret in own:
        at = text.find(secret, begin, end)
        while at >= 0:
            yield Span(at, at + len(secret), _OWN)
            at = text.find(secret, at + len(secret), end)
    yield from formats_in(text, begin, end)


def _united(spans: list[Span]) -> list[Span]:
    """Return spans in order, those that overlap as one, which is numbered if one of them is."""
    made: list[Span] = []
    for span in sorted(spans):
        if made and span.begin < made[-1].end:
            last = made.pop()
            sort = span.sort if last.sort in _DIGESTED else last.sort
            made.append(Span(last.begin, max(last.end, span.end), sort))
        else:
            made.append(span)
    return made


def _apart(spans: Sequence[Span], others: Sequence[Span]) -> Iterator[Span]:
    """Yield the spans that overlap none of the others; both are in order."""
    at = 0
    for span in spans:
        while at < len(others) and others[at].end <= span.begin:
            at += 1
        if at == len(others) or span.end <= others[at].begin:
            yield span


def _places(value: Any, path: str, name: str, *, is_header: bool = False, is_place: bool = False) -> Iterator[Leaf]:
    """Yield the texts and numbers of a request, and whether credentials are passed where they stand.

    Args:
        value: the request, or a part of it.
        path: where it is.
        name: the name that it stands under.
        is_header: whether its names are those of headers.
        is_place: whether it stands where a credential is passed; so does all that is in it.
    """
    match value:
        case dict():
            is_schema = not _SCHEMA.isdisjoint(value)
            for each, item in sorted(value.items()):
                inner = f"{path}.{each}"
                if is_place and not is_schema:
                    yield from _places(item, inner, name, is_place=True)
                elif _is_said(each):
                    yield from leaves(item, inner, each)
                else:
                    yield from _places(
                        item,
                        inner,
                        each,
                        is_header=_HEADERS.fullmatch(each) is not None,
                        is_place=may_be_credential_name(each) if is_header else is_credential_name(each),
                    )
        case list() | tuple():
            for at, item in enumerate(value):
                yield from _places(item, f"{path}[{at}]", name, is_header=is_header, is_place=is_place)
        case str() | int() | float() if type(value) is not bool:
            yield Leaf(path, name, value, is_place)
        case _:
            pass


@lru_cache(maxsize=4096)
def _is_said(name: str) -> bool:
    return _SAID.fullmatch(name) is not None


def own_secrets() -> list[str]:
    """Return the secrets of this process, the longest first."""
    if os.supports_bytes_environ:
        raw = getattr(os.environb, "_data", os.environb)  # or each name would be decoded and encoded for each request
        values = {os.fsdecode(value) for name, value in raw.items() if name.endswith(_ENDS_IN_BYTES)}
    else:
        values = {value for name, value in os.environ.items() if name.endswith(_ENDS)}
    return sorted(
        (each for each in values if len(each) >= _SHORTEST_OWN and not is_example(each)), key=len, reverse=True
    )
