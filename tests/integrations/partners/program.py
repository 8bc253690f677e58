"""Asks a model of each partner package, by both ways to cache it, and prints what came of it as JSON.

``python -m tests.integrations.partners.program FOLDER``; the packages are in FOLDER, behind those of the environment.
"""

import asyncio
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module, metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from langchain_chatcache import DOCache, cached
from langchain_chatcache.keys import SettingsReader, keyed_request
from langchain_chatcache.keys.clients import is_client
from tests.integrations.partners.provider import PartnerProvider

Make = Callable[[str, str], BaseChatModel]

_KEYS = "CEREBRAS COHERE DEEPSEEK FIREWORKS GOOGLE GROQ MISTRAL NVIDIA OPENROUTER PPLX TOGETHER XAI"


def _named(package: str, name: str, address: str = "base_url", *, path: str = "", **options: Any) -> Make:
    """Return what makes a model of a class of a package, of a name, at an address."""

    def make(model: str, url: str) -> BaseChatModel:
        kind = getattr(import_module(package.replace("-", "_")), name)
        made: BaseChatModel = kind(**{"model": model, address: url + path, **options})
        return made

    return make


def _huggingface(model: str, url: str) -> BaseChatModel:
    from langchain_huggingface import ChatHuggingFace, HuggingFaceEndpoint

    llm = HuggingFaceEndpoint(endpoint_url=f"{url}/{model}", huggingfacehub_api_token="none")
    made: BaseChatModel = ChatHuggingFace(llm=llm, model_id=model)
    return made


def _perplexity(model: str, url: str) -> BaseChatModel:
    from langchain_perplexity import ChatPerplexity

    os.environ["PERPLEXITY_BASE_URL"] = url  # which is no field
    made: BaseChatModel = ChatPerplexity(model=model)
    return made


def _router(model: str, url: str) -> BaseChatModel:
    from langchain_litellm import ChatLiteLLMRouter
    from litellm.router import Router

    deployment = {"model": f"openai/{model}", "api_key": "none", "api_base": f"{url}/v1"}
    router = Router(model_list=[{"model_name": "any", "litellm_params": deployment}])
    made: BaseChatModel = ChatLiteLLMRouter(router=router, model_name="any")
    return made


PARTNERS: dict[tuple[str, str], Make] = {
    ("langchain-anthropic", "ChatAnthropic"): _named("langchain-anthropic", "ChatAnthropic", api_key="none"),
    ("langchain-aws", "ChatBedrockConverse"): _named(
        "langchain-aws",
        "ChatBedrockConverse",
        "endpoint_url",
        provider="anthropic",
        region_name="us-east-1",
        disable_streaming=False,
        aws_access_key_id="none",
        aws_secret_access_key="none",
    ),
    ("langchain-cerebras", "ChatCerebras"): _named("langchain-cerebras", "ChatCerebras", path="/v1"),
    ("langchain-cohere", "ChatCohere"): _named("langchain-cohere", "ChatCohere"),
    ("langchain-deepseek", "ChatDeepSeek"): _named("langchain-deepseek", "ChatDeepSeek", "api_base", path="/v1"),
    ("langchain-fireworks", "ChatFireworks"): _named("langchain-fireworks", "ChatFireworks"),
    ("langchain-google-genai", "ChatGoogleGenerativeAI"): _named(
        "langchain-google-genai", "ChatGoogleGenerativeAI", transport="rest"
    ),
    ("langchain-groq", "ChatGroq"): _named("langchain-groq", "ChatGroq"),
    ("langchain-huggingface", "ChatHuggingFace"): _huggingface,
    ("langchain-litellm", "ChatLiteLLM"): lambda model, url: _named(
        "langchain-litellm", "ChatLiteLLM", "api_base", path="/v1", api_key="none"
    )(f"openai/{model}", url),
    ("langchain-litellm", "ChatLiteLLMRouter"): _router,
    ("langchain-mistralai", "ChatMistralAI"): _named("langchain-mistralai", "ChatMistralAI", "endpoint", path="/v1"),
    ("langchain-nvidia-ai-endpoints", "ChatNVIDIA"): _named("langchain-nvidia-ai-endpoints", "ChatNVIDIA", path="/v1"),
    ("langchain-ollama", "ChatOllama"): _named("langchain-ollama", "ChatOllama"),
    ("langchain-openai", "ChatOpenAI"): _named("langchain-openai", "ChatOpenAI", path="/v1", api_key="none"),
    ("langchain-openrouter", "ChatOpenRouter"): _named("langchain-openrouter", "ChatOpenRouter", path="/v1"),
    ("langchain-perplexity", "ChatPerplexity"): _perplexity,
    ("langchain-together", "ChatTogether"): _named("langchain-together", "ChatTogether", path="/v1"),
    ("langchain-xai", "ChatXAI"): _named("langchain-xai", "ChatXAI", path="/v1"),
}


