"""What calls cost, by LiteLLM's prices."""

from contextlib import suppress
from typing import Any

import litellm

from .kinds import Kind

__all__ = ["cost_of"]


def cost_of(kind: Kind, record: dict[str, Any], model: str | None) -> float | None:
    """Return what an answer cost in US dollars, or None where LiteLLM knows no price.

    Args:
        kind: what was asked for.
        record: the record of the answer, or what it says of its tokens.
        model: the model that was asked for; providers answer by names that LiteLLM may not know.
    """
    asked = model or ""
    for name in (asked, asked.partition("/")[2], record.get("model")):
        if name in litellm.model_cost:  # LiteLLM prints something where it knows no provider of a name
            with suppress(Exception):  # a plain one, where it knows no price
                return (
                    litellm.completion_cost(completion_response=record, model=name, call_type=kind.functions[0]) or None
                )
    return None
