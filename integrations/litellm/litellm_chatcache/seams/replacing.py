"""How a function of LiteLLM is replaced."""

import sys
from collections.abc import Callable, Collection
from functools import wraps
from types import ModuleType
from typing import Any

__all__ = ["replace", "replace_everywhere"]


def replace(
    where: Any, names: str | tuple[str, ...], replacement: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    """Replace a function by what a replacement makes of it, where this LiteLLM has it.

    Args:
        where: the module or the class that has it.
        names: what it is called there; over its versions LiteLLM spelt some names with and without an underscore.
        replacement: takes the function, and returns what is to be there instead.
    """
    names = (names,) if isinstance(names, str) else names
    original = next((vars(where)[name] for name in names if name in vars(where)), None)
    if original is not None:
        replaced = wraps(original)(replacement(original))
        for name in names:
            if name in vars(where):
                setattr(where, name, replaced)


def replace_everywhere(
    where: ModuleType, names: Collection[str], replacement: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    """Replace functions as `replace` does, and in each module that has imported one, by whatever name."""
    originals = [vars(where)[name] for name in names if name in vars(where)]
    replaced = {id(original): wraps(original)(replacement(original)) for original in originals}
    for module in [*sys.modules.values()]:
        known = getattr(module, "__dict__", {})
        for name, value in [*known.items()]:
            if id(value) in replaced:
                known[name] = replaced[id(value)]
