"""What a record is replayed as, for a call of LiteLLM."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatcache import Form, Hit

from .call import Call
from .failures import failure_of
from .kinds import MESSAGES, RESPONSES
from .streams import ReplayedMessages, ReplayedResponses, ReplayedStream

__all__ = ["Answer", "Failure", "Found", "Stream", "found_in", "fresh"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        answer: LiteLLM's object.
        age: how old the record is, in seconds.
        is_provided: whether a tape answers in the place of the provider, so that it is no hit.
    """

    answer: Any
    age: float
    is_provided: bool = False

    def marked(self) -> Any:
        """Return the answer, marked as a hit where LiteLLM's users look for that."""
        hidden = getattr(self.answer, "_hidden_params", None)
        if self.is_provided:
            return self.answer
        if isinstance(hidden, dict):
            hidden.update(cache_hit=True, cache_age=self.age)
        elif hidden is not None:  # that of a text completion is an object
            hidden.cache_hit, hidden.cache_age = True, self.age
        return self.answer


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that is streamed.

    Attributes:
        call: what asks for it.
        chunks: LiteLLM's objects, in order.
        records: what they were made of.
        age: how old the record is, in seconds.
        error: what is raised after them, if it broke off.
        is_provided: as of an `Answer`.
    """

    call: Call
    chunks: list[Any]
    records: list[Any]
    age: float
    error: Exception | None = None
    is_provided: bool = False

    def replay(self, arguments: Mapping[str, Any]) -> Any:
        """Return the stream, as the function of LiteLLM does that was called with these arguments."""
        stream: Any
        if self.call.kind is RESPONSES:
            stream = ReplayedResponses(self._whole(), self.chunks, self.error, arguments, self.call.function)
        elif self.call.kind is MESSAGES:
            stream = ReplayedMessages(self.chunks, self.error, arguments)
        else:
            stream = ReplayedStream(self.chunks, self.error, self._whole, arguments)
        if self.is_provided:
            stream._hidden_params.pop("cache_hit", None)  # noqa: SLF001 - where LiteLLM's users look for that
        else:
            stream._hidden_params["cache_age"] = self.age  # noqa: SLF001 - as above
        return stream

    def _whole(self) -> Any:
        """Return the answer that is streamed."""
        kind = self.call.kind
        assert kind is not None  # noqa: S101 - it was found by one
        assert kind.streams is not None  # noqa: S101 - it is a stream
        return kind.answer(kind.streams.whole(self.records))


@dataclass(frozen=True, slots=True)
class Failure:
    """An error.

    Attributes:
        error: the error, to be raised.
    """

    error: Exception


Found = Answer | Stream | Failure


def found_in(hit: Hit, *, call: Call) -> Found:
    """Return what a record is replayed as.

    Raises:
        Exception: any at all, where the record is none that this adapter writes, or too old for the call.
    """
    fresh(hit, call=call)
    kind = call.kind
    if kind is None:
        raise ValueError("no such calls are recorded")
    if hit.form is Form.FAILURE:
        return _failed(hit, failure_of(hit.answer), call)
    if not call.streamed or kind.streams is None:
        record = hit.answer if kind.streams is None or hit.form is Form.ANSWER else kind.streams.whole(hit.chunks)
        return Answer(kind.answer(record), hit.age, hit.is_provided)
    if hit.form is call.stream_form:
        chunks = [kind.streams.chunk(each) for each in hit.chunks]
        return Stream(call, chunks, hit.chunks, hit.age, is_provided=hit.is_provided)
    record = hit.answer if hit.form is Form.ANSWER else kind.streams.whole(hit.chunks)
    chunks = [*kind.streams.chunks(record, with_usage=call.with_usage)]
    records = [kind.streams.chunk_record(each) for each in chunks]
    return Stream(call, chunks, records, hit.age, is_provided=hit.is_provided)


def _failed(hit: Hit, error: Exception, call: Call) -> Found:
    """Return the error of a record, after the chunks that came before it."""
    records = hit.answer["chunks"]
    streams = None if call.kind is None else call.kind.streams
    if not call.streamed or streams is None or not records:
        return Failure(error)
    return Stream(call, [streams.chunk(each) for each in records], records, hit.age, error, hit.is_provided)


def fresh(hit: Hit, *, call: Call) -> Hit:
    """Return a hit that is not older than a call wants it.

    Raises:
        ValueError: it is.
    """
    age = call.controls.max_age
    if age is not None and not hit.is_provided and hit.age >= age:
        raise ValueError(f"it is {hit.age:.0f} s old, and s-maxage is {age:g}")
    return hit
