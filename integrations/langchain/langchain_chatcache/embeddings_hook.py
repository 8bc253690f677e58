"""Embeddings while a cache stands in, as in a test.

LangChain has no cache hook for embeddings. So the methods of each class of embeddings are wrapped, once per process, as
soon as a cache stands in for the first time. While one does, the wrappers call it as ``cached(embeddings, cache)``
would. They do nothing else.
"""

from collections.abc import Callable, Iterator
from functools import partial, wraps
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings

from .embeddings import CachedEmbeddings, is_embedding

if TYPE_CHECKING:
    from .cache import DOCache

__all__ = ["stand_in"]

_BLOCKING = ("embed_documents", "embed_query")
_AWAITING = ("aembed_documents", "aembed_query")
_TEXTS = frozenset({"text", "texts"})  # the names of what is embedded
_IS_WRAPPED = "_chatcache_is_wrapped"

_installed = False
_stand_in: "DOCache | None" = None


def stand_in(cache: "DOCache | None") -> None:
    """Have a cache stand in for all embeddings without one, or for none any more."""
    global _installed, _stand_in  # noqa: PLW0603 - LangChain is there once
    _stand_in = cache
    if cache is not None and not _installed:
        _installed = True
        setattr(Embeddings, "__init_subclass__", classmethod(_wrapped_when_made))  # noqa: B010 - not of its type
        for kind in _subclasses_of(Embeddings):  # type: ignore[type-abstract]
            _wrap(kind)


def _wrapped_when_made(kind: type[Embeddings], /, **options: Any) -> None:
    super(Embeddings, kind).__init_subclass__(**options)
    _wrap(kind)


def _subclasses_of(kind: type[Embeddings]) -> Iterator[type[Embeddings]]:
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses_of(each)


def _wrap(kind: type[Embeddings]) -> None:
    """Wrap the methods that a class has of its own, or inherits from what is no class of embeddings, as a mixin."""
    if issubclass(kind, CachedEmbeddings):
        return
    for names, wrapped in ((_BLOCKING, _blocking), (_AWAITING, _awaiting)):
        for name in names:
            owner = next(each for each in kind.__mro__ if name in vars(each))
            method = vars(owner)[name]
            if (owner is not kind and issubclass(owner, Embeddings)) or hasattr(method, _IS_WRAPPED):
                continue
            wrap = partial(wrapped, name=name)
            wrapper = wrap(method) if isinstance(method, FunctionType) else _Descriptor(method, wrap)
            setattr(wrapper, _IS_WRAPPED, True)
            setattr(kind, name, wrapper)


class _Descriptor:
    """A method that is no plain function, such as a static or a partial one, and is wrapped where an object has it."""

    def __init__(self, method: Any, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        self.__isabstractmethod__ = getattr(method, "__isabstractmethod__", False)
        self._method = method
        self._wrap = wrap

    def __get__(self, embeddings: Embeddings | None, kind: type[Embeddings]) -> Any:
        method = self._method.__get__(embeddings, kind) if hasattr(self._method, "__get__") else self._method
        if embeddings is None:
            return method
        return MethodType(self._wrap(lambda _embeddings, *args, **kwargs: method(*args, **kwargs)), embeddings)


def _blocking(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(method)
    def embed(self: Embeddings, *args: Any, **kwargs: Any) -> Any:
        instead = _instead_of(self, args, kwargs)
        if instead is None:
            return method(self, *args, **kwargs)
        return getattr(instead, name)(*args, **kwargs)

    return embed


def _awaiting(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(method)
    async def embed(self: Embeddings, *args: Any, **kwargs: Any) -> Any:
        instead = _instead_of(self, args, kwargs)
        if instead is None:
            return await method(self, *args, **kwargs)
        return await getattr(instead, name)(*args, **kwargs)

    return embed


def _holds_others(embeddings: Embeddings) -> bool:
    """Return whether embeddings have others as an attribute, or in a list or a dictionary that is one."""
    for each in (*vars(embeddings).values(), *(getattr(embeddings, "__pydantic_private__", None) or {}).values()):
        within = each.values() if isinstance(each, dict) else each if isinstance(each, list | tuple) else (each,)
        if any(isinstance(one, Embeddings) for one in within):
            return True
    return False


def _instead_of(embeddings: Embeddings, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CachedEmbeddings | None:
    """Return what is to be asked in the place of embeddings, or None where they are to answer themselves.

    Embeddings that hold others leave it to those, so that a program's own ``CacheBackedEmbeddings`` works as usual.

    Raises:
        ReplayMiss: the call could not be recorded, and nothing may be called.
    """
    cache = _stand_in
    if cache is None or is_embedding() or _holds_others(embeddings):
        return None
    if len(args) + len(kwargs) == 1 and kwargs.keys() <= _TEXTS:
        return CachedEmbeddings(embeddings, cache)
    why = f"{type(embeddings).__name__} is called with more than texts; set on the object what is to count"
    cache.leave_out(repr((args, kwargs)), why)
    return None
