"""OpenAI's Responses API."""

from collections.abc import Sequence
from typing import Any

from litellm.types.llms import openai
from litellm.types.llms.openai import ResponsesAPIResponse
from pydantic import BaseModel, ValidationError

from chatcache import Refusal, raise_interrupt

from .base import JSON, Kind, Streamed, dumped

__all__ = ["RESPONSES"]

_EVENTS: dict[str, type[BaseModel]] = {
    name: each for name, each in vars(openai).items() if isinstance(each, type) and issubclass(each, BaseModel)
}
"""The classes that an event may be of, by name: nothing else is ever made of a record."""

_ENDED = {None, "completed"}
_CUT = {"max_output_tokens": Refusal.LENGTH, "content_filter": Refusal.CONTENT_FILTER}


class _Responses(Kind):
    name = "responses"
    functions = ("responses", "aresponses")
    model = ResponsesAPIResponse

    def record(self, answer: Any) -> JSON:
        return answer if isinstance(answer, dict) else super().record(answer)

    def answer(self, record: JSON) -> ResponsesAPIResponse:
        response: ResponsesAPIResponse = _made(ResponsesAPIResponse, record)
        return response

    def refusal(self, record: JSON) -> Refusal | None:
        cut = (record.get("incomplete_details") or {}).get("reason")
        if cut is not None:
            return _CUT.get(cut, Refusal.INTERRUPTED)
        if record.get("status") not in _ENDED:
            return Refusal.INTERRUPTED
        return None if record.get("output") else Refusal.EMPTY


class _Events(Streamed):
    def chunk_record(self, chunk: Any) -> JSON:
        return {"class": type(chunk).__name__, "event": dumped(chunk)}

    def chunk(self, record: JSON) -> Any:
        return _made(_EVENTS[record["class"]], record["event"])

    def ended(self, records: Sequence[JSON]) -> bool:
        return any(each["event"].get("type") in {"response.completed", "response.incomplete"} for each in records)

    def whole(self, records: Sequence[JSON]) -> JSON:
        return next(each["event"]["response"] for each in reversed(records) if each["event"].get("response"))

    def chunks(self, record: JSON, *, with_usage: bool) -> Sequence[Any]:  # noqa: ARG002 - it is in the last one
        from litellm.responses import streaming_iterator

        known, name = vars(streaming_iterator), "build_synthetic_response_events"
        build = known.get(name) or known[f"_{name}"]  # its name before 1.99
        made = build(transformed=RESPONSES.answer(record), logging_obj=None, chunk_size=20)
        return [self.chunk(_begun(self.chunk_record(event))) for event in made]

    def usage(self, records: Sequence[JSON]) -> Any:
        return (self.whole(records) or {}).get("usage")


_ADDED = {"response.output_item.added": "item", "response.content_part.added": "part"}
_GROWING: dict[str, Any] = {"arguments": "", "content": [], "summary": [], "text": ""}


def _begun(record: JSON) -> JSON:
    """Return an event without what those after it add: LiteLLM tells it twice, and who adds it up has it twice."""
    event = record["event"]
    part = event.get(_ADDED.get(event["type"], ""))
    if part:
        part.update({name: empty for name, empty in _GROWING.items() if part.get(name)})
    return record


RESPONSES = _Responses()
RESPONSES.streams = _Events()


def _made(model: type[BaseModel], record: JSON) -> Any:
    """Return a model of a record, as LiteLLM does: what the class does not allow is taken as it is."""
    try:
        return model(**record)
    except ValidationError as error:
        raise_interrupt(error)
        return model.model_construct(**record)
