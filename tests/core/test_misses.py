"""A miss in a store, in mode ``replay``, says what is nearest to the request, what differs, and how to record it."""

import asyncio
import pickle
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from chatcache import About, Mode, ReplayMiss, ResponseCache, Story, cached
from chatcache.cache.missed import EXPLAINER
from chatcache.recording import ExplainedMiss, Reason, StoreExplanation, recording
from chatcache.recording import missed as explaining

NOW = 1_790_000_000.0
SKY = {"model": "m", "prompt": "Why is the sky blue? Say it in one sentence, and name the man who found out."}
WORD = {**SKY, "prompt": "Why is the sky blue? Say it in one word, and name the man who found out.", "seed": 7}
KEY = "sk-proj-" + "A1b2C3d4E5f6G7h8I9j0" * 2

MISS = """\
no record to replay: the request differs from what was recorded
  store    'app' in {path} (2 records)
  key      {key}
  nearest  recorded 2026-09-21 14:13 UTC by chatcache {version}, 90% alike
  $.prompt
    - …sky blue? Say it in one {{-sentence-}}, and name the man who f…
    + …sky blue? Say it in one {{+word+}}, and name the man who f…
  $.seed: is new
    + 7
Nothing was called. To record it: run once with mode='auto', where the provider can be reached"""


def answer(_request: object) -> dict[str, str]:
    return {"content": "yes"}


def never(_request: object) -> Any:
    raise AssertionError("it is called")


def store(path: Path, *requests: Any, **options: Any) -> ResponseCache:
    """Return a cache in mode ``replay`` of a store that has these requests recorded."""
    options = {"store_id": "app", "path": path, "clock": lambda: NOW, **options}
    with ResponseCache(**options) as recorder:
        for request in requests:
            recorder.call(request, answer)
    return ResponseCache(**{**options, "mode": "replay"})


def missed(ask: Callable[[], object]) -> tuple[StoreExplanation, str]:
    """Return the explanation of a miss, and what it says."""
    with pytest.raises(ExplainedMiss) as caught:
        ask()
    assert isinstance(caught.value.explanation, StoreExplanation)
    return caught.value.explanation, str(caught.value)


def miss_of(cache: ResponseCache, request: Any) -> tuple[StoreExplanation, str]:
    return missed(lambda: cache.call(request, never))


def near_of(explanation: StoreExplanation) -> list[str]:
    assert explanation.nearest is not None
    return [each.path for each in explanation.nearest.differences]


def test_a_miss_names_the_nearest_record_and_what_differs(tmp_path: Path) -> None:
    cache = store(tmp_path, {"model": "m", "prompt": "Tell me a joke about a penguin."}, SKY)
    with pytest.raises(ExplainedMiss) as caught:
        cache.call(WORD, never)
    miss = caught.value
    near = miss.explanation.nearest
    assert near is not None
    assert str(miss) == MISS.format(path=cache.location, key=miss.key, version=near.by["chatcache"])
    assert (miss.request, miss.where, miss.reason) == (WORD, str(cache.location), Reason.DIFFERS)
    said = miss.to_dict()
    assert (said["code"], said["store"], said["recorded"]) == ("differs", "app", 2)
    assert [each["path"] for each in said["nearest"]["differences"]] == ["$.prompt", "$.seed"]
    assert str(pickle.loads(pickle.dumps(miss))) == str(miss)  # noqa: S301 - made just now


def test_each_way_to_ask_explains_its_miss_alike(tmp_path: Path) -> None:
    cache = store(tmp_path, SKY)

    async def acall() -> None:
        await cache.acall(WORD, never)

    async def astream() -> None:
        async for _ in cache.astream(WORD, never):
            pass

    ways: list[Callable[[], object]] = [
        lambda: cache.call(WORD, never),
        lambda: [*cache.stream(WORD, never)],
        lambda: asyncio.run(acall()),
        lambda: asyncio.run(astream()),
        lambda: cache.lookup("key", WORD, never),
        lambda: cache.lookup_many({"key": WORD}, never),
    ]
    said = [missed(way) for way in ways]
    assert [near_of(explanation) for explanation, _ in said] == [["$.prompt", "$.seed"]] * len(ways)


def test_a_cached_function_explains_its_miss(tmp_path: Path) -> None:
    def describe(animal: str, words: int = 3) -> str:
        return f"{animal} in {words} words"

    with ResponseCache("app", path=tmp_path) as cache:
        function = cached(cache)(describe)
        function("a penguin")
        with cache.using(mode="replay"):
            explanation, _ = missed(lambda: function("a penguin", words=4))
    assert near_of(explanation) == ["$.arguments.words"]


