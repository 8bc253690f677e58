"""What calls cost, by LiteLLM's prices."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import litellm

from .kinds import Kind

__all__ = ["billed", "cost_of"]


def billed(answer: Any, arguments: Mapping[str, Any]) -> float | None:
    """Return what LiteLLM bills a call, in US dollars, or None where it bills nothing, or does not say.

    LiteLLM works it out for whoever made the call, as soon as the answer is stored. It is left where LiteLLM looks for
    it first, and so is not worked out twice.

    Args:
        answer: the answer that LiteLLM is about to return.
        arguments: those of the call.
    """
    logging = arguments.get("litellm_logging_obj")
    hidden = getattr(answer, "_hidden_params", None)
    if logging is None or not isinstance(hidden, dict):
        return None
    with suppress(Exception):  # a plain one, where it knows no price
        cost: float | None = logging._response_cost_calculator(  # noqa: SLF001 - its name in every version
            result=answer,
            litellm_model_name=arguments.get("model"),
            router_model_id=(arguments.get("model_info") or {}).get("id"),
        )
        if cost is not None:
            hidden["response_cost"] = cost
        return cost or None
    return None


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
