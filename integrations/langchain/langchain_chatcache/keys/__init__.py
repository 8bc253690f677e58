"""From what LangChain asks a model to a request that can be keyed. Pure.

A chat model is keyed by what it holds at the moment of the call (`keys.live`, `keys.settings`, `keys.data`). A client
counts by its address (`keys.clients`). What does not change the answer is left out: of messages in `keys.messages`, of
models and arguments in `keys.noise`. Of a language model of texts, LangChain's cache gets two texts, which are taken
apart in `keys.texts`. What the nodes of a graph are given is keyed in `keys.nodes`.
"""

from .embeddings import left_out_of_embeddings, settings_of_embeddings
from .live import asks_for_several, keyed_request, left_out_of
from .nodes import node_key
from .noise import UnkeyableError
from .settings import SettingsReader
from .texts import keyed, left_out_of_texts, model_of

__all__ = [
    "SettingsReader",
    "UnkeyableError",
    "asks_for_several",
    "keyed",
    "keyed_request",
    "left_out_of",
    "left_out_of_embeddings",
    "left_out_of_texts",
    "model_of",
    "node_key",
    "settings_of_embeddings",
]