async def test_an_awaited_miss_is_explained_off_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = store(tmp_path, SKY)
    threads = []
    explain = EXPLAINER.explained

    def noted(what: Any) -> ReplayMiss:
        threads.append(threading.current_thread())
        return explain(what)

    monkeypatch.setattr(EXPLAINER, "explained", noted)
    with pytest.raises(ExplainedMiss):
        await cache.acall(WORD, never)
    assert threads
    assert threading.current_thread() not in threads


def test_an_empty_store_says_that_nothing_is_recorded_in_it(tmp_path: Path) -> None:
    explanation, said = miss_of(store(tmp_path), SKY)
    assert explanation.reason is Reason.EMPTY
    assert "nothing is recorded in this store" in said
    assert "(0 records)" in said
    assert "Why is the sky blue?" in said
    assert not [*tmp_path.rglob("*.sqlite")]


@pytest.mark.parametrize("of_environment", [False, True])
def test_the_advice_records_what_was_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, of_environment: bool
) -> None:
    advised = "CHATCACHE_MODE=auto" if of_environment else "mode='auto'"
    if of_environment:
        monkeypatch.setenv("CHATCACHE_MODE", "replay")
    missing = ResponseCache("app", path=tmp_path, mode="auto" if of_environment else "replay")
    assert f"run once with {advised}," in miss_of(missing, SKY)[1]
    if of_environment:
        monkeypatch.setenv("CHATCACHE_MODE", "auto")
    with ResponseCache("app", path=tmp_path, mode="auto") as cache:
        cache.call(SKY, answer)
    assert missing.call(SKY, never) == {"content": "yes"}


def test_a_store_without_requests_says_why_nothing_is_compared(tmp_path: Path) -> None:
    explanation, said = miss_of(store(tmp_path, SKY, store_requests="digest"), WORD)
    assert explanation.reason is Reason.NOTHING
    assert "store_requests='digest'" in said


def test_a_store_of_redacted_requests_is_compared_without_texts(tmp_path: Path) -> None:
    explanation, said = miss_of(store(tmp_path, SKY, store_requests="redacted"), WORD)
    assert (explanation.reason, near_of(explanation)) == (Reason.DIFFERS, ["$.prompt", "$.seed"])
    assert "store_requests='redacted'" in said
    assert "sky" not in said


def test_an_expired_record_is_named(tmp_path: Path) -> None:
    store(tmp_path, SKY, ttl=60)
    later = ResponseCache("app", path=tmp_path, mode="replay", clock=lambda: NOW + 61)
    explanation, said = miss_of(later, SKY)
    assert explanation.reason is Reason.EXPIRED
    assert "it expired 2026-09-21 14:14 UTC" in said
    assert "expired, recorded 2026-09-21 14:13 UTC" in miss_of(later, WORD)[1]


def test_a_record_of_another_form_is_named(tmp_path: Path) -> None:
    cache = store(tmp_path, SKY)
    explanation, said = missed(lambda: [*cache.stream(SKY, never)])
    assert explanation.reason is Reason.OTHER_FORM
    assert "it is recorded as a whole answer" in said


def test_a_record_of_another_store_is_named(tmp_path: Path) -> None:
    store(tmp_path, SKY)
    explanation, said = miss_of(store(tmp_path, WORD, store_id="other"), SKY)
    assert explanation.reason is Reason.ELSEWHERE
    assert "store 'app' of the same file has it" in said


def test_a_record_under_another_key_is_named(tmp_path: Path) -> None:
    cache = store(tmp_path)
    with ResponseCache("app", path=tmp_path) as recorder:
        recorder.lookup("chosen", SKY, never)
        recorder.update("chosen", {"content": "yes"}, about=About(request=SKY))
    explanation, said = miss_of(cache, SKY)
    assert (explanation.reason, near_of(explanation)) == (Reason.OTHER_KEY, [])
    assert "another version of chatcache" in said


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    cache = store(tmp_path, SKY)

    def read(_answer: object) -> Any:
        raise KeyError("text")

    explanation, said = missed(lambda: cache.call(SKY, never, read=read))
    assert explanation.reason is Reason.UNREADABLE
    assert "KeyError: 'text'" in said


def test_a_request_without_a_key_says_so(tmp_path: Path) -> None:
    explanation, said = miss_of(store(tmp_path, SKY), {"fn": never})
    assert explanation.reason is Reason.NO_KEY
    assert "the request has no key" in said
    assert "Such a call cannot be recorded." in said


def test_secrets_are_masked_and_nothing_that_a_terminal_obeys_is_printed(tmp_path: Path) -> None:
    control = "\x1b[31m\u202e"
    cache = store(tmp_path, {**SKY, "note": f"use {KEY} {control}"})
    with pytest.raises(ExplainedMiss) as caught:
        cache.call({**SKY, "note": f"use {KEY} {control} twice", "token": KEY}, never)
    said = str(caught.value)
    assert KEY not in said + repr(caught.value.to_dict()) + repr(caught.value.request)
    assert all(line.isprintable() for line in said.split("\n"))


