"""Text completions, of a prompt."""

from collections.abc import Sequence

from litellm.types.utils import TextCompletionResponse

from chatcache import Refusal

from .base import JSON, Kind, Streamed
from .chat import refusal_of_choices

__all__ = ["TEXT"]


class _Text(Kind):
    name = "text completions"
    functions = ("text_completion", "atext_completion")
    model = TextCompletionResponse

    def refusal(self, record: JSON) -> Refusal | None:
        return refusal_of_choices(record, lambda choice: choice.get("text"))


class _Chunks(Streamed):
    def chunk(self, record: JSON) -> TextCompletionResponse:
        chunk = TextCompletionResponse(**record)
        if record.get("usage") is None and "usage" in record:
            chunk.usage = None  # which LiteLLM would make into one of no tokens
        return chunk

    def ended(self, records: Sequence[JSON]) -> bool:
        return any(choice.get("finish_reason") for each in records for choice in each["choices"])

    def whole(self, records: Sequence[JSON]) -> JSON:
        choices = [choice for each in records for choice in each["choices"]]
        reasons = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
        text = "".join(choice.get("text") or "" for choice in choices)
        whole = {**choices[-1], "text": text, "finish_reason": reasons[-1] if reasons else None}
        usage = self.usage(records)
        return {**records[0], "choices": [whole], **({"usage": usage} if usage else {})}

    def chunks(self, record: JSON, *, with_usage: bool) -> Sequence[TextCompletionResponse]:
        head = {name: value for name, value in record.items() if name != "usage"}
        pieces = [self.chunk({**head, "choices": [{**choice, "finish_reason": None}]}) for choice in record["choices"]]
        lasts = [self.chunk({**head, "choices": [{**choice, "text": ""}]}) for choice in record["choices"]]
        if with_usage and record.get("usage"):
            lasts[-1].usage = record["usage"]
        return [*pieces, *lasts]


TEXT = _Text()
TEXT.streams = _Chunks()
