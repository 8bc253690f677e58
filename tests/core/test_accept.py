"""``accept=``: an answer that the program cannot use is returned, counted, and not kept."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatcache import About, InvalidInputError, Refusal, ReplayMiss, ResponseCache
from tests.forms import FORMS, Provider, ask

REQUEST = {"prompt": "Which order?"}


def rejecting(answer: Any) -> bool:
    return False


def raising(answer: Any) -> bool:
    raise ValueError("no \x1b[31mJSON")


async def awaited(answer: Any) -> bool:
    return True


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("accept", [rejecting, raising])
async def test_an_answer_that_is_not_accepted_is_returned_and_asked_for_again(
    tmp_path: Path, form: str, accept: Callable[[Any], bool]
) -> None:
    cache, provider = ResponseCache("s", path=tmp_path, accept=accept), Provider()
    for calls in (1, 2):
        assert await ask(form, cache, REQUEST, provider) == {"to": REQUEST}
        assert provider.calls == calls
        assert cache.stats().refusals == {Refusal.REJECTED: calls}
    assert (cache.stats().stores, cache.stats().bypasses) == (0, 0)


@pytest.mark.parametrize("form", FORMS)
async def test_what_is_asked_is_the_answer_and_of_a_stream_its_chunks(tmp_path: Path, form: str) -> None:
    seen: list[Any] = []

    def accept(answer: Any) -> bool:
        seen.append(answer)
        return True

    cache, provider = ResponseCache("s", path=tmp_path, accept=accept), Provider()
    for _ in range(2):
        await ask(form, cache, REQUEST, provider)
    answer = {"to": REQUEST}
    assert seen == [answer if "call" in form else [answer]]
    assert provider.calls == 1


async def test_a_predicate_that_raises_is_logged_once_for_each_kind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache, provider = ResponseCache("s", path=tmp_path, accept=raising, on_store_error="raise"), Provider()
    with caplog.at_level(logging.WARNING, "chatcache"):
        for _ in range(3):
            cache.call(REQUEST, provider)
    (record,) = caplog.records
    assert "accept= raised ValueError: no \\x1b[31mJSON\nThe answer is not kept." in record.getMessage()
    assert cache.stats().refusals == {Refusal.REJECTED: 3}


async def test_a_predicate_cannot_change_what_is_kept(tmp_path: Path) -> None:
    def clearing(answer: Any) -> bool:
        answer.clear()
        return True

    cache, provider = ResponseCache("s", path=tmp_path, accept=clearing), Provider()
    assert cache.call(REQUEST, provider) == cache.call(REQUEST, provider) == {"to": REQUEST}
    assert provider.calls == 1


async def test_one_call_may_have_a_predicate_of_its_own(tmp_path: Path) -> None:
    cache, provider = ResponseCache("s", path=tmp_path, accept=rejecting), Provider()
    for _ in range(2):
        cache.call(REQUEST, provider, accept=lambda answer: True)
    assert provider.calls == 1


async def test_an_adapter_may_pass_a_predicate_of_its_own(tmp_path: Path) -> None:
    cache = ResponseCache("s", path=tmp_path)
    assert cache.update("key", 1, accept=rejecting) is False
    assert await cache.aupdate("key", 1, accept=rejecting) is False
    answers = {"a": (1, About()), "b": (2, About()), "c": (3, About())}
    assert cache.update_many(answers, accept=lambda answer: answer != 2) == 2
    assert cache.stats().refusals == {Refusal.REJECTED: 3}
    assert cache.stats().stores == 2


@pytest.mark.parametrize("mode", ["read_only", "replay", "off"])
async def test_a_mode_that_keeps_nothing_does_not_ask(tmp_path: Path, mode: Any) -> None:
    cache, provider = ResponseCache("s", path=tmp_path, mode=mode, accept=raising), Provider()
    if mode == "replay":
        with pytest.raises(ReplayMiss):
            cache.call(REQUEST, provider)
    else:
        cache.call(REQUEST, provider)
    assert cache.stats().refusals == {}


@pytest.mark.parametrize("accept", [5, "json", awaited])
def test_what_is_no_predicate_is_refused(tmp_path: Path, accept: Any) -> None:
    with pytest.raises(InvalidInputError, match="accept="):
        ResponseCache("s", path=tmp_path, accept=accept)
    provider = Provider()
    with pytest.raises(InvalidInputError, match="accept="):
        ResponseCache("s", path=tmp_path).call(REQUEST, provider, accept=accept)
    assert provider.calls == 0


def test_a_verdict_that_would_have_to_be_awaited_accepts_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    verdict = awaited(None)
    cache, provider = ResponseCache("s", path=tmp_path, accept=lambda answer: verdict), Provider()
    cache.call(REQUEST, provider)
    verdict.close()
    assert "pass a sync function" in caplog.text
    assert cache.stats().refusals == {Refusal.REJECTED: 1}
