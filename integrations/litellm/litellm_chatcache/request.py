"""From the arguments of a LiteLLM call to a request that can be keyed.

Every argument counts, known or not, except those listed here, which do not change what the model answers, and
credentials, which are left out wherever they stand: as arguments, in headers, addresses, queries and tools.

Tools and schemas count by their content, a pydantic class by its JSON schema, a file by the SHA-256 of its bytes. The
end user counts by a SHA-256, too: no store says who asked.

A call through a Router is one of its model group, or of the caching group that holds it: whichever of its deployments
is chosen, with its own address and name, the request is the same. Neither does it count who sent it to LiteLLM's proxy,
in what headers, nor what the proxy logs of it.
"""

import os
from collections.abc import Callable, Collection, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import litellm
from litellm.types.utils import CustomPricingLiteLLMParams, StandardCallbackDynamicParams
from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import PydanticSerializationError

from chatcache import InvalidValueError, raise_interrupt, request_key, without_credentials

from .kinds import Kind

__all__ = ["counts", "keyed", "left_out", "model_asked", "own_key", "shown"]

_NOISE = frozenset(
    {
        # what one call is known by, and is logged under
        "litellm_call_id",
        "litellm_disabled_callbacks",
        "litellm_logging_obj",
        "litellm_metadata",
        "litellm_parent_otel_span",
        "litellm_session_id",
        "litellm_trace_id",
        "failure_callback",
        "logger_fn",
        "metadata",
        "model_info",
        "no-log",
        "parent_otel_span",
        "proxy_server_request",
        "success_callback",
        "tags",
        "verbose",
        # who asks, beside what `without_credentials` leaves out
        "aws_external_id",
        "aws_profile_name",
        "aws_role_name",
        "aws_session_name",
        "aws_session_tags",
        "azure_ad_token_provider",
        "azure_scope",
        "azure_username",
        "client_id",
        "litellm_credential_name",
        "litellm_trusted_callback_vars",
        "oci_fingerprint",
        "oci_signer",
        "oci_tenancy",
        "oci_user",
        "organization",
        "secret_fields",
        "tenant_id",
        "username",
        # how the provider is reached: by which client, how long, how often
        "allow_client_keepalive_override",
        "allowed_model_region",
        "client",
        "client_side_timeout",
        "context_window_fallback_dict",
        "cooldown_time",
        "disable_fallbacks",
        "itpm",
        "keepalive_seconds",
        "max_parallel_requests",
        "max_retries",
        "num_retries",
        "order",
        "original_function",
        "self",
        "otpm",
        "request_timeout",
        "retry_policy",
        "retry_strategy",
        "rpm",
        "router_settings_override",
        "shared_session",
        "stream_timeout",
        "stream_timeout_by_service_tier",
        "timeout",
        "timeout_by_service_tier",
        "tpm",
        "use_in_pass_through",
        "use_litellm_proxy",
        "use_xai_oauth",
        "weight",
        # how this call is cached, here and at the provider
        "cache",
        "cache_key",
        "caching",
        "preset_cache_key",
        "prompt_cache_key",
        "prompt_cache_retention",
        "ttl",
        # marks that LiteLLM leaves on its way
        "acompletion",
        "aembedding",
        "arerank",
        "attempted_targets",
        "fallback_depth",
        "max_fallbacks",
        "aresponses",
        "async_call",
        "atext_completion",
        "atranscription",
        "litellm_params",
        # how the answer is handed over, which is decided anew at each replay
        "complete_response",
        "stream",
        "stream_options",
    }
    # what a deployment may cost, and who may use how much of it
    | {
        "budget_duration",
        "configurable_clientside_auth_params",
        "default_api_key_rpm_limit",
        "default_api_key_tpm_limit",
        "max_budget",
        "max_file_size_mb",
        "provider_affinity_header",
        "tag_regex",
    }
    | CustomPricingLiteLLMParams.model_fields.keys()
    # where a team's calls are logged, with its credentials
    | (StandardCallbackDynamicParams.__annotations__.keys() - {"langfuse_prompt_version"})
)

# what LiteLLM, or its hook, adds to a call on the way; an address counts under its other name
_ADDED = frozenset({"acompletion", "aembedding", "base_url", "cache_key", "caching", "parent_otel_span"})
_OF_A_DEPLOYMENT = frozenset(
    {
        "api_base",
        "api_version",
        "base_url",
        "custom_llm_provider",
        "default_headers",
        "default_query",
        "deployment_id",
        "region_name",
    }
)
_END_USER = frozenset({"safety_identifier", "user"})
# without these is as good as with empty ones
_EMPTY = frozenset(
    {"default_headers", "extra_body", "extra_headers", "extra_query", "headers", "provider_specific_header"}
)
# what LiteLLM sends with each call that does not say otherwise
_SETTINGS = (
    "add_function_to_prompt",
    "api_version",
    "custom_prompt_dict",
    "default_fallbacks",
    "disable_add_prefix_to_prompt",
    "headers",
    "modify_params",
    "project",
    "reasoning_auto_summary",
    "vertex_location",
    "vertex_project",
)
_OF_A_CLIENT = {"default_headers": "_custom_headers", "default_query": "_custom_query"}
# where the proxy says whose key it is: the tenant counts, by CHATCACHE_SCOPE
_OWN_USER = ("user_api_key_user_id", "user_api_key_hash")
_METADATA = ("metadata", "litellm_metadata")


