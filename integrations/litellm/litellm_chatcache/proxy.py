"""chatcache for LiteLLM's proxy: one line of its ``config.yaml``.

::

    litellm_settings:
      callbacks: litellm_chatcache.proxy.callback

The proxy imports this module when it reads that line, in each of its workers, and before it makes its router: that is
what switches the cache on. There must be no ``cache: true`` beside it, which puts LiteLLM's own cache in its place.

Variables of the environment say the rest. None needs to be set:

``CHATCACHE_DIR``
    the folder of the objects; by default ``.chatcache``
``CHATCACHE_OBJECT``
    the name of the object, which is one SQLite file that all workers share, and all proxies with this folder
``CHATCACHE_STORE``
    the namespace of the records within the object; by default ``litellm-proxy``
``CHATCACHE_SCOPE``
    which requests share records: those of one ``key``, ``user``, ``team`` or ``organization``, or all: ``shared``. By
    default ``key``. A key without the user, team or organization that is asked for shares with no other key. A request
    without a key is not cached. Each tenant pays for an answer once, so a wider scope gives more hits
``CHATCACHE_MODE``
    ``auto``, ``read_only``, ``refresh``, ``replay`` or ``off``
``CHATCACHE_TTL``
    how long a record lives, such as ``3600`` (seconds), ``12h`` or ``90d``; by default forever
``CHATCACHE_MAX_ENTRIES``, ``CHATCACHE_MAX_BYTES``
    how much the store may hold
``CHATCACHE_STORE_REQUESTS``
    what is kept of a request beside its answer: ``full``, ``redacted`` or ``digest``
``CHATCACHE_ALLOW``
    answers to keep that are refused by default: some of ``length,content_filter,empty,interrupted``
``CHATCACHE_IGNORE``
    the names of arguments that do not count, such as ``user,seed``
``CHATCACHE_CALL_TYPES``
    the functions of LiteLLM whose calls are cached, such as ``acompletion,aembedding``; by default all that can be
``CHATCACHE_MAX_MESSAGES``
    requests of more messages are not cached
``CHATCACHE_DEFAULT_OFF``
    ``true``: only requests with ``"cache": {"use-cache": true}`` are cached
``CHATCACHE_SINGLE_FLIGHT``
    ``false``: requests that are equal, and come at the same time, each call the provider
``CHATCACHE_RECORD_ERRORS``
    ``true``: errors of a provider are recorded, to be raised again in mode ``replay``
"""

import os
from logging import getLogger
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from chatcache import options_in

from .hook import hooked
from .seams import call_of
from .settings import SETTINGS
from .switch import enable
from .tenants import TENANT, scope_in, tenant_of

__all__ = ["callback"]

_METADATA = ("metadata", "litellm_metadata")
_OF_THE_ROUTER = ("caching_groups", "model_group")
_OF_LITELLM = ("cache_key", "preset_cache_key")


class _Callback(CustomLogger):
    """What the proxy asks before and after each request."""

    def __init__(self, scope: str) -> None:
        super().__init__()
        self._is_replaced = False
        self._tenant_of = tenant_of(scope)

    async def async_pre_call_hook(
        self,
        user_api_key_dict: Any,
        cache: Any,  # noqa: ARG002 - LiteLLM's
        data: dict[str, Any],
        call_type: str,  # noqa: ARG002 - LiteLLM's
    ) -> dict[str, Any]:
        """Note whose request it is, and take out what would name its record: that is for LiteLLM and its Router to say.

        Else who has a key of the proxy could have an answer to one request replayed to all who ask another.
        """
        TENANT.set(self._tenant_of(user_api_key_dict))
        inner = data.get("litellm_params")
        for source in (data, inner):
            if isinstance(source, dict):
                _leave_out(source, _OF_LITELLM)
                for name in _METADATA:
                    _leave_out(source.get(name), _OF_THE_ROUTER)
        self._see_that_it_is_ours()
        return data

    async def async_post_call_response_headers_hook(
        self,
        data: dict[str, Any],
        user_api_key_dict: Any,  # noqa: ARG002 - LiteLLM's
        response: Any,  # noqa: ARG002 - LiteLLM's
        request_headers: dict[str, str] | None = None,  # noqa: ARG002 - LiteLLM's
        litellm_call_info: dict[str, Any] | None = None,  # noqa: ARG002 - LiteLLM's
    ) -> dict[str, str] | None:
        """Mark a hit, of whatever kind: LiteLLM marks some, and says what others once cost."""
        call = call_of(data.get("litellm_logging_obj"))
        if call is None or call.age is None:
            return None
        headers = {"x-chatcache-age": f"{call.age:.3f}", "x-litellm-response-cost": "0.0"}
        return headers if call.key is None else {**headers, "x-litellm-cache-key": call.key}

    def _see_that_it_is_ours(self) -> None:
        if hooked() is None and not self._is_replaced:
            self._is_replaced = True
            getLogger("chatcache").warning(
                "litellm.cache is no longer the one that litellm_chatcache.proxy set, so chatcache caches nothing: "
                "take 'cache' and 'cache_params' out of litellm_settings"
            )


def _leave_out(source: Any, names: tuple[str, ...]) -> None:
    if isinstance(source, dict):
        for name in names:
            source.pop(name, None)


# Not DOCache by itself: a request that is cancelled, because its client has gone, lets those go at once that wait for
# its answer. And one answer for all who ask at a time is what a proxy is there for.
_SCOPE = scope_in(os.environ)
_OPTIONS = {"store_id": "litellm-proxy", **options_in(os.environ, SETTINGS)}
_CACHE = enable(**_OPTIONS, tenant=None if _SCOPE == "shared" else TENANT.get)
_CACHE.engine.shows_records = False  # to who asks, the prompts of others
callback = _Callback(_SCOPE)
