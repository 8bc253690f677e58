"""Embeddings behind a cache: which texts are embedded, keys, modes, and the plugin's tape."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

from chatcache import InvalidInputError, Refusal, ReplayMiss
from chatcache.recording import Bundle, Policy, RecordMode, recording
from langchain_chatcache import CachedEmbeddings, DOCache, cached
from langchain_chatcache.reader import read
from tests.under_way import waiting
from tests.waiting import HANG, auntil

Embed = Callable[..., Awaitable[Any]]


class Embedder(BaseModel, Embeddings):
    """Embeds a text as its length, and notes what it embeds."""

    model: str = "embed-1"
    size: int = 3
    chunk_size: int = 10
    asked: list[list[str]] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked.append(texts)
        if "fail" in texts:
            raise ZeroDivisionError
        return [[float(len(text)), 0.1, -1e-300] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        self.asked.append([f"? {text}"])
        return [float(len(text)), 0.2, 0.0]


@pytest.fixture
def cache(tmp_path: Path) -> DOCache:
    return DOCache("s", path=tmp_path)


@pytest.fixture(params=["blocking", "awaiting"])
def embed(request: pytest.FixtureRequest) -> Embed:
    async def either(embeddings: Embeddings, asked: Any) -> Any:
        name = "embed_query" if isinstance(asked, str) else "embed_documents"
        if request.param == "blocking":
            return getattr(embeddings, name)(asked)
        return await getattr(embeddings, f"a{name}")(asked)

    return either


def wrapped(inner: Any, cache: DOCache, **options: Any) -> CachedEmbeddings:
    options.setdefault("ignore", ["asked"])
    it: CachedEmbeddings = cached(inner, cache, **options)
    return it


async def test_only_new_texts_are_embedded_each_once(cache: DOCache, embed: Embed) -> None:
    inner = Embedder()
    it = wrapped(inner, cache)
    assert await embed(it, ["a", "bb", "a"]) == [[1.0, 0.1, -1e-300], [2.0, 0.1, -1e-300], [1.0, 0.1, -1e-300]]
    assert await embed(it, ["ccc", "bb"]) == [[3.0, 0.1, -1e-300], [2.0, 0.1, -1e-300]]
    assert await embed(it, ["bb", "ccc", "a"]) == [[n, 0.1, -1e-300] for n in (2.0, 3.0, 1.0)]
    assert await embed(it, []) == []
    assert inner.asked == [["a", "bb"], ["ccc"]]
    assert (cache.stats().stores, cache.stats().bypasses) == (3, 0)


async def test_a_query_is_recorded_apart_from_a_document(cache: DOCache, embed: Embed) -> None:
    inner = Embedder()
    it = wrapped(inner, cache)
    for _ in range(2):
        assert await embed(it, "a") == [1.0, 0.2, 0.0]
        assert await embed(it, ["a"]) == [[1.0, 0.1, -1e-300]]
    assert inner.asked == [["? a"], ["a"]]


async def test_each_replay_is_a_list_of_its_own(cache: DOCache, embed: Embed) -> None:
    it = wrapped(Embedder(), cache)
    for _ in range(3):
        first, second = await embed(it, ["a", "a"])
        first.append(5)
        assert second == [1.0, 0.1, -1e-300]
        (await embed(it, "a")).append(5)
        assert await embed(it, "a") == [1.0, 0.2, 0.0]


@pytest.mark.parametrize(("change", "asked"), [({"model": "embed-2"}, 4), ({"size": 4}, 4), ({"chunk_size": 1}, 2)])
async def test_what_changes_a_vector_changes_the_key(
    cache: DOCache, embed: Embed, change: dict[str, Any], asked: int
) -> None:
    one, other = Embedder(), Embedder(**change)
    for inner in (one, other):
        await embed(wrapped(inner, cache), ["a"])
        await embed(wrapped(inner, cache), "a")
    assert len(one.asked) + len(other.asked) == asked


async def test_the_modes(cache: DOCache, embed: Embed) -> None:
    inner = Embedder()
    it = wrapped(inner, cache)
    with cache.using(mode="replay"), pytest.raises(ReplayMiss):
        await embed(it, ["a"])
    with cache.using(mode="replay"), pytest.raises(ReplayMiss):
        await embed(it, "a")
    with cache.disabled():
        await embed(it, ["a"])
        await embed(it, "a")
    await embed(it, ["a"])
    await embed(it, "a")
    with cache.using(mode="replay"):
        assert await embed(it, ["a"]) == [[1.0, 0.1, -1e-300]]
        assert await embed(it, "a") == [1.0, 0.2, 0.0]
    with cache.using(mode="refresh"):
        await embed(it, ["a"])
        await embed(it, "a")
    assert inner.asked == [["a"], ["? a"]] * 3
    assert cache.stats().stores == 4


async def test_an_error_is_not_recorded(cache: DOCache, embed: Embed) -> None:
    inner = Embedder()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await embed(wrapped(inner, cache), ["fail"])
    assert len(inner.asked) == 2


class Waiting(Embedder):
    """Answers when it may."""

    @property
    def may(self) -> Event:
        return MAY

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        assert self.may.wait(HANG)
        return super().embed_documents(texts)


MAY = Event()


@pytest.mark.parametrize("texts", [["a"], ["a", "fail"]])
async def test_those_who_ask_at_once_share_a_call(cache: DOCache, texts: list[str]) -> None:
    MAY.clear()
    inner = Waiting()
    it = wrapped(inner, cache)
    with ThreadPoolExecutor(4) as pool:
        futures = [asyncio.get_running_loop().run_in_executor(pool, it.embed_documents, texts) for _ in range(4)]
        await auntil(lambda: waiting(cache.engine) >= 3)
        MAY.set()
        answers = await asyncio.gather(*futures, return_exceptions=True)
    assert len(inner.asked) == 1
    assert len({repr(answer) for answer in answers}) == 1


class Odd(Embeddings):
    """Is no pydantic model, and returns what it is told to."""

    def __init__(self, vectors: Any) -> None:
        self.dimensions = 5
        self._vectors = vectors
        self.calls = 0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.calls += 1
        vectors: list[list[float]] = self._vectors
        return vectors[: len(texts)]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.mark.parametrize(
    "vectors",
    [[[1, -2]], [[0.1, float("inf")]], [np.array([1, 2], dtype=np.int8)], [np.array([0.5], dtype=np.float32)]],
)
async def test_numbers_are_replayed_as_they_were(cache: DOCache, embed: Embed, vectors: Any) -> None:
    inner = Odd(vectors)
    it = wrapped(inner, cache, ignore=["_vectors", "calls"])
    for _ in range(2):
        assert await embed(it, ["a"]) == [[*vectors[0]]]
        assert await embed(it, "a") == [*vectors[0]]
    assert inner.calls == 2


async def test_embeddings_of_classes_that_a_function_makes_are_told_apart_by_what_it_makes_them_of(
    cache: DOCache, embed: Embed
) -> None:
    def made(scale: float, base: type[Embeddings]) -> Embeddings:
        class Scaled(base):  # type: ignore[misc, valid-type]
            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                return [[scale * len(text)] for text in texts]

            def embed_query(self, text: str) -> list[float]:
                return self.embed_documents([text])[0]

        return Scaled()

    class Plain(Embeddings):
        """Is no pydantic model."""

    for base in (Embedder, Plain):
        models = [wrapped(made(scale, base), cache) for scale in (1.0, 2.0)]
        for _ in range(2):
            assert [await embed(it, ["ab"]) for it in models] == [[[2.0]], [[4.0]]]


async def test_vectors_that_cannot_be_told_apart_are_passed_on(cache: DOCache, embed: Embed) -> None:
    inner = Odd([[1.0]])
    it = wrapped(inner, cache, ignore=["_vectors", "calls"])
    for texts in (["b", "c"], ["a"], ["a", "b", "c"]):
        assert await embed(it, texts) == [[1.0]]
    assert (cache.stats().stores, cache.stats().bypasses) == (1, 2)


async def test_a_vector_that_is_empty_or_not_accepted_is_not_kept(cache: DOCache, embed: Embed) -> None:
    for it in (
        wrapped(Odd([[]]), cache, ignore=["_vectors", "calls"]),
        wrapped(Embedder(), cache, accept=lambda vector: vector[0] > 1),
    ):
        await embed(it, ["a"])
        await embed(it, "a")
    assert cache.stats().refusals == {Refusal.EMPTY: 2, Refusal.REJECTED: 2}


async def test_embeddings_that_hold_an_object_are_called(
    cache: DOCache, embed: Embed, caplog: pytest.LogCaptureFixture
) -> None:
    inner = Odd(object())
    with pytest.raises(TypeError):
        await embed(wrapped(inner, cache, ignore=["calls"]), ["a"])
    assert inner.calls == 1
    assert "Odd's attribute '_vectors' is an object of type object" in caplog.text
    with cache.using(mode="replay"), pytest.raises(ReplayMiss, match="Odd's attribute '_vectors'"):
        await embed(wrapped(inner, cache, ignore=["calls"]), ["a"])


async def test_a_recording_holds_them(cache: DOCache, embed: Embed, tmp_path: Path) -> None:
    """As the plugin does it: recorded into the bundle, and replayed where nothing may be called."""
    inner = Embedder()
    it = wrapped(inner, cache)
    said = []
    for mode in (RecordMode.ONCE, RecordMode.REPLAY):
        with recording(tmp_path / "it.chatcache", Policy(mode=mode)):
            said.append([await embed(it, ["a", "bb"]), await embed(it, "a"), await embed(it, ["bb"])])
    assert said[0] == said[1]
    assert inner.asked == [["a", "bb"], ["? a"]]
    with recording(tmp_path / "it.chatcache", Policy(mode=RecordMode.REPLAY)), pytest.raises(ReplayMiss):
        await embed(it, ["another"])


async def test_a_search_in_a_vector_store_asks_nothing_the_second_time(tmp_path: Path) -> None:
    inner = Embedder()
    for _ in range(2):
        with DOCache("s", path=tmp_path) as cache:
            store = InMemoryVectorStore(wrapped(inner, cache))
            store.add_texts(["a", "bb", "ccc"])
            await store.aadd_texts(["dddd"])
            assert [each.page_content for each in store.similarity_search("a", k=1)]
    assert inner.asked == [["a", "bb", "ccc"], ["dddd"], ["? a"]]


def test_credentials_and_how_it_is_sent_do_not_count(cache: DOCache) -> None:
    def key(**options: Any) -> str:
        it = cached(OpenAIEmbeddings(api_key=SecretStr("x"), base_url="http://localhost:1/v1", **options), cache)
        with cache.using(mode="replay"), pytest.raises(ReplayMiss) as miss:
            it.embed_query("a")
        assert miss.value.key is not None
        return miss.value.key

    assert key() == key(max_retries=7, chunk_size=5, timeout=3, show_progress_bar=True)
    assert len({key(), key(model="text-embedding-3-large"), key(dimensions=5)}) == 3


def test_it_is_shown_with_its_cache_and_wrapped_once(cache: DOCache, tmp_path: Path) -> None:
    inner = DeterministicFakeEmbedding(size=2)
    it = cached(inner, cache)
    assert repr(cache) in repr(it)
    other = DOCache("other", path=tmp_path)
    again = cached(it, other)
    assert (again.embeddings, again.cache) == (inner, other)
    with pytest.raises(InvalidInputError, match="which is no chat model and no embeddings"):
        cached(5, cache)  # type: ignore[call-overload]


async def test_the_records_of_embeddings_can_be_read_as_verify_does(tmp_path: Path) -> None:
    bundle = tmp_path / "one.chatcache"
    with recording(bundle, Policy(mode=RecordMode.REFRESH)):
        embeddings = cached(Embedder(), DOCache("s", path=tmp_path))
        embeddings.embed_query("one")
        embeddings.embed_documents(["two", "three"])
    records = Bundle(bundle).read()
    assert len(records) == 3
    for record in records:
        read(record)
