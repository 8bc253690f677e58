"""What a model returns, and the chunks that it streams, as records; and one made of the other."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from chatcache import Refusal

from .generations import (
    Name,
    answered_by,
    from_record,
    generation_of,
    new_id,
    plain,
    refusal_of,
    same_id,
    to_record,
    usage_of,
)

__all__ = [
    "ChunkRecorder",
    "chunk_of",
    "chunks_of_result",
    "generations_of_chunks",
    "names_of_a_replay",
    "record_of_result",
    "refusal_of_chunks",
    "result_of",
    "result_of_chunks",
]


def record_of_result(result: ChatResult) -> dict[str, Any]:
    """Return a result as a JSON value, with the tokens and the model where the engine looks for them.

    Raises:
        ValueError: it holds what a record has no form for.
    """
    return _told(
        {"generations": to_record(result.generations), "llm_output": plain(result.llm_output)},
        usage_of(result.generations),
        answered_by(result.generations) or (result.llm_output or {}).get("model_name"),
    )


def result_of(record: Mapping[str, Any], name: Name) -> ChatResult:
    """Return the result of a record, new objects at each call.

    Raises:
        Exception: any at all, where the record is not what `record_of_result` writes.
    """
    generations = cast(list[ChatGeneration], from_record(record["generations"], name))
    return ChatResult(generations=generations, llm_output=record["llm_output"])


class ChunkRecorder:
    """Writes the chunks of one stream as records, of which each tells the tokens so far."""

    def __init__(self) -> None:
        self._usage: Counter[str] = Counter()

    def record(self, chunk: ChatGenerationChunk) -> dict[str, Any]:
        """Return a chunk as a JSON value.

        Raises:
            ValueError: it holds what a record has no form for.
        """
        (written,) = to_record([chunk])
        usage = usage_of([chunk])
        self._usage.update(usage or {})
        return _told(written, dict(self._usage) if usage else None, answered_by([chunk]))


def chunk_of(record: dict[str, Any], name: Name) -> ChatGenerationChunk:
    """Return the chunk of a record, a new object at each call.

    Raises:
        Exception: any at all, where the record is not what a `ChunkRecorder` writes.
    """
    chunk = generation_of(record, name)
    if not isinstance(chunk, ChatGenerationChunk):
        raise TypeError(f"a {type(chunk).__name__} is no chunk")
    return chunk


def names_of_a_replay() -> Name:
    """Return what gives the chunks of one replay their ids: one id for what had one, and none for what had none."""
    given: dict[str, str] = {}

    def name(recorded: str | None) -> str | None:
        return None if recorded is None else given.setdefault(recorded, new_id())

    return name


def refusal_of_chunks(records: Sequence[Any]) -> Refusal | None:
    """Return why the chunks of a stream are not worth keeping, if they are not; those without a record say nothing."""
    if not records:
        return Refusal.EMPTY
    if not all(isinstance(record, dict) for record in records):
        return None
    return refusal_of(generations_of_chunks(records))


def generations_of_chunks(records: Sequence[dict[str, Any]]) -> Sequence[ChatGeneration]:
    """Return the generations that recorded chunks make, put together as LangChain does it."""
    return generate_from_stream(chunk_of(record, same_id) for record in records).generations


def result_of_chunks(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the record of a result that is put together of recorded chunks, as LangChain does it."""
    return record_of_result(generate_from_stream(chunk_of(record, same_id) for record in records))


def chunks_of_result(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the record of the one chunk that a recorded result of one generation makes.

    Raises:
        ValueError: it has more than one.
    """
    result = result_of(record, same_id)
    (generation,) = result.generations
    message = generation.message
    if not isinstance(message, AIMessage):
        raise TypeError(f"a {type(message).__name__} is not streamed")
    fields = {name: value for name, value in message if name not in {"type", "invalid_tool_calls"}}
    fields["response_metadata"] = {**(result.llm_output or {}), **message.response_metadata}
    calls = [
        tool_call_chunk(name=call["name"], args=call["args"], id=call["id"]) for call in message.invalid_tool_calls
    ]
    whole = AIMessageChunk(**fields, chunk_position="last")
    if calls:
        whole += AIMessageChunk(content="", tool_call_chunks=calls)
    return [ChunkRecorder().record(ChatGenerationChunk(message=whole, generation_info=generation.generation_info))]


def _told(record: dict[str, Any], usage: Mapping[str, int] | None, model: object) -> dict[str, Any]:
    told = {"usage": dict(usage) if usage else None, "model": model if isinstance(model, str) else None}
    return {**record, **{name: value for name, value in told.items() if value is not None}}
