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
whole, so the time for a text is bounded. Many short texts may be a dump as well: of those after its first 1,000 secrets
each is masked as a whole. If patterns allow some texts, the secrets of a dump are masked one by one.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import Any

from chatcache.credentials import is_credential_name, may_be_credential_name

from . import random_texts
from .examples import is_credible, is_example
from .formats import Span, formats_in
from .literals import Literals
from .masks import MASK, Masks, is_replaced
from .named import SORT as NAMED
from .named import in_setting, is_address_or_headers, is_headers, named_in, names_secret
from .payloads import outside_payloads
from .texts import (
    LOGPROBS,
    SHORTEST,
    Edits,
    Leaf,
    Part,
    Steps,
    StreamTexts,
    add_leaves,
    edit_leaves,
    has_logprobs,
    leaves,
    path_of,
    rewritten,
)
from .together import Together

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
_SHORT = 512  # characters of a text that is searched together with others
_BLOCK = 16_384  # characters of short texts that are searched at once
_MANY, _DENSE = 1_000, 100  # a text with more secrets than these, and more than one in these characters, is a dump
_ENDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIALS")  # of names of environment variables
_ENDS_IN_BYTES = tuple(end.encode() for end in _ENDS)
_SHORTEST_OWN = 12  # characters, of a secret in the environment
_TOLD = re.compile(r"(?=.*\d)(?=.*[A-Za-z]).{8,}", re.DOTALL)
_SCHEMA = {"anyOf", "oneOf", "allOf", "$ref", "enum"}  # each JSON schema has one of them, or a type
_TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}
_NAMES = ("name", "key", "header", "field")  # under which the name of a header stands beside its ``value``
_SAID = frozenset(  # names of texts that the model reads: they hold no arguments of the call
    {
        *("message", "messages", "input", "inputs", "prompt", "prompts", "content", "contents", "system"),
        *("system_prompt", "system_instruction", "system_instructions", "system_message", "systemprompt"),
        *("systeminstruction", "systeminstructions", "systemmessage", "instruction", "instructions", "parts", "text"),
        *("query", "question", "questions", "document", "documents", "context", "history", "parameters"),
        *("input_schema", "schema", "json_schema", "properties", "examples"),
    }
)


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
    return _scrubbed_request(value, masks, allowed) if random else mask_answer(value, masks, allowed, [])


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

    def edits(leaves: Sequence[Leaf]) -> Iterator[Part]:
        for number, begin, end, sort in _found(leaves, own, allowed, is_request=False):
            secret = leaves[number].value[begin:end]
            mask = masks.get(secret)
            if mask is None:
                mask = masks.of_place(secret)
                lost.append(f"{sort} at {leaves[number].path}")
            yield number, begin, end, mask

    return edits


def is_told(secret: str) -> bool:
    """Whether a secret is masked in other places too: a placeholder key may be a plain word."""
    return _TOLD.fullmatch(secret) is not None


def texts_of_places(request: Any) -> list[str]:
    """Return the values in the places of credentials in a request."""
    return [str(leaf.value) for leaf in _places([request]) if leaf.is_place]


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
    read = _places([value]) if random else leaves(value)
    parts = _found(read, own, None, is_request=random)
    for number, leaf in enumerate(read):
        if leaf.is_place and str(leaf.value) and not is_replaced(str(leaf.value)):
            parts.append((number, 0, 0, f"the value under {leaf.name!r}"))
    found += [f"{sort} at {read[number].path}" for number, _, _, sort in sorted(parts)]
    if not found and (type(value) is list or has_logprobs(value)):
        read = [*(StreamTexts(value) if type(value) is list else StreamTexts([value], within=LOGPROBS))]
        for number, _, _, sort in _found(read, own, None, is_request=False):
            found.append(f"{sort} over several texts at {read[number].path}")
    return found


def secrets_in_names(value: Any) -> list[str]:
    """Return the secrets in the names of a JSON value, as `secrets_in` does. Names are not masked."""
    names: dict[str, Steps] = {}
    _add_names(names, value, "$")
    own, found = own_secrets(), list[str]()
    for texts in _blocks([*names]):
        together = Together(texts)
        known = _united([*_known(together.text, 0, len(together.text), own)])
        for at, _, _, sort in together.divided(known):
            found.append(f"{sort} at the name of {path_of(names[texts[at]])}.{texts[at][:4]}…")
    return found


def _add_names(names: dict[str, Steps], value: Any, steps: Steps) -> None:
    """Add the names in a part of a JSON value that may hold a secret, each with the way to its first object."""
    if type(value) is dict:
        for each, item in value.items():
            if len(each) >= SHORTEST:
                names.setdefault(each, steps)
            if type(item) is dict or type(item) is list:
                _add_names(names, item, (steps, each))
    elif type(value) is list:
        for at, item in enumerate(value):
            if type(item) is dict or type(item) is list:
                _add_names(names, item, (steps, at))


