"""Generations as records, and back.

A record is JSON in which a closed set of names stands for LangChain's classes. Nothing is imported by name, and
LangChain's ``loads`` is not used: an ``lc`` key in a model's output is data like any other.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ChatMessage, ChatMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from chatcache import Accept, Refusal, raise_interrupt

__all__ = [
    "Name",
    "accepts",
    "answered_by",
    "from_record",
    "generation_of",
    "new_id",
    "plain",
    "refusal_of",
    "same_id",
    "to_record",
    "usage_of",
]

Name = Callable[[str | None], str | None]

_random = Random()  # noqa: S311 - ids, no secrets; of our own, so that a program that seeds its own gets no id twice
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_random.seed)

_NEW = "lc_run--"  # as LangChain begins the ids that it makes

_TEXT = {kind.__name__: kind for kind in (Generation, GenerationChunk)}
_CHAT = {kind.__name__: kind for kind in (ChatGeneration, ChatGenerationChunk)}
_MESSAGES = {kind.__name__: kind for kind in (AIMessage, AIMessageChunk, ChatMessage, ChatMessageChunk)}

_FIELDS: dict[type[BaseModel], tuple[frozenset[str], bool]] = {
    kind: (frozenset(kind.model_fields), kind.model_config.get("extra") == "allow")
    for kinds in (_CHAT, _MESSAGES)
    for kind in kinds.values()
}
_PLAIN = {
    name for name, kind in _CHAT.items() if kind.model_fields.keys() == {"text", "generation_info", "type", "message"}
}
_set = object.__setattr__  # as pydantic's own `model_construct` and `__setstate__` fill a model

_CUT_OFF = {"length", "max_tokens", "max_output_tokens", "model_length"}
_FILTERED = {"content_filter", "safety", "recitation", "prohibited_content", "blocklist", "spii"}
_COUNTS = ("input_tokens", "output_tokens", "total_tokens")
_REASONS = ("finish_reason", "stop_reason", "done_reason")


def to_record(generations: Sequence[Generation]) -> list[Any]:
    """Return generations as a JSON value.

    In what a provider adds to them tuples and sets become lists, members of enums their values, and bytes, dates,
    decimals and the like strings, as in pydantic's JSON; so do keys that are numbers.

    Raises:
        ValueError: one of them is of a class, or holds a value, that a record has no form for.
    """
    try:
        return [_written(generation) for generation in generations]
    except PydanticSerializationError as error:
        raise_interrupt(error)
        raise ValueError(f"an answer holds what is not JSON: {error}") from error


def from_record(record: Any, name: Name | None = None) -> list[Generation]:
    """Return the generations of a record, new objects at each call.

    Args:
        record: what `to_record` wrote.
        name: gives a message its id, from the one that it was recorded with; None for a new one each time.

    Raises:
        Exception: any at all, where the record is not what `to_record` writes.
    """
    if len(record) == 1:  # nearly every one; a comprehension is one step more
        return [generation_of(record[0], name)]
    return [generation_of(written, name) for written in record]


def new_id() -> str:
    """Return an id for a message, another one each time."""
    return f"{_NEW}{_random.getrandbits(128):032x}"


def same_id(recorded: str | None) -> str | None:
    """Return the id that a message was recorded with."""
    return recorded


def refusal_of(generations: Sequence[Generation]) -> Refusal | None:
    """Return why generations are not worth keeping, if they are not."""
    reasons = {reason for generation in generations for reason in _finish_reasons(generation)}
    if reasons & _CUT_OFF:
        return Refusal.LENGTH
    if reasons & _FILTERED:
        return Refusal.CONTENT_FILTER
    return None if any(_holds_something(generation) for generation in generations) else Refusal.EMPTY


def accepts(accept: Accept, generations: Sequence[Generation]) -> bool:
    """Return whether a predicate accepts each of some generations.

    Args:
        accept: is called with the message of a chat model, a copy with all metadata, or with the text of another model.
        generations: what the model returned.
    """
    return all(accept(_completed(each) if isinstance(each, ChatGeneration) else each.text) for each in generations)


def _completed(generation: ChatGeneration) -> BaseMessage:
    """Return a message as LangChain completes what a model returns."""
    metadata = {**(generation.generation_info or {}), **generation.message.response_metadata}
    return generation.message.model_copy(update={"response_metadata": metadata})


def usage_of(generations: Sequence[Generation]) -> dict[str, int] | None:
    """Return the tokens of generations together, by LangChain's names, or None where it is not said how many."""
    total: Counter[str] = Counter()
    for generation in generations:
        usage = getattr(generation.message, "usage_metadata", None) if isinstance(generation, ChatGeneration) else None
        total.update({name: usage[name] for name in _COUNTS if isinstance(usage.get(name), int)} if usage else {})
    return dict(total) or None


