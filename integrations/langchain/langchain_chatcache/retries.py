"""Retries of LangChain, which a miss ends: nothing was called, and the next attempt would miss as well."""

from typing import Any

from langchain_core.runnables.retry import RunnableRetry
from tenacity import retry_if_not_exception_type

from chatcache import ReplayMiss

__all__ = ["install"]

_OPTIONS = "_kwargs_retrying"  # where LangChain makes the options of tenacity
_installed = False


def install() -> None:
    """Have ``with_retry`` raise a miss at once."""
    global _installed  # noqa: PLW0603 - LangChain is there once
    original = getattr(RunnableRetry, _OPTIONS, None)
    if _installed or not isinstance(original, property) or original.fget is None:
        return
    _installed = True
    read = original.fget

    def options(self: RunnableRetry[Any, Any]) -> dict[str, Any]:
        made: dict[str, Any] = read(self)
        if "retry" in made:
            made["retry"] &= retry_if_not_exception_type(ReplayMiss)
        return made

    setattr(RunnableRetry, _OPTIONS, property(options))
