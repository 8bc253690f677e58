"""The kinds of calls that a cache may see: their functions, and how their answers are recorded and replayed."""

from .base import Kind
from .chat import CHAT
from .embeddings import EMBEDDINGS
from .messages import MESSAGES
from .responses import RESPONSES
from .text import TEXT
from .whole import RERANK, TRANSCRIPTION

__all__ = ["CHAT", "EMBEDDINGS", "FUNCTIONS", "KINDS", "MESSAGES", "RESPONSES", "TEXT", "Kind"]

KINDS: tuple[Kind, ...] = (CHAT, TEXT, EMBEDDINGS, TRANSCRIPTION, RERANK, RESPONSES, MESSAGES)

FUNCTIONS: dict[str, Kind] = {function: kind for kind in KINDS for function in kind.functions}
"""The functions of LiteLLM whose calls can be cached."""
