"""Embeddings whose vectors are recorded, text by text."""

import asyncio
from array import array
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from sys import byteorder
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings

from chatcache import About, Accept, Hit, InvalidValueError, Leader, LeftOut, Refusal, raise_interrupt, request_key

from .keys import UnkeyableError, left_out_of_embeddings, settings_of_embeddings

if TYPE_CHECKING:
    from .cache import DOCache

__all__ = ["CachedEmbeddings", "is_embedding", "vector_of"]

Vector = list[float]

_EMBEDDING: ContextVar[bool] = ContextVar("langchain_chatcache_embedding", default=False)


def is_embedding() -> bool:
    """Return whether cached embeddings are just calling those that they wrap: what these ask is a part of one call."""
    return _EMBEDDING.get()


class CachedEmbeddings(Embeddings):
    """Embeddings that are answered from records, and else by the embeddings that they wrap.

    The vector of each text is a record of its own, so that only new texts are embedded. A query and a document of one
    text are two records, since models may embed them differently.

    Args:
        embeddings: the embeddings that are called.
        cache: keeps the records.
        ignore: the names of fields that do not change a vector.
        accept: is called with a vector before it is kept, or None.

    Attributes:
        embeddings: as above.
        cache: as above.
    """

    def __init__(
        self, embeddings: Embeddings, cache: "DOCache", ignore: Collection[str] = (), accept: Accept | None = None
    ) -> None:
        self.embeddings = embeddings
        self.cache = cache
        self._ignore = frozenset(ignore)
        self._accept: Accept | None = None if accept is None else lambda record: accept(vector_of(record))

    def embed_documents(self, texts: list[str]) -> list[Vector]:
        """Return the vectors of documents.

        Raises:
            ReplayMiss: in mode ``replay``, there is no record of one of them.
        """
        requests = self._requests("document", texts)
        if requests is None:
            return self._plain(texts)
        engine = self.cache.engine
        with self._left_out():
            wanted = {request_key(request): request for request in requests}
            found = _found(wanted, engine.lookup_many(wanted, _read))
            missing = _missing(wanted, found)
            leader = engine.lead_many(missing) if missing else None
            if leader is True:  # another one recorded them
                found |= _found(missing, engine.lookup_many(missing, _read))
                missing = _missing(wanted, found)
        if missing:
            with _leading(leader):
                vectors = self._plain(_texts(missing))
                answers = self._answers(missing, vectors)
                if answers is not None:
                    engine.update_many(answers, accept=self._accept)
            if len(vectors) != len(missing):
                return vectors if not found else self._plain(texts)
            found |= dict(zip(missing, vectors, strict=True))
        return [[*found[request_key(request)]] for request in requests]

    async def aembed_documents(self, texts: list[str]) -> list[Vector]:
        """Awaiting twin of `embed_documents`."""
        requests = self._requests("document", texts)
        if requests is None:
            return await self._aplain(texts)
        engine = self.cache.engine
        with self._left_out():
            wanted = {request_key(request): request for request in requests}
            found = _found(wanted, [await engine.alookup(key, each, _read) for key, each in wanted.items()])
            missing = _missing(wanted, found)
            leader = await engine.alead_many(missing) if missing else None
            if leader is True:
                found |= _found(missing, [await engine.alookup(key, each, _read) for key, each in missing.items()])
                missing = _missing(wanted, found)
        if missing:
            with _leading(leader):
                vectors = await self._aplain(_texts(missing))
                answers = self._answers(missing, vectors)
                if answers is not None:
                    await asyncio.to_thread(partial(engine.update_many, answers, accept=self._accept))
            if len(vectors) != len(missing):
                return vectors if not found else await self._aplain(texts)
            found |= dict(zip(missing, vectors, strict=True))
        return [[*found[request_key(request)]] for request in requests]

    def embed_query(self, text: str) -> Vector:
        """Return the vector of a query.

        Raises:
            ReplayMiss: in mode ``replay``, there is no record of it.
        """
        requests = self._requests("query", [text])
        if requests is None:
            with self._calling():
                return self.embeddings.embed_query(text)

        def embed(_request: object) -> Any:
            with self._calling():
                return _packed(self.embeddings.embed_query(text))

        with self._left_out():
            vector: Vector = self.cache.engine.call(
                requests[0],
                embed,
                refuse=_refusal,
                accept=self._accept,
                read=vector_of,
            )
        return vector

    async def aembed_query(self, text: str) -> Vector:
        """Awaiting twin of `embed_query`."""
        requests = self._requests("query", [text])
        if requests is None:
            with self._calling():
                return await self.embeddings.aembed_query(text)

        async def embed(_request: object) -> Any:
            with self._calling():
                return _packed(await self.embeddings.aembed_query(text))

        with self._left_out():
            vector: Vector = await self.cache.engine.acall(
                requests[0], embed, refuse=_refusal, accept=self._accept, read=vector_of
            )
        return vector

    def _plain(self, texts: list[str]) -> list[Vector]:
        with self._calling():
            return self.embeddings.embed_documents(texts)

    async def _aplain(self, texts: list[str]) -> list[Vector]:
        with self._calling():
            return await self.embeddings.aembed_documents(texts)

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Have all that the wrapped embeddings ask on their way be a part of one call."""
        before = _EMBEDDING.set(True)
        try:
            with self.cache.engine.providing():
                yield
        finally:
            _EMBEDDING.reset(before)

    def _requests(self, kind: str, texts: Sequence[str]) -> list[dict[str, Any]] | None:
        """Return the request of each text, or None if the call is made without the cache.

        Raises:
            ReplayMiss: in mode ``replay``, the embeddings have no key.
        """
        engine = self.cache.engine
        mode = engine.mode
        if not (engine.asks(mode) or mode.writes):
            return None
        try:
            settings = settings_of_embeddings(self.embeddings, self._ignore)
        except (UnkeyableError, InvalidValueError) as error:
            if not engine.calls(mode):
                raise engine.miss(None, repr(texts), str(error)) from error
            engine.bypass(error)
            return None
        return [{"client": "langchain", "embeddings": settings, "kind": kind, "input": text} for text in texts]

    def _answers(
        self, missing: Mapping[str, dict[str, Any]], vectors: Sequence[Vector]
    ) -> dict[str, tuple[Any, About]] | None:
        """Return the records of vectors by their keys, without those that are not worth keeping.

        It is None if there is no telling which vector is that of which text; then the calls proceed without the cache.
        """
        engine, model = self.cache.engine, getattr(self.embeddings, "model", None)
        try:
            records = _records(vectors, len(missing))
        except Exception as error:  # noqa: BLE001 - whatever was returned, it is passed on
            raise_interrupt(error)
            engine.bypass(error)
            return None
        name = model if isinstance(model, str) else None
        return {
            key: (record, About(request=request, model=name))
            for (key, request), record in zip(missing.items(), records, strict=True)
            if (refusal := _refusal(record)) is None or not engine.refuses(refusal)
        }

    def _left_out(self) -> LeftOut:
        return LeftOut(lambda: left_out_of_embeddings(self.embeddings, self._ignore))

    def __repr__(self) -> str:
        return f"<CachedEmbeddings {self.embeddings!r} in {self.cache!r}>"


@contextmanager
def _leading(led: object) -> Iterator[None]:
    """Tell those who wait how the call in the body ended, if a `Leader` makes it."""
    leads = led if isinstance(led, Leader) else None
    try:
        yield
    except BaseException as error:
        if leads is not None:
            if isinstance(error, Exception):
                leads.failed(error)
            else:
                leads.give_up()
        raise
    if leads is not None:
        leads.recorded()


def _found(requests: Mapping[str, Any], vectors: Sequence[Vector | None]) -> dict[str, Vector]:
    pairs = zip(requests, vectors, strict=True)
    return {key: vector for key, vector in pairs if vector is not None}


def _missing(requests: Mapping[str, dict[str, Any]], found: Mapping[str, Vector]) -> dict[str, dict[str, Any]]:
    return {key: request for key, request in requests.items() if key not in found}


def _texts(requests: Mapping[str, dict[str, Any]]) -> list[str]:
    return [request["input"] for request in requests.values()]


def _records(vectors: Sequence[Vector], number: int) -> list[Any]:
    """Return the records of vectors.

    Raises:
        ValueError: there are not so many.
        Exception: any at all, if they are no vectors.
    """
    if len(vectors) != number:
        raise ValueError(f"the embeddings returned {len(vectors)} vectors of {number} texts")
    return [*map(_packed, vectors)]


def _read(hit: Hit) -> Vector:
    return vector_of(hit.answer)


def _refusal(record: Any) -> Refusal | None:
    return None if vector_of(record) else Refusal.EMPTY


def _packed(vector: Sequence[float]) -> dict[str, Any]:
    """Return the record of a vector: numbers as the base64 of their 64 bits, unless they are whole numbers."""
    numbers = [each.item() if hasattr(each, "item") else each for each in vector]  # also those of numpy
    if not all(type(each) is float for each in numbers):
        return {"embedding": numbers}
    data = array("d", numbers)
    if byteorder == "big":
        data.byteswap()
    return {"embedding": {"f64": b64encode(data.tobytes()).decode()}}


def vector_of(record: Any) -> Vector:
    """Return the vector of a record, a new list each time.

    Raises:
        Exception: any at all, if the record is not what `_packed` writes.
    """
    numbers = record["embedding"]
    if isinstance(numbers, list):
        return [*numbers]
    data = array("d", b64decode(numbers["f64"]))
    if byteorder == "big":
        data.byteswap()
    return data.tolist()
