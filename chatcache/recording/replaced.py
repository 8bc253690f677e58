"""Replace volatile texts and secrets in a request and its answer before they are recorded. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .masks import Masks, escaped, unescaped
from .secrets import Allowed, is_told, mask_answer, mask_stream, scrubbed
from .texts import LOGPROBS, StreamTexts, has_logprobs
from .volatile import Found, Volatile, hidden, hide_in_stream, put_back

__all__ = ["Replaced"]


@dataclass(frozen=True, slots=True)
class Replaced:
    """A request as it is recorded.

    Attributes:
        request: the request with placeholders and masks.
        volatile: its volatile texts, by placeholder.
        masks: its secrets.
        allowed: texts that are not secrets.
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
            volatile: finds volatile texts; None leaves them.
            allowed: the pattern of texts that are not secrets.
        """
        literal = escaped(request)
        held, found = (literal, {}) if volatile is None else volatile.replaced(literal)
        masks = Masks.beside(held)
        return cls(scrubbed(held, masks, allowed=allowed), found, masks, allowed)

    def recorded(self, answer: Any, *, is_stream: bool, lost: list[str] | None = None) -> Any:
        """Return an answer as it is recorded: with the placeholders of the request, and with its secrets masked.

        Args:
            answer: the answer, or the chunks of a stream as a list.
            is_stream: whether the answer is a list of chunks.
            lost: collects the kinds and paths of masked secrets that a replay cannot restore from the request.
        """
        lost = [] if lost is None else lost
        answer = escaped(answer)
        masks = self.masks.copy()
        known = masks.known(is_told)
        found = _with_json({**self.volatile, **{mask: text for text, mask in known.items()}})
        if not is_stream and not has_logprobs(answer):
            return mask_answer(hidden(answer, found), masks, self.allowed, lost)
        texts = StreamTexts(answer) if is_stream else StreamTexts([answer], within=LOGPROBS)
        hide_in_stream(texts, found)
        mask_stream(texts, masks, self.allowed, lost)
        texts.forget_bytes()
        return texts.chunks if is_stream else mask_answer(hidden(texts.chunks[0], found), masks, self.allowed, lost)

    def put_back(self, answer: Any) -> Any:
        """Return a recorded answer with the texts of this request in place of its placeholders and masks."""
        found = {token: unescaped(text) for token, text in {**self.volatile, **self.masks.texts}.items()}
        return put_back(answer, _with_json(found))


def _with_json(found: Mapping[str, str]) -> dict[str, str]:
    """Return placeholders and, if JSON escapes a text, further ones for the escaped text: ``<<secret_json>>``."""
    made = {**found}
    for token, text in found.items():
        escaped = json.dumps(text, ensure_ascii=False)[1:-1]
        if escaped != text:
            name, dash, number = token[2:-2].partition("-")
            made[f"<<{name}_json{dash}{number}>>"] = escaped
    return made