def _scrubbed_request(request: Any, masks: Masks, allowed: Allowed) -> Any:
    """Return a request with its secrets masked, first those in places, since their texts may occur elsewhere."""
    held = [request]
    texts = []
    for leaf in _places(held):
        text = str(leaf.value)
        if leaf.is_place and text and not is_replaced(text):
            leaf.holder[leaf.place] = masks.of_place(text)
        elif leaf.value is text:
            texts.append(leaf)
    found = _found(texts, own_secrets(), allowed, is_request=True)
    found = _with_settings(texts, found)
    _add_masks(masks, texts, found)
    edit_leaves(texts, _edits(texts, found, masks, Literals(masks.known(is_told))))
    return held[0]


def _with_settings(leaves: Sequence[Leaf], found: list[Part]) -> list[Part]:
    """Return the secrets of the texts of a request, and those in its addresses and headers."""
    settings: list[Part] = []
    for number, leaf in enumerate(leaves):
        if leaf.is_setting and (":" in leaf.value or "=" in leaf.value) and is_address_or_headers(leaf.name):
            settings += ((number, *span) for span in in_setting(leaf.value, leaf.name))
    if not settings:
        return found
    texts = groupby(sorted([*found, *settings]), key=itemgetter(0))
    return [(number, *span) for number, its in texts for span in _united([Span(*part[1:]) for part in its])]


def _add_masks(masks: Masks, leaves: Sequence[Leaf], found: Iterable[Part]) -> None:
    """Add a mask for each of the secrets that were found in the texts of a request."""
    texts: dict[str, list[str]] = {_OWN: [], random_texts.SORT: [], "": []}
    for number, begin, end, sort in found:
        texts[sort if sort in texts else ""].append(leaves[number].value[begin:end])
    for text in texts[_OWN]:
        masks.numbered(text)
    masks.digested(texts[""], texts[random_texts.SORT])


def _edits(leaves: Sequence[Leaf], found: Sequence[Part], masks: Masks, known: Literals) -> list[Part]:
    """Return the edits of texts: of the secrets of each, and between them of the secrets that were found elsewhere."""
    edits = [(number, begin, end, str(masks.get(leaves[number].value[begin:end]))) for number, begin, end, _ in found]
    if known:
        together = Together([leaf.value for leaf in leaves])
        begins = [0, *(together.begins[number] + end for number, _, end, _ in found)]
        ends = [*(together.begins[number] + begin for number, begin, _, _ in found), len(together.text)]
        edits += together.divided(known.find(together.text, [*zip(begins, ends, strict=True)]))
    return sorted(edits)


def _found(leaves: Sequence[Leaf], own: Sequence[str], allowed: Allowed, *, is_request: bool) -> list[Part]:
    """Return the secrets of texts in order, without overlaps. What stands in a place is not read."""
    found: list[Part] = []
    short: dict[str, list[int]] = {}
    for number, leaf in enumerate(leaves):
        text = leaf.value
        if leaf.is_place or len(text) < SHORTEST:
            continue
        if _is_named(leaf):
            found.append((number, 0, len(text), NAMED))
        # Nothing reads a payload, and the parts of a JSON Web Key are told by its ``kty``.
        elif len(text) <= _SHORT and ";base64," not in text and "kty" not in text:
            short.setdefault(text, []).append(number)
        else:
            for begin, end in outside_payloads(text):
                spans = _spans(text, leaf.name, begin, end, own, allowed=allowed, is_request=is_request)
                found += [(number, *span) for span in spans]
    found += _parts_of_short(leaves, short, own, is_request=is_request, is_bounded=allowed is None)
    if allowed is not None:
        found = [part for part in found if allowed.fullmatch(leaves[part[0]].value, part[1], part[2]) is None]
    return sorted(found)