def test_requests_that_differ_in_a_secret_are_said_to(tmp_path: Path) -> None:
    explanation, said = miss_of(store(tmp_path, {**SKY, "api_key": KEY}), {**SKY, "api_key": KEY[::-1]})
    assert explanation.reason is Reason.DIFFERS
    assert "is masked here" in said
    assert KEY[::-1] not in said


def test_a_damaged_record_is_skipped(tmp_path: Path) -> None:
    cache = store(tmp_path, SKY, {**SKY, "prompt": SKY["prompt"].replace("sentence", "verse")})
    with sqlite3.connect(cache.location) as file:
        file.execute("UPDATE _cf_KV SET value = value || x'00' WHERE key LIKE '%note:%' AND value LIKE '%sentence%'")
    file.close()
    explanation, said = miss_of(cache, WORD)
    assert near_of(explanation) == ["$.prompt", "$.seed"]
    assert "{-verse-}" in said


def test_a_failure_to_explain_is_still_a_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object) -> Any:
        raise OSError("the disk is gone")

    cache = store(tmp_path, SKY)
    monkeypatch.setattr(explaining, "_why", fails)
    with pytest.raises(ReplayMiss, match="nothing is recorded under this key") as caught:
        cache.call({**WORD, "api_key": KEY}, never)
    assert KEY not in str(caught.value)


def test_a_miss_writes_nothing(tmp_path: Path) -> None:
    cache = store(tmp_path, SKY)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.sqlite")}
    miss_of(cache, WORD)
    cache.close()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.sqlite")} == before


def test_the_nearest_of_many_is_found_and_few_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = [{"prompt": f"Describe animal {at} to a child in {at + 3} words"} for at in range(300)]
    cache = store(tmp_path, *others[:150], SKY, *others[150:])
    read = []
    of = Story.of

    def noted(note: object) -> Story | None:
        read.append(note)
        return of(note)

    monkeypatch.setattr(Story, "of", noted)
    explanation, said = miss_of(cache, WORD)
    assert near_of(explanation) == ["$.prompt", "$.seed"]
    assert explanation.compared is None
    assert "compared with" not in said
    assert 0 < len(read) < len(others) / 10


def test_a_search_that_ends_early_says_how_many_it_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "monotonic", iter(range(1_000_000)).__next__)
    monkeypatch.setattr("chatcache.storage.storage._VISITED", 10)
    explanation, said = miss_of(store(tmp_path, *({**SKY, "seed": seed} for seed in range(100))), WORD)
    assert explanation.recorded == 100
    assert explanation.compared in range(1, 100)
    assert f"compared with the newest {explanation.compared}" in said
    assert explanation.nearest is not None


@pytest.mark.parametrize("size", [40_000, 3_000_000])
def test_long_requests_are_compared(tmp_path: Path, size: int) -> None:
    text = " ".join(f"word{at}" for at in range(size // 8))
    cache = store(tmp_path, SKY, {"prompt": text, "seed": 1})
    explanation, _ = miss_of(cache, {"prompt": text, "seed": 2})
    assert near_of(explanation) == ["$.seed"]


def test_a_deep_request_is_compared_with_none(tmp_path: Path) -> None:
    deep: Any = KEY
    for _ in range(300):
        deep = [deep]
    explanation, said = miss_of(store(tmp_path, SKY), deep)
    assert explanation.reason is Reason.NOTHING
    assert "it is compared with none" in said
    assert KEY not in said


def test_a_cache_of_several_users_shows_nothing_of_other_requests(tmp_path: Path) -> None:
    cache = store(tmp_path, SKY)
    cache.shows_records = False
    explanation, said = miss_of(cache, WORD)
    assert (explanation.reason, explanation.nearest) == (Reason.NOTHING, None)
    assert "sentence" not in said


def test_a_cache_in_mode_replay_says_so_while_a_recording_is_under_way(tmp_path: Path) -> None:
    cache = store(tmp_path / "store", SKY)
    with recording(tmp_path / "b.chatcache"):
        explanation, said = miss_of(cache, SKY)
        assert cache.call(SKY, answer, mode="auto") == {"content": "yes"}
    assert explanation.recorded is None
    assert "use mode 'auto' here" in said


@pytest.mark.parametrize("mode", ["auto", "read_only", "refresh", "off"])
def test_in_other_modes_nothing_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Literal["auto", "read_only", "refresh", "off"]
) -> None:
    cache = store(tmp_path, SKY)
    monkeypatch.setattr(explaining, "explain", never)
    assert cache.call(WORD, answer, mode=Mode(mode)) == {"content": "yes"}