def answered_by(generations: Sequence[Generation]) -> str | None:
    """Return the name of the model that answered, if it is said."""
    for generation in generations:
        if isinstance(generation, ChatGeneration):
            said = generation.message.response_metadata
            name = said.get("model_name") or said.get("model")
            if isinstance(name, str):
                return name
    return None


def _written(generation: Generation) -> dict[str, Any]:
    kind = type(generation).__name__
    written: dict[str, Any] = {"kind": kind, "info": plain(generation.generation_info)}
    if isinstance(generation, ChatGeneration):
        message = generation.message
        if _CHAT.get(kind) is not type(generation) or _MESSAGES.get(type(message).__name__) is not type(message):
            raise ValueError(f"an answer is a {kind} of a {type(message).__name__}, which has no form in a record")
        return {**written, "message": type(message).__name__, "fields": plain(dict(message))}
    if _TEXT.get(kind) is not type(generation):
        raise ValueError(f"an answer is a {kind}, which has no form in a record")
    return {**written, "text": generation.text}


def plain(value: Any) -> Any:
    """Return a value as JSON has it, as `to_record` does.

    Raises:
        PydanticSerializationError: it has no such form.
    """
    return to_jsonable_python(value, inf_nan_mode="constants")


def generation_of(written: dict[str, Any], name: Name | None = None) -> Generation:
    """Return one of the generations of a record: see `from_record`."""
    kind, info = written["kind"], written["info"]
    if kind in _TEXT:
        return _TEXT[kind](text=written["text"], generation_info=info)
    fields, of = written["fields"], _MESSAGES[written["message"]]
    fields["id"] = new_id() if name is None else name(fields["id"])
    known, takes_others = _FIELDS[of]
    if fields.keys() == known:  # those of this version of the class: they are taken as they were dumped, as by a pickle
        message = of.__new__(of)
        _set(message, "__dict__", fields)
        _set(message, "__pydantic_fields_set__", set(fields))
        _set(message, "__pydantic_extra__", {} if takes_others else None)
        _set(message, "__pydantic_private__", None)
    else:
        message = of(**fields)
    text = message.content
    if type(text) is not str or kind not in _PLAIN:
        return _CHAT[kind](message=message, generation_info=info)  # type: ignore[arg-type]  # pydantic checks it
    fields = {"text": text, "generation_info": info, "type": kind, "message": message}
    generation = _CHAT[kind].__new__(_CHAT[kind])
    _set(generation, "__dict__", fields)
    _set(generation, "__pydantic_fields_set__", set(fields))
    _set(generation, "__pydantic_extra__", None)
    _set(generation, "__pydantic_private__", None)
    return generation


def _finish_reasons(generation: Generation) -> set[str]:
    metadata = generation.message.response_metadata if isinstance(generation, ChatGeneration) else {}
    found = {str(each.get(name)) for each in (generation.generation_info or {}, metadata) for name in _REASONS}
    incomplete = metadata.get("incomplete_details")  # where OpenAI's Responses API says so
    if isinstance(incomplete, dict):
        found.add(str(incomplete.get("reason")))
    return {reason.lower() for reason in found}


def _holds_something(generation: Generation) -> bool:
    if not isinstance(generation, ChatGeneration):
        return bool(generation.text)
    message = generation.message
    calls = getattr(message, "tool_calls", None) or getattr(message, "invalid_tool_calls", None)
    return bool(message.content or calls or any(message.additional_kwargs.values()))
