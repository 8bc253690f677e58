"""What a node of a graph is given, as a key that is the same in each process.

LangGraph's own key function pickles its arguments. A pickled message or pydantic model holds the set of its fields,
whose order changes from process to process, and a pickled array lacks its type. So an equal input misses, or another
one hits.
"""

import json
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import cached_property
from hashlib import sha256
from pathlib import PurePath
from typing import Any
from uuid import UUID, uuid4

from langchain_core.messages import BaseMessage, RemoveMessage
from pydantic import BaseModel, SecretBytes, SecretStr

__all__ = ["node_key"]

_logger = logging.getLogger("chatcache")
_logged: set[str] = set()

_CONTAINERS = (dict, list, tuple, set, frozenset, str, int, float, bytes, bytearray)
_SAID_BY_STR = (complex, date, timedelta, tzinfo, Decimal, Fraction, PurePath, UUID)


def node_key(*args: Any, **kwargs: Any) -> str:
    """Return the key of what a node or a task is given: ``CachePolicy(key_func=node_key)``.

    It is the same in each process and Python version. Data counts by type and value: JSON values, tuples, sets, bytes,
    dates, decimals, enums, dataclasses, pydantic models, messages, and arrays of numpy. The order of dictionary keys
    does not count, nor does the id of a message, which LangGraph makes at random, unless it is a ``RemoveMessage``. If
    an argument holds something else, the node runs, and the logger ``chatcache`` says so once for each type.

    Args:
        args: what the node is given.
        kwargs: what it is given by name.
    """
    try:
        return sha256(_written([args, kwargs]).encode("utf-8", "surrogatepass")).hexdigest()
    except _UnknownTypeError as error:
        if str(error) not in _logged:
            _logged.add(str(error))
            _logger.warning(
                "node_key() was given a %s, which it cannot read as data, so the node runs: "
                "make it plain data, or pass a key_func of your own",
                error,
            )
    except RecursionError:
        _logger.warning("node_key() was given what nests too deeply, so the node runs: pass a key_func of your own")
    return uuid4().hex


class _UnknownTypeError(Exception):
    """A value is no data."""


def _written(value: Any) -> str:
    return json.dumps(_described(value))


def _described(value: Any) -> Any:
    """Return a value as JSON from which its type and content can be told."""
    kind = type(value)
    if value is None or kind in {bool, str}:
        return value
    describe = next((each for of, each in _DESCRIBED if isinstance(value, of)), None)
    if describe is not None:
        return [_name(kind), describe(value), *_beside(value, _CONTAINERS)]
    if is_dataclass(kind):
        names = [field.name for field in fields(value)]
        return [_name(kind), [[name, _described(getattr(value, name))] for name in names], *_beside(value, kind, names)]
    if kind.__module__ == "numpy" and not value.dtype.hasobject:
        return [_name(kind), str(value.dtype.descr), [*value.shape], sha256(value.tobytes()).hexdigest()]
    raise _UnknownTypeError(_name(kind))


def _beside(value: Any, of: type | tuple[type, ...], names: Collection[str] = ()) -> list[Any]:
    """Return what an object of a class was given beside its content, such as the attribute of a dict's subclass."""
    if not isinstance(value, of) or isinstance(value, Enum):
        return []
    computed = {
        name for each in type(value).__mro__ for name, it in vars(each).items() if isinstance(it, cached_property)
    }
    given = {name: each for name, each in getattr(value, "__dict__", {}).items() if name not in computed.union(names)}
    return [_pairs(given)] if given else []


def _moment(moment: datetime | time) -> list[Any]:
    """Return a time with what its text lacks: which one it is of two as clocks are set back, and of which zone."""
    return [str(moment), moment.fold, None if moment.tzinfo is None else _described(moment.tzinfo)]


def _message(message: BaseMessage) -> Any:
    described = _model(message)
    if not isinstance(message, RemoveMessage):
        described.pop("id", None)
    return described


def _model(model: BaseModel) -> dict[str, Any]:
    fields = type(model).model_fields
    held = {name: value for name, value in vars(model).items() if name in fields}
    held |= (model.__pydantic_extra__ or {}) | (model.__pydantic_private__ or {})
    beside = _beside(model, BaseModel, fields)
    return {name: _described(held[name]) for name in sorted(held)} | ({"": beside} if beside else {})


def _pairs(mapping: Mapping[Any, Any]) -> list[list[str]]:
    return sorted([_written(name), _written(each)] for name, each in mapping.items())


def _name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


_DESCRIBED: list[tuple[type | tuple[type, ...], Callable[[Any], Any]]] = [
    (Enum, lambda value: value.name),
    (str, str.__str__),
    (int, int.__repr__),
    (float, float.__repr__),
    ((bytes, bytearray), lambda value: sha256(value).hexdigest()),
    ((datetime, time), _moment),
    (_SAID_BY_STR, str),
    ((SecretStr, SecretBytes), lambda value: sha256(_written(value.get_secret_value()).encode()).hexdigest()),
    (BaseMessage, _message),
    (BaseModel, _model),
    (Mapping, _pairs),
    ((list, tuple), lambda value: [_described(each) for each in value]),
    ((set, frozenset), lambda value: sorted(map(_written, value))),
]
"""What each kind of value is described by; the first one counts."""
