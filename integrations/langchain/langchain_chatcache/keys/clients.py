"""The clients of providers' SDKs that models hold: each counts by the address that it reaches.

What else a client was made with are credentials, timeouts and retries, or settings that the model holds itself. An
object of any other class is no client, even if it has an address. An HTTP client that the caller made for a model
counts by the headers and the query that it adds to each request.
"""

import re
from collections.abc import Callable, Collection, Hashable, Mapping
from functools import lru_cache
from operator import attrgetter
from types import ModuleType
from typing import Any, cast

from chatcache import raise_interrupt, without_credentials

from .noise import counting

__all__ = ["address_of", "is_client", "is_router", "routes_of", "sent_by_clients"]

_ADDRESSES = {  # classes, one of which a client derives from, and where it has its address
    r"httpx\._client\.BaseClient": "base_url",
    # SDKs that Stainless generates: OpenAI's, Anthropic's, Groq's, Fireworks', Perplexity's, and their resources
    r".+\._base_client\.BaseClient": "base_url",
    r".+\._resource\.(Sync|Async)APIResource": "_client.base_url",
    r".+\.basesdk\.BaseSDK": "sdk_configuration.server_url",  # those of Speakeasy: OpenRouter's
    r"cohere\.base_client\.(Async)?BaseCohere": "_client_wrapper._base_url",  # Fern's
    r"botocore\.client\.BaseClient": "meta.endpoint_url",
    r"google\.(ai|cloud)\..+Client": "api_endpoint",
    r"google\.genai\.client\.Client": "_api_client._http_options.base_url",
    r"google\.genai\.client\.AsyncClient": "_api_client._http_options.base_url",
    r"huggingface_hub\..+InferenceClient": "model",
    r"langchain_nvidia_ai_endpoints\._common\._NVIDIABaseClient": "base_url",
    r"ollama\._client\.BaseClient": "_client.base_url",
}
_ADDRESSES_KEPT = 256
_OF_THE_CALLER = ("http_client", "http_async_client")  # fields of models
_OF_TRANSPORT = frozenset({"accept", "accept-encoding", "connection", "content-type", "host", "user-agent"})
_ROUTES = (  # what decides which deployment of a LiteLLM router answers
    "model_group_alias",
    "default_litellm_params",
    "fallbacks",
    "context_window_fallbacks",
    "content_policy_fallbacks",
)


def is_client(value: Any) -> bool:
    """Return whether a value is a client of a provider's SDK. LiteLLM's is the module itself."""
    return _reader_of(cast(Hashable, type(value))) is not None or _is_litellm(value)


def address_of(value: Any) -> str | None:
    """Return where a client reaches its provider, without credentials.

    It is empty if the client does not say, and None if the value is no client.
    """
    read = _reader_of(cast(Hashable, type(value)))
    if read is not None:
        try:
            return _text_of(read(value))
        except AttributeError as error:  # of another version of the SDK
            raise_interrupt(error)
            return ""
    return _text_of(getattr(value, "api_base", None)) if _is_litellm(value) else None


def sent_by_clients(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the HTTP clients that the caller made for a model add to its requests, without credentials.

    Args:
        fields: the fields of the model.
    """
    found: list[dict[str, Any]] = []
    for name in _OF_THE_CALLER:
        client = fields.get(name)
        if client is not None:
            headers, query = getattr(client, "headers", None), getattr(client, "params", None)
            sent = without_credentials({"headers": _items(headers, _OF_TRANSPORT), "query_params": _items(query)})
            if any(sent.values()) and sent not in found:
                found.append(sent)
    return found


def is_router(value: Any) -> bool:
    """Return whether a value is a router of LiteLLM's."""
    return any(f"{base.__module__}.{base.__name__}" == "litellm.router.Router" for base in type(value).__mro__)


def routes_of(router: Any) -> dict[str, Any]:
    """Return which deployments a router of LiteLLM's chooses from, and how, without credentials."""
    routes = {name: value for name in _ROUTES if (value := getattr(router, name, None))}
    return {"deployments": [*map(_deployment, getattr(router, "model_list", None) or ())], **routes}


def _items(values: Any, left_out: Collection[str] = ()) -> dict[str, str]:
    pairs = values.items() if isinstance(values, Mapping) else ()
    return {str(name): str(value) for name, value in pairs if str(name).lower() not in left_out}


def _deployment(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what counts of a deployment: not its ``model_info``, with an id that LiteLLM makes of credentials, too."""
    parameters: Mapping[str, Any] = deployment.get("litellm_params") or {}
    return {"model": deployment.get("model_name"), **counting(parameters.items())}


@lru_cache(maxsize=256)
def _reader_of(kind: Any) -> Callable[[Any], Any] | None:
    """Return what reads the address of clients of a class, if they are."""
    names = [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__]
    for pattern, path in _ADDRESSES.items():
        if any(re.fullmatch(pattern, name) for name in names):
            return attrgetter(path)
    return None


def _is_litellm(value: Any) -> bool:
    return isinstance(value, ModuleType) and value.__name__ == "litellm"


_texts: dict[int, tuple[Any, str]] = {}  # addresses by their ids, each with its text: the URLs of httpx hash by theirs


def _text_of(address: Any) -> str:
    if address is None:
        return ""
    known = _texts.get(id(address))
    if known is not None:
        return known[1]
    text = str(without_credentials({"url": str(address)})["url"])
    if len(_texts) >= _ADDRESSES_KEPT:
        _texts.clear()
    _texts[id(address)] = address, text  # kept, so that no other object gets its id
    return text
