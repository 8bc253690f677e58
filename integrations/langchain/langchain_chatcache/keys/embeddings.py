"""What is set of embeddings that may change their vectors."""

from collections.abc import Collection
from typing import Any

from langchain_core.embeddings import Embeddings
from pydantic import BaseModel

from .clients import address_of, is_client
from .closures import closed_over
from .data import settings_of, written
from .noise import left_out

__all__ = ["left_out_of_embeddings", "settings_of_embeddings"]

_NOISE = frozenset({"chunk_size", "retry_max_seconds", "retry_min_seconds", "show_progress", "show_progress_bar"})
"""How many texts are sent at a time, and the like."""


def settings_of_embeddings(embeddings: Embeddings, ignore: Collection[str] = ()) -> dict[str, Any]:
    """Return what is set of embeddings that may change their vectors, as JSON has it.

    Args:
        embeddings: the embeddings. A pydantic model is read as a chat model is, any other object by its attributes.
        ignore: the names of fields that are left out, beside those that are noise.

    Raises:
        UnkeyableError: they hold an object of which it is not known what it holds.
    """
    kind, ignored = type(embeddings), {*ignore, *_NOISE}
    if isinstance(embeddings, BaseModel):
        return settings_of(embeddings, type(embeddings), ignored)
    held = {name: value for name, value in vars(embeddings).items() if name not in ignored}
    clients = [value for value in held.values() if is_client(value)]
    settings = {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "made_with": closed_over(kind),
        "fields": written(
            {name: value for name, value in held.items() if not is_client(value)}, f"{kind.__name__}'s attribute"
        ),
        "address": ", ".join(sorted({address for address in map(address_of, clients) if address})),
    }
    return {name: value for name, value in settings.items() if value or name != "made_with"}


def left_out_of_embeddings(embeddings: Embeddings, ignore: Collection[str] = ()) -> list[str]:
    """Return the names of what is set of embeddings and does not count."""
    names = embeddings.model_fields_set if isinstance(embeddings, BaseModel) else vars(embeddings)
    fields = {name: getattr(embeddings, name, None) for name in names}
    return sorted({*left_out(fields.items()), *(fields.keys() & {*ignore, *_NOISE})})
