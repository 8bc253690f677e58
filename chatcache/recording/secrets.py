"""Find secrets and mask them, before a request is keyed and before anything is written.

A text is a secret for one of five reasons:

* its **format**: see `chatcache.recording.formats`;
* its **place** in a request: the argument ``api_key``, the header ``Authorization``. Messages, prompts and tools do not
  count as places, because they are what the model reads;
* its **name**, if it looks like a credential: ``password = ...`` in a text; see `chatcache.recording.named`;
* it is the value of an **environment variable** of this process, such as ``OPENAI_API_KEY``;
* it is **random**, in a request: see `chatcache.recording.random_texts`.

`chatcache.recording.masks` explains the masks, and which requests share a key. Base64 payloads are not searched.

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
from .named import in_setting, is_named, named_in
from .payloads import outside_payloads
from .texts import LOGPROBS, Edit, Edits, Leaf, StreamTexts, edited, has_logprobs, leaves, rewritten

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
"""The pattern of texts that look like secrets but are not."""

_OWN = "the value of an environment variable"
_SHORTEST_WITHIN = 7  # characters of a text that can hold a secret
_SHORT = 64  # characters
_MANY, _DENSE = 1_000, 100  # a text with more secrets than these, and more than one in these characters, is a dump
_ENDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIALS")  # of names of environment variables
_ENDS_IN_BYTES = tuple(end.encode() for end in _ENDS)
_SHORTEST_OWN = 12  # characters, of a secret in the environment
_TOLD = re.compile(r"(?=.*\d)(?=.*[A-Za-z]).{8,}", re.DOTALL)
_SCHEMA = {"anyOf", "oneOf", "allOf", "$ref", "enum"}  # each JSON schema has one of them, or a type
_TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}
_NAMES = ("name", "key", "header", "field")  # under which the name of a header stands beside its ``value``
_SAID = re.compile(  # names of texts that the model reads: they hold no arguments of the call
    r"messages?|inputs?|prompts?|contents?|system(?:_?(?:prompt|instructions?|message))?|instructions?|parts|text|query"
    r"|questions?|documents?|context|history|parameters|input_schema|schema|json_schema|properties|examples",
    re.IGNORECASE,
)
_HEADERS = re.compile(r"(?:\w+_)?headers", re.IGNORECASE)


def scrubbed(value: Any, masks: Masks | None = None, *, random: bool = True, allowed: Allowed = None) -> Any:
    """Return a JSON value with a mask in the place of each secret.

    Args:
        value: the value.
        masks: collects the masks.
        random: whether the value is a request. Only in a request are places and random texts masked: a program uses the
            answer of a model, for example as the argument of a tool.
        allowed: the pattern of texts that are not secrets.
    """
    masks = Masks.beside(value) if masks is None else masks
    return _Request(value, masks, allowed).scrubbed() if random else mask_answer(value, masks, allowed, [])


def mask_answer(answer: Any, masks: Masks, allowed: Allowed, lost: list[str]) -> Any:
    """Return an answer with its secrets masked.

    Args:
        answer: the answer.
        masks: the masks of its request; those of new secrets are added.
        allowed: the pattern of texts that are not secrets.
        lost: collects the kinds and paths of the secrets that are not in the request.
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
        for span in _spans(text, _name_at(path, name), own, allowed, is_request=False):
            secret = text[span.begin : span.end]
            mask = masks.get(secret)
            if mask is None:
                mask = masks.of_place(secret)
                lost.append(f"{span.sort} at {path}")
            made.append((span.begin, span.end, mask))
        return made

    return edits


def _name_at(path: str, name: str) -> str:
    """Return the name of a text if it may be that of a secret: a ``token`` in log probabilities is a part of a word."""
    return "" if LOGPROBS in path else name


def is_told(secret: str) -> bool:
    """Whether a secret is masked in other places too: a placeholder key may be a plain word."""
    return _TOLD.fullmatch(secret) is not None


