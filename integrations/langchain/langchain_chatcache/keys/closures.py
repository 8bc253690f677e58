"""The values that a class reads of the function that it was made in.

Two classes of one such function have one name. What tells them apart are the variables that their methods read.
"""

import dis
import inspect
import sys
from collections.abc import Hashable, Iterator
from functools import cached_property, lru_cache
from types import CellType, CodeType, FunctionType
from typing import Any, cast

from chatcache import raise_interrupt, without_credentials

__all__ = ["closed_over"]

_PLAIN = (str, int, float, type(None))  # bool is an int
_STORES = frozenset({"DELETE_DEREF", "STORE_DEREF"})


def closed_over(kind: type) -> dict[str, Any]:
    """Return the values that methods of a class read of variables of the function that it was made in, by their names.

    Only plain values count: a text, a number, a tuple of them. A list or another object may be what the methods write
    to, and so may a variable that they set, such as a counter.
    """
    values = {}
    for name, cell in _cells_of(cast(Hashable, kind)):
        try:
            value = cell.cell_contents
        except ValueError as error:  # it has no value, now or any more
            raise_interrupt(error)
            continue
        if _is_plain(value):
            values[name] = value
    return without_credentials(values)


@lru_cache(maxsize=256)
def _cells_of(kind: Any) -> tuple[tuple[str, CellType], ...]:
    methods = [
        method
        for base in kind.__mro__
        if not _has_a_name_of_its_own(base)
        for value in vars(base).values()
        if (method := _function_of(value)) is not None
    ]
    cells = {
        name: cell
        for method in methods
        for name, cell in zip(method.__code__.co_freevars, method.__closure__ or (), strict=True)
        if name != "__class__"
    }
    written = {name for method in methods for name in _written(method.__code__)}
    return tuple((name, cell) for name, cell in sorted(cells.items()) if name not in written)


def _has_a_name_of_its_own(kind: type) -> bool:
    """Return whether a class is what its module has under its name, so that no other class has that."""
    found: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is kind


def _function_of(value: Any) -> FunctionType | None:
    match value:
        case property():
            value = value.fget
        case staticmethod() | classmethod():
            value = value.__func__
        case cached_property():
            value = value.func
    value = inspect.unwrap(value) if callable(value) else value
    return value if isinstance(value, FunctionType) else None


def _written(code: CodeType) -> Iterator[str]:
    """Yield the names of the variables of an outer function that a function sets, or a function within it."""
    yield from (each.argval for each in dis.get_instructions(code) if each.opname in _STORES)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _written(constant)


def _is_plain(value: Any) -> bool:
    return all(map(_is_plain, value)) if type(value) is tuple else isinstance(value, _PLAIN)
