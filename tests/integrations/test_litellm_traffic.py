"""Every recorded exchange through real LiteLLM: without a cache, recorded, and replayed when the provider is gone."""

import asyncio
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, get_args

import litellm
import pytest
import pytest_asyncio
from litellm.anthropic_interface import messages

from chatcache import Allowed, Mode
from litellm_chatcache import DOCache
from tests.integrations.release import LITELLM
from tests.integrations.seen import amount, chunk_fields, error_fields, fields
from tests.integrations.traffic import exchanges, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXCHANGES = {kind: exchanges(kind) for kind in ("chat_completions", "responses", "messages")}
MODELS = {
    "chat_completions": "openai/rec-{}",
    "responses": "openai/responses-rec-{}",
    "messages": "anthropic/rec-{}",
}
FUNCTIONS: dict[str, dict[str, Callable[..., Any]]] = {
    "chat_completions": {"blocking": litellm.completion, "awaiting": litellm.acompletion},
    "responses": {"blocking": litellm.responses, "awaiting": litellm.aresponses},
    "messages": {"awaiting": messages.acreate},
}
COLOURS = ("blocking", "awaiting")
HIDES_USAGE = (1, 102)  # from which release on its blocking streams hide it in an object of its own
NOT_OPENAIS = ("models", "moderation", "provider", "reasoning", "thinking", "transforms")
"""Parameters of other providers, which `litellm.completion` sends on in the body when asked so."""


@dataclass(frozen=True)
class Case:
    """An exchange, and the colour of the function that asks for it."""

    kind: str
    number: int
    colour: str

    @property
    def streams(self) -> bool:
        streams: bool = EXCHANGES[self.kind][self.number]["stream"]
        return streams

    def __str__(self) -> str:
        return f"{self.kind}-{self.number}-{self.colour}"


@dataclass(frozen=True)
class Outcome:
    """What a caller gets: an answer, or chunks, and perhaps an error."""

    answer: Any = None
    chunks: list[Any] | None = None
    error: Any = None

    @property
    def form(self) -> str:
        return "error" if self.error else "stream" if self.chunks is not None else "answer"


CASES = [
    Case(kind, number, colour)
    for kind, functions in FUNCTIONS.items()
    for colour in functions
    for number in range(len(EXCHANGES[kind]))
]


async def outcome(case: Case, url: str, *, stream: bool | None = None) -> Outcome:
    """Ask for an exchange, as it was recorded, or streamed or not as is said."""
    function = FUNCTIONS[case.kind][case.colour]
    call = arguments(case, url, stream=case.streams if stream is None else stream)
    chunks: list[Any] = []

    async def awaiting() -> Any:
        answer = await function(**call)
        if not call["stream"]:
            return fields(answer)
        async for chunk in answer:
            chunks.append(chunk_fields(chunk))  # noqa: PERF401 - those before an error count
        return None

    def blocking() -> Any:
        answer = function(**call)
        if not call["stream"]:
            return fields(answer)
        for chunk in answer:
            chunks.append(chunk_fields(chunk))  # noqa: PERF401 - those before an error count
        return None

    try:
        answer = await (awaiting() if inspect.iscoroutinefunction(function) else asyncio.to_thread(blocking))
    except Exception as error:  # noqa: BLE001 - whatever a caller would get
        return Outcome(chunks=chunks, error=error_fields(error))
    return Outcome(chunks=chunks) if call["stream"] else Outcome(answer)


def arguments(case: Case, url: str, *, stream: bool) -> dict[str, Any]:
    """The recorded request as arguments for LiteLLM."""
    call = {**EXCHANGES[case.kind][case.number]["request"], "model": MODELS[case.kind].format(case.number)}
    if case.kind == "chat_completions":
        call["extra_body"] = {name: call.pop(name) for name in NOT_OPENAIS if name in call}
    return {**call, "stream": stream, "api_base": url, "api_key": "none", "max_retries": 0}


