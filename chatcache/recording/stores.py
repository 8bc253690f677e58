"""Records of a store, and of other tools' cassettes, as records of a bundle, and back.

In a store a record is found by the key of its request; on a tape by that of the request without what is volatile. So
both keys are made of the request, and only records that hold theirs can be taken over.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chatcache.cache import Form, Hit, ResponseCache, Story
from chatcache.cache.records import form_of
from chatcache.cache.usage import tokens_of
from chatcache.clock import milliseconds
from chatcache.errors import BundleError, MissingPackageError
from chatcache.keys import request_key

from .bundle import Record
from .secrets import scrubbed
from .sketch import sketch_of
from .volatile import Volatile

__all__ = ["from_store", "from_vcr", "into_store"]

_PATHS = ("/chat/completions", "/completions", "/embeddings", "/responses", "/messages")
_END = "[DONE]"


def from_store(cache: ResponseCache, scope: str = "") -> Iterator[Record]:
    """Yield the records of a store whose requests are known, with their secrets masked.

    Args:
        cache: a cache of the store.
        scope: what they are to be called in a bundle.

    Raises:
        PersistenceError: they could not be read.
    """
    numbers: Counter[str] = Counter()
    for hit, story in cache.records():
        if story is None or story.request is None:
            continue
        form = form_of(hit.key)
        answer, offsets = (hit.chunks, hit.offsets) if "chunks" in hit.record else (hit.answer, None)
        yield _record(
            cache.store_id,
            form,
            story.request,
            answer,
            offsets,
            scope=scope,
            at=hit.record["at"],
            saves=hit.record["saves"],
            versions=story.versions,
            number=_next(numbers, story.request),
        )


def into_store(cache: ResponseCache, records: Iterable[Record]) -> int:
    """Record into a store what was recorded elsewhere; return how many there were.

    Of several answers to one request the first one is taken, since a store has one for each.

    Raises:
        PersistenceError: they could not be stored.
    """
    taken: set[str] = set()
    for record in sorted(records, key=lambda each: each.number):
        key = request_key(record.request) + record.form  # one that is recorded in two forms has one number for each
        if key in taken:
            continue
        taken.add(key)
        stored = record.stored(record.answer, size=len(json.dumps(record.answer)))
        cache.restore(Hit(key, stored, time.time), Story(request=record.request, versions=record.versions))
    return len(taken)


def from_vcr(path: Path, store: str, scope: str = "") -> Iterator[Record]:
    """Yield the calls of a cassette of vcrpy or pytest-recording that have the form of OpenAI's or Anthropic's.

    The request of a record is the body that was sent, so that `ResponseCache.call` of that body finds it. Of a stream
    the chunks are its events; their times are not in such a cassette.

    Args:
        path: the cassette, YAML.
        store: the store id that the records are to have.
        scope: what they are to be called in a bundle.

    Raises:
        BundleError: it is no such cassette.
        MissingPackageError: PyYAML is not installed.
    """
    try:
        import yaml  # an extra, that only this needs
    except ImportError as error:
        raise MissingPackageError("cassettes of vcrpy are YAML: pip install pyyaml") from error
    try:
        said = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both safe
        interactions = said["interactions"]
    except (yaml.YAMLError, OSError, TypeError, KeyError) as error:
        raise BundleError(f"{path} is no cassette of vcrpy: {error}") from error
    numbers: Counter[str] = Counter()
    for at, interaction in enumerate(interactions):
        call = _call_of(interaction)
        if call is None:
            continue
        request, answer, offsets = call
        form = Form.ANSWER if offsets is None else Form.STREAM
        saves = [0, tokens_of(answer), 0, 0]
        number = _next(numbers, request)
        yield _record(
            store,
            form,
            request,
            answer,
            offsets,
            scope=scope,
            at=milliseconds(time.time) + at,
            saves=saves,
            number=number,
        )


def _next(numbers: Counter[str], request: Any) -> int:
    """Return the how many-th record of a request it is."""
    key = request_key(request)
    numbers[key] += 1
    return numbers[key]


def _call_of(interaction: Any) -> tuple[Any, Any, list[float] | None] | None:
    """Return a request, its answer, and the times of its chunks, where an interaction is a call that went well."""
    try:
        request, response = interaction["request"], interaction["response"]
        if not urlsplit(request["uri"]).path.endswith(_PATHS) or response["status"]["code"] >= 400:  # noqa: PLR2004
            return None
        body, text = _text(request), _text(response)
        asked = json.loads(body)
        if not isinstance(asked, dict):
            return None
        if not text.lstrip().startswith(("event:", "data:", ":")):
            return asked, json.loads(text), None
        said = [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:")]
        chunks = [json.loads(each) for each in said if each and each != _END]
        return asked, chunks, [0.0] * len(chunks)
    except (KeyError, TypeError, ValueError):
        return None


def _text(side: Any) -> str:
    """Return the body of a request or a response, in whichever way the tool wrote it."""
    body = side.get("body", side.get("parsed_body"))
    if "parsed_body" in side:
        return json.dumps(side["parsed_body"])
    if isinstance(body, dict):
        body = body.get("string", body)
    if isinstance(body, bytes):
        return body.decode()
    return body if isinstance(body, str) else json.dumps(body)


def _record(  # noqa: PLR0913 - what a record has
    store: str,
    form: Form,
    request: Any,
    answer: Any,
    offsets: list[float] | None,
    *,
    scope: str,
    at: int,
    saves: list[Any],
    versions: Any = None,
    number: int = 1,
) -> Record:
    held, _ = Volatile({}, time.time).replaced(request)
    _, tokens, cost, took = saves
    asked = scrubbed(request)
    return Record(
        scope=scope,
        store=store,
        key=request_key(scrubbed(held)),
        number=number,
        form=form,
        request=asked,
        answer=scrubbed(answer, random=False),
        offsets=offsets,
        sketch=sketch_of(asked),
        at=at,
        tokens=tokens,
        cost=cost,
        took=took,
        versions=versions or {},
    )
