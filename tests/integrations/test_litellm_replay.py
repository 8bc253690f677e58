"""Mode ``replay`` behind LiteLLM: nothing reaches a provider, by whatever way; failures are replayed as they were."""

import asyncio
import pickle
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import Any

import litellm
import pytest
from litellm import exceptions
from litellm.anthropic_interface import messages
from litellm.router import Router
from provider import Provider

from chatcache import ReplayMiss
from chatcache.recording import Policy, RecordMode, recording
from litellm_chatcache import DOCache
from tests.integrations.endpoints import Endpoints, endpoints

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]
Complete = Callable[..., Awaitable[Any]]


@pytest.fixture
def replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DOCache:
    cache = DOCache("store", path=tmp_path, mode="replay")
    monkeypatch.setattr(litellm, "cache", cache)
    return cache


@pytest.fixture(params=["blocking", "awaiting"])
def complete(request: pytest.FixtureRequest, provider: Provider) -> Complete:
    fixed = {"model": "openai/gpt-4o", "messages": MESSAGES, "api_base": provider.url, "api_key": "none"}

    async def blocking(**arguments: Any) -> Any:
        answer = litellm.completion(**{**fixed, **arguments})
        return list(answer) if arguments.get("stream") else answer

    async def awaiting(**arguments: Any) -> Any:
        answer = await litellm.acompletion(**{**fixed, **arguments})
        return [chunk async for chunk in answer] if arguments.get("stream") else answer

    return blocking if request.param == "blocking" else awaiting


async def called(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    answer = function(*args, **kwargs)
    return await answer if asyncio.iscoroutine(answer) else answer


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"stream": True},
        {"num_retries": 2},
        {"num_retries": 2, "stream": True},
        {"max_retries": 2},
        {"cache": {"no-cache": True}},
        {"cache": {"no-store": True}},
        {"caching": False},
        {"fallbacks": ["openai/gpt-4o-mini"]},
        {"context_window_fallback_dict": {"openai/gpt-4o": "openai/gpt-4o-mini"}},
        {"retry_policy": {"TimeoutErrorRetries": 2}},
    ],
    ids=str,
)
async def test_a_miss_is_raised_whatever_the_call_says(
    replay: DOCache, provider: Provider, complete: Complete, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ReplayMiss, match="nothing is recorded"):
        await complete(**arguments)
    assert provider.calls == 0


async def test_a_miss_says_which_arguments_do_not_count(replay: DOCache, complete: Complete) -> None:
    with pytest.raises(ReplayMiss, match=r"left out .*max_retries, timeout") as caught:
        await complete(timeout=5, max_retries=0, user="me")
    assert {"max_retries", "timeout"} <= {*caught.value.left_out}
    assert not {"user", "messages", "litellm_call_id", "litellm_logging_obj"} & {*caught.value.left_out}
    assert pickle.loads(pickle.dumps(caught.value)).to_dict() == caught.value.to_dict()  # noqa: S301


async def test_a_global_number_of_retries_is_no_way_around(
    replay: DOCache, provider: Provider, complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "num_retries", 2)
    with pytest.raises(ReplayMiss):
        await complete()
    assert provider.calls == 0


@pytest.mark.parametrize("arguments", [{"cache": {"no-cache": True}}, {"caching": False}], ids=str)
async def test_what_was_recorded_is_replayed_though_the_call_wants_no_cache(
    tmp_path: Path, provider: Provider, complete: Complete, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
) -> None:
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path))
    recorded = await complete(**arguments)
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, mode="replay"))
    assert (await complete(**arguments)).model_dump() == recorded.model_dump()
    assert provider.calls == 1


@pytest.mark.parametrize("cache_responses", [True, False])
@pytest.mark.parametrize("colour", ["blocking", "awaiting"])
async def test_no_router_is_a_way_around(
    replay: DOCache, provider: Provider, colour: str, *, cache_responses: bool
) -> None:
    deployments = [
        {"model_name": name, "litellm_params": {"model": f"openai/{model}", "api_base": provider.url, "api_key": "x"}}
        for name, model in (("first", "gpt-4o"), ("first", "gpt-4o-mini"), ("second", "gpt-4"))
    ]
    router: Any = Router(
        model_list=deployments, cache_responses=cache_responses, fallbacks=[{"first": ["second"]}], num_retries=1
    )
    for _ in range(4):  # a deployment that failed is not used for a while, which must not hide the miss
        with pytest.raises(ReplayMiss, match="nothing is recorded"):
            await called(router.completion if colour == "blocking" else router.acompletion, "first", MESSAGES)
    assert provider.calls == 0