@dataclass(frozen=True)
class Recording:
    """What came of each case before the provider stopped, and the caches that recorded it, one for each colour."""

    url: str
    uncached: dict[Case, Outcome]
    recorded: dict[Case, Outcome]
    caches: dict[str, DOCache]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recording(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Recording]:
    if not CASES:
        pytest.skip("there is no recorded traffic")
    litellm.register_model(
        {  # what a model streams that it does not know, LiteLLM asks for as a whole, and makes up the events
            MODELS["responses"].format(number): {"litellm_provider": "openai", "mode": "responses"}
            for number, exchange in enumerate(EXCHANGES["responses"])
            if exchange["stream"]
        }
    )
    allow = get_args(Allowed)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CHATCACHE_MODE", raising=False)
        path = tmp_path_factory.mktemp("traffic")
        with running() as upstream:
            patch.setattr(litellm, "cache", None)
            uncached = {case: await outcome(case, upstream.url) for case in CASES}
            caches = {colour: DOCache(colour, path=path, allow=allow, record_errors=True) for colour in COLOURS}
            recorded = {}
            for case in CASES:
                patch.setattr(litellm, "cache", caches[case.colour])
                recorded[case] = await outcome(case, upstream.url)
        with pytest.raises(OSError, match="refused"):
            upstream.calls  # noqa: B018 - it is asked for
    for cache in caches.values():
        cache.engine.mode = Mode.REPLAY
    yield Recording(upstream.url, uncached, recorded, caches)
    for cache in caches.values():
        cache.engine.close()


def of_any_run(case: Case, seen: Outcome) -> Outcome:
    """An outcome without what LiteLLM and the network make up anew: all else is the same in each run."""
    match seen:
        case Outcome(chunks=list(chunks)) if case.kind == "messages":
            return replace(seen, chunks=[b"".join(each["chunk"] for each in chunks)])  # cut where TCP cuts them
        case Outcome(chunks=list(chunks)) if case.kind == "chat_completions":
            seen = replace(seen, chunks=[{**each, "chunk": {**each["chunk"], "created": 0}} for each in chunks])
    if seen.error:
        first_lines = {name: str(value).split("\n")[0] for name, value in seen.error.items()}  # a traceback may follow
        return replace(seen, error=first_lines)
    return seen


def without_old_usage(seen: Outcome) -> Outcome:
    """An outcome without the tokens that LiteLLM hides in a chunk, where that is not yet an object of LiteLLM's own."""
    if LITELLM < HIDES_USAGE and seen.chunks:
        return replace(seen, chunks=[{**each, "hidden_usage": None} for each in seen.chunks])
    return seen


def is_kept(seen: Outcome) -> bool:
    """Whether an outcome is recorded: all but the errors that are no provider's."""
    return seen.error is None or "status_code" in seen.error


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_replay_equals_the_uncached_outcome(
    case: Case, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = recording.recorded[case]
    assert of_any_run(case, recorded) == of_any_run(case, recording.uncached[case])

    monkeypatch.setattr(litellm, "cache", recording.caches[case.colour])
    replayed = await outcome(case, recording.url)
    if is_kept(recorded):
        assert without_old_usage(replayed) == without_old_usage(recorded)
    else:
        assert replayed.error["class"] == "ExplainedMiss"


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_it_is_replayed_in_the_other_form_too(
    case: Case, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was streamed answers who asks for a whole answer, and the other way round: only the boundaries differ."""
    recorded = recording.recorded[case]
    if recorded.error:
        pytest.skip("there is no answer to replay")
    monkeypatch.setattr(litellm, "cache", recording.caches[case.colour])
    other = await outcome(case, recording.url, stream=not case.streams)
    assert other.form != recorded.form
    assert other.error is None
    seen, told = (amount(case.kind, deepcopy(each.answer or each.chunks)) for each in (other, recorded))
    if LITELLM < HIDES_USAGE and case.kind == "chat_completions":
        assert seen.pop("usage").keys() >= told.pop("usage").keys()
    assert seen == told


async def test_no_exchange_dropped_out(recording: Recording) -> None:
    """Of 11 completions that fail uncached, 3 are recorded errors, 4 LiteLLM refuses, and 4 are no answers to it.

    In LiteLLM 1.98 there is one more, and in 1.110 one less.
    """
    answers = {(1, 98): 89, (1, 110): 91}.get(LITELLM, 90)
    completions = {"answer": answers, "stream": 8, "error": 101 - answers}
    forms = {
        ("chat_completions", "blocking"): completions,
        ("chat_completions", "awaiting"): completions,
        ("responses", "blocking"): {"answer": 80, "stream": 6, "error": 1},
        ("responses", "awaiting"): {"answer": 80, "stream": 6, "error": 1},
        ("messages", "awaiting"): {"answer": 94, "stream": 3} if find_spec("fastapi") else {"answer": 94, "error": 3},
    }
    for asked, expected in forms.items():
        seen = [each for case, each in recording.uncached.items() if (case.kind, case.colour) == asked]
        assert Counter(each.form for each in seen) == expected


async def test_litellm_has_no_blocking_form_of_messages() -> None:
    with pytest.raises(ValueError, match="not implemented for sync calls"):
        messages.create(100, [{"role": "user", "content": "Hi"}], "anthropic/any", api_key="none")
