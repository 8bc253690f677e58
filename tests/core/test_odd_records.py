"""Records that somebody put into a store, with a right checksum, which chatcache never writes."""

import math
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chatcache import Form, Hit, ReplayMiss, ResponseCache, request_key
from chatcache.cache.replay import Pace

ANSWER: dict[str, Any] = {"answer": "recorded", "at": 1_790_000_000_000, "saves": [10, 7, 0.5, 1.5]}
STREAM: dict[str, Any] = {"chunks": ["recorded"], "offsets": [0.5], "at": 1_790_000_000_000, "saves": [10, 7, 0.5, 1.5]}
ODD: list[Any] = [
    None,
    "x",
    True,
    -(10**18),
    10**18,
    1e308,
    math.inf,
    math.nan,
    [],
    {},
    [None],
    ["x"],
    [1e308],
    [[]],
    [True] * 4,
]


def read_all(hit: Hit) -> None:
    assert hit.age >= 0
    assert hit.recorded_at.year > 0
    assert hit.took + hit.tokens + hit.cost > 0
    assert str(hit.key) in repr(hit)


@pytest.mark.parametrize(
    "record",
    [
        *({**ANSWER, part: odd} for part in ("at", "saves") for odd in ODD),
        *({**ANSWER, "saves": [10, odd, 0.5, 1.5]} for odd in ODD if type(odd) not in {int, float}),
        *({**STREAM, part: odd} for part in ("at", "saves", "offsets") for odd in ODD),
        {**STREAM, "offsets": [0.5, 0.5]},
        *({**STREAM, "chunks": odd} for odd in ODD if type(odd) is not list or len(odd) != 1),
        *({name: part for name, part in STREAM.items() if name != gone} for gone in STREAM),
    ],
    ids=repr,
)
async def test_a_record_of_another_make_is_a_miss(tmp_path: Path, record: dict[str, Any]) -> None:
    request = {"prompt": "Hi"}
    cache = ResponseCache("app", path=tmp_path, mode="read_only")
    replay = ResponseCache("app", path=tmp_path, mode="replay")
    form = Form.ANSWER if "answer" in record else Form.STREAM
    with closing(ResponseCache("app", path=tmp_path)) as writer:
        writer.restore(Hit(request_key(request) + form, record, time.time), None)
    if form is Form.ANSWER:
        assert cache.call(request, lambda _: "called", on_hit=read_all) == "called"
        with pytest.raises(ReplayMiss, match="cannot be read"):
            replay.call(request, lambda _: "called", on_hit=read_all)
        return
    paces: list[Pace] = ["instant", "recorded", 1e6]
    for pace in paces:
        assert [*cache.stream(request, lambda _: ["called"], on_hit=read_all, pace=pace)] == ["called"]
        with pytest.raises(ReplayMiss, match="cannot be read"):
            [*replay.stream(request, lambda _: ["called"], pace=pace)]
    assert [each async for each in cache.astream(request, lambda _: called())] == ["called"]
    assert [*cache.records()] == []


async def called() -> AsyncIterator[str]:
    yield "called"
