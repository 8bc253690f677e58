"""What a provider's answer says of itself: which model it is from, and how many tokens it took. Pure.

An answer is the JSON of OpenAI's chat completions, completions, responses or embeddings, of Anthropic's messages, of
Gemini's, or the list of the chunks of a stream of one of those. Whatever is none of them says nothing, and is no error.
"""

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["model_of", "tokens_of", "usage_of"]

_USAGE = ("usage", "usageMetadata", "usage_metadata")
_MODEL = ("model", "modelVersion", "model_version")
_WITHIN = ("message", "response")  # where Anthropic's message_start and OpenAI's response.completed hold the answer
_TOTALS = ("total_tokens", "totalTokenCount", "total_token_count")
_PARTS = (
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",  # Anthropic, which knows no total, counts these beside input_tokens
    "cache_read_input_tokens",
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
)


def usage_of(answer: Any) -> dict[str, Any] | None:
    """Return the usage that an answer states, under the provider's own names, or None.

    In the chunks of a stream a later one has the last word, name by name: Anthropic counts the prompt in the first one,
    and the answer in the last.
    """
    if isinstance(answer, list):
        stated = [usage for part in _parts(answer) if (usage := _first(part, _USAGE, dict))]
        return {name: each for usage in stated for name, each in usage.items() if each is not None} or None
    return next((usage for part in _parts(answer) if (usage := _first(part, _USAGE, dict))), None)


def tokens_of(answer: Any) -> int:
    """Return how many tokens an answer took, those of the prompt among them; 0 where it does not say."""
    usage = usage_of(answer) or {}
    total = next((usage[name] for name in _TOTALS if _is_count(usage.get(name))), None)
    return sum(usage[name] for name in _PARTS if _is_count(usage.get(name))) if total is None else total


def model_of(answer: Any) -> str | None:
    """Return the model that an answer names as its own, or None."""
    return next((model for part in _parts(answer) if (model := _first(part, _MODEL, str))), None)


def _parts(answer: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of an answer, or of its chunks, that a usage or a model may stand in."""
    for each in answer if isinstance(answer, list) else [answer]:
        if isinstance(each, dict):
            yield each
            yield from (each[name] for name in _WITHIN if isinstance(each.get(name), dict))


def _first(part: Mapping[str, Any], names: tuple[str, ...], kind: type) -> Any:
    """Return the first that stands under one of the names, is of this type, and is not empty."""
    return next((part[name] for name in names if isinstance(part.get(name), kind) and part[name]), None)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
