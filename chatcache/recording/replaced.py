"""A request without what is volatile and secret in it, and its answer without the same: so both are recorded. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .masks import Masks, escaped, unescaped
from .secrets import Allowed, is_told, mask_answer, mask_stream, scrubbed
from .texts import StreamTexts
from .volatile import Found, Volatile, hidden, hide_in_stream, put_back

__all__ = ["Replaced"]


@dataclass(frozen=True, slots=True)
class Replaced:
    """A request as it is recorded.

    Attributes:
        request: the request, without what is volatile or secret.
        volatile: what is volatile in it, by its placeholders.
        masks: what is secret in it.
        allowed: what is no secret.
    """

    request: Any
    volatile: Found
    masks: Masks
    allowed: Allowed = None

    @classmethod
    def of(cls, request: Any, volatile: Volatile | None, allowed: Allowed = None) -> "Replaced":
        """Return a request as it is recorded.

        Args:
            request: the request, a JSON value.
            volatile: finds what is volatile; None leaves it.
            allowed: what is no secret.
        """
        literal = escaped(request)
        held, found = (literal, {}) if volatile is None else volatile.replaced(literal)
        masks = Masks.beside(held)
        return cls(scrubbed(held, masks, allowed=allowed), found, masks, allowed)

    def recorded(self, answer: Any, *, is_stream: bool, lost: list[str] | None = None) -> Any:
        """Return an answer as it is recorded: without what was replaced in the request, and without secrets.

        Args:
            answer: the answer; of a stream the list of its chunks.
            is_stream: whether it is a list of chunks.
            lost: takes which secrets are masked, and where, that are not in the request: a replay cannot put them back.
        """
        lost = [] if lost is None else lost
        answer = escaped(answer)
        masks = self.masks.copy()
        known = masks.known(is_told)
        found = _with_json({**self.volatile, **{mask: text for text, mask in known.items()}})
        if not is_stream:
            return mask_answer(hidden(answer, found), masks, self.allowed, lost)
        texts = StreamTexts(answer)
        hide_in_stream(texts, found)
        mask_stream(texts, masks, self.allowed, lost)
        return texts.chunks

    def put_back(self, answer: Any) -> Any:
        """Return an answer with what this request has in the places of what was replaced, as far as that is known."""
        found = {token: unescaped(text) for token, text in {**self.volatile, **self.masks.texts}.items()}
        return put_back(answer, _with_json(found))


def _with_json(found: Mapping[str, str]) -> dict[str, str]:
    """Return placeholders beside those of the same texts in JSON within a text: ``<<secret_json>>``."""
    made = {**found}
    for token, text in found.items():
        escaped = json.dumps(text, ensure_ascii=False)[1:-1]
        if escaped != text:
            name, dash, number = token[2:-2].partition("-")
            made[f"<<{name}_json{dash}{number}>>"] = escaped
    return made
