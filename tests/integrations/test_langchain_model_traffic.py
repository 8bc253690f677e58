"""Every recorded exchange through real chat models: without a cache, recorded by ``cached``, and replayed when the
provider is gone.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
    message_chunk_to_message,
)
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from chatcache import Mode
from langchain_chatcache import DOCache, cached
from tests.integrations.traffic import exchanges, running
from tests.waiting import HANG

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXCHANGES = {kind: exchanges(kind) for kind in ("chat_completions", "responses", "messages")}
COLOURS = ("blocking", "awaiting")
NOT_OPENAIS = ("models", "moderation", "provider", "reasoning", "thinking", "transforms")
"""Parameters of other providers, which ChatOpenAI sends on in the body when asked so."""


@dataclass(frozen=True)
class Case:
    """An exchange, and the colour of the method that asks for it."""

    kind: str
    number: int
    colour: str

    @property
    def streams(self) -> bool:
        streams: bool = EXCHANGES[self.kind][self.number]["stream"]
        return streams

    def __str__(self) -> str:
        return f"{self.kind}-{self.number}-{self.colour}"


CASES = [
    Case(kind, number, colour) for kind in EXCHANGES for colour in COLOURS for number in range(len(EXCHANGES[kind]))
]


@dataclass(frozen=True)
class Outcome:
    """What a caller gets: an answer, or chunks, and perhaps an error."""

    answer: Any = None
    chunks: list[Any] | None = None
    error: Any = None

    @property
    def form(self) -> str:
        return "error" if self.error else "stream" if self.chunks is not None else "answer"


def model_of(case: Case, url: str) -> BaseChatModel:
    if case.kind == "messages":
        return ChatAnthropic(
            model_name=f"rec-{case.number}",
            base_url=url,
            api_key=SecretStr("none"),
            max_retries=0,
            timeout=HANG,
            stop=None,
        )
    return ChatOpenAI(
        model=f"rec-{case.number}",
        base_url=url,
        api_key=SecretStr("none"),
        max_retries=0,
        use_responses_api=case.kind == "responses",
    )


def request(case: Case) -> tuple[list[BaseMessage], dict[str, Any]]:
    """The messages of an exchange, and its other arguments."""
    left_out = ("model", "stream", "stream_options", "include", "metadata")  # LangChain has its own of these names
    body = {name: value for name, value in EXCHANGES[case.kind][case.number]["request"].items() if name not in left_out}
    if case.kind == "responses":
        said = body.pop("input")
        items = [{"role": "user", "content": said}] if isinstance(said, str) else said
        return [_of_an_item(item) for item in items], body
    if case.kind == "messages":
        system = body.pop("system", None)
        first = [] if system is None else [SystemMessage(system)]
        return [*first, *convert_to_messages(body.pop("messages"))], body
    extra = {name: body.pop(name) for name in NOT_OPENAIS if name in body}
    messages = [{"content": "", **_said(message)} for message in body.pop("messages")]
    return convert_to_messages(messages), {**body, "extra_body": extra}


def _of_an_item(item: dict[str, Any]) -> BaseMessage:
    match item:
        case {"role": _, "content": _}:
            (message,) = convert_to_messages([{"role": item["role"], "content": item["content"]}])
            return message
        case {"type": "function_call", "call_id": str(call), "name": str(name)}:
            return AIMessage("", tool_calls=[{"id": call, "name": name, "args": {}}])
        case {"type": "function_call_output", "call_id": str(call)}:
            return ToolMessage(str(item["output"]), tool_call_id=call)
        case _:
            return AIMessage([item])


def _said(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if value is not None}


def seen(message: BaseMessage) -> dict[str, Any]:
    """What a caller sees of an answer, or of a chunk, apart from its id, which is another one in each run."""
    return {"class": type(message).__name__, **message.model_dump(exclude={"id"})}


async def outcome(case: Case, model: BaseChatModel, *, stream: bool | None = None) -> Outcome:
    """Ask for an exchange, as it was recorded, or streamed or not as is said."""
    messages, arguments = request(case)
    stream = case.streams if stream is None else stream
    chunks: list[Any] = []
    try:
        if not stream and case.colour == "blocking":
            return Outcome(seen(model.invoke(messages, **arguments)))
        if not stream:
            return Outcome(seen(await model.ainvoke(messages, **arguments)))
        if case.colour == "blocking":
            chunks.extend(seen(chunk) for chunk in model.stream(messages, **arguments))
        else:
            async for chunk in model.astream(messages, **arguments):
                chunks.append(seen(chunk))  # noqa: PERF401 - those before an error count
        return Outcome(chunks=chunks)
    except Exception as error:  # noqa: BLE001 - whatever a caller would get
        return Outcome(error=(type(error).__name__, getattr(error, "status_code", None), str(error)))


def said(outcome: Outcome) -> dict[str, Any]:
    """What an answer, or all of its chunks together, say."""
    whole = outcome.answer
    if outcome.chunks is not None:
        first, *rest = (AIMessageChunk(**chunk) for chunk in outcome.chunks)
        whole = seen(message_chunk_to_message(sum(rest, first)))
    message = AIMessage(content=whole["content"])
    told = {name: whole[name] for name in ("tool_calls", "invalid_tool_calls", "usage_metadata")}
    return {"text": message.text, **told}


@dataclass(frozen=True)
class Recording:
    """What came of each case before the provider stopped, and the cache that recorded it."""

    url: str
    uncached: dict[Case, Outcome]
    recorded: dict[Case, Outcome]
    caches: dict[str, DOCache]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recording(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Recording]:
    if not CASES:
        pytest.skip("there is no recorded traffic")
    path = tmp_path_factory.mktemp("traffic")
    caches = {colour: DOCache(colour, path=path, allow=("length", "content_filter", "empty")) for colour in COLOURS}
    with running() as upstream:
        url = upstream.url
        uncached = {case: await outcome(case, model_of(case, url)) for case in CASES}
        recorded = {case: await outcome(case, cached(model_of(case, url), caches[case.colour])) for case in CASES}
    with pytest.raises(OSError, match="refused"):
        upstream.calls  # noqa: B018 - it is asked for
    for cache in caches.values():
        cache.engine.mode = Mode.REPLAY
    yield Recording(url, uncached, recorded, caches)
    for cache in caches.values():
        assert cache.engine.stats().bypasses == 0
        cache.engine.close()


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_replay_equals_the_uncached_outcome(case: Case, recording: Recording) -> None:
    uncached = recording.uncached[case]
    assert recording.recorded[case] == uncached
    replayed = await outcome(case, cached(model_of(case, recording.url), recording.caches[case.colour]))
    if uncached.error:
        assert replayed.error[0] == "ExplainedMiss"
    else:
        assert replayed == uncached


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_it_is_replayed_in_the_other_form_too(case: Case, recording: Recording) -> None:
    recorded = recording.recorded[case]
    if recorded.error:
        pytest.skip("there is no answer to replay")
    model = cached(model_of(case, recording.url), recording.caches[case.colour])
    other = await outcome(case, model, stream=not case.streams)
    assert other.error is None
    assert other.form != recorded.form
    assert said(other) == said(recorded)


async def test_no_exchange_dropped_out(recording: Recording) -> None:
    """Of the 9 completions and the one response that fail uncached, 4 are recorded errors, and 6 LangChain refuses."""
    forms = {
        "chat_completions": {"answer": 92, "stream": 8, "error": 9},
        "responses": {"answer": 80, "stream": 6, "error": 1},
        "messages": {"answer": 94, "stream": 3},
    }
    for kind, expected in forms.items():
        for colour in COLOURS:
            outcomes = [each for case, each in recording.uncached.items() if (case.kind, case.colour) == (kind, colour)]
            assert Counter(each.form for each in outcomes) == expected
