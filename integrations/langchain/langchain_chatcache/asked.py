"""One request to a model, and what becomes of its answer."""

from collections.abc import Callable
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from chatcache import Accept, LeftOut, Refusal, raise_interrupt

from .answers import (
    ChunkRecorder,
    chunk_of,
    chunks_of_result,
    generations_of_chunks,
    names_of_a_replay,
    record_of_result,
    result_of,
    result_of_chunks,
)
from .generations import Name, accepts, new_id, refusal_of, same_id
from .keys import asks_for_several

__all__ = ["Asked"]


class Asked:
    """One request to a model, and what becomes of the ids of its answer.

    Args:
        key: the key of the request.
        request: the request.
        stable: the id of messages without one, if a replay is to have the same ids, or None.
        left_out: returns the names of what does not count, for a miss.
        accept: is asked whether to keep a message, or None.
        free: whether a replayed answer says that it cost nothing, as those of LangChain's own caches do.

    Attributes:
        key: as above.
        request: as above.
        left_out: has a miss in its body say what does not count.
        result: what the model returned, if it was called for it.
    """

    def __init__(  # noqa: PLR0913 - one place makes it
        self,
        key: str,
        request: dict[str, Any],
        stable: str | None,
        left_out: Callable[[], list[str]],
        *,
        accept: Accept | None,
        free: bool,
    ) -> None:
        self.key = key
        self.request = request
        self.left_out = LeftOut(left_out)
        self.result: ChatResult | None = None
        self._accept = accept
        self._stable = stable
        self._free = free
        self._name: Name = names_of_a_replay() if stable is None else same_id
        self._recorder: ChunkRecorder | None = None

    @property
    def from_chunks(self) -> Callable[[list[Any]], Any] | None:
        """Makes a recorded result of recorded chunks, unless there are several choices."""
        return None if asks_for_several(self.request) else result_of_chunks

    @property
    def to_chunks(self) -> Callable[[Any], list[Any]] | None:
        """Makes recorded chunks of a recorded result, the same."""
        return None if asks_for_several(self.request) else chunks_of_result

    def made(self, result: ChatResult) -> Any:
        """Note what the model returned, and return its record, or itself if it has none."""
        self.result = result
        for number, each in enumerate(result.generations):
            if each.message.id is None and self._stable is not None:
                each.message.id = f"{self._stable}-{number}" if number else self._stable
        try:
            return record_of_result(result)
        except ValueError as error:
            raise_interrupt(error)
            return result

    def refuses(self, _record: Any) -> Refusal | None:
        """Return why the result is not worth keeping, if it is not."""
        return None if self.result is None else refusal_of(self.result.generations)

    @property
    def accept(self) -> Accept | None:
        """Asks whether to keep the result of the model, or is None if all are kept."""
        accept = self._accept
        return None if accept is None else lambda _: self.result is None or accepts(accept, self.result.generations)

    @property
    def accept_chunks(self) -> Accept | None:
        """Asks whether to keep the recorded chunks of the model, or is None if all are kept."""
        accept = self._accept
        return None if accept is None else lambda records: accepts(accept, generations_of_chunks(records))

    def returned(self, record: Any) -> ChatResult:
        """Return the result of a record, or that of the call that was made just now."""
        if self.result is not None:
            return self.result
        if isinstance(record, ChatResult):
            return record
        result = result_of(record, self._name)
        if self._free:
            for each in result.generations:
                if isinstance(each.message, AIMessage):
                    usage = {**(each.message.usage_metadata or {}), "total_cost": 0}
                    vars(each.message)["usage_metadata"] = usage
        return result

    def completed(self, record: Any) -> ChatResult:
        """Return the result of a record as LangChain completes what a model returns: with ids, and all metadata."""
        result = self.returned(record)
        for each in result.generations:
            message = vars(each.message)
            message["id"] = message["id"] or new_id()
            message["response_metadata"] = {**(each.generation_info or {}), **message["response_metadata"]}
        if len(result.generations) == 1 and result.llm_output is not None:
            message["response_metadata"] = {**result.llm_output, **message["response_metadata"]}
        return result

    def streamed(self, chunk: ChatGenerationChunk) -> Any:
        """Return the record of a chunk that the model streamed, or itself if it has none."""
        self._name = same_id  # it is no replay
        chunk.message.id = chunk.message.id or self._stable
        try:
            self._recorder = self._recorder or ChunkRecorder()
            return self._recorder.record(chunk)
        except ValueError as error:
            raise_interrupt(error)
            return chunk

    def passed_on(self, record: Any) -> ChatGenerationChunk:
        """Return the chunk of a record."""
        return record if isinstance(record, ChatGenerationChunk) else chunk_of(record, self._name)
