"""From what LangChain asks a model to a request that can be keyed. Pure.

What does not change the answer is left out: of messages in `keys.messages`, of models and arguments in `keys.noise`.
LangChain's cache hook passes two texts, which are taken apart in `keys.hook`; a model that is wrapped is keyed by what
it holds at the moment of the call, in `keys.live`.
"""

from .hook import keyed, left_out_of_texts, model_of
from .live import asks_for_several, left_out_of, request_of
from .messages import text_of
from .noise import UnkeyableError

__all__ = [
    "UnkeyableError",
    "asks_for_several",
    "keyed",
    "left_out_of",
    "left_out_of_texts",
    "model_of",
    "request_of",
    "text_of",
]
