"""Each kind of call that LiteLLM lets a cache see, blocking and awaited, streamed and not: how it is replayed."""

import asyncio
import inspect
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import litellm
import pytest
from litellm.anthropic_interface.messages import acreate
from litellm.integrations.custom_logger import CustomLogger
from provider import Provider

from chatcache import Refusal
from litellm_chatcache import DOCache
from litellm_chatcache.kinds import KINDS
from tests.integrations.endpoints import Endpoints, endpoints
from tests.waiting import auntil

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCS = Path(__file__).parents[2] / "docs" / "litellm.md"


@pytest.fixture
def server() -> Iterator[Endpoints]:
    with endpoints() as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DOCache:
    cache = DOCache("store", path=tmp_path)
    monkeypatch.setattr(litellm, "cache", cache)
    return cache


def speech() -> io.BytesIO:
    file = io.BytesIO(b"RIFF....WAVE")
    file.name = "speech.wav"
    return file


@dataclass(frozen=True)
class Case:
    """A function of LiteLLM, and the arguments of a call."""

    kind: str
    function: Callable[..., Any]
    arguments: Callable[[], dict[str, Any]]
    server: str = "endpoints"
    streams: bool = True

    @property
    def name(self) -> str:
        return {"acreate": "anthropic.messages.acreate"}.get(self.function.__name__, self.function.__name__)


def chat() -> dict[str, Any]:
    return {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}


def text() -> dict[str, Any]:
    return {"model": "text-completion-openai/babbage", "prompt": "How is the weather?"}


def embeddings() -> dict[str, Any]:
    return {"model": "openai/embed", "input": ["one", "two"]}


def transcription() -> dict[str, Any]:
    return {"model": "openai/whisper-1", "file": speech()}


def rerank() -> dict[str, Any]:
    return {"model": "cohere/rerank-v3", "query": "weather", "documents": ["sun", "rain"]}


def responses() -> dict[str, Any]:
    return {"model": "openai/gpt-4o", "input": "How is the weather?"}


def messages() -> dict[str, Any]:
    return {**chat(), "model": "anthropic/claude-sonnet-4-5", "max_tokens": 100}


CASES = [
    Case("chat completions", litellm.completion, chat, "provider"),
    Case("chat completions", litellm.acompletion, chat, "provider"),
    Case("text completions", litellm.text_completion, text),
    Case("text completions", litellm.atext_completion, text),
    Case("embeddings", litellm.embedding, embeddings, streams=False),
    Case("embeddings", litellm.aembedding, embeddings, streams=False),
    Case("transcriptions", litellm.transcription, transcription, streams=False),
    Case("transcriptions", litellm.atranscription, transcription, streams=False),
    Case("reranking", litellm.rerank, rerank, streams=False),
    Case("reranking", litellm.arerank, rerank, streams=False),
    Case("responses", litellm.responses, responses),
    Case("responses", litellm.aresponses, responses),
    Case("Anthropic messages", acreate, messages),
]


class Asked:
    """Makes the calls of a case, and counts those that reach its provider."""

    def __init__(self, case: Case, server: Endpoints, provider: Provider) -> None:
        self.case = case
        self.server = server
        self.provider = provider
        self.awaited = inspect.iscoroutinefunction(case.function)
        base = provider.url if case.server == "provider" else server.url
        self.base = base.removesuffix("/v1") if case.kind == "Anthropic messages" else base

    @property
    def calls(self) -> int:
        return self.provider.calls + self.server.calls.total()

    async def whole(self, **arguments: Any) -> Any:
        if self.awaited:
            return _dumped(await self.case.function(**self._call(arguments)))
        return await asyncio.to_thread(lambda: _dumped(self.case.function(**self._call(arguments))))

    def skip_without_proxy(self) -> None:
        if self.case.kind == "Anthropic messages" and find_spec("fastapi") is None:
            pytest.skip("LiteLLM streams messages only where litellm[proxy] is installed")

    async def answer(self, **arguments: Any) -> Any:
        """What the function returns, not read."""
        if self.awaited:
            return await self.case.function(**self._call(arguments))
        return await asyncio.to_thread(lambda: self.case.function(**self._call(arguments)))

    async def stream(self, **arguments: Any) -> list[Any]:
        self.skip_without_proxy()
        call = self._call({"stream": True, **arguments})
        if self.awaited:
            return [_dumped(chunk) async for chunk in await self.case.function(**call)]
        return await asyncio.to_thread(lambda: [_dumped(chunk) for chunk in self.case.function(**call)])

    def _call(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**self.case.arguments(), "api_base": self.base, "api_key": "none", **arguments}


def _dumped(thing: Any) -> Any:
    return thing.model_dump() if hasattr(thing, "model_dump") else thing


def _said(whole: Any) -> Any:
    """What an answer says, whatever it was made of: its texts, thoughts and tokens."""
    match whole:
        case {"choices": choices}:
            return [(each.get("message") or each).get("content", each.get("text")) for each in choices]
        case {"output": output, "usage": usage}:
            return [each["content"][0]["text"] for each in output], usage["total_tokens"]
        case {"content": content}:
            return content, whole["usage"]["output_tokens"]


IDS = [case.name for case in CASES]


@pytest.fixture(params=CASES, ids=IDS)
def asked(request: pytest.FixtureRequest, server: Endpoints, provider: Provider) -> Asked:
    return Asked(request.param, server, provider)


@pytest.fixture(params=[case for case in CASES if case.streams], ids=[case.name for case in CASES if case.streams])
def streamed(request: pytest.FixtureRequest, server: Endpoints, provider: Provider) -> Asked:
    return Asked(request.param, server, provider)


