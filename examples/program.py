"""Six calls as an application makes them, through LiteLLM and LangChain, behind the cache.

    python examples/program.py BASE_URL FOLDER

Each call is reported as one line of JSON: what was asked and answered, how long it took, its tokens and their price.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import litellm
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

import langchain_chatcache
import litellm_chatcache

MODEL = "gpt-4o"
base_url, folder = sys.argv[1:]

litellm.cache = litellm_chatcache.DOCache(store_id="demo", path=folder)  # type: ignore[assignment] # it asks no class
set_llm_cache(langchain_chatcache.DOCache(store_id="demo", path=folder))

chat = ChatOpenAI(model=MODEL, base_url=base_url, api_key=SecretStr("any"))


def main() -> None:
    """Make three calls that block and three that are awaited."""
    with reported("completion", "Why is the sky blue?") as call:
        call.response = litellm.completion(**request(call.prompt))

    with reported("completion stream", "What makes the tides?") as call:
        stream = litellm.completion(**request(call.prompt), stream=True, stream_options={"include_usage": True})
        call.response = litellm.stream_chunk_builder(list(stream))

    with reported("ChatOpenAI.invoke", "Why is it cold in winter?") as call:
        call.response = chat.invoke(call.prompt)

    asyncio.run(main_awaited())


async def main_awaited() -> None:
    """Make the three that are awaited."""
    with reported("acompletion", "Why does bread rise?") as call:
        call.response = await litellm.acompletion(**request(call.prompt))

    with reported("acompletion stream", "Why does iron rust?") as call:
        stream = await litellm.acompletion(**request(call.prompt), stream=True, stream_options={"include_usage": True})
        call.response = litellm.stream_chunk_builder([chunk async for chunk in stream])

    with reported("ChatOpenAI.ainvoke", "Why do leaves turn yellow?") as call:
        call.response = await chat.ainvoke(call.prompt)


def request(prompt: str) -> dict[str, Any]:
    """Return the arguments that LiteLLM takes to ask a prompt."""
    return {"model": MODEL, "base_url": base_url, "api_key": "any", "messages": [{"role": "user", "content": prompt}]}


@dataclass
class Call:
    """What is asked, and what came back: LiteLLM's response, or LangChain's message."""

    prompt: str
    response: Any = None


@contextmanager
def reported(name: str, prompt: str) -> Iterator[Call]:
    """Time a call, and print its report."""
    call = Call(prompt)
    began = time.perf_counter()
    yield call
    seconds = time.perf_counter() - began
    answer, tokens, cost = told(call.response)
    report = {"call": name, "prompt": prompt, "answer": answer, "seconds": seconds, "tokens": tokens, "cost": cost}
    print(json.dumps(report), flush=True)


def told(response: Any) -> tuple[str, int, float]:
    """Return the text of a response, its tokens, and their price in dollars."""
    if isinstance(response, AIMessage) and response.usage_metadata:
        text, asked, said = (
            response.text,
            response.usage_metadata["input_tokens"],
            response.usage_metadata["output_tokens"],
        )
    else:
        text, usage = response.choices[0].message.content, response.usage
        asked, said = usage.prompt_tokens, usage.completion_tokens
    return text, asked + said, sum(litellm.cost_per_token(MODEL, asked, said))


if __name__ == "__main__":
    main()
