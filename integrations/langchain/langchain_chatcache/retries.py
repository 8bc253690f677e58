"""Retries of LangChain and LangGraph, which a miss ends: nothing was called, and another attempt would miss as well."""

import sys
from typing import Any

from langchain_core.runnables.retry import RunnableRetry
from tenacity import retry_if_not_exception_type

from chatcache import ReplayMiss

__all__ = ["install", "pass_through_graphs"]

_OPTIONS = "_kwargs_retrying"  # where LangChain makes the options of tenacity
_installed = False


def install() -> None:
    """Have ``with_retry`` raise a miss at once."""
    global _installed  # noqa: PLW0603 - LangChain is there once
    pass_through_graphs()
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


def pass_through_graphs() -> None:
    """Have a miss leave a graph of LangGraph at once, if LangGraph is imported.

    Whatever tries a model, a tool or a node again, asks another model instead, or makes a message of an error, lets the
    errors pass that are a ``GraphBubbleUp``: the middleware of agents, the nodes of tools, the retries of nodes.
    """
    errors = sys.modules.get("langgraph.errors")
    bubbles = getattr(errors, "GraphBubbleUp", None)
    if bubbles is not None and not issubclass(ReplayMiss, bubbles):
        ReplayMiss.__bases__ = (*ReplayMiss.__bases__, bubbles)
