"""Records of a store, and of other tools' cassettes, as records of a bundle, and back.

In a store a record is found by the key of its request; on a tape by that of the request without what is volatile. So
both keys are made of the request, and only records that hold theirs can be taken over.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from chatcache.cache import Form, Hit, ResponseCache, Story
from chatcache.cache.usage import tokens_of
from chatcache.clock import real_time
from chatcache.errors import CorruptRecordError
from chatcache.keys import request_key

from .bundle import Record, model_of
from .masks import unmasked
from .replaced import Replaced
from .sketch import sketch_of
from .skipped import Skipped
from .vcr import calls_in
from .volatile import Volatile, put_back

__all__ = ["as_stored", "from_store", "from_vcr", "into_store"]


def as_stored(cache: ResponseCache, damaged: list[CorruptRecordError] | None = None) -> Iterator[Record]:
    """Yield the records of a store as they are in there, with their secrets, and under the keys that they have there.

    Args:
        cache: a cache of the store.
        damaged: as `ResponseCache.records` takes it.

    Raises:
        PersistenceError: they could not be read.
    """
    for hit, story in cache.records(damaged):
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
    cache: ResponseCache, scope: str = "", *, as_on_tape: bool = False, skipped: list[Skipped] | None = None
) -> Iterator[Record]:
    """Yield the records of a store whose requests are known, with their secrets masked.

    Args:
        cache: a cache of the store.
        scope: what they are to be called in a bundle.
        as_on_tape: whether what is volatile is replaced in them, so that a bundle replays them in a run with other ids;
            another store finds them only by the requests as they were.
        skipped: collects the other records, each with the reason.

    Raises:
        PersistenceError: they could not be read.
    """
    skipped = [] if skipped is None else skipped
    numbers: Counter[str] = Counter()
    for record in as_stored(cache):
        if request_key(record.request) == record.key:
            yield _taken(record, scope, numbers, as_on_tape=as_on_tape)
        else:
            skipped.append(Skipped(_named(record), "its request is not stored in full, see store_requests"))


def into_store(cache: ResponseCache, records: Iterable[Record], *, skipped: list[Skipped] | None = None) -> int:
    """Record into a store what was recorded elsewhere; return the number of records.

    A store has one answer for each request, so the first of several is taken. A record whose request holds a mask or a
    placeholder is left out: the text behind it is not recorded, so the key of the request is not known.

    Args:
        cache: a cache of the store.
        records: the records of a bundle.
        skipped: collects the records that are left out, each with the reason.

    Raises:
        PersistenceError: they could not be stored.
    """
    skipped = [] if skipped is None else skipped
    taken: set[str] = set()
    for record in sorted(records, key=lambda each: each.number):
        request, is_known = unmasked(record.request)
        if not is_known:
            skipped.append(Skipped(_named(record), "its request holds a mask or a placeholder"))
            continue
        key = request_key(request) + record.form  # one that is recorded in two forms has one number for each
        if key in taken:
            skipped.append(Skipped(_named(record), "a store has one answer for each request, and took another one"))
            continue
        taken.add(key)
        answer = put_back(record.answer, {})
        stored = record.stored(answer, size=len(json.dumps(answer)))
        cache.restore(Hit(key, stored, real_time), Story(request=request, versions=record.versions))
    return len(taken)


def from_vcr(
    path: Path, store: str, scope: str = "", *, as_on_tape: bool = False, skipped: list[Skipped] | None = None
) -> Iterator[Record]:
    """Yield the calls of a cassette of vcrpy or pytest-recording that have the form of OpenAI's or Anthropic's.

    The request of a record is the body that was sent, so that `ResponseCache.call` of that body finds it. Of a stream
    the chunks are its events; their times are not in such a cassette. A record is as old as its call is there.

    Args:
        path: the cassette, YAML.
        store: the store id that the records are to have.
        scope: what they are to be called in a bundle; see `CassetteTest`.
        as_on_tape: as in `from_store`.
        skipped: collects the interactions that are left out, each with the reason.

    Raises:
        BundleError: it is no such cassette.
        MissingPackageError: PyYAML is not installed.
    """
    skipped = [] if skipped is None else skipped
    numbers: Counter[str] = Counter()
    for number, call in enumerate(calls_in(path)):
        if isinstance(call, Skipped):
            skipped.append(call)
            continue
        record = Record(
            scope=scope,
            store=store,
            key=request_key(call.request),
            number=1,
            form=Form.STREAM if call.is_stream else Form.ANSWER,
            request=call.request,
            answer=call.answer,
            offsets=[0.0] * len(call.answer) if call.is_stream else None,
            sketch=sketch_of(call.request),
            at=call.at + number,  # a header has seconds: this keeps the order of the calls
            tokens=tokens_of(call.answer),
        )
        yield _taken(record, scope, numbers, as_on_tape=as_on_tape)


def _named(record: Record) -> str:
    """Return what a message calls a record."""
    model = model_of(record.request)
    of = f" of {record.scope}" if record.scope else ""
    return f"record {record.key[:12]}{of}{f', model {model}' if model else ''}"


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
