"""What the process of tests/warm.py imports once for all of its forks.

Nothing of chatcache is among it, nor of LangChain: a fork imports these itself. So it does with LiteLLM, from memory:
our plugin asks which frameworks are imported, and waits for them to be.
"""

import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from types import ModuleType

__all__ = ["PATH"]

PATH = tuple(sys.path[1:])
"""Where a new process finds what is installed."""

_LIBRARIES = ("pytest", "openai", "anthropic", "vcr", "numpy", "langsmith", "fastapi", "mcp", "litellm")
_HIDDEN = "litellm"


class _Hidden(MetaPathFinder, Loader):
    """Finds a package with all of its modules that were imported before it was hidden."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._modules = {each: module for each, module in sys.modules.items() if each.split(".")[0] == name}
        for each in self._modules:
            del sys.modules[each]

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return spec_from_loader(name, self) if name == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        sys.modules.update(self._modules)  # Python takes a module from there after its import
        sys.meta_path.remove(self)


for _name in _LIBRARIES:
    if find_spec(_name):  # the tests of a release of LiteLLM have few of them
        import_module(_name)
sys.meta_path.insert(0, _Hidden(_HIDDEN))
gc.collect()
gc.freeze()  # what is never collected is never copied
if sys.version_info < (3, 12):
    # CPython 3.11 crashes where the collector runs in the middle of `ContextVar.set` and ends a call that sets one,
    # too, as those of LiteLLM do that were abandoned: now it seldom runs by itself
    gc.set_threshold(100_000, 50, 50)
