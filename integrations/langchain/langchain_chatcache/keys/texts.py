"""From what LangChain hands to its cache for a language model of texts to a request that can be keyed.

LangChain passes two texts: the prompt, and the ``llm_string``, which is the Python repr of the model's parameters and
of the call's arguments. That is taken apart, so that what does not change the answer can be left out, and an argument
that is None. Chat models do not come here, but through `langchain_chatcache.hook`.
"""

import ast
import json
import re
from functools import lru_cache
from typing import Any

from chatcache import InvalidValueError, raise_interrupt, request_key

from .noise import UnkeyableError, counting, left_out

__all__ = ["keyed", "left_out_of_texts", "model_of"]

_CALLS, _CHARACTERS = 16, 1_000_000  # that are remembered

Keyed = tuple[str, dict[str, Any]]
"""A key, and the request that it is the key of."""

_HIDES = re.compile(r"\w\(\)")  # the repr of an object that shows nothing of what it holds
_MESSAGES = '[{"lc": 1, "type": "constructor"'  # begins LangChain's text of a chat


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
        case {"arguments": {"model": str(name)} | {"model_name": str(name)}}:
            return name
        case _:
            return None


def _worked_out(prompt: str, llm_string: str) -> Keyed:
    if prompt.startswith(_MESSAGES):
        raise UnkeyableError(
            "another cache asked for the answer of a chat model, and LangChain tells it too little of the model: pass "
            "the DOCache itself to set_llm_cache() or to the model, or use cached(model, cache)"
        )
    request = {"client": "langchain", "prompt": prompt, "llm": {"arguments": _arguments(llm_string)}}
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


def left_out_of_texts(llm_string: str) -> list[str]:
    """Return the names of a model's parameters, and of the arguments of a call, that do not count."""
    try:
        return left_out(ast.literal_eval(llm_string))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise_interrupt(error)
        return []  # it is not known of any


@lru_cache(maxsize=256)
def _arguments(text: str) -> Any:
    """Return the arguments of a call as data, without noise. What is no data counts by its repr."""
    try:
        return _given(json.loads(json.dumps(ast.literal_eval(text))))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise_interrupt(error)
        if "<" not in text and not _HIDES.search(text):
            return _of_reprs(text)
    raise UnkeyableError(
        f"LangChain shows a parameter of this language model by its class or address only: {text:.300}"
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
