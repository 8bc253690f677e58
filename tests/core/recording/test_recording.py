"""A recording: every cache of the process replays a bundle, and records into it."""

import asyncio
import json
import math
import pickle
import re
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from click.testing import CliRunner

from chatcache import (
    About,
    InvalidInputError,
    ModeName,
    NotRecordedError,
    Refusal,
    ReplayedError,
    ReplayMiss,
    ResponseCache,
    SecretError,
    StorageError,
)
from chatcache.cli.commands import chatcache
from chatcache.recording import (
    Bundle,
    Exhausted,
    ExplainedMiss,
    Fault,
    Policy,
    Reason,
    RecordMode,
    Volatile,
    parse_not_secret,
    recording,
    sample,
    shelf,
)

SKY = {"model": "m", "prompt": "Why is the sky blue? Say it in one sentence, and name the man who found it out."}
IDS = ("3f2a8c1e-0f6b-4a58-9d55-0a8f5a0c9b11", "b1c1d1e1-0f6b-4a58-9d55-0a8f5a0c9b22")


class Model:
    """A model that answers each call differently."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, request: Any) -> Any:
        self.calls += 1
        return {"content": f"answer {self.calls}", "usage": {"total_tokens": 7}}

    async def awaited(self, request: Any) -> Any:
        await asyncio.sleep(0)
        return self(request)

    async def astream(self, request: Any) -> AsyncIterator[Any]:
        self.calls += 1
        for word in ("The", " sky", f" {self.calls}"):
            yield {"delta": word}


def never(_request: Any) -> Any:
    raise AssertionError("nothing is to be called")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "b.chatcache"


@pytest.fixture
def cache(tmp_path: Path) -> ResponseCache:
    return ResponseCache("app", path=tmp_path / "objects")


@pytest.fixture
def asking(tmp_path: Path) -> ResponseCache:
    """A cache that asks the provider each time."""
    return ResponseCache("app", path=tmp_path / "objects", mode="off")


def refreshing(**options: Any) -> Policy:
    return Policy(mode=RecordMode.REFRESH, **options)


def replaying(**options: Any) -> Policy:
    return Policy(mode=RecordMode.REPLAY, **options)


def call_for(cache: ResponseCache, *answers: object) -> None:
    """Get each answer once from a call and once from a stream."""
    for at, answer in enumerate(answers):
        assert cache.call({"n": at}, partial(given, answer)) is answer
        assert list(cache.stream({"n": at}, partial(given, [answer]))) == [answer]


def given(answer: Any, _request: Any) -> Any:
    return answer


def test_what_is_recorded_is_replayed_and_the_caches_own_records_are_left_alone(
    cache: ResponseCache, bundle: Path
) -> None:
    model = Model()
    with recording(bundle) as tape:
        assert cache.call(SKY, model) == {"content": "answer 1", "usage": {"total_tokens": 7}}
    assert (len(tape.made), tape.hits) == (1, 0)
    with recording(bundle, replaying()) as tape:
        assert cache.call(SKY, never)["content"] == "answer 1"
    assert (tape.hits, tape.saved[0]) == (1, 7)
    assert not cache.location.exists()
    assert cache.call(SKY, model)["content"] == "answer 2"


@pytest.mark.parametrize("chunks", [[1, 2.5], [None, True], [[1], "a"], [{"a": 1}, 2]])
def test_the_chunks_of_a_stream_may_be_any_json(cache: ResponseCache, bundle: Path, chunks: list[Any]) -> None:
    with recording(bundle):
        assert [*cache.stream({"ask": 1}, lambda _request: chunks)] == chunks
    with recording(bundle, Policy(mode=RecordMode.REPLAY)):
        assert [*cache.stream({"ask": 1}, lambda _request: [])] == chunks


async def test_it_is_for_both_colours_and_for_streams(cache: ResponseCache, bundle: Path) -> None:
    model = Model()
    with recording(bundle):
        await cache.acall(SKY, model.awaited)
        chunks = [chunk async for chunk in cache.astream(SKY, model.astream)]
    assert [each["delta"] for each in chunks] == ["The", " sky", " 2"]
    with recording(bundle, replaying()):
        assert cache.call(SKY, never)["content"] == "answer 1"
        assert [*cache.stream(SKY, never)] == chunks
    with recording(bundle, replaying()):
        assert (await cache.acall(SKY, never))["content"] == "answer 1"
        assert [chunk async for chunk in cache.astream(SKY, never)] == chunks


def test_a_cache_that_is_made_meanwhile_replays_too(tmp_path: Path, bundle: Path) -> None:
    with recording(bundle):
        ResponseCache("app", path=tmp_path).call(SKY, Model())
    with recording(bundle, replaying()):
        assert ResponseCache("app", path=tmp_path / "elsewhere").call(SKY, never)["content"] == "answer 1"


def test_the_nth_answer_is_that_to_the_nth_equal_request(asking: ResponseCache, bundle: Path) -> None:
    with recording(bundle):
        model = Model()
        said = [asking.call(SKY, model)["content"] for _ in range(3)]
    assert said == ["answer 1", "answer 2", "answer 3"]
    with recording(bundle, replaying()):
        assert [asking.call(SKY, never)["content"] for _ in range(3)] == said
        with pytest.raises(ExplainedMiss) as miss:
            asking.call(SKY, never)
    assert (miss.value.explanation.reason, miss.value.to_dict()["asked"]) == (Reason.USED_UP, 3)
    assert "recorded 3 times" in str(miss.value)


@pytest.mark.parametrize(
    ("exhausted", "said"), [(Exhausted.LAST, ["1", "2", "2", "2", "2"]), (Exhausted.CYCLE, ["1", "2", "1", "2", "1"])]
)
def test_what_is_done_when_the_answers_run_out(
    asking: ResponseCache, bundle: Path, exhausted: Exhausted, said: list[str]
) -> None:
    with recording(bundle):
        model = Model()
        for _ in range(2):
            asking.call(SKY, model)
    with recording(bundle, replaying(exhausted=exhausted)):
        assert [asking.call(SKY, never)["content"][-1] for _ in range(5)] == said


def test_who_asks_at_the_same_time_gets_answers_of_their_own(asking: ResponseCache, bundle: Path) -> None:
    def ask_from_threads(model: Any) -> list[str]:
        said: list[str] = []
        threads = [threading.Thread(target=lambda: said.append(asking.call(SKY, model)["content"])) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(said)

    with recording(bundle):
        said = ask_from_threads(Model())
    assert len({*said}) == 8
    with recording(bundle, replaying()):
        assert ask_from_threads(never) == said


async def test_samples_are_numbered_on_their_own(cache: ResponseCache, bundle: Path) -> None:
    async def ask(model: Any, number: int) -> str:
        with sample(number, epoch=1):
            await asyncio.sleep(0.01 * (number % 3))
            return str((await cache.acall(SKY, model))["content"])

    with recording(bundle):
        model = Model()
        said = await asyncio.gather(*(ask(model.awaited, each) for each in range(6)))
    with recording(bundle, replaying()):
        assert await asyncio.gather(*(ask(never, each) for each in reversed(range(6)))) == [*reversed(said)]


def test_scopes_and_stores_are_apart(tmp_path: Path, cache: ResponseCache, bundle: Path) -> None:
    other = ResponseCache("other", path=tmp_path / "objects")
    model = Model()
    with recording(bundle, scope="one"):
        cache.call(SKY, model)
        other.call(SKY, model)
    with recording(bundle, scope="two"):
        cache.call(SKY, model)
    with recording(bundle, replaying(), scope="two"):
        assert cache.call(SKY, never)["content"] == "answer 3"
        with pytest.raises(ExplainedMiss) as miss:
            other.call(SKY, never)
    assert miss.value.explanation.reason is Reason.ELSEWHERE
    with recording(bundle, replaying(), scope="one"):
        assert other.call(SKY, never)["content"] == "answer 2"


def test_once_records_what_has_no_records_and_replays_strictly_what_has(cache: ResponseCache, bundle: Path) -> None:
    once = Policy(mode=RecordMode.ONCE)
    with recording(bundle, once, scope="one"):
        cache.call(SKY, Model())
    with recording(bundle, once, scope="one"):
        assert cache.call(SKY, never)["content"] == "answer 1"
        with pytest.raises(ReplayMiss):
            cache.call({**SKY, "seed": 1}, never)
    with recording(bundle, once, scope="two") as tape:
        cache.call(SKY, Model())
    assert tape.mode is RecordMode.REFRESH


def test_refresh_takes_the_place_of_what_was_there(cache: ResponseCache, bundle: Path) -> None:
    model = Model()
    with recording(bundle):
        cache.call(SKY, model)
        cache.call({"gone": 1}, model)
    with recording(bundle, refreshing()):
        cache.call(SKY, model)
    assert [each.answer["content"] for each in Bundle(bundle).read()] == ["answer 3"]


def test_auto_renews_what_is_too_old(asking: ResponseCache, bundle: Path) -> None:
    def auto(at: float) -> Policy:
        return Policy(mode=RecordMode.AUTO, max_age=100, clock=lambda: at)

    model = Model()
    with recording(bundle, auto(1_790_000_000.0)):
        asking.call(SKY, model)
        asking.call(SKY, model)
    for _ in range(2):
        with recording(bundle, auto(1_790_000_101.0)):
            assert [asking.call(SKY, model)["content"] for _ in range(2)] == ["answer 3", "answer 4"]
    assert [each.number for each in Bundle(bundle).read()] == [1, 2]


def test_what_raises_records_nothing(cache: ResponseCache, bundle: Path) -> None:
    def fails() -> None:
        cache.call(SKY, Model())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), recording(bundle):
        fails()
    assert not bundle.exists()


def test_auto_records_what_is_missing(asking: ResponseCache, bundle: Path) -> None:
    model = Model()
    with recording(bundle):
        asking.call(SKY, model)
    with recording(bundle):
        assert asking.call(SKY, model)["content"] == "answer 1"
        assert asking.call(SKY, model)["content"] == "answer 2"
    with recording(bundle, replaying()):
        assert [asking.call(SKY, never)["content"] for _ in range(2)] == ["answer 1", "answer 2"]


def test_in_mode_off_caches_use_their_own_records(cache: ResponseCache, bundle: Path) -> None:
    model = Model()
    off = Policy(mode=RecordMode.OFF)
    with recording(bundle, off) as tape, recording(bundle, off):
        assert [cache.call(SKY, model)["content"] for _ in range(2)] == ["answer 1", "answer 1"]
    assert recording(bundle, off)(lambda: cache.call(SKY, never)["content"])() == "answer 1"
    assert (tape.made, tape.hits, bundle.exists()) == ([], 0, False)


def test_the_environment_decides_the_mode_that_the_program_leaves_open(
    cache: ResponseCache, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model()
    monkeypatch.setenv("CHATCACHE_MODE", "replay")
    for policy in (None, Policy(), Policy(ignore=("seed",))):
        with recording(bundle, policy), pytest.raises(ExplainedMiss):
            cache.call(SKY, never)
    with recording(bundle, refreshing()):
        assert cache.call(SKY, model)["content"] == "answer 1"
    for mode, answer in {"read_only": 1, "once": 1, "auto": 1, "refresh": 2}.items():
        monkeypatch.setenv("CHATCACHE_MODE", mode)
        with recording(bundle):
            assert cache.call(SKY, model)["content"] == f"answer {answer}", mode
    monkeypatch.setenv("CHATCACHE_MODE", "off")
    with recording(bundle):
        assert cache.call(SKY, model)["content"] == "answer 3"
    monkeypatch.setenv("CHATCACHE_MODE", "sometimes")
    with pytest.raises(InvalidInputError, match="invalid mode 'sometimes' in CHATCACHE_MODE: use one of replay, once"):
        recording(bundle)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Policy(mode=cast(Any, "reply")), "invalid mode 'reply': use one of replay, once, auto, refresh, off"),
        (lambda: Policy(exhausted=cast(Any, "stop")), "exhausted='stop': use one of error, last, cycle"),
        (lambda: Policy(ignore=cast(Any, "seed")), r"pass a list of names, such as \['seed'"),
        (lambda: Policy(not_secret=cast(Any, "ACME")), "pass a list of patterns"),
        (lambda: recording("x.chatcache", cast(Any, "replay")), "policy='replay': pass a Policy, such as"),
    ],
)
def test_a_policy_that_cannot_be_right_is_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        make()


def test_the_modes_of_a_policy_may_be_named(cache: ResponseCache, bundle: Path) -> None:
    with recording(bundle, Policy(mode=cast(Any, "replay"))), pytest.raises(ExplainedMiss):
        cache.call(SKY, never)


@pytest.mark.parametrize("answer", [object(), {"x": [b""]}, {1: 2}])
def test_an_answer_that_cannot_be_recorded_fails_the_recording(
    cache: ResponseCache, bundle: Path, answer: object
) -> None:
    with pytest.raises(NotRecordedError, match="the answer is not JSON"), recording(bundle):
        assert cache.call(SKY, lambda _request: answer) is answer


@pytest.mark.parametrize("mode", [RecordMode.AUTO, RecordMode.ONCE, RecordMode.REFRESH])
def test_a_call_that_cannot_be_recorded_costs_no_other_one_its_record(
    cache: ResponseCache, bundle: Path, mode: RecordMode
) -> None:
    deep: Any = "deep"
    for _ in range(150):
        deep = [deep]
    with pytest.raises(NotRecordedError) as caught, recording(bundle, Policy(mode=mode)):
        call_for(cache, "one", b"bytes", deep, KEY, datetime.now(UTC), {1, 2}, {1: "x"}, object(), "two")
    assert str(caught.value).count("was not recorded") == 14
    assert [each.answer for each in Bundle(bundle).read()] == ["one", ["one"], "two", ["two"]]


def test_a_refresh_that_is_not_whole_leaves_the_records_that_it_did_not_make_again(
    cache: ResponseCache, bundle: Path
) -> None:
    with recording(bundle, refreshing()):
        call_for(cache, "one", "two", "three")
    with pytest.raises(NotRecordedError), recording(bundle, refreshing()):
        call_for(cache, "new", b"bytes")
    assert {each.request["n"]: each.answer for each in Bundle(bundle).read() if not each.offsets} == {
        0: "new",
        1: "two",
        2: "three",
    }


class Colour(StrEnum):
    RED = "red"


class Point(NamedTuple):
    x: int


class Level(IntEnum):
    HIGH = 3


UNLIKE = [(1, 2), {"a": [{"b": (1,)}]}, Colour.RED, {Colour.RED: 1}, Point(1), OrderedDict(a=1), Level.HIGH]


@pytest.mark.parametrize("answer", UNLIKE, ids=repr)
def test_an_answer_that_a_replay_would_return_otherwise_fails_the_recording(
    cache: ResponseCache, bundle: Path, answer: Any
) -> None:
    with pytest.raises(NotRecordedError, match="the answer is not JSON") as caught, recording(bundle):
        call_for(cache, answer)
    assert len(str(caught.value).splitlines()) == 2
    assert not bundle.exists()


LIKE = [
    {"b": 1, "a": {"z": [], "y": {"$text": ["x"], "$blob": "y"}}},
    {"z": "word " * 500, "a": "A1b2" * 6_000, "m": [0.5] * 5_000},
    [math.nan, math.inf, -0.0, 1.0, 1e-7, 2**70, True, None, "", "a\ud800", "\x00\r\n"],
    {"<<secret>>": "<<uuid-1>>", "<<=secret>>": 2},
]
CHUNKS = [
    [{"content": "a", "type": "chunk", "id": 1}, {"content": "b", "type": "chunk", "id": 1}],
    [{"id": 1, "choices": [{"b": 1, "a": 2}], "usage": None}, {"id": 1, "choices": [], "usage": {"z": 1, "a": 2}}],
    [{"b": 1, "a": 1}, {"a": 1, "b": 1}, {"c": 0, "a": 1, "b": 1}],
    [{"id": 1, "z": 1}, {"id": 1, "y": 1, "z": 1, "end": True}, {"id": 1}],
    [{"id": 1}, "text", {"id": 1}],
    [{"a\nb\n$text": at, "z": 1, "x" * 200: at, "$text": at, IDS[0]: 1, "q": at} for at in range(3)],
]


@pytest.mark.parametrize("chunks", [*CHUNKS, LIKE])
def test_a_replay_returns_what_the_recording_run_got_to_the_order_of_names(
    cache: ResponseCache, bundle: Path, chunks: list[Any]
) -> None:
    def run() -> str:
        return repr([[cache.call({"n": at}, partial(given, answer)) for at, answer in enumerate(chunks)], streamed()])

    def streamed() -> list[Any]:
        return [*cache.stream({}, partial(given, chunks))]

    with recording(bundle, refreshing()):
        recorded = run()
    with recording(bundle, replaying()):
        assert run() == recorded == repr([chunks, chunks])
    before = bundle.read_bytes()
    Bundle(bundle).write(Bundle(bundle).read())
    assert bundle.read_bytes() == before


@pytest.mark.parametrize("near", [0, 1_000])
def test_records_that_memory_has_no_room_for_are_replayed(
    cache: ResponseCache, bundle: Path, near: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "_NEAR", near)
    with recording(bundle, refreshing()):
        for number in range(20):
            cache.call(number, lambda number: f"answer {number}")
    for _ in range(2):
        with recording(bundle, replaying()):
            assert [cache.call(number, never) for number in range(20)] == [f"answer {number}" for number in range(20)]


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: (inner,)])
@pytest.mark.parametrize("levels", [90, 101, 300, 600, 900, 3_000])
def test_no_depth_of_a_request_or_an_answer_raises_an_error_of_python(
    cache: ResponseCache, bundle: Path, levels: int, wrap: Callable[[Any], Any]
) -> None:
    deep: Any = "deep"
    for _ in range(levels):
        deep = wrap(deep)
    with suppress(NotRecordedError), recording(bundle, refreshing()):
        assert cache.call({"deep": deep}, lambda _: "answer") == "answer"
        assert cache.call(1, partial(given, deep)) is deep
        assert len([*cache.stream(1, partial(given, [deep]))]) == 1
    with recording(bundle, replaying()), suppress(ReplayMiss):
        assert cache.call({"deep": deep}, never) == "answer"
    with suppress(ReplayMiss):
        cache.call({"deep": deep}, never, mode="replay")


def test_an_error_that_cannot_be_recorded_is_raised_as_it_is(cache: ResponseCache, bundle: Path) -> None:
    deep: Any = "deep"
    for _ in range(900):
        deep = {"a": deep}

    def fails(_request: Any) -> Any:
        raise LookupError(deep)

    with pytest.raises(NotRecordedError), recording(bundle, refreshing(errors=True)), pytest.raises(LookupError):
        cache.call({"deep": deep}, fails)


@pytest.mark.parametrize("mode", ["off", "refresh", "auto", "read_only"])
def test_a_calls_own_mode_does_not_count(cache: ResponseCache, bundle: Path, mode: ModeName) -> None:
    with recording(bundle):
        cache.call(SKY, Model(), mode=mode)
    with recording(bundle, replaying()):
        assert cache.call(SKY, never, mode=mode)["content"] == "answer 1"


def test_an_answer_that_a_cache_would_refuse_is_recorded(cache: ResponseCache, bundle: Path) -> None:
    with recording(bundle):
        cache.call(SKY, Model(), refuse=lambda _answer: Refusal.LENGTH)
    with recording(bundle, replaying()):
        assert cache.call(SKY, never)["content"] == "answer 1"


class RateLimitedError(Exception):
    """An error of a provider."""


@pytest.fixture
def known(tmp_path: Path) -> ResponseCache:
    return ResponseCache("app", path=tmp_path / "objects", errors=[RateLimitedError])


def test_errors_are_recorded_on_request_and_stand_in_their_order(known: ResponseCache, bundle: Path) -> None:
    def refused(_request: Any) -> Any:
        raise RateLimitedError("slow down")

    with recording(bundle, refreshing(errors=True)):
        with pytest.raises(RateLimitedError):
            known.call(SKY, refused)
        known.call(SKY, Model())
    with recording(bundle, replaying()):
        with pytest.raises(RateLimitedError, match="slow down"):
            known.call(SKY, never)
        assert known.call(SKY, never)["content"] == "answer 1"


def test_an_error_of_a_class_that_may_not_be_made_is_a_replayed_one(cache: ResponseCache, bundle: Path) -> None:
    def refused(_request: Any) -> Any:
        raise RateLimitedError("slow down")

    with recording(bundle, refreshing(errors=True)), pytest.raises(RateLimitedError):
        [*cache.stream(SKY, refused)]
    with recording(bundle, replaying()), pytest.raises(ReplayedError, match="slow down"):
        [*cache.stream(SKY, never)]


def test_errors_are_not_recorded_by_default(known: ResponseCache, bundle: Path) -> None:
    def refused(_request: Any) -> Any:
        raise RateLimitedError

    with recording(bundle), pytest.raises(RateLimitedError):
        known.call(SKY, refused)
    assert not bundle.exists()


@pytest.mark.parametrize("mode", [RecordMode.REFRESH, RecordMode.REPLAY])
def test_faults_come_first_and_in_every_mode(cache: ResponseCache, bundle: Path, mode: RecordMode) -> None:
    with recording(bundle):
        cache.call(SKY, Model())
    faults = [Fault(RateLimitedError, 2)]
    with recording(bundle, Policy(mode=mode, faults=faults)):
        for _ in range(2):
            with pytest.raises(RateLimitedError, match=r"^m$"):
                cache.call(SKY, never)
        assert cache.call(SKY, Model())["content"] == "answer 1"


def test_an_old_record_is_too_old(cache: ResponseCache, bundle: Path) -> None:
    with recording(bundle, refreshing(clock=lambda: 1_790_000_000.0)):
        cache.call(SKY, Model())
    with recording(bundle, replaying(clock=lambda: 1_790_000_100.0, max_age=100)):
        cache.call(SKY, never)
    with recording(bundle, replaying(clock=lambda: 1_790_000_101.0, max_age=100)), pytest.raises(ExplainedMiss) as miss:
        cache.call(SKY, never)
    assert miss.value.explanation.reason is Reason.EXPIRED


def test_what_is_volatile_does_not_count_and_is_put_back(cache: ResponseCache, bundle: Path) -> None:
    def echo(request: Any) -> Any:
        return {"content": f"I looked {request['prompt']} up"}

    with recording(bundle):
        cache.call({"prompt": f"order {IDS[0]}"}, echo)
    assert IDS[0] not in bundle.read_text()
    with recording(bundle, replaying()):
        assert cache.call({"prompt": f"order {IDS[1]}"}, never) == {"content": f"I looked order {IDS[1]} up"}


def test_what_is_ignored_does_not_count(cache: ResponseCache, bundle: Path) -> None:
    request = {"arguments": {"seed": 1, "metadata": {"run": 1, "user": "a"}}, "seed": 2}
    with recording(bundle, refreshing(ignore=("seed", "metadata.run"))):
        cache.call(request, Model())
    assert '"seed"' not in bundle.read_text()
    for changed in ({**request, "seed": 3}, {**request, "arguments": {"metadata": {"run": 2, "user": "a"}}}):
        with recording(bundle, replaying(ignore=("seed", "metadata.run"))):
            cache.call(changed, never)
    with recording(bundle, replaying(ignore=("seed", "metadata.run"))), pytest.raises(ReplayMiss):
        cache.call({"arguments": {"metadata": {"user": "b"}}}, never)


def test_the_key_of_a_run_is_neither_recorded_nor_keyed(
    cache: ResponseCache, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["sk-proj-" + "aB3_" * 12, "sk-proj-" + "Zx9_" * 12]
    monkeypatch.setenv("OPENAI_API_KEY", keys[0])
    with recording(bundle):
        cache.call({"prompt": f"my key is {keys[0]}"}, lambda request: {"content": request["prompt"]})
    assert bundle.read_text().count("my key is <<secret>>") == 2
    monkeypatch.setenv("OPENAI_API_KEY", keys[1])
    with recording(bundle, replaying()):
        assert cache.call({"prompt": f"my key is {keys[1]}"}, never) == {"content": f"my key is {keys[1]}"}


def test_prompts_with_different_keys_are_told_apart(cache: ResponseCache, bundle: Path) -> None:
    keys = ["sk-proj-" + "aB3_" * 12, "sk-RandomForestClassifier", "sk-GradientBoostingRegressor"]
    with recording(bundle):
        for key in keys:
            cache.call({"prompt": f"What is {key}?"}, lambda request: {"content": request["prompt"]})
    assert keys[0] not in bundle.read_text()
    with recording(bundle, replaying()):
        for key in keys:
            assert cache.call({"prompt": f"What is {key}?"}, never) == {"content": f"What is {key}?"}
        with pytest.raises(ReplayMiss):
            cache.call({"prompt": "What is sk-LogisticRegressionModel?"}, never)


@pytest.mark.parametrize("secret", ["zX9kQ2vB7nM4pL8wR3tY6uI1oA5sD0fG", "0123456789abcdef0123456789abcdef"])
def test_what_is_a_secret_in_a_request_is_one_in_its_answer(cache: ResponseCache, bundle: Path, secret: str) -> None:
    request = {"prompt": "Log in.", "api_key": secret, "again": f"by {secret}"}

    def say(_request: Any) -> Iterator[Any]:
        yield from ({"delta": f"your key is {secret}"[at : at + 5]} for at in range(0, 44, 5))

    with recording(bundle):
        assert secret in str(cache.call(request, lambda _request: {"content": f"your key is {secret}"}))
        [*cache.stream(request, say)]
    assert secret not in bundle.read_text()
    with recording(bundle, replaying()):
        assert cache.call(request, never) == {"content": f"your key is {secret}"}
        assert "".join(each["delta"] for each in cache.stream(request, never)) == f"your key is {secret}"


def test_a_key_for_nothing_replays_what_a_real_one_recorded(cache: ResponseCache, bundle: Path) -> None:
    def asked(**keys: str) -> Any:
        return {"q": "placeholder text", **keys}

    with recording(bundle):
        cache.call(asked(aws_access_key_id="AB12CD34", aws_secret_access_key="x9y8z7w6"), Model())
        cache.call(asked(api_key="test"), lambda _request: {"content": "this is a test of it"})
    with recording(bundle, replaying()):
        assert cache.call(asked(aws_access_key_id="dummy", aws_secret_access_key="dummy"), never)
        assert cache.call(asked(api_key="placeholder"), never) == {"content": "this is a test of it"}


def test_two_secrets_of_a_request_are_masked_in_its_answer_and_put_back(cache: ResponseCache, bundle: Path) -> None:
    request = {"password": "hunter2pass", "api_key": "abcdef123456"}
    with recording(bundle):
        cache.call(request, lambda _request: {"content": "hunter2pass, abcdef123456"})
        [*cache.stream(request, lambda _request: iter(["hunter2p", "ass, abc", "def123456"]))]
    assert "hunter2" not in bundle.read_text()
    assert "123456" not in bundle.read_text()
    with recording(bundle, replaying()):
        assert cache.call(request, never) == {"content": "hunter2pass, abcdef123456"}
        assert "".join(cache.stream(request, never)) == "hunter2pass, abcdef123456"


def test_an_id_that_stands_for_a_secret_is_put_back_and_not_told(cache: ResponseCache, bundle: Path) -> None:
    request = {"session_token": IDS[0], "q": SKY}
    with recording(bundle):
        cache.call(request, lambda _request: {"content": f"call it with {IDS[0]}"})
    with recording(bundle, replaying()):
        assert cache.call({**request, "session_token": IDS[1]}, never) == {"content": f"call it with {IDS[1]}"}
        with pytest.raises(ExplainedMiss) as caught:
            cache.call({"session_token": IDS[1], "q": "another one"}, never)
    assert IDS[1] not in str(caught.value)
    assert IDS[1] not in str(caught.value.to_dict())


def test_a_secret_in_the_name_of_a_test_fails_the_recording(cache: ResponseCache, bundle: Path) -> None:
    scope = f"test_one[sk-proj-{'aB3_' * 12}]"
    with pytest.raises(SecretError, match="in the name of its test"), recording(bundle, scope=scope):
        cache.call(SKY, Model())
    assert not bundle.exists()


KEY = "sk-proj-" + "aB3_" * 12


def spell(_request: Any) -> Iterator[Any]:
    yield from ({"delta": KEY[at : at + 5]} for at in range(0, len(KEY), 5))


def test_a_secret_that_only_the_answer_has_fails_the_recording(cache: ResponseCache, bundle: Path) -> None:
    with pytest.raises(SecretError, match=r"OpenAI key at \$\[\].delta of the answer.*not_secret"), recording(bundle):
        assert "".join(each["delta"] for each in cache.stream(SKY, spell)) == KEY
    with pytest.raises(SecretError, match=r"a value under the name of a secret at \$.password"), recording(bundle):
        cache.call(SKY, lambda _request: {"password": "hunter2-Blue42!"})
    assert not bundle.exists()


def test_an_answer_with_a_secret_can_be_recorded_masked(cache: ResponseCache, bundle: Path) -> None:
    with recording(bundle, refreshing(masked_answers=True)):
        [*cache.stream(SKY, spell)]
    assert KEY[:20] not in bundle.read_text()
    with recording(bundle, replaying()):
        assert "".join(each["delta"] for each in cache.stream(SKY, never)) == "<<secret>>"


def test_what_is_said_to_be_no_secret_is_recorded_as_it_is(cache: ResponseCache, bundle: Path) -> None:
    allowed = (r"hunter2-.*", r"sk-proj-(aB3_)+")
    with recording(bundle, refreshing(not_secret=allowed)):
        cache.call({"q": f"password=hunter2-Blue42! and {KEY}"}, lambda _request: {"password": "hunter2-Blue42!"})
    assert "hunter2-Blue42!" in bundle.read_text()
    assert KEY in bundle.read_text()
    with recording(bundle, replaying(not_secret=allowed)):
        asked = {"q": f"password=hunter2-Blue42! and {KEY}"}
        assert cache.call(asked, never) == {"password": "hunter2-Blue42!"}


@pytest.mark.parametrize("patterns", ["a+", ["("], [1]])
def test_a_pattern_of_no_secret_that_cannot_be_right_is_refused(patterns: Any) -> None:
    with pytest.raises(InvalidInputError, match="not_secret"):
        parse_not_secret(patterns)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Halve this recipe. Cookie: 2 cups of flour", "Halve this recipe. Cookie: 9 cups of salt, 3 eggs"),
        ("api_key=settings.openai_key_v2", "api_key=request.args['k1'] or eval(x1)"),
        ("api_key: ${OPENAI_API_KEY_2}", "api_key: ${ANTHROPIC_API_KEY_7}"),
        ('"password": "12345678"', '"password": "kX9#vvQ2-mm!!aB7"'),
        ('"password": "kX9#vvQ2-mm!!aB7"', '"password": "hunter2-Blue42!"'),
        ("https://x.y/a?token=1", "https://x.y/a?token=2"),
        ('{"secret": "the butler did it"}', '{"secret": "the maid did it"}'),
    ],
)
def test_a_changed_prompt_is_never_answered_by_the_record_of_another(
    cache: ResponseCache, bundle: Path, one: str, other: str
) -> None:
    with recording(bundle):
        cache.call({"messages": [{"role": "user", "content": one}]}, Model())
    with recording(bundle, replaying()):
        with pytest.raises(ReplayMiss):
            cache.call({"messages": [{"role": "user", "content": other}]}, never)
        cache.call({"messages": [{"role": "user", "content": one}]}, never)


MISS = """\
no record to replay: the request differs from what was recorded
  test     test_sky, store 'app'
  bundle   {bundle} (2 records of this test)
  nearest  of this test, recorded 2026-09-21 14:13 UTC, 92% alike
  $.prompt
    - …sky blue? Say it in one {{-sentence-}}, and name the man who f…
    + …sky blue? Say it in one {{+word+}}, and name the man who f…
  $.seed: is new
    + 7
  left out run
  <<uuid-1>>  stands for 3f2a8c1e-0f6b-4a58-9d55-0a8f5a0c9b11