def keyed(  # noqa: PLR0913 - nearly all by keyword, with a default
    arguments: Mapping[str, Any],
    kind: Kind,
    *,
    namespace: Any = None,
    tenant: str | None = None,
    ignore: Collection[str] = (),
    key: Callable[[dict[str, Any]], Any] | None = None,
) -> tuple[str, dict[str, Any]]:
    """Return the key of a call, and the request that it is the key of.

    An argument that is None is as good as left out; so is a name that begins with ``_``, which is LiteLLM's own, as
    those that its Router passes.

    Args:
        arguments: those of the call.
        kind: what it asks for.
        namespace: the namespace that the call asks for.
        tenant: whose records it may share, if that counts; only a digest of it stands in the request.
        ignore: the names of further arguments that do not count, such as ``seed`` or ``extra_body.user``.
        key: makes of the arguments that count what is to count instead of them.

    Raises:
        InvalidValueError: an argument holds what is not JSON, nor can be taken for it, or `key` raised something.
    """
    counting: Any = _counting(arguments)
    for name in ignore:
        _leave_out(counting, name.split("."))
    for name in _EMPTY & counting.keys():
        if not counting[name]:
            del counting[name]
    if key is not None:
        try:
            counting = key(counting)
        except Exception as error:
            raise_interrupt(error)
            raise InvalidValueError(f"key= raised {type(error).__name__}: {error}") from error
    request = {"client": "litellm", "asks": kind.name, "namespace": namespace, "arguments": counting}
    if tenant is not None:
        request["tenant"] = sha256(tenant.encode("utf-8", "surrogatepass")).hexdigest()
    try:
        return request_key(request), request
    except InvalidValueError:
        pass
    try:
        request["arguments"] = _plain(counting)
    except (PydanticSchemaGenerationError, PydanticSerializationError, PydanticUserError) as error:
        raise_interrupt(error)
        raise InvalidValueError(f"a pydantic class or model in this call has no form in JSON: {error}") from error
    return request_key(request), request