def two_groups(first: str, second: str) -> Router:
    """Return a router with two groups, of which the second answers if the first does not."""
    deployments = [
        {"model_name": name, "litellm_params": {"model": "openai/gpt-4o", "api_base": url, "api_key": "x"}}
        for name, url in (("first", first), ("second", second))
    ]
    fallbacks: list[Any] = [{"first": ["second"]}]
    return Router(model_list=deployments, cache_responses=True, fallbacks=fallbacks, num_retries=0)


NOWHERE = "http://127.0.0.1:9"  # nothing listens there


@pytest.mark.parametrize("colour", ["blocking", "awaiting"])
async def test_what_a_fallback_of_a_router_answered_is_recorded_and_replayed(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch, colour: str
) -> None:
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, record_errors=True))
    answers = []
    for mode in ("auto", "auto", "replay"):
        monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, mode=mode, record_errors=True))
        router: Any = two_groups(NOWHERE, provider.url)
        answers.append(
            await called(router.completion if colour == "blocking" else router.acompletion, "first", MESSAGES)
        )
    assert len({answer.id for answer in answers}) == 1
    assert provider.calls == 1


async def test_a_router_asks_no_other_group_instead_of_a_miss(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path))
    router: Any = two_groups(provider.url, provider.url)
    router.completion("second", MESSAGES)
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, mode="replay"))
    for times, function in enumerate((router.completion, router.acompletion), start=1):
        with pytest.raises(ReplayMiss, match=r"\{\+first\+\}"):
            await called(function, "first", MESSAGES)
        assert litellm.cache.stats().misses == times  # type: ignore[union-attr]  # it is ours
    assert provider.calls == 1


@pytest.mark.skipif(find_spec("tenacity") is None, reason="LiteLLM tries nothing again without it")
@pytest.mark.parametrize("name", ["completion", "acompletion"])
async def test_a_miss_is_not_tried_again(replay: DOCache, name: str) -> None:
    call: Any = {"model": "openai/gpt-4o", "messages": MESSAGES, "api_key": "x", "num_retries": 4}
    with pytest.raises(ReplayMiss):
        await called(getattr(litellm, f"{name}_with_retries"), **call, original_function=getattr(litellm, name))
    assert replay.engine.stats().misses == 1


@pytest.fixture
def server() -> Iterator[Endpoints]:
    with endpoints() as running:
        yield running


UNCACHED: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (litellm.image_generation, {"model": "openai/dall-e-3", "prompt": "A cat"}),
    (litellm.aimage_generation, {"model": "openai/dall-e-3", "prompt": "A cat"}),
    (litellm.moderation, {"model": "openai/omni-moderation-latest", "input": "Hi"}),
    (litellm.amoderation, {"model": "openai/omni-moderation-latest", "input": "Hi"}),
    (litellm.speech, {"model": "openai/tts-1", "input": "Hi", "voice": "alloy"}),
    (litellm.aspeech, {"model": "openai/tts-1", "input": "Hi", "voice": "alloy"}),
    (litellm.file_list, {"custom_llm_provider": "openai"}),
    (litellm.acreate_batch, {"completion_window": "24h", "endpoint": "/v1/chat/completions", "input_file_id": "1"}),
    (litellm.get_assistants, {"custom_llm_provider": "openai"}),
]


@pytest.mark.parametrize(("function", "arguments"), UNCACHED, ids=[each.__name__ for each, _ in UNCACHED])
async def test_what_is_never_cached_is_not_called(
    replay: DOCache, server: Endpoints, function: Callable[..., Any], arguments: dict[str, Any]
) -> None:
    found = getattr(litellm, function.__name__)  # as a program does it
    with pytest.raises(ReplayMiss, match=f"calls of {function.__name__} are not recorded"):
        await called(found, **arguments, api_base=server.url, api_key="none")
    assert server.calls.total() == 0