Nothing was called. To record it: use mode 'refresh', where the provider can be reached
If it differs in each run: Policy(ignore=["name"]), or Policy(volatile=Volatile({{"name": r"pattern"}}))
If that does not record it: the tape's `unrecorded` says why"""


def test_a_miss_is_explained_on_one_screen(cache: ResponseCache, bundle: Path) -> None:
    policy: dict[str, Any] = {
        "ignore": ("run",),
        "clock": lambda: 1_790_000_000.0,
        "volatile": Volatile({}, lambda: 1_790_000_000.0),
    }
    with recording(bundle, refreshing(**policy), scope="test_sky"):
        for request in ({"model": "m", "prompt": "Tell me a joke about a penguin."}, {**SKY, "id": IDS[1]}):
            cache.call(request, Model())
    with recording(bundle, replaying(**policy), scope="test_sky"), pytest.raises(ExplainedMiss) as caught:
        cache.call(
            {**SKY, "prompt": SKY["prompt"].replace("sentence", "word"), "seed": 7, "id": IDS[0], "run": 1}, never
        )
    miss = caught.value
    assert str(miss) == MISS.format(bundle=bundle)
    said = json.loads(json.dumps(miss.to_dict()))
    assert (said["code"], said["scope"], said["store"]) == ("differs", "test_sky", "app")
    assert [each["path"] for each in said["nearest"]["differences"]] == ["$.prompt", "$.seed"]
    again = pickle.loads(pickle.dumps(miss))  # noqa: S301 - made just now
    assert str(again) == str(miss)


