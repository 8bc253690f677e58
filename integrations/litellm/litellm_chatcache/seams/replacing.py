"""How a function of LiteLLM is replaced."""

from collections.abc import Callable
from functools import wraps
from typing import Any

__all__ = ["replace"]


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
