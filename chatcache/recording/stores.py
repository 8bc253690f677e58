"""Records of a store, and of other tools' cassettes, as records of a bundle, and back.

In a store a record is found by the key of its request; on a tape by that of the request without what is volatile. So
both keys are made of the request, and only records that hold theirs can be taken over.
"""

import json
import re
import time
import zlib
from base64 import b64decode
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from chatcache.cache import Form, Hit, ResponseCache, Story
from chatcache.cache.usage import tokens_of
from chatcache.clock import milliseconds
from chatcache.errors import BundleError, MissingPackageError, shown
from chatcache.interrupts import raise_interrupt
from chatcache.keys import request_key

from .bundle import Record
from .replaced import Replaced
from .sketch import sketch_of
from .volatile import Volatile

__all__ = ["as_stored", "from_store", "from_vcr", "into_store"]

_PATHS = ("/chat/completions", "/completions", "/embeddings", "/responses", "/messages")
_END = "[DONE]"
_LEAST_ERROR = 400  # of the statuses of HTTP
_GZIP = b"\x1f\x8b"  # how what is compressed so begins
_ZLIB = b"\x78"  # the same, of deflate with a header
_LINE_ENDS = re.compile(r"\r\n|\n|\r")  # of events; JSON may hold the others


def as_stored(cache: ResponseCache) -> Iterator[Record]:
    """Yield the records of a store as they are in there, with their secrets, and under the keys that they have there.

    Args:
        cache: a cache of the store.

    Raises:
        PersistenceError: they could not be read.
    """
    for hit, story in cache.records():
        about = story or Story()
        answer, offsets = (hit.chunks, hit.offsets) if "chunks" in hit.record else (hit.answer, None)
        yield Record(
            scope="",
            store=cache.store_id,
            key=hit.key.removesuffix(hit.form),
            number=1,
            form=hit.form,
            request=about.request,
            answer=answer,
            offsets=offsets,
            sketch=sketch_of(about.request),
            at=hit.record["at"],
            tokens=hit.tokens,
            cost=hit.cost,
            took=hit.took,
            versions=about.versions,
        )


def from_store(
    cache: ResponseCache, scope: str = "", *, as_on_tape: bool = False, left_out: list[str] | None = None
) -> Iterator[Record]:
    """Yield the records of a store whose requests are known, with their secrets masked.

    Args:
        cache: a cache of the store.
        scope: what they are to be called in a bundle.
        as_on_tape: whether what is volatile is replaced in them, so that a bundle replays them in a run with other ids;
            another store finds them only by the requests as they were.
        left_out: takes for each of the other records why it is left out.

    Raises:
        PersistenceError: they could not be read.
    """
    left_out = [] if left_out is None else left_out
    numbers: Counter[str] = Counter()
    for record in as_stored(cache):
        if request_key(record.request) == record.key:
            yield _taken(record, scope, numbers, as_on_tape=as_on_tape)
        else:
            left_out.append("its request is not stored in full, see store_requests")


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


def from_vcr(
    path: Path, store: str, scope: str = "", *, as_on_tape: bool = False, left_out: list[str] | None = None
) -> Iterator[Record]:
    """Yield the calls of a cassette of vcrpy or pytest-recording that have the form of OpenAI's or Anthropic's.

    The request of a record is the body that was sent, so that `ResponseCache.call` of that body finds it. Of a stream
    the chunks are its events; their times are not in such a cassette.

    Args:
        path: the cassette, YAML.
        store: the store id that the records are to have.
        scope: what they are to be called in a bundle.
        as_on_tape: as in `from_store`.
        left_out: takes for each call that failed, or cannot be read, why it is left out.

    Raises:
        BundleError: it is no such cassette.
        MissingPackageError: PyYAML is not installed.
    """
    left_out = [] if left_out is None else left_out
    numbers: Counter[str] = Counter()
    for number, interaction in enumerate(_calls_in(path)):
        try:
            request, answer, offsets = _call_of(interaction)
        except _UnreadableError as error:
            left_out.append(str(error))
            continue
        record = Record(
            scope=scope,
            store=store,
            key=request_key(request),
            number=1,
            form=Form.ANSWER if offsets is None else Form.STREAM,
            request=request,
            answer=answer,
            offsets=offsets,
            sketch=sketch_of(request),
            at=milliseconds(time.time) + number,
            tokens=tokens_of(answer),
        )
        yield _taken(record, scope, numbers, as_on_tape=as_on_tape)


