"""Calls that LiteLLM does not stream: transcriptions, and reranking."""

from typing import Any

from litellm.types.rerank import RerankResponse
from litellm.types.utils import TranscriptionResponse
from pydantic import TypeAdapter

from chatcache import Refusal

from .base import JSON, Kind

__all__ = ["RERANK", "TRANSCRIPTION"]


class _Transcription(Kind):
    name = "transcriptions"
    functions = ("transcription", "atranscription")
    model = TranscriptionResponse

    def answer(self, record: JSON) -> TranscriptionResponse:
        answer = TranscriptionResponse(text=record["text"])
        for name, value in record.items():
            field: Any = TranscriptionResponse.model_fields.get(name)
            setattr(answer, name, value if field is None else TypeAdapter(field.annotation).validate_python(value))
        return answer

    def refusal(self, record: JSON) -> Refusal | None:
        return None if record.get("text") else Refusal.EMPTY


class _Rerank(Kind):
    name = "reranking"
    functions = ("rerank", "arerank")
    model = RerankResponse

    def refusal(self, record: JSON) -> Refusal | None:
        return None if record.get("results") else Refusal.EMPTY


TRANSCRIPTION = _Transcription()
RERANK = _Rerank()
