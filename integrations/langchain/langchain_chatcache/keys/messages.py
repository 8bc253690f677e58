"""What a message says to a model, whoever made it, and however it came to the caller.

Left out are its id, and the ids that LangChain makes for parts of its content; what an earlier answer cost, and who
gave it, since LangChain itself changes the first of them on a hit, and a conversation would never meet its own record
again; what was parsed out of it; a tool's ``artifact``, which no model is shown; and whatever is not set, since newer
versions have more of that. An answer that was streamed, and put together, says what the whole one says.
"""

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from .data import to_data

__all__ = ["meaning"]

_NO_PART = (
    "artifact",
    "chunk_position",
    "id",
    "response_metadata",
    "tool_call_chunks",
    "usage_metadata",
)
_DERIVED = ("parsed", "tool_calls", "function_call")  # from the content, or said in the tool calls beside
_STREAMED = "MessageChunk"
_MADE_BY_LANGCHAIN = "lc_"
_OF_TEXT: dict[type[BaseMessage], str] = {AIMessage: "ai", HumanMessage: "human", SystemMessage: "system"}
_SAYS_NO_MORE = frozenset({*_NO_PART, "content", "type"})


def meaning(message: BaseMessage) -> dict[str, Any]:
    """Return what a message says, as JSON has it.

    Raises:
        UnkeyableError: it holds an object of which it is not known what it holds.
    """
    fields = vars(message)
    kind = _OF_TEXT.get(type(message))
    if kind is None or message.__pydantic_extra__ or type(fields["content"]) is not str:
        return _data(message)
    for name, value in fields.items():
        if value and name not in _SAYS_NO_MORE:
            return _data(message)
    return {"type": kind, "content": fields["content"]}  # as most messages: the same, in a tenth of the time


def _data(message: BaseMessage) -> dict[str, Any]:
    data: dict[str, Any] = to_data(_meaning(dict(message)), "a message of the prompt")
    return data


def _meaning(fields: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in fields.items() if name not in _NO_PART and _is_set(value)}
    kind = str(fields.get("type", ""))
    said["type"] = kind.removesuffix(_STREAMED).lower() if kind.endswith(_STREAMED) else kind
    said["content"] = _content(fields.get("content"), streamed=said["type"] == "ai")
    calls = said.get("tool_calls")
    for name in ("tool_calls", "invalid_tool_calls"):
        if isinstance(said.get(name), list):
            said[name] = [_call(call) for call in said[name]]
    extra = said.pop("additional_kwargs", None)
    if isinstance(extra, Mapping):
        kept = {
            name: value
            for name, value in extra.items()
            if value is not None and not (name in _DERIVED and (calls or name == "parsed"))
        }
        if kept:
            said["additional_kwargs"] = kept
    return said


def _is_set(value: Any) -> bool:
    return value is not None and value is not False and value not in ([], {})


def _content(content: Any, *, streamed: bool) -> Any:
    """Return content without what LangChain adds to its parts; one part of nothing but text is that text."""
    if not isinstance(content, list):
        return content
    parts = [_part(part, streamed=streamed) for part in content]
    match parts:
        case [{"type": "text", "text": str(text), **rest}] if not rest:
            return text
        case _:
            return parts


def _part(part: Any, *, streamed: bool) -> Any:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        return part
    return {
        name: value
        for name, value in part.items()
        if not (name == "id" and isinstance(value, str) and value.startswith(_MADE_BY_LANGCHAIN))
        and not (streamed and name == "index")
    }


def _call(call: Any) -> Any:
    """Return a call of a tool without its type, and without what LangChain says of one that it cannot read."""
    if not isinstance(call, Mapping):
        return call
    return {name: value for name, value in call.items() if name not in {"type", "error"}}