def _taken(record: Record, scope: str, numbers: Counter[str], *, as_on_tape: bool) -> Record:
    """Return a record of elsewhere as one of a scope: without secrets, and keyed as on a tape.

    Args:
        record: the record as it was.
        scope: what it is to be called.
        numbers: counts the records of each key.
        as_on_tape: as in `from_store`.
    """
    replaced = Replaced.of(record.request, Volatile({}, lambda: record.at / 1000))
    key = request_key(replaced.request)
    if not as_on_tape:
        replaced = Replaced.of(record.request, None)
    numbers[key] += 1
    return replace(
        record,
        scope=scope,
        key=key,
        number=numbers[key],
        request=replaced.request,
        answer=replaced.recorded(record.answer, is_stream=record.offsets is not None),
        sketch=sketch_of(replaced.request),
    )


class _UnreadableError(Exception):
    """A call of a cassette cannot be taken over."""


def _calls_in(path: Path) -> Iterator[Any]:
    """Yield the interactions of a cassette that were calls of a model, by their addresses.

    Raises:
        BundleError: it is no cassette.
        MissingPackageError: PyYAML is not installed.
    """
    try:
        import yaml  # an extra, that only this needs
    except ImportError as error:
        raise MissingPackageError("cassettes of vcrpy are YAML: pip install pyyaml") from error
    try:
        said = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both safe
    except (yaml.YAMLError, OSError, ValueError) as error:
        raise_interrupt(error)
        raise BundleError(f"{path} is no cassette of vcrpy: {error}") from error
    interactions = said.get("interactions") if isinstance(said, dict) else None
    if not isinstance(interactions, list):
        raise BundleError(f"{path} is no cassette of vcrpy: there is no list under 'interactions'")
    for number, interaction in enumerate(interactions, 1):
        match interaction:
            case {"request": {"uri": str(uri)}, "response": dict()}:
                if uri.partition("#")[0].partition("?")[0].endswith(_PATHS):
                    yield interaction
            case _:
                raise BundleError(
                    f"{path} is no cassette of vcrpy: its interaction {number} is no request with a uri, and a "
                    f"response: {shown(interaction)}"
                )


def _call_of(interaction: Any) -> tuple[Any, Any, list[float] | None]:
    """Return a request, its answer, and the times of its chunks.

    Raises:
        _UnreadableError: the call failed, or cannot be read.
    """
    request, response = interaction["request"], interaction["response"]
    match response.get("status"):
        case {"code": int(code)} if code < _LEAST_ERROR:
            pass
        case {"code": int(code)}:
            raise _UnreadableError(f"it failed with status {code}")
        case _:
            raise _UnreadableError("it has no status")
    asked = _parsed(_text(request, "its request"), "its request")
    if not isinstance(asked, dict):
        raise _UnreadableError("its request is no JSON object")
    text = _text(response, "its answer")
    if not text.lstrip().startswith(("event:", "data:", ":")):
        return asked, _parsed(text, "its answer"), None
    said = [line.removeprefix("data:").strip() for line in _LINE_ENDS.split(text) if line.startswith("data:")]
    chunks = [_parsed(each, "an event of its answer") for each in said if each and each != _END]
    return asked, chunks, [0.0] * len(chunks)


def _parsed(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise_interrupt(error)
        raise _UnreadableError(f"{what} is no JSON") from None


def _text(side: Any, what: str) -> str:
    """Return the body of a request or a response, in whichever way the tool wrote it.

    Raises:
        _UnreadableError: it is no text.
    """
    try:
        if "parsed_body" in side:
            return json.dumps(side["parsed_body"])
        body = side.get("body")
        match body:
            case {"base64_string": str() | bytes() as encoded}:
                body = b64decode(encoded)
            case {"string": said}:
                body = said
        if isinstance(body, bytes):
            body = _decompressed(body, _encoding_of(side)).decode()
        return body if isinstance(body, str) else json.dumps(body)
    except (ValueError, TypeError, zlib.error) as error:
        raise_interrupt(error)
        raise _UnreadableError(f"{what} cannot be read: {error}") from error


def _encoding_of(side: Any) -> str:
    """Return how a body is compressed, by its headers."""
    headers = side.get("headers")
    named = headers.items() if isinstance(headers, dict) else ()
    said = [value for name, value in named if str(name).lower() == "content-encoding"]
    return ", ".join(each for value in said for each in ([value] if isinstance(value, str) else value)).lower()


def _decompressed(data: bytes, encoding: str) -> bytes:
    if data.startswith(_GZIP):
        return zlib.decompress(data, zlib.MAX_WBITS | 16)
    if encoding == "deflate":
        return zlib.decompress(data, zlib.MAX_WBITS if data.startswith(_ZLIB) else -zlib.MAX_WBITS)
    if encoding in {"br", "zstd"}:
        raise ValueError(f"it is compressed by {encoding}; vcrpy's decode_compressed_response writes what can be read")
    return data
