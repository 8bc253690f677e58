"""A request without what is volatile and secret in it, and its answer without the same: so both are recorded. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .secrets import Masks, is_told, scrubbed
from .volatile import Found, Volatile, hidden, hidden_in_stream, put_back

__all__ = ["Replaced"]


@dataclass(frozen=True, slots=True)
class Replaced:
    """A request as it is recorded.

    Attributes:
        request: the request, without what is volatile or secret.
        volatile: what is volatile in it, by its placeholders.
        masks: what is secret in it, and is so wherever else it stands, with its masks.
    """

    request: Any
    volatile: Found
    masks: Masks

    @classmethod
    def of(cls, request: Any, volatile: Volatile | None) -> "Replaced":
        """Return a request as it is recorded.

        Args:
            request: the request, a JSON value.
            volatile: finds what is volatile; None leaves it.
        """
        held, found = (request, {}) if volatile is None else volatile.replaced(request)
        masks: Masks = {}
        asked = scrubbed(held, masks)
        return cls(asked, found, {text: mask for text, mask in masks.items() if is_told(text)})

    def recorded(self, answer: Any, *, is_stream: bool) -> Any:
        """Return an answer as it is recorded: without what was replaced in the request, and without secrets."""
        hide: Callable[[Any, Found], Any] = hidden_in_stream if is_stream else hidden
        for found in (self.volatile, *({mask: text} for text, mask in self.masks.items())):
            answer = hide(answer, found)
        return scrubbed(answer, {**self.masks}, random=False)

    def put_back(self, answer: Any) -> Any:
        """Return an answer with what this request has in the places of what was replaced, as far as that is known."""
        masks = [*self.masks.values()]
        secrets = {mask: text for text, mask in self.masks.items() if masks.count(mask) == 1}
        return put_back(answer, {**self.volatile, **secrets})