def test_a_deleted_working_folder_is_told_and_does_not_hide_a_miss(
    cache: ResponseCache, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with recording(bundle, replaying()), pytest.raises(ExplainedMiss, match=re.escape(str(bundle))):
        cache.call(SKY, never)
    uses: list[Callable[[], Any]] = [
        lambda: recording("x.chatcache").__enter__(),
        lambda: ResponseCache("app", path="store"),
    ]
    for use in uses:
        with pytest.raises(StorageError, match="the working folder was deleted"):
            use()


@pytest.mark.parametrize("name", ["\ud800", "a\0b"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="no file can have this name"), recording(f"{name}.chatcache"):
        pass


def test_where_nothing_is_recorded_that_is_said(cache: ResponseCache, bundle: Path) -> None:
    with recording(bundle, replaying()), pytest.raises(ExplainedMiss) as caught:
        cache.call(SKY, never)
    assert caught.value.explanation.reason is Reason.NOTHING
    assert "Why is the sky blue?" in str(caught.value)


def test_a_request_without_a_key_is_a_miss(cache: ResponseCache, bundle: Path) -> None:
    with recording(bundle, replaying()), pytest.raises(ExplainedMiss) as caught:
        cache.call({"fn": never}, never)
    assert caught.value.explanation.reason is Reason.NO_KEY


def test_the_nearest_of_many_is_found(cache: ResponseCache, bundle: Path) -> None:
    numbers = count()
    with recording(bundle):
        for _ in range(300):
            cache.call(
                {"prompt": f"Describe the animal of number {next(numbers)} to a child in {next(numbers)} words"},
                Model(),
            )
        cache.call(SKY, Model())
    with recording(bundle, replaying()), pytest.raises(ExplainedMiss) as caught:
        cache.call({**SKY, "prompt": SKY["prompt"].replace("blue", "red")}, never)
    near = caught.value.explanation.nearest
    assert near is not None
    assert [each.path for each in near.differences] == ["$.prompt"]
    assert "{-blue-}" in str(near.differences[0])


def test_what_was_edited_by_hand_is_told_and_mended_by_migrate(cache: ResponseCache, bundle: Path) -> None:
    def ask(model: str, prompt: str) -> Any:
        return cache.call({"model": model, "prompt": prompt}, lambda _: f"{prompt}!")

    with recording(bundle, scope="test"):
        for prompt in ("first", "second", "third"):
            ask("old-model", prompt)
        with sample(3):
            ask("another", "sampled")
    bundle.write_text(bundle.read_text().replace("old-model", "new-model"))
    with recording(bundle, replaying(), scope="test"):
        for prompt in ("first", "second", "third"):
            with pytest.raises(ExplainedMiss, match="edited by hand") as raised:
                ask("new-model", prompt)
            assert "chatcache migrate" in str(raised.value)
            assert raised.value.explanation.reason is Reason.EDITED
    assert CliRunner().invoke(chatcache, ["verify", str(bundle)]).output.count("its request was edited") == 3
    assert CliRunner().invoke(chatcache, ["migrate", str(bundle)]).exit_code == 0
    assert CliRunner().invoke(chatcache, ["verify", str(bundle)]).exit_code == 0
    with recording(bundle, replaying(), scope="test"):
        assert [ask("new-model", each) for each in ("first", "second", "third")] == ["first!", "second!", "third!"]
        with sample(3):
            assert ask("another", "sampled") == "sampled!"


def test_edited_records_that_now_ask_the_same_are_numbered_in_their_order(asking: ResponseCache, bundle: Path) -> None:
    with recording(bundle, scope="test"):
        for model in ("a", "b", "c"):
            asking.call({"model": f"model-{model}"}, lambda request: request["model"])
    bundle.write_text(re.sub(r'"model": "model-.', '"model": "model-b', bundle.read_text()))
    assert CliRunner().invoke(chatcache, ["migrate", str(bundle)]).exit_code == 0
    with recording(bundle, replaying(), scope="test"):
        answers = [asking.call({"model": "model-b"}, never) for _ in "abc"]
    assert sorted(answers) == ["model-a", "model-b", "model-c"]


def test_records_under_keys_of_their_programs_own_are_not_taken_for_edited(cache: ResponseCache, bundle: Path) -> None:
    with recording(bundle, scope="test"):
        cache.update("a key of its own", "answer", about=About(request={"q": 1}))
    before = bundle.read_bytes()
    assert CliRunner().invoke(chatcache, ["verify", str(bundle)]).exit_code == 0
    CliRunner().invoke(chatcache, ["migrate", str(bundle)])
    assert bundle.read_bytes() == before


@pytest.mark.parametrize("scope", ["t\ud800", "\x00", "line\nend", "x" * 10_000])
def test_any_text_may_be_the_name_of_a_scope(cache: ResponseCache, bundle: Path, scope: str) -> None:
    for policy in (None, replaying()):
        with recording(bundle, policy, scope=scope):
            assert cache.call({"prompt": "a\udfff"}, lambda _: "b\ud800") == "b\ud800"
    assert [each.scope for each in Bundle(bundle).read()] == [scope]


def test_a_bundle_may_have_a_name_that_is_no_unicode_and_a_long_path(tmp_path: Path, cache: ResponseCache) -> None:
    folder = tmp_path.joinpath(*["folder" * 20] * 10)
    for path in (tmp_path / "b\udcff.chatcache", folder / "b.chatcache"):
        for policy in (None, replaying()):
            with recording(path, policy):
                cache.call({"prompt": 1}, lambda _: 1)