def _parts_of_short(
    leaves: Sequence[Leaf], numbers: Mapping[str, list[int]], own: Sequence[str], *, is_request: bool, is_bounded: bool
) -> Iterator[Part]:
    """Yield the secrets of short texts.

    Args:
        leaves: the leaves.
        numbers: the numbers of the leaves of each text.
        own: the secrets of this process.
        is_request: whether they belong to a request.
        is_bounded: whether the rest of a dump is masked as a whole.
    """
    found = read = 0
    for texts in _blocks([*numbers]):
        together = Together(texts)
        if is_bounded and found > max(_MANY, read // _DENSE):
            placed = zip(together.begins, texts, strict=True)
            spans = [Span(at, at + len(text), NAMED) for at, text in placed if not is_replaced(text)]
        else:
            spans = _spans_together(together.text, own, is_request=is_request)
        found += len(spans)
        read += sum(len(text) * len(numbers[text]) for text in texts)
        for at, begin, end, sort in together.divided(spans):
            for number in numbers[texts[at]]:
                if sort != random_texts.SORT or not random_texts.is_opaque(leaves[number].name):
                    yield number, begin, end, sort


def _blocks(texts: list[str]) -> Iterator[list[str]]:
    """Divide texts into blocks of some thousand characters."""
    begin = size = 0
    for end, text in enumerate(texts, start=1):
        size += len(text)
        if size >= _BLOCK or end == len(texts):
            yield texts[begin:end]
            begin, size = end, 0


def _spans_together(text: str, own: Sequence[str], *, is_request: bool) -> list[Span]:
    spans = _united([*_known(text, 0, len(text), own), *named_in(text, 0, len(text))])
    if not is_request:
        return spans
    others = [*random_texts.random_in(text, "", 0, len(text))]
    return sorted([*spans, *_apart(others, spans)]) if others else spans


def _is_named(leaf: Leaf) -> bool:
    """Whether the name of a text tells that it is a credential. The ``token`` of log probabilities is no such name."""
    return leaf.is_named and is_credible(leaf.value) and not is_replaced(leaf.value) and not leaf.is_in_logprobs


def _spans(  # noqa: PLR0913 - a text, its part, and what counts
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


def _places(held: list[Any]) -> list[Leaf]:
    """Return the texts and numbers in the places of credentials in a request, and its other texts; see `leaves`.

    Args:
        held: the request, in a list. A copy of the request, which holds the texts, takes its place.
    """
    found: list[Leaf] = []
    _add_places(found, held, 0, "$", "")
    return found


def _add_places(  # noqa: PLR0913 - a part, and where it stands
    found: list[Leaf],
    holder: Any,
    place: Any,
    steps: Steps,
    name: str,
    *,
    is_header: bool = False,
    is_place: bool = False,
) -> None:
    """Add the places in a part of a request.

    Args:
        found: collects them.
        holder: the container of the part.
        place: its name or number in that.
        steps: the way to it.
        name: its name.
        is_header: whether the names in it are names of headers.
        is_place: whether it is in the place of a credential, and so everything in it.
    """
    value = holder[place]
    if isinstance(value, dict):
        is_place = is_place and not _is_schema(value)
        is_value = is_header and any(_is_header(value.get(each)) for each in _NAMES)
        made = holder[place] = {**value}
        for each in sorted(value):
            inner = (steps, each)
            if is_place or (is_value and each == "value"):
                _add_places(found, made, each, inner, name, is_place=True)
            elif each.lower() in _SAID:
                add_leaves(found, made, each, inner, each)
            else:
                is_its_place = _is_header(each) if is_header else is_credential_name(each) or _is_jar(each, value[each])
                _add_places(found, made, each, inner, each, is_header=is_headers(each), is_place=is_its_place)
    elif isinstance(value, list | tuple):
        holder[place] = items = [*value]
        if is_header and not is_place and _is_pair(value):
            found.append(Leaf((steps, 0), name, value[0], items, 0, is_setting=True))
            found.append(Leaf((steps, 1), name, value[1], items, 1, is_place=True))
        else:
            for at in range(len(items)):
                _add_places(found, items, at, (steps, at), name, is_header=is_header, is_place=is_place)
    elif is_place and isinstance(value, str | int | float) and not isinstance(value, bool):
        found.append(Leaf(steps, name, value, holder, place, is_place=True, is_setting=True))
    elif isinstance(value, str) and len(value) >= SHORTEST:
        found.append(Leaf(steps, name, value, holder, place, is_named=names_secret(name), is_setting=True))


def _is_jar(name: str, value: Any) -> bool:
    """Whether it is the cookies of a client, each of which may be that of a session."""
    return name.lower() == "cookies" and (isinstance(value, dict) or (isinstance(value, str) and "=" in value))


def _is_pair(value: Sequence[Any]) -> bool:
    """Whether a list is the name of a header and its value, which is a credential."""
    return len(value) == 2 and _is_header(value[0]) and isinstance(value[1], str)  # noqa: PLR2004 - a pair


def _is_schema(value: dict[str, Any]) -> bool:
    """Whether the object under the name of a credential is the JSON schema of that argument, and no credential."""
    if "value" in value:
        return False
    kind = value.get("type")
    return not _SCHEMA.isdisjoint(value) or isinstance(kind, list) or (isinstance(kind, str) and kind in _TYPES)


def _is_header(name: Any) -> bool:
    return isinstance(name, str) and may_be_credential_name(name)


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
