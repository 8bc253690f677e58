"""What a class is made of, if its name does not tell it from other classes.

A function makes another class of one name with each call, and a program or a notebook may hold another class of that
name the next time. What tells such classes apart is their code, their attributes, and what their methods read of the
function that made them. Any other class is known by its name.
"""

import ast
import dis
import inspect
import sys
from collections.abc import Callable, Collection, Hashable, Iterator
from functools import cached_property, lru_cache, partial, partialmethod
from hashlib import sha256
from textwrap import dedent
from types import CodeType, FunctionType, GetSetDescriptorType, MemberDescriptorType, MethodType, ModuleType
from typing import Any, cast

from chatcache import raise_interrupt, without_credentials

from .noise import UnkeyableError

__all__ = ["IS_WRAPPED", "made_of"]

IS_WRAPPED = "_chatcache_is_wrapped"
"""An attribute of the methods that this package wrapped: they count as what they wrap."""

_METHODS = (FunctionType, property, staticmethod, classmethod, cached_property, partialmethod)
_NOT_MADE = (GetSetDescriptorType, MemberDescriptorType)
_OF_PYTHON = frozenset({"__annotate__", "__annotate_func__", "_abc_impl", "model_config"})
_CELLS_OF_PYTHON = frozenset({"__class__", "__classdict__"})
_SETS = frozenset({"DELETE_DEREF", "STORE_DEREF"})

ToData = Callable[[Any, str], Any]


