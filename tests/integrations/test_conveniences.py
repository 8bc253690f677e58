"""What both adapters offer of their engine: options of the environment, ends, statistics, and what removes records."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litellm
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_openai import ChatOpenAI
from provider import Provider
from pydantic import SecretStr

import langchain_chatcache
import litellm_chatcache
from chatcache import InvalidInputError, Mode, ResponseCache

KINDS = [ResponseCache, litellm_chatcache.DOCache, langchain_chatcache.DOCache]
MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]


@pytest.fixture(params=KINDS, ids=["engine", "litellm", "langchain"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def no_cache() -> Iterator[None]:
    yield
    litellm.cache = None


def engine(cache: Any) -> ResponseCache:
    found: ResponseCache = getattr(cache, "engine", cache)
    return found


def test_the_environment_names_the_options(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DIR": str(tmp_path / "here"),
        "STORE": "mine",
        "MODE": "refresh",
        "TTL": "12h",
        "OBJECT": "other",
        "MAX_BYTES": "",
    }.items():
        monkeypatch.setenv(f"CHATCACHE_{name}", value)
    cache = engine(kind.from_env())
    assert (cache.store_id, cache.mode, cache.ttl, cache.object) == ("mine", Mode.REFRESH, 43_200, "other")
    assert cache.location.is_relative_to(tmp_path / "here")
    assert engine(kind.from_env(store_id="theirs", ttl=5)).ttl == 5


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("STORE", "", "CHATCACHE_STORE is not set: set it to the name of the store, or pass store_id="),
        ("TTL", "soon", "CHATCACHE_TTL is 'soon'; set it to seconds, or a number and a unit"),
        ("TTL", "-5", "CHATCACHE_TTL is '-5'"),
        ("ALLOW", "length,rejected", "set it to some of length, content_filter, empty, interrupted, with commas"),
        ("MAX_ENTRIES", "0", "set it to a whole number above 0"),
        ("STORE_REQUESTS", "some", "set it to one of full, redacted, digest"),
        ("MODE", "reply", "invalid mode 'reply' in CHATCACHE_MODE"),
    ],
)
def test_a_variable_that_cannot_be_right_is_named(
    kind: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv("CHATCACHE_STORE", "s")
    monkeypatch.setenv(f"CHATCACHE_{name}", value)
    with pytest.raises(InvalidInputError, match=says):
        kind.from_env()


async def test_a_cache_ends_with_its_block(kind: Any, tmp_path: Path) -> None:
    with kind("s", path=tmp_path) as cache:
        engine(cache).call({"a": 1}, lambda _: 1)
    async with kind("s", path=tmp_path) as cache:
        assert (await cache.astats()).stores == cache.stats().stores == 1
    cache.close()
    await cache.aclose()
    assert not [*tmp_path.rglob("*.alive")]


async def test_clear_leaves_nothing(kind: Any, tmp_path: Path) -> None:
    with kind("s", path=tmp_path) as cache:
        for clear in (cache.clear, cache.aclear):
            engine(cache).call({"a": 1}, lambda _: 1)
            done = clear()
            if done is not None:
                await done
            assert not [*engine(cache).records()]


@pytest.mark.usefixtures("no_cache")
async def test_a_call_of_litellm_is_invalidated_by_its_arguments(tmp_path: Path, provider: Provider) -> None:
    cache = litellm_chatcache.enable(store_id="s", path=tmp_path)
    call: dict[str, Any] = {"model": "openai/gpt-4o", "messages": MESSAGES, "api_base": provider.url, "api_key": "x"}
    for stream in (False, True):
        for read in (list, str):
            read(litellm.completion(**call, stream=stream))
    assert provider.calls == 1
    litellm.completion(**call, temperature=1)
    cache.invalidate(**call)
    litellm.completion(**call)
    assert provider.calls == 3
    await cache.ainvalidate("acompletion", **call)
    await litellm.acompletion(**call)
    litellm.completion(**call, temperature=1)
    assert provider.calls == 4
    litellm_chatcache.disable()


@pytest.mark.parametrize("wrap", [lambda model, cache: model, langchain_chatcache.cached], ids=["plain", "cached"])
async def test_a_call_of_langchain_is_invalidated_by_its_model_and_messages(
    tmp_path: Path, provider: Provider, wrap: Any
) -> None:
    cache = langchain_chatcache.DOCache("s", path=tmp_path)
    plain = ChatOpenAI(model="gpt-4o", base_url=provider.url, api_key=SecretStr("x"))
    model = langchain_chatcache.cached(plain, cache)
    given = wrap(plain, cache)
    for _ in range(2):
        model.invoke("Why?")
    cache.invalidate(given, [HumanMessage("Why?")])
    assert [*model.stream("Why?")]
    model.invoke("Why?")
    assert provider.calls == 2
    await cache.ainvalidate(given, "Why?")
    bound = model.bind(stop=["x"], temperature=1)
    for _ in range(2):
        bound.invoke("Why?")
        model.invoke("Why?")
    assert provider.calls == 4
    cache.invalidate(given.bind(stop=["x"]), "Why?", temperature=1)
    bound.invoke("Why?")
    model.invoke("Why?")
    assert provider.calls == 5
    with pytest.raises(InvalidInputError, match="a RunnableSequence was passed, which is no chat model"):
        cache.invalidate(model | StrOutputParser(), "Why?")
