"""From what LangChain hands to its cache hook to a request that can be keyed.

LangChain passes two texts: the prompt, which for a chat model is a JSON dump of its messages, and the ``llm_string``,
which is JSON of the model's configuration, ``---``, and the Python repr of the call's arguments. Both are taken apart,
so that what does not change the answer can be left out, and an argument that is None.
"""

import ast
import json
import re
from functools import lru_cache
from typing import Any

import orjson

from chatcache import InvalidValueError, raise_interrupt, request_key

from .messages import meaning
from .noise import UnkeyableError, counting, left_out

__all__ = ["keyed", "left_out_of_texts", "model_of"]

_CALLS, _CHARACTERS = 16, 1_000_000  # that are remembered

Keyed = tuple[str, dict[str, Any]]
"""A key, and the request that it is the key of."""

_HIDES = re.compile(r"\w\(\)")  # the repr of an object that shows nothing of what it holds
_MESSAGES = ('[{"lc": 1, "type": "constructor"', '[{"lc":1,"type":"constructor"')  # LangChain's text, and `text_of`'s
_WRITTEN_AS_REPR = '"not_implemented"'


def keyed(prompt: str, llm_string: str) -> Keyed:
    """Return the key of a call, and the request that it is the key of.

    Raises:
        UnkeyableError: the texts stand for objects by their address or their class, and not by what is in them.
    """
    for said, model, found in _remembered.entries:
        if said == prompt and model == llm_string:
            return found
    found = _worked_out(prompt, llm_string)
    _remembered.add(prompt, llm_string, found)
    return found


def model_of(request: dict[str, Any]) -> str | None:
    """Return the name of the model that a request asks for, as far as LangChain tells it."""
    match request["llm"]:
        case {"model": {"fields": {"model_name": str(name)} | {"model": str(name)}}}:
            return name
        case {"arguments": {"model": str(name)} | {"model_name": str(name)}}:
            return name
        case _:
            return None


def _worked_out(prompt: str, llm_string: str) -> tuple[str, dict[str, Any]]:
    request = {"client": "langchain", "prompt": _prompt(prompt), "llm": _llm(llm_string)}
    try:
        return request_key(request), request
    except InvalidValueError as error:
        raise UnkeyableError(str(error)) from error


class _Remembered:
    """The last few calls: LangChain passes the same two texts before a call and after it.

    They are compared, not hashed, which takes longer where they are long.

    Attributes:
        entries: the two texts and what is keyed, of each, the last one first; for any thread.
    """

    def __init__(self) -> None:
        self.entries: tuple[tuple[str, str, Keyed], ...] = ()

    def add(self, prompt: str, llm_string: str, found: Keyed) -> None:
        left = _CHARACTERS
        kept = []
        for entry in ((prompt, llm_string, found), *self.entries[: _CALLS - 1]):
            left -= len(entry[0])
            if left < 0:
                break
            kept.append(entry)
        self.entries = tuple(kept)


_remembered = _Remembered()


def _prompt(prompt: str) -> Any:
    """Return the messages of a chat model's prompt; any other prompt is a text, and is kept as it is."""
    if not prompt.startswith(_MESSAGES):
        return prompt
    try:
        messages = orjson.loads(prompt)
    except orjson.JSONDecodeError:
        try:
            messages = json.loads(prompt)  # takes lone surrogates too
        except ValueError as error:
            raise_interrupt(error)
            return prompt
    found = [_message(message) for message in messages]
    if _WRITTEN_AS_REPR in prompt and _holds_an_object(found):
        raise UnkeyableError(f"this prompt holds an object that LangChain cannot write as JSON: {found!r:.300}")
    return found


def _message(message: Any) -> Any:
    if not isinstance(message, dict) or not isinstance(fields := message.get("kwargs"), dict):
        raise UnkeyableError(f"LangChain cannot write a message of this prompt as JSON: {message!r:.300}")
    return meaning(fields)


def _holds_an_object(value: Any) -> bool:
    """Whether LangChain wrote a part as the repr of an object: two objects may have one, and one object many."""
    match value:
        case {"lc": 1, "type": "not_implemented"}:
            return True
        case dict():
            return any(_holds_an_object(each) for each in value.values() if type(each) is not str)
        case list():
            return any(_holds_an_object(each) for each in value if type(each) is not str)
        case _:
            return False


@lru_cache(maxsize=256)
def _llm(llm_string: str) -> Any:
    """Return a model's configuration and the arguments of the call; every call of one model repeats them."""
    try:
        model, end = json.JSONDecoder().raw_decode(llm_string)
    except ValueError as error:
        raise_interrupt(error)
        return {"arguments": _arguments(llm_string)}
    if not isinstance(model, dict) or not llm_string.startswith("---", end):
        return {"arguments": _arguments(llm_string)}
    return {"model": _model(model), "arguments": _arguments(llm_string[end + len("---") :])}


def left_out_of_texts(llm_string: str) -> list[str]:
    """Return the names of a model's fields, and of the arguments of a call, that do not count."""
    try:
        model, end = json.JSONDecoder().raw_decode(llm_string)
        arguments = ast.literal_eval(llm_string[end + len("---") :])
        return left_out([*model["kwargs"].items(), *arguments])
    except (ValueError, TypeError, KeyError, SyntaxError, MemoryError, RecursionError) as error:
        raise_interrupt(error)
        return []  # it is not known of any


def _model(model: dict[str, Any]) -> dict[str, Any]:
    fields = model.get("kwargs")
    if not isinstance(fields, dict):
        raise UnkeyableError(f"LangChain cannot write this model as JSON: {model!r:.300}")
    fields = counting(fields.items())
    if _holds_an_object(fields):
        raise UnkeyableError(f"this model is configured with what LangChain cannot write as JSON: {fields!r:.500}")
    return {"class": model.get("id"), "fields": fields}


def _arguments(text: str) -> Any:
    """Return the arguments of a call as data, without noise. What is no data counts by its repr."""
    try:
        return _given(json.loads(json.dumps(ast.literal_eval(text))))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise_interrupt(error)
        if "<" not in text and not _HIDES.search(text):
            return _of_reprs(text)
    raise UnkeyableError(
        "LangChain shows an argument of this call by its class or address only, as in structured output with "
        f"a class under method='json_schema' (use method='function_calling'): {text:.300}"
    )


def _given(pairs: Any) -> dict[str, Any]:
    return {name: value for name, value in counting(pairs).items() if value is not None}


def _of_reprs(text: str) -> Any:
    """Return arguments of which some are objects, without noise; or the text, if it is none of arguments."""
    try:
        return _given(_read(ast.parse(text, mode="eval").body))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise_interrupt(error)
        return text


def _read(node: ast.expr) -> Any:
    """Return a literal, with the repr of each object that it holds in the object's place."""
    match node:
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_read(each) for each in parts]
        case ast.Dict(keys=names, values=values):
            return {str(_read(name)): _read(value) for name, value in zip(names, values, strict=True) if name}
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.Call(keywords=fields) if fields:
            return {"repr": ast.unparse(node.func), **{str(each.arg): _read(each.value) for each in fields}}
        case _:
            return ast.unparse(node)