def made_of(kind: type, to_data: ToData, ignore: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return what a class, and each class that it derives from, is made of; nothing of those that their name tells.

    Args:
        kind: the class.
        to_data: returns a value as JSON has it, or raises `UnkeyableError`.
        ignore: the names of attributes and variables that are left out.

    Raises:
        UnkeyableError: it reads an object of which it is not known what it holds, or a variable that it sets.
    """
    unnamed = _unnamed(cast(Hashable, kind))
    if not unnamed:
        return []
    reader = _Reader(kind.__name__, to_data, ignore)
    return [reader.of_class(each) for each in unnamed]


class _Reader:
    """Reads what a class is made of. It reads each class and function once: they may refer to each other."""

    def __init__(self, name: str, to_data: ToData, ignore: Collection[str]) -> None:
        self._name = name
        self._to_data = to_data
        self._ignore = ignore
        self._seen: set[int] = set()

    def of_class(self, kind: type) -> dict[str, Any]:
        self._seen.add(id(kind))
        holds = {
            name: self._of(name, value, "attribute")
            for name, value in vars(kind).items()
            if name not in self._ignore and _counts(name, value)
        }
        return {"class": _name_of(kind), "bases": [*map(_name_of, kind.__bases__)], "holds": holds}

    def _of(self, name: str, value: Any, what: str) -> Any:  # noqa: C901, PLR0911 - a table, a case a row
        if hasattr(value, IS_WRAPPED):
            value = value.__wrapped__
        of = partial(self._of, name, what=what)
        match value:
            case property():
                return [of(each) for each in (value.fget, value.fset) if each is not None]
            case staticmethod() | classmethod():
                return of(value.__func__)
            case cached_property():
                return of(value.func)
            case partial() | partialmethod():
                named = {each: self._of(each, it, what) for each, it in value.keywords.items()}
                return {"calls": of(value.func), "with": [*map(of, value.args)], "by name": named}
            case MethodType():
                return {"calls": of(value.__func__), "with": [of(value.__self__)]}
            case _ if id(value) in self._seen or _is_known_by_its_name(value):
                return _name_of(value)
            case FunctionType():
                return self._of_function(value)
            case type() if value.__module__ != "builtins" and not _has_schema(value):
                return self.of_class(value)
            case _ if callable(value) and hasattr(value, "__wrapped__"):  # as what is remembered by lru_cache
                return of(value.__wrapped__)
            case _:
                data = self._to_data(value, f"{self._name}'s {what} {name!r}")
                return without_credentials({name: data}).get(name)

    def _of_function(self, function: FunctionType) -> dict[str, Any]:
        self._seen.add(id(function))
        code = function.__code__
        found = {"code": _digest(code)}
        reads = {}
        written = _set_by(code)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if name in _CELLS_OF_PYTHON or name in self._ignore:
                continue
            if name in written:
                what = f"{self._name}'s variable {name!r}"
                raise UnkeyableError(
                    f"{what} is set by its methods, so it is not known which of its values counts: make it a field, or "
                    "use cached(model, cache, ignore=[...]) and name it in ignore= if it does not change the answer",
                    subject=what,
                )
            try:
                value = cell.cell_contents
            except ValueError:  # it has no value, now or any more
                continue
            reads[name] = self._of(name, value, "variable")
        defaults = [self._of("", each, "default") for each in function.__defaults__ or ()]
        by_name = {name: self._of(name, each, "default") for name, each in (function.__kwdefaults__ or {}).items()}
        return found | {
            name: value for name, value in (("reads", reads), ("defaults", defaults), ("by name", by_name)) if value
        }


@lru_cache(maxsize=256)
def _unnamed(kind: Any) -> tuple[type, ...]:
    """Return those of a class and the classes that it derives from that their name does not tell from others."""
    # one that replays is made at run time, of the class whose name it has
    return tuple(base for base in kind.__mro__ if "_replay" not in vars(base) and not _is_known_by_its_name(base))


def _is_known_by_its_name(value: Any) -> bool:
    """Return whether a class, a function or a module is what can be imported by its name.

    What stands in a program or a notebook, ``__main__``, is another thing of that name as soon as it is edited.
    """
    if isinstance(value, ModuleType):
        return sys.modules.get(value.__name__) is value
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value and not _reads_variables(value)


def _reads_variables(value: Any) -> bool:
    """Return whether a function, or a method of a class, reads variables of a function that made it as a global."""
    if isinstance(value, type):
        return any(map(_reads_variables, vars(value).values()))
    if not isinstance(value, FunctionType) or value.__code__.co_qualname != value.__qualname__:  # it wraps another one
        return False
    return not _CELLS_OF_PYTHON.issuperset(value.__code__.co_freevars)


def _counts(name: str, value: Any) -> bool:
    if name in _OF_PYTHON or isinstance(value, _NOT_MADE):
        return False
    return isinstance(value, _METHODS) or not (name.startswith("__") and name.endswith("__"))


def _has_schema(kind: type) -> bool:
    return hasattr(kind, "model_json_schema") or hasattr(kind, "__dataclass_fields__") or hasattr(kind, "__total__")


def _name_of(value: Any) -> str:
    return value.__name__ if isinstance(value, ModuleType) else f"{value.__module__}.{value.__qualname__}"


@lru_cache(maxsize=1024)
def _digest(code: CodeType) -> str:
    """Return a digest of the code of a function, which is the same in each version of Python if its source is there."""
    return sha256((_source(code) or repr([*_instructions(code)])).encode("utf-8", "surrogatepass")).hexdigest()


def _source(code: CodeType) -> str | None:
    if code.co_name == "<lambda>":  # its line may have several
        return None
    try:
        return ast.unparse(ast.parse(dedent(inspect.getsource(code))))
    except (OSError, TypeError, ValueError, SyntaxError, RecursionError) as error:
        raise_interrupt(error)
        return None


def _instructions(code: CodeType) -> Iterator[Any]:
    yield from (code.co_code, code.co_names, code.co_varnames, code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _instructions(constant)
        else:
            yield sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant


@lru_cache(maxsize=1024)
def _set_by(code: CodeType) -> frozenset[str]:
    """Return the names of the variables of an outer function that a function sets, or a function within it."""
    own = {each.argval for each in dis.get_instructions(code) if each.opname in _SETS}
    inner = (name for each in code.co_consts if isinstance(each, CodeType) for name in _set_by(each))
    return frozenset(code.co_freevars) & {*own, *inner}
