"""A small program that asks models: through LiteLLM, streamed, and as an agent of LangChain."""

import os
from collections.abc import Iterator
from uuid import uuid4

import litellm
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_chatcache import DOCache, cached
from litellm_chatcache import enable

MODEL = "gpt-4o-mini"
URL = os.environ.get("PROVIDER_URL", "http://127.0.0.1:8765/v1")
KEY = os.environ.get("PROVIDER_KEY", "none")

enable(store_id="app")


def explain(subject: str) -> str:
    """Return why something is as it is, in one sentence."""
    asked = [{"role": "user", "content": f"Explain {subject} to a child, in one sentence."}]
    answer = litellm.completion(model=f"openai/{MODEL}", base_url=URL, api_key=KEY, messages=asked)
    return str(answer.choices[0].message.content)


def explain_slowly(subject: str) -> Iterator[str]:
    """Yield the same, word by word."""
    asked = [{"role": "user", "content": f"Explain {subject} to a child, in one sentence."}]
    for chunk in litellm.completion(model=f"openai/{MODEL}", base_url=URL, api_key=KEY, messages=asked, stream=True):
        yield chunk.choices[0].delta.content or ""


@tool
def look_up(order: str) -> str:
    """Look an order up."""
    return f"Order {order} left the depot; its tracking number is {uuid4()}."


def ask_agent(question: str) -> str:
    """Return what an agent says that can look orders up."""
    model = cached(ChatOpenAI(model=MODEL, base_url=URL, api_key=SecretStr(KEY)), DOCache(store_id="app"))
    agent = create_agent(model, tools=[look_up])
    said = agent.invoke({"messages": [{"role": "user", "content": question}]})
    return str(said["messages"][-1].content)