def shown(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return the arguments of a call that has no key, to be shown; none of them is secret."""
    return {name: repr(value) for name, value in _counting({**arguments, "file": None}).items()}


def left_out(arguments: Mapping[str, Any], ignore: Collection[str] = ()) -> list[str]:
    """Return the names of the arguments of a call that do not count; LiteLLM's own are not among them."""
    counting = _counting(arguments)
    names = {name for name, value in arguments.items() if name not in counting and value is not None}
    return sorted(
        {name for name in names - _ADDED if not name.startswith(("_", "litellm_"))}
        | {name for name in ignore if name in arguments}
    )


def counts(name: str) -> bool:
    """Return whether an argument may count, by its name."""
    return name not in _NOISE and not name.startswith("_")


def own_key(arguments: Mapping[str, Any]) -> Any:
    """Return the caller's own key: LiteLLM's ``cache_key``, or ``preset_cache_key`` in ``litellm_params``, or None."""
    inner = arguments.get("litellm_params")
    preset = inner.get("preset_cache_key") if isinstance(inner, Mapping) else None
    return arguments.get("cache_key") or preset


def model_asked(arguments: Mapping[str, Any]) -> str | None:
    """Return the model that a call asks for, by the name of its caching group or model group, if it has one."""
    group = _group(arguments)
    return group or arguments.get("model")


def _counting(arguments: Mapping[str, Any]) -> dict[str, Any]:
    counting = {name: value for name, value in arguments.items() if value is not None and counts(name)}
    if counting.get("input") is input:  # LiteLLM's Router passes Python's own with a rerank
        del counting["input"]
    if "base_url" in counting and "api_base" not in counting:  # one is the other's alias
        counting["api_base"] = counting.pop("base_url")
    address = _address(arguments)
    if "api_base" not in counting and address is not None:
        counting["api_base"] = address
    _count_settings(counting, arguments.get("client"))
    if "fallbacks" in counting:  # one of them may answer, for a call that names it, and for no other
        counting["fallbacks"] = [_counting(each) if isinstance(each, dict) else each for each in counting["fallbacks"]]
    group = _group(arguments)
    if group is not None:
        counting = {name: value for name, value in counting.items() if name not in _OF_A_DEPLOYMENT}
        counting["model"] = {"group": group}
    counting = without_credentials(counting)
    _count_end_user(counting, arguments)
    if "file" in counting:
        counting["file"] = _digest(counting["file"])
    messages = counting.get("messages")
    if isinstance(messages, list):
        counting["messages"] = [_without_indexes(each) for each in messages]
    return counting


def _without_indexes(message: Any) -> Any:
    """Return a message without the `index` of its tool calls, which some providers give in whole answers only.

    No provider is sent it: the order of the calls says the same.
    """
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    if not isinstance(calls, list) or not any(isinstance(call, dict) and "index" in call for call in calls):
        return message
    unnumbered = [
        {name: value for name, value in call.items() if name != "index"} if isinstance(call, dict) else call
        for call in calls
    ]
    return {**message, "tool_calls": unnumbered}


def _address(arguments: Mapping[str, Any]) -> str | None:
    """Return where the provider is reached, if the call's own client says so, or LiteLLM's setting for all calls."""
    client = arguments.get("client")
    address = litellm.api_base if client is None else getattr(client, "base_url", None)
    return None if address is None else str(address)


def _count_settings(counting: dict[str, Any], client: Any) -> None:
    """Add what is sent because of LiteLLM's settings for all calls, or because of the call's own client."""
    settings = vars(litellm)
    for name in _SETTINGS:
        if settings.get(name):
            counting.setdefault(name, settings[name])
    aliases = settings.get("model_alias_map")
    if aliases and isinstance(counting.get("model"), str):
        counting["model"] = aliases.get(counting["model"], counting["model"])
    if client is not None:
        for name, attribute in _OF_A_CLIENT.items():
            sent = getattr(client, attribute, None)
            if isinstance(sent, Mapping) and sent:
                counting.setdefault(name, dict(sent))


def _count_end_user(counting: dict[str, Any], arguments: Mapping[str, Any]) -> None:
    """Replace the end user by a digest, or leave out one that LiteLLM's proxy made of the user whose key it is."""
    owners = {source.get(name) for each in _METADATA if (source := arguments.get(each)) for name in _OWN_USER}
    for name in _END_USER & counting.keys():
        user = counting[name]
        if isinstance(user, str):
            counting[name] = _digest(user.encode("utf-8", "surrogatepass"))
            if user in owners:
                del counting[name]


def _group(arguments: Mapping[str, Any]) -> str | None:
    """Return the caching group of a call, or its model group, which the Router leaves in the metadata."""
    inner = arguments.get("litellm_params")
    sources = [
        metadata
        for source in (arguments, inner)
        if isinstance(source, Mapping)
        for name in _METADATA
        if isinstance(metadata := source.get(name), Mapping)
    ]
    group = next((each["model_group"] for each in sources if each.get("model_group")), None)
    for each in sources:
        for together in each.get("caching_groups") or ():
            if group in together:
                return str(tuple(together))
    return group


def _leave_out(counting: dict[str, Any], path: list[str]) -> None:
    name, *inner = path
    if not inner:
        counting.pop(name, None)
    elif isinstance(counting.get(name), Mapping):
        counting[name] = dict(counting[name])
        _leave_out(counting[name], inner)


def _digest(file: Any) -> Any:
    """Return what tells a file from others: the SHA-256 of its bytes, whatever its name.

    Raises:
        InvalidValueError: it cannot be read.
    """
    match file:
        case (_, content, *_):  # with its name, as an HTTP client takes it
            return _digest(content)
        case bytes() | bytearray():
            return {"sha256": sha256(file).hexdigest()}
        case str() | os.PathLike():
            try:
                return _digest(Path(file).read_bytes())
            except OSError as error:
                raise_interrupt(error)
                raise InvalidValueError(f"the file {str(file)!r} cannot be read: {error}", "$.file") from error
        case _ if hasattr(file, "read") and hasattr(file, "seek"):
            at = file.tell()
            file.seek(0)
            content = file.read()
            file.seek(at)
            return _digest(content.encode() if isinstance(content, str) else content)
        case _:
            raise InvalidValueError(f"{type(file).__name__} is no file that can be read", "$.file")


def _plain(value: Any) -> Any:
    """Return a value with pydantic's classes as their JSON schemas, its models as their fields, and str keys."""
    match value:
        case dict():
            plain = {str(key) if isinstance(key, int | float) else key: _plain(item) for key, item in value.items()}
            if len(plain) < len(value):
                raise InvalidValueError(f"in {value!r:.200} two keys are one in JSON: write them as different strings")
            return plain
        case list() | tuple():
            return [_plain(item) for item in value]
        case type() if issubclass(value, BaseModel):
            return {"title": value.__name__, "schema": value.model_json_schema()}
        case BaseModel():
            return _without_indexes(value.model_dump(mode="json", exclude_none=True))
        case _:
            return value