def router(url: str) -> Router:
    deployment = {"model": "openai/gpt-4o", "api_base": url, "api_key": "none"}
    return Router(model_list=[{"model_name": "gpt-4o", "litellm_params": deployment}], num_retries=0)


GATHERING: list[tuple[str, Callable[[str], Any]]] = [
    ("batch", lambda url: litellm.batch_completion("openai/gpt-4o", [MESSAGES], api_base=url, api_key="none")),
    (
        "first of models",
        lambda url: litellm.batch_completion_models(
            models=["openai/gpt-4o"], messages=MESSAGES, api_base=url, api_key="none"
        ),
    ),
    (
        "all models",
        lambda url: litellm.batch_completion_models_all_responses(
            models=["openai/gpt-4o"], messages=MESSAGES, api_base=url, api_key="none"
        ),
    ),
    ("router's batch", lambda url: router(url).abatch_completion(["gpt-4o"], MESSAGES)),
    ("router's first", lambda url: router(url).abatch_completion_fastest_response("gpt-4o", MESSAGES)),
]


@pytest.mark.parametrize("gather", [each for _, each in GATHERING], ids=[name for name, _ in GATHERING])
async def test_who_makes_several_calls_hears_of_a_miss(
    replay: DOCache, provider: Provider, gather: Callable[[str], Any]
) -> None:
    with pytest.raises(ReplayMiss):
        await called(gather, provider.url)
    assert provider.calls == 0


async def test_a_miss_is_raised_in_the_batch_that_it_belongs_to(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed: Any = {"model": "openai/gpt-4o", "api_base": provider.url, "api_key": "none"}
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path))
    (recorded,) = litellm.batch_completion(messages=[MESSAGES], **fixed)
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, mode="replay"))
    replayed: list[Any] = []
    done = Event()

    def replay() -> None:
        try:
            replayed.extend(litellm.batch_completion(messages=[MESSAGES], **fixed) for _ in range(20))
        except ReplayMiss as miss:
            replayed.append(miss)
        done.set()

    Thread(target=replay).start()
    while not done.is_set():
        with pytest.raises(ReplayMiss, match="never asked"):
            litellm.batch_completion(messages=[[{"role": "user", "content": "never asked"}]], **fixed)
    assert [[each.model_dump() for each in batch] for batch in replayed] == [[recorded.model_dump()]] * 20


@pytest.mark.parametrize("function", [litellm.ocr, litellm.aocr], ids=["ocr", "aocr"])
async def test_what_native_code_does_is_not_called(
    replay: DOCache, server: Endpoints, function: Callable[..., Any]
) -> None:
    page = {"type": "document_url", "document_url": "http://127.0.0.1:1/page"}
    with pytest.raises(ReplayMiss, match=r"calls of a?ocr are not recorded"):
        await called(function, model="mistral/ocr", document=page, api_base=server.url, api_key="none")
    assert server.calls.total() == 0


async def test_messages_are_asked_for_by_python_where_native_code_is_opted_into(
    tmp_path: Path, server: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITELLM_RUST", "1")
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path))
    call: dict[str, Any] = {"model": "anthropic/claude-3", "max_tokens": 10, "messages": MESSAGES}
    call |= {"api_base": server.url.removesuffix("/v1"), "api_key": "none"}
    answers: list[Any] = [await messages.acreate(**call) for _ in range(2)]
    first, second = answers
    first.pop("_hidden_params", None)  # where LiteLLM 1.98 says who asked
    assert first == second
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, mode="replay"))
    assert await messages.acreate(**call, cache={"no-cache": True}) == first
    with pytest.raises(ReplayMiss):
        await messages.acreate(**call | {"max_tokens": 11}, caching=False)
    assert server.calls == {"messages": 1}


async def test_a_kind_of_call_that_is_not_supported_is_not_called(
    tmp_path: Path, provider: Provider, complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        litellm, "cache", DOCache("store", path=tmp_path, mode="replay", supported_call_types=["embedding"])
    )
    with pytest.raises(ReplayMiss, match="completion are not recorded"):
        await complete()
    assert provider.calls == 0


async def test_a_call_may_say_that_it_is_made_all_the_same(
    replay: DOCache, provider: Provider, complete: Complete
) -> None:
    await complete(cache={"mode": "off"})
    assert provider.calls == 1


