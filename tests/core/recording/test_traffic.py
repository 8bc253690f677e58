"""Recorded traffic of providers, in a store, in a bundle, and back: equal records, equal bytes."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chatcache import ResponseCache
from chatcache.recording import Bundle, from_store, into_store

TRAFFIC = Path(__file__).parents[4] / "shared" / "traffic"
FILES = {"chat_completions": 109, "messages": 97, "responses": 87}

pytestmark = pytest.mark.skipif(not TRAFFIC.is_dir(), reason="the recorded traffic is not beside this checkout")


def exchanges(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (TRAFFIC / f"{name}.jsonl").read_text().splitlines()]


def answer_of(exchange: dict[str, Any]) -> Any:
    if not exchange["stream"]:
        return json.loads(exchange["body"])
    lines = [line.removeprefix("data: ") for line in exchange["body"].splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(("name", "number"), FILES.items())
def test_a_bundle_of_it_comes_back_as_it_was(tmp_path: Path, name: str, number: int) -> None:
    cache = ResponseCache("app", path=tmp_path / "one")
    kept = {}
    for at, exchange in enumerate(exchanges(name)):
        request = {"line": at, **exchange["request"]}
        answer = answer_of(exchange)
        if exchange["stream"]:
            [*cache.stream(request, partial(given, answer))]
        else:
            cache.call(request, partial(given, answer))
        kept[at] = answer
    first, second = Bundle(tmp_path / "first.chatcache"), Bundle(tmp_path / "second.chatcache")
    first.write(from_store(cache))
    again = ResponseCache("app", path=tmp_path / "two")
    assert into_store(again, first.read()) == number
    second.write(from_store(again))
    assert first.path.read_bytes() == second.path.read_bytes()
    assert {each.request["line"]: each.answer for each in first.read()} == kept
    for at, exchange in enumerate(exchanges(name)):
        request = {"line": at, **exchange["request"]}
        if exchange["stream"]:
            assert [*again.stream(request, never, mode="replay")] == kept[at]
        else:
            assert again.call(request, never, mode="replay") == kept[at]


def given(answer: Any, _request: Any) -> Any:
    return answer


def never(_request: Any) -> Any:
    raise AssertionError("nothing is to be called")
