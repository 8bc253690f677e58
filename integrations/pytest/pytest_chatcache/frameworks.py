"""Caches of the plugin behind LiteLLM and LangChain, so that the calls of a program without a cache are recorded, too.

They hold nothing, so each call is the provider's to answer: it is recorded, and replayed. They stand in while a test
runs, if the framework is imported, also in the middle of the test, whenever it has no cache of its own.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from tempfile import gettempdir
from types import ModuleType
from typing import Any, Protocol

from chatcache.recording import Tape

__all__ = ["NAMES", "Frameworks"]


class _StandIn(Protocol):
    """Caches that stand in while a test runs."""

    def begin(self) -> None:
        """Stand in for no cache, from the next call on."""

    def end(self) -> None:
        """Stand in no more; a cache that the program has set stays."""


class _Framework(Protocol):
    """A framework that asks one cache for all of its calls."""

    modules: tuple[str, ...]
    """Those after whose import it can be called."""
    adapter: str
    """The distribution that has the cache."""

    def make(self) -> _StandIn:
        """Return what stands in.

        Raises:
            ImportError: the adapter is not installed.
        """


class _LiteLLM:
    modules: tuple[str, ...] = ("litellm",)
    adapter = "litellm-chatcache"

    def make(self) -> _StandIn:
        from litellm_chatcache import StandInCaches  # which imports the framework

        return StandInCaches(gettempdir())


class _LangChain:
    modules: tuple[str, ...] = (
        "langchain_core.language_models.chat_models",
        "langchain_core.language_models.llms",
        "langchain_core.embeddings.embeddings",
    )
    adapter = "langchain-chatcache"

    def make(self) -> _StandIn:
        from langchain_chatcache import StandInCache

        return StandInCache(gettempdir())


_KNOWN: dict[str, _Framework] = {"litellm": _LiteLLM(), "langchain": _LangChain()}
NAMES = tuple(_KNOWN)
"""The frameworks that are known."""


class Frameworks:
    """The caches of the plugin.

    Args:
        names: the frameworks that get one.

    Attributes:
        seen: the frameworks that were imported while a test ran.
        remarks: what there is to say of frameworks whose calls are not recorded.
    """

    def __init__(self, names: Collection[str]) -> None:
        self.seen: dict[str, None] = {}
        self.remarks: dict[str, None] = {}
        self._names = names
        self._stand_ins: dict[str, _StandIn] = {}
        self._watch = _Watch(self._imported)
        self._active = False

    @contextmanager
    def within(self, tape: Tape | None) -> Iterator[None]:
        """Have the caches stand in while a tape is in."""
        if tape is None or self._active:
            yield
            return
        self.begin()
        try:
            yield
        finally:
            self.end()

    def begin(self) -> None:
        """Have the caches stand in, also of what is imported from now on."""
        self._active = True
        for name, framework in _KNOWN.items():
            if any(module in sys.modules for module in framework.modules):
                self._begin(name, framework)
        self._watch.begin([module for framework in _KNOWN.values() for module in framework.modules])

    def end(self) -> None:
        """Have them stand in no more."""
        if not self._active:
            return
        self._active = False
        self._watch.end()
        for each in self._stand_ins.values():
            each.end()

    def _imported(self, module: str) -> None:
        for name, framework in _KNOWN.items():
            if self._active and module in framework.modules:
                self._begin(name, framework)

    def _begin(self, name: str, framework: _Framework) -> None:
        self.seen[name] = None
        if name not in self._names:
            return
        try:
            if name not in self._stand_ins:
                self._stand_ins[name] = framework.make()
        except ImportError:
            self.remarks[f"calls of {name} are not recorded: pip install {framework.adapter}"] = None
            return
        self._stand_ins[name].begin()


class _Watch:
    """Tells when modules have been imported.

    Args:
        imported: is told the name of each.
    """

    def __init__(self, imported: Callable[[str], None]) -> None:
        self._imported = imported
        self._modules: set[str] = set()

    def begin(self, modules: Collection[str]) -> None:
        """Watch out for modules that are not imported."""
        self._modules = {module for module in modules if module not in sys.modules}
        if self._modules:
            sys.meta_path.insert(0, self)

    def end(self) -> None:
        """Watch no more."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find what the other finders find; have its loader tell of its end."""
        if name not in self._modules:
            return None
        found = (each.find_spec(name, path, target) for each in sys.meta_path if each is not self)
        spec = next((each for each in found if each is not None), None)
        loader: Any = None if spec is None else spec.loader
        if loader is not None:
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                del loader.exec_module
                execute(module)
                self._imported(name)

            loader.exec_module = exec_module
        return spec
