"""What ``pip install langchain-chatcache`` gives, as JSON on standard output. Run in build/venvs/langchain."""

import asyncio
import json
import sys
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

import langchain_chatcache

OTHERS = ("litellm", "langchain", "langchain_openai", "langgraph", "litellm_chatcache")

calls: list[str] = []


class Model(BaseChatModel):
    """Answers each call with another text."""

    @property
    def _llm_type(self) -> str:
        return "counting"

    def _generate(self, messages: list[BaseMessage], *_args: Any, **_kwargs: Any) -> ChatResult:
        calls.append(messages[-1].text)
        message = AIMessage(f"answer number {len(calls)}")
        return ChatResult(generations=[ChatGeneration(message=message)])


def said_of(name: str) -> str:
    """What is said where a name is asked for whose package is not installed."""
    try:
        return repr(getattr(langchain_chatcache, name))
    except ImportError as error:
        return str(error)


with TemporaryDirectory() as folder:
    model = langchain_chatcache.cached(Model(), langchain_chatcache.DOCache(store_id="models", path=folder))
    store = langchain_chatcache.DOByteStore("bytes", path=folder)
    store.mset([("a", b"1")])
    history = langchain_chatcache.DOChatMessageHistory("session", path=folder)
    history.add_user_message("Hi")
    streams = [[chunk.text for chunk in model.stream("streamed")] for _ in range(2)]
    streamed = [calls.pop()]
    set_llm_cache(langchain_chatcache.DOCache(store_id="packaging", path=folder))
    facts = {
        "from": langchain_chatcache.__file__,
        "importable": [name for name in OTHERS if find_spec(name)],
        "answers": {
            "blocking": [Model().invoke("blocking").text for _ in range(2)],
            "awaited": [asyncio.run(Model().ainvoke("awaited")).text for _ in range(2)],
        },
        "calls": calls,
        "streams": streams,
        "streamed": streamed,
        "kept": [store.mget(["a"]) == [b"1"], [message.text for message in history.messages]],
        "needs": {name: said_of(name) for name in ("DOCacheMiddleware", "DONodeCache")},
    }
json.dump(facts, sys.stdout)