class Failing(ThreadingHTTPServer):
    """Fails as often as it is told to, with a status, and then answers."""

    daemon_threads = True

    def __init__(self, status: int, message: str, *, times: int = 1000) -> None:
        super().__init__(("127.0.0.1", 0), _Fails)
        self.status, self.message, self.times, self.calls = status, message, times, 0
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class _Fails(BaseHTTPRequestHandler):
    server: Failing

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.calls += 1
        fails = self.server.calls <= self.server.times
        answer = (
            f'{{"error": {{"message": "{self.server.message}", "type": "some_type", "code": "some_code"}}}}'
            if fails
            else '{"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, '
            '"finish_reason": "stop", "message": {"role": "assistant", "content": "At last."}}]}'
        ).encode()
        self.send_response(self.server.status if fails else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


FAILURES = [
    (400, "context_length_exceeded: this model's maximum context length is 10", exceptions.ContextWindowExceededError),
    (400, "no such thing", exceptions.BadRequestError),
    (401, "no such key", exceptions.AuthenticationError),
    (403, "not for you", exceptions.APIError),  # as LiteLLM makes of it
    (404, "no such model", exceptions.NotFoundError),
    (429, "too much", exceptions.RateLimitError),
    (500, "broken", exceptions.InternalServerError),
    (503, "busy", exceptions.ServiceUnavailableError),
]


def told(error: Exception) -> dict[str, Any]:
    names = ("status_code", "message", "llm_provider", "model", "code", "type", "param")
    return {"class": type(error), "text": str(error), **{name: getattr(error, name, None) for name in names}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "message", "kind"), FAILURES, ids=[str(each[2].__name__) for each in FAILURES])
async def test_a_failure_is_replayed_as_it_was(
    tmp_path: Path,
    complete: Complete,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    message: str,
    kind: type[Exception],
    *,
    stream: bool,
) -> None:
    server = Failing(status, message)
    call: dict[str, Any] = {"api_base": server.url, "max_retries": 0, "stream": stream}
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, record_errors=True))
    with pytest.raises(kind) as failed:
        await complete(**call)
    with pytest.raises(kind):
        await complete(**call)  # it is replayed in no mode that calls
    assert server.calls == 2
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, mode="replay"))
    with pytest.raises(kind) as replayed:
        await complete(**call)
    assert told(replayed.value) == told(failed.value)
    assert replayed.value.response.status_code == status  # type: ignore[attr-defined]
    with pytest.raises(kind) as replayed:
        await complete(**call, num_retries=2)
    assert str(replayed.value).startswith(str(failed.value))  # LiteLLM says that it tried again, which it did not
    assert server.calls == 2
    server.shutdown()
    server.server_close()


async def test_a_failure_is_not_recorded_unless_asked_for(
    tmp_path: Path, complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Failing(429, "too much")
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path))
    with pytest.raises(exceptions.RateLimitError):
        await complete(api_base=server.url, max_retries=0)
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, mode="replay"))
    with pytest.raises(ReplayMiss):
        await complete(api_base=server.url, max_retries=0)
    server.shutdown()
    server.server_close()


async def test_an_answer_at_the_second_try_is_what_is_replayed(
    tmp_path: Path, complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Failing(429, "too much", times=1)
    call: dict[str, Any] = {"api_base": server.url, "max_retries": 0, "num_retries": 2}
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, record_errors=True))
    recorded = await complete(**call)
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, mode="replay", record_errors=True))
    assert (await complete(**call)).choices == recorded.choices
    assert server.calls == 2
    server.shutdown()
    server.server_close()


async def test_a_bundle_replays_a_failure_and_the_answer_after_it_in_their_order(
    tmp_path: Path, complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Failing(429, "too much", times=1)
    call: dict[str, Any] = {"api_base": server.url, "max_retries": 0}
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path / "own"))
    said = []
    for mode in (RecordMode.REFRESH, RecordMode.REPLAY, RecordMode.REPLAY):
        with recording(tmp_path / "b.chatcache", Policy(mode=mode, errors=True)):
            with pytest.raises(exceptions.RateLimitError) as failed:
                await complete(**call)
            said.append([told(failed.value), (await complete(**call)).choices])
    assert said[0] == said[1] == said[2]
    assert server.calls == 2
    server.shutdown()
    server.server_close()