def texts_of_places(request: Any) -> list[str]:
    """Return the values in the places of credentials in a request."""
    return [str(leaf.value) for leaf in _places(request, "$", "") if leaf.is_place]


def known_in(text: str) -> list[str]:
    """Return the kinds of the secrets in a text that are known by their format, or from the environment."""
    return [span.sort for span in _united([*_known(text, 0, len(text), own_secrets())])]


def secrets_of(request: Any, answer: Any) -> list[str]:
    """Return the secrets in a call, as `secrets_in` does."""
    return [*secrets_in(request), *secrets_in(answer, random=False)]


def secrets_in(value: Any, *, random: bool = True) -> list[str]:
    """Return the kind and the path of each secret in a JSON value. A scrubbed value has none.

    Names are searched as well, and the texts that the chunks of a stream make up.

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
            spans = _spans(leaf.value, _name_at(leaf.path, leaf.name), own, None, is_request=random)
            found += [f"{span.sort} at {leaf.path}" for span in spans]
            if not spans and len(leaf.value) <= _SHORT:
                clean.add((leaf.name, leaf.value))
    if not found and (type(value) is list or has_logprobs(value)):
        for text in StreamTexts(value) if type(value) is list else StreamTexts([value], within=LOGPROBS):
            spans = _spans(text.value, _name_at(text.path, text.name), own, None, is_request=False)
            found += [f"{span.sort} over several texts at {text.path}" for span in spans]
    return found


def secrets_in_names(value: Any) -> list[str]:
    """Return the secrets in the names of a JSON value, as `secrets_in` does. Names are not masked."""
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
    """Masks the secrets of a request.

    Args:
        value: the request.
        masks: collects the masks.
        allowed: the pattern of texts that are not secrets.
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
        """Find the secrets and give each a mask, first those in places, since their texts may occur elsewhere."""
        own, texts = own_secrets(), list[tuple[str, str]]()
        for leaf in _places(self._value, "$", ""):
            text = str(leaf.value)
            if leaf.is_place and text and not is_replaced(text):
                self._places[leaf.path] = self._masks.of_place(text)
            elif leaf.value is text and len(text) >= _SHORTEST_WITHIN:
                spans = _spans(text, leaf.name, own, self._allowed, is_request=True)
                if leaf.is_setting:
                    spans = _united([*spans, *in_setting(text, leaf.name)])
                if spans:
                    self._spans[leaf.path] = spans
                    texts += [(span.sort, text[span.begin : span.end]) for span in spans]
        for sort, text in texts:
            if sort == _OWN:
                self._masks.numbered(text)
        self._masks.digested(
            [text for sort, text in texts if sort not in {_OWN, random_texts.SORT}],
            [text for sort, text in texts if sort == random_texts.SORT],
        )

    def _of(self, value: Any, path: str) -> Any:
        if path in self._places and type(value) not in {dict, list, tuple}:
            return self._places[path]
        match value:
            case str():
                return edited(value, self._edits(value, self._spans.get(path, [])))
            case dict():
                return {each: self._of(item, f"{path}.{each}") for each, item in value.items()}
            case list() | tuple():
                return [self._of(item, f"{path}[{at}]") for at, item in enumerate(value)]
            case _:
                return value

    def _edits(self, text: str, spans: list[Span]) -> list[Edit]:
        """Return the edits of a text: its own secrets, and between them the secrets that were found elsewhere."""
        edits = [(span.begin, span.end, str(self._masks.get(text[span.begin : span.end]))) for span in spans]
        if self._known:
            begins, ends = [0, *(span.end for span in spans)], [*(span.begin for span in spans), len(text)]
            edits += self._known.find(text, [*zip(begins, ends, strict=True)])
        return sorted(edits)


