"""A replayed stream against a model that makes the same chunks in this process, and by the hook against `cached`."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from .measure import Rounds, Row
from .provider import PIECES

__all__ = ["ROWS"]


def _model() -> Any:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessageChunk
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

    class Fake(BaseChatModel):
        """Streams a canned answer, word by word."""

        @property
        def _llm_type(self) -> str:
            return "fake"

        def _generate(self, *_args: Any, **_kwargs: Any) -> ChatResult:
            raise NotImplementedError

        def _stream(self, *_args: Any, **_kwargs: Any) -> Iterator[ChatGenerationChunk]:
            for piece in PIECES:
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece))

        async def _astream(self, *_args: Any, **_kwargs: Any) -> Any:
            for piece in PIECES:
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece))

    return Fake()


@contextmanager
def _streams(*, awaited: bool = False, by_hook: bool = False) -> Iterator[Rounds]:
    os.environ["LANGSMITH_TRACING"] = "false"
    from langchain_chatcache import DOCache, cached

    with TemporaryDirectory() as folder, asyncio.Runner() as runner:
        ours = DOCache("bench", path=folder)
        model = _model()
        replayed = cached(model, ours)
        pair = (model.model_copy(update={"cache": ours}), replayed) if by_hook else (replayed, model)

        def read(it: Any) -> float:
            began = perf_counter()
            number = sum(1 for _ in it.stream("Where is it?"))
            return (perf_counter() - began) * 1e6 / number

        async def aread(it: Any) -> float:
            began = perf_counter()
            number = 0
            async for _ in it.astream("Where is it?"):
                number += 1
            return (perf_counter() - began) * 1e6 / number

        def round_of(it: Any) -> Callable[[], float]:
            return (lambda: runner.run(aread(it))) if awaited else partial(read, it)

        for _ in range(2):
            round_of(pair[0])()
        if ours.engine.stats().hits != 1:
            raise AssertionError("the stream was not replayed")
        yield round_of(pair[0]), round_of(pair[1])
        ours.engine.close()


ROWS = [
    Row("langchain stream hit, per chunk : the model's own", 1.2, _streams, rounds=100),
    Row("langchain astream hit, per chunk : the model's own", 1.2, partial(_streams, awaited=True), rounds=100),
    Row("langchain stream hit, the hook : cached(model)", 1.1, partial(_streams, by_hook=True), rounds=100),
]
