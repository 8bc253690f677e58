"""What a caller of LiteLLM sees of an answer, and what a stream amounts to, wherever it was cut into chunks."""

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

__all__ = ["amount", "chunk_fields", "error_fields", "fields"]

JSON = Any


def fields(value: Any) -> JSON:
    """All fields of an answer, also those that are None, with the class of each object in it."""
    match value:
        case BaseModel():
            named = {**vars(value), **(value.model_extra or {})}
            shown = {name: fields(each) for name, each in named.items() if not name.startswith("_")}
            return {"class": type(value).__name__, **shown}
        case dict():
            return {name: fields(each) for name, each in value.items()}
        case list() | tuple():
            return [fields(each) for each in value]
        case _:
            return value


def chunk_fields(chunk: Any) -> JSON:
    """All fields of a chunk, with the tokens that LiteLLM hides in the last one for who did not ask for them."""
    hidden = getattr(chunk, "_hidden_params", None) or {}
    return {"chunk": fields(chunk), "hidden_usage": fields(hidden.get("usage"))}


def error_fields(error: Exception) -> JSON:
    """What can be read of an error, apart from its HTTP request and response."""
    plain = {name: value for name, value in vars(error).items() if isinstance(value, str | int | float | list | dict)}
    plain.pop("litellm_response_headers", None)
    return {"class": type(error).__name__, "text": str(error), **plain}


def amount(kind: str, seen: JSON) -> JSON:
    """What an answer or the chunks of a stream hold in the end, in a form that is the same for both.

    Args:
        kind: ``chat_completions``, ``responses`` or ``messages``.
        seen: the fields of the answer, or a list of those of the chunks.
    """
    return {"chat_completions": _chat, "responses": _response, "messages": _message}[kind](seen)


def _said(value: JSON) -> JSON:
    """A value without its classes, nor what is None in it."""
    match value:
        case dict():
            return {name: _said(each) for name, each in value.items() if each is not None and name != "class"}
        case list():
            return [_said(each) for each in value]
        case _:
            return value


def _chat(seen: JSON) -> JSON:
    whole = _joined(seen) if isinstance(seen, list) else _said(seen)
    del whole["object"]
    for choice in whole["choices"]:
        choice.update(choice.pop("provider_specific_fields", {}))
        message: dict[str, Any] = {}
        _grow(message, choice["message"])
        message.pop("channel", None)  # whether a chunk is content or reasoning
        for call in message.get("tool_calls", []):
            call.pop("index", None)
        choice["message"] = message
    return whole


def _joined(chunks: list[JSON]) -> JSON:
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for each in chunks:
        chunk = _said(each["chunk"])
        chunk.pop("obfuscation", None)  # it hides the length of this one chunk
        for piece in chunk.pop("choices"):
            choice = choices.setdefault(piece["index"], {"message": {}})
            _grow(choice["message"], piece.pop("delta"))
            choice.update(piece)
        for told in (chunk, {"usage": _said(each["hidden_usage"] or {})}):
            for name, value in told.items():
                whole[name] = {**whole.get(name, {}), **value} if isinstance(value, dict) else value
    return {**whole, "choices": [choices[index] for index in sorted(choices)]}


def _grow(thing: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a delta: a text goes on, and in a list so does what has the same index."""
    for name, value in delta.items():
        match thing.get(name), value:
            case str(begun), str() if name in _TEXTS:
                thing[name] = begun + value
            case dict(begun), dict():
                _grow(begun, value)
            case begun, list():
                thing[name] = begun or []
                for each in value:
                    _grow_in(thing[name], each)
            case _:
                thing[name] = value


def _grow_in(begun: list[JSON], each: JSON) -> None:
    index = each.get("index") if isinstance(each, dict) else None
    same = next((one for one in begun if index is not None and one.get("index") == index), None)
    if same is None:
        begun.append(each)
    else:
        _grow(same, each)


_TEXTS = ("arguments", "content", "reasoning_content", "text")


def _response(seen: JSON) -> JSON:
    if isinstance(seen, list):
        events = [each["chunk"] for each in seen]
        text = "".join(each["delta"] for each in events if each["type"] == "response.output_text.delta")
        return {"text": text, "response": events[-1]["response"]}
    spoken = [part for item in seen["output"] if item["type"] == "message" for part in item["content"]]
    return {"text": "".join(part["text"] for part in spoken if part["type"] == "output_text"), "response": seen}


def _message(seen: JSON) -> JSON:
    if not isinstance(seen, list):
        return seen
    message: dict[str, Any] = {}
    inputs: dict[int, str] = {}
    for event in _events(each["chunk"] for each in seen):
        match event:
            case {"type": "message_start"}:
                message = event["message"]
            case {"type": "content_block_start"}:
                message["content"].append(event["content_block"])
            case {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": text}}:
                inputs[event["index"]] = inputs.get(event["index"], "") + text
            case {"type": "content_block_delta", "delta": {"type": "citations_delta", "citation": citation}}:
                block = message["content"][event["index"]]
                block["citations"] = [*(block.get("citations") or []), citation]
            case {"type": "content_block_delta", "delta": delta}:
                block = message["content"][event["index"]]
                block.update({name: block.get(name, "") + text for name, text in delta.items() if name != "type"})
            case {"type": "message_delta"}:
                message.update(event["delta"])
                message["usage"].update(event["usage"])
    for index, text in inputs.items():
        message["content"][index]["input"] = json.loads(text or "{}")
    return message


def _events(pieces: Iterable[bytes]) -> list[JSON]:
    lines = b"".join(pieces).decode().splitlines()
    return [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]
