"""What the key of a call is made of, said in one screen."""

import json
from dataclasses import dataclass
from typing import Any

__all__ = ["Explanation"]

_LONGEST = 100  # characters of an argument that are shown


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the key of a call is made of.

    Attributes:
        key: the key: 64 hex digits, or the caller's own ``cache_key``; None where the call has none.
        request: what the key is a SHA-256 of, as JSON.
        left_out: the names of the arguments that do not count.
        reason: why the call has no key, if it has none.
        recorded: the forms in which it is recorded, such as ``["answer", "stream"]``.
    """

    key: str | None
    request: dict[str, Any]
    left_out: list[str]
    reason: str | None
    recorded: list[str]

    def __str__(self) -> str:
        """Say it, one argument a line, each cut to a line."""
        lines = [f"key        {self.key or f'none: {self.reason}'}"]
        lines.append(f"recorded   {', '.join(self.recorded) or 'no'}")
        request = dict(self.request)
        arguments = request.pop("arguments", {})
        shown = {**request, **(arguments if isinstance(arguments, dict) else {"arguments": arguments})}
        for name, value in sorted(shown.items()):
            if value is not None:
                text = json.dumps(value, ensure_ascii=False, default=repr)
                cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
                lines.append(f"counts     {name} = {cut}")
        lines.extend(f"left out   {name}" for name in self.left_out)
        return "\n".join(lines)