def _spans(text: str, name: str, own: Sequence[str], allowed: Allowed, *, is_request: bool) -> list[Span]:
    """Return the secrets of a text in order, without overlaps; `name` is the name of the text."""
    if len(text) < _SHORTEST_WITHIN:
        return []
    if (is_named(name) or name.lower().endswith("-key")) and is_credible(text) and not is_replaced(text):
        found = [Span(0, len(text), NAMED)]
    else:
        found = [
            span
            for begin, end in outside_payloads(text)
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
    """Yield the secrets in a part of a text that are known by their format, or from the environment."""
    for secret in own:
        at = text.find(secret, begin, end)
        while at >= 0:
            yield Span(at, at + len(secret), _OWN)
            at = text.find(secret, at + len(secret), end)
    yield from formats_in(text, begin, end)


def _united(spans: list[Span]) -> list[Span]:
    """Return spans in order, with overlapping ones joined.

    A joined span is the value of an environment variable only if that is all of it: its mask tells no other text apart.
    """
    made: list[Span] = []
    for span in sorted(spans, key=_order):
        if made and span.begin < made[-1].end:
            last = made.pop()
            is_vague = last.sort == NAMED and span.sort != _OWN
            is_part = last.sort == _OWN and span.end > last.end
            made.append(Span(last.begin, max(last.end, span.end), span.sort if is_vague or is_part else last.sort))
        else:
            made.append(span)
    return made


def _order(span: Span) -> tuple[int, int, bool]:
    """Return the place of a span in order. At one begin the longest comes first, of equal ones that of a variable."""
    return span.begin, -span.end, span.sort != _OWN


def _apart(spans: Sequence[Span], others: Sequence[Span]) -> Iterator[Span]:
    """Yield the spans that overlap none of the others. Both are in order."""
    at = 0
    for span in spans:
        while at < len(others) and others[at].end <= span.begin:
            at += 1
        if at == len(others) or span.end <= others[at].begin:
            yield span


def _places(value: Any, path: str, name: str, *, is_header: bool = False, is_place: bool = False) -> Iterator[Leaf]:
    """Yield the texts and numbers of a request, and whether each is in the place of a credential.

    Args:
        value: the request, or a part of it.
        path: the path of the part.
        name: the name of the part.
        is_header: whether the names in it are names of headers.
        is_place: whether it is in the place of a credential, and so everything in it.
    """
    match value:
        case dict():
            is_place = is_place and not _is_schema(value)
            is_value = is_header and any(_is_header(value.get(each)) for each in _NAMES)
            for each, item in sorted(value.items()):
                inner = f"{path}.{each}"
                if is_place or (is_value and each == "value"):
                    yield from _places(item, inner, name, is_place=True)
                elif _is_said(each):
                    yield from leaves(item, inner, each)
                else:
                    yield from _places(
                        item,
                        inner,
                        each,
                        is_header=_HEADERS.fullmatch(each) is not None,
                        is_place=_is_header(each) if is_header else is_credential_name(each),
                    )
        case [str(first), str()] if is_header and not is_place and _is_header(first):
            yield Leaf(f"{path}[0]", name, first, is_setting=True)
            yield Leaf(f"{path}[1]", name, value[1], is_place=True)
        case list() | tuple():
            for at, item in enumerate(value):
                yield from _places(item, f"{path}[{at}]", name, is_header=is_header, is_place=is_place)
        case str() | int() | float() if type(value) is not bool:
            yield Leaf(path, name, value, is_place, is_setting=True)
        case _:
            pass


def _is_schema(value: dict[str, Any]) -> bool:
    """Whether the object under the name of a credential is the JSON schema of that argument, and no credential."""
    if "value" in value:
        return False
    kind = value.get("type")
    return not _SCHEMA.isdisjoint(value) or isinstance(kind, list) or (isinstance(kind, str) and kind in _TYPES)


def _is_header(name: Any) -> bool:
    return isinstance(name, str) and may_be_credential_name(name)


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