async def test_an_answer_is_replayed_as_it_was(cache: DOCache, asked: Asked) -> None:
    first, second = await asked.whole(), await asked.whole()
    assert first == second
    assert asked.calls == 1
    assert cache.engine.stats().bypasses == 0


async def test_a_stream_is_replayed_chunk_by_chunk(cache: DOCache, streamed: Asked) -> None:
    first, second = await streamed.stream(), await streamed.stream()
    assert first == second
    assert len(first) > (0 if streamed.case.kind == "Anthropic messages" else 1)  # those are cut where the network does
    assert streamed.calls == 1
    assert cache.engine.stats().bypasses == 0


async def test_a_stream_answers_a_call_that_does_not_stream(cache: DOCache, streamed: Asked) -> None:
    uncached = await streamed.whole(cache={"mode": "off"})
    await streamed.stream()
    assert _said(await streamed.whole()) == _said(uncached)
    assert streamed.calls == 2


async def test_an_answer_is_streamed_to_who_asks_for_a_stream(cache: DOCache, streamed: Asked) -> None:
    await streamed.whole()
    assert len(await streamed.stream()) > 1
    assert streamed.calls == 1


async def test_nothing_of_it_is_called_in_mode_replay(
    tmp_path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path))
    recorded = await asked.whole()
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, mode="replay"))
    asked.server.shutdown()
    asked.server.server_close()
    assert await asked.whole() == recorded
    assert await asked.whole(cache={"no-cache": True}) == recorded
    assert await asked.whole(caching=False) == recorded
    assert asked.calls == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_response_that_is_not_accepted_is_asked_for_again(
    tmp_path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    """The predicate is shown a whole response of LiteLLM, and of embeddings one for each input."""
    if stream and not asked.case.streams:
        pytest.skip("LiteLLM does not stream these")
    seen: list[Any] = []

    def accept(response: Any) -> bool:
        seen.append(response)
        return len(seen) > rejected

    ask = asked.stream if stream else asked.whole
    rejected = 2 if asked.case.kind == "embeddings" else 1
    cache = DOCache("store", path=tmp_path, accept=accept)
    monkeypatch.setattr(litellm, "cache", cache)
    for _ in range(3):
        answer = await ask()
    assert asked.calls == 2
    assert len(seen) == 2 * rejected
    kind = next(kind for kind in KINDS if kind.name == asked.case.kind)
    assert {type(each) for each in seen} == {kind.model or dict}
    if not stream and asked.case.kind != "embeddings":
        assert _said(_dumped(seen[-1])) == _said(answer)
    stats = cache.engine.stats()
    assert (stats.refusals, stats.bypasses) == ({Refusal.REJECTED: rejected}, 0)


class ToldOfEachKind(CustomLogger):
    """Counts the callbacks of hits, and notes what they are told."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited: list[dict[str, Any]] = []
        self.blocking: list[dict[str, Any]] = []

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        if kwargs.get("cache_hit"):
            self.awaited.append(kwargs)

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        if kwargs.get("cache_hit"):
            self.blocking.append(kwargs)


TOLD = ToldOfEachKind()  # one for all tests: LiteLLM takes two whose classes are called the same for one


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_callbacks_are_told_of_a_hit_once_at_no_cost(
    cache: DOCache, asked: Asked, monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    if stream and not asked.case.streams:
        pytest.skip("LiteLLM does not stream these")
    ask = asked.stream if stream else asked.whole
    told = TOLD.awaited if asked.awaited else TOLD.blocking
    told.clear()
    monkeypatch.setattr(litellm, "callbacks", [TOLD])
    await ask()
    await ask()
    await auntil(lambda: told)
    await asyncio.sleep(0.1)  # a second report would come now
    assert [kwargs["response_cost"] for kwargs in told] == [0.0]
    assert asked.calls == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_hit_says_that_it_is_one(cache: DOCache, asked: Asked, *, stream: bool) -> None:
    if asked.case.kind == "Anthropic messages" and not stream:
        pytest.skip("these are dictionaries, with the fields of Anthropic and no others")
    if stream and not asked.case.streams:
        pytest.skip("LiteLLM does not stream these")
    await (asked.stream() if stream else asked.whole())
    answer = await asked.answer(stream=stream)
    hidden = getattr(answer, "_hidden_params")  # noqa: B009 - where LiteLLM's users look for it
    hidden = hidden if isinstance(hidden, dict) else vars(hidden) | hidden.__pydantic_extra__
    assert hidden["cache_hit"] is True
    assert len(hidden["cache_key"]) == 64
    assert 0 <= hidden["cache_age"] < 60
    assert not hidden.get("response_cost")
    assert cache.engine.stats().bytes_served > 0


def row(case: Case, colour: str) -> str:
    stream = {True: "chunk by chunk", False: "not streamed by LiteLLM"}[case.streams]
    return f"| {case.kind} | `{case.name}` | {colour} | equal | {stream} |"


async def test_the_table_of_the_docs_says_so() -> None:
    """It is made of the cases, each of which the tests above show. ``UPDATE_DOCS=1`` writes it anew."""
    rows = [row(case, "awaited" if inspect.iscoroutinefunction(case.function) else "blocking") for case in CASES]
    head = ["| what | function | colour | answer | stream |", "|---|---|---|---|---|"]
    table = "\n".join([*head, *rows])
    begin, end = "<!-- kinds -->\n", "\n<!-- /kinds -->"
    docs = DOCS.read_text("utf-8")
    before, _, rest = docs.partition(begin)
    _, _, after = rest.partition(end)
    if os.environ.get("UPDATE_DOCS"):
        DOCS.write_text(f"{before}{begin}{table}{end}{after}", "utf-8")
    assert table in DOCS.read_text("utf-8")