def main(folder: str) -> None:
    """Print a list: for each partner its package, its class, what went wrong, and which settings count."""
    sys.path.append(folder)
    warnings.simplefilter("ignore")
    os.environ.update({f"{name}_API_KEY": "none" for name in _KEYS.split()}, LITELLM_LOCAL_MODEL_COST_MAP="True")
    reports = [_report(*partner, make) for partner, make in PARTNERS.items()]
    sys.stdout.write(json.dumps(reports, indent=1))


def _report(package: str, name: str, make: Make) -> dict[str, Any]:
    report: dict[str, Any] = {"package": package, "version": metadata.version(package), "class": name}
    with PartnerProvider() as provider, TemporaryDirectory() as records:
        try:
            report["wrong"] = [
                f"{way}: {wrong}"
                for way in ("cached", "hook")
                for wrong in _asked(make, provider, DOCache(way, path=records), way)
            ]
            return report | _settings(make, provider.url)
        except Exception as error:  # noqa: BLE001 - whatever a package makes of it is the report
            return report | {"wrong": [f"{type(error).__name__}: {str(error)[:500]}"]}


def _asked(make: Make, provider: PartnerProvider, cache: DOCache, way: str) -> Iterator[str]:
    """Yield which calls were made that should not be, and the other way round."""
    told: list[str] = []

    @contextmanager
    def calls(number: int, what: str) -> Iterator[None]:
        before = provider.calls
        yield
        if provider.calls - before != number:
            told.append(f"{what}: {provider.calls - before} calls instead of {number}")

    def model(name: str) -> BaseChatModel:
        made = make(name, provider.url)
        return cached(made, cache) if way == "cached" else made

    async def read(text: str) -> str:
        return "".join([str(chunk.text) async for chunk in again.astream(text)])

    set_llm_cache(cache if way == "hook" else None)
    first, again, another = model("one"), model("one"), model("two")
    with calls(1, "a call"):
        said = {str(first.invoke("Hi").text)}
    with calls(0, "the call again"):
        said.add(str(again.invoke("Hi").text))
    with calls(0, "the call again, awaited"):
        said.add(str(asyncio.run(again.ainvoke("Hi")).text))
    with calls(1, "a stream"):
        said.add("".join(str(chunk.text) for chunk in first.stream("Ho")))
    with calls(0, "the stream again"):
        said.add("".join(str(chunk.text) for chunk in again.stream("Ho")))
    with calls(0, "the stream again, awaited"):
        said.add(asyncio.run(read("Ho")))
    if said != {"I am one"}:
        told.append(f"it said {said}")
    with calls(1, "another model"):
        other = str(another.invoke("Hi").text)
    if other != "I am two":
        told.append(f"another model said {other!r}")
    if cache.engine.stats().bypasses:
        told.append(f"{cache.engine.stats().bypasses} calls went on without the cache")
    set_llm_cache(None)
    yield from told


def _settings(make: Make, url: str) -> dict[str, Any]:
    """Return the fields of a model that are a part of its key, and those that are not."""
    model = make("one", url)
    kind = type(model)
    key = _key(model)
    counts = [name for name in kind.model_fields if _key(_changed(model, name)) != key]
    left_out = sorted(kind.model_fields.keys() - {*counts, *BaseChatModel.model_fields})
    return {"counts": counts, "left_out": left_out, "address counts": _key(make("one", f"{url}/other")) != key}


def _key(model: BaseChatModel) -> str:
    return keyed_request(SettingsReader(type(model)), model, [], None, {})[0]


def _changed(model: BaseChatModel, name: str) -> BaseChatModel:
    """Return a copy of a model with another value of a field, of the same type if that is known."""
    value: Any = getattr(model, name, None)
    match value:
        case bool():
            other: Any = not value
        case int() | float():
            other = value + 1
        case str():
            other = f"{value} and more"
        case list() | tuple():
            other = [*value, "more"]
        case dict():
            other = {**value, "more": 1}
        case None:
            other = "more"
        case SecretStr():
            other = SecretStr("more")
        case _:
            other = value if is_client(value) else "more"  # of a client only the address counts
    return model.model_copy(update={name: other})


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).resolve()))
