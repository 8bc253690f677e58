"""LiteLLM's own tests of its cache keys, as far as they test what its users rely on; see test_litellm_contract.py."""

import io
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import litellm
import pytest
from provider import Provider

from litellm_chatcache import DOCache
from tests.integrations.asking import Ask, ask, cache

__all__ = ["ask", "cache"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "Hello, world!"}]
CHAT: dict[str, Any] = {"model": "gpt-3.5-turbo", "messages": MESSAGES}
EMBEDDING: dict[str, Any] = {"model": "text-embedding-3-small", "input": "Hello, world!"}
TEXT: dict[str, Any] = {"model": "gpt-3.5-turbo", "prompt": "Hello, world! here is a second line"}

DIFFERENT: list[list[dict[str, Any]]] = [
    [{**CHAT, "temperature": 0.7}, {**CHAT, "max_completion_tokens": 100}, CHAT],
    [{**EMBEDDING, "dimensions": 1536}, {**EMBEDDING, "dimensions": 1539}, EMBEDDING],
    [{**TEXT, "best_of": 3, "logit_bias": {"123": 1}, "seed": 42}, {**TEXT, "best_of": 30}, TEXT],
    [{**CHAT, "messages": [{"role": "user", "content": each}]} for each in "ab"],
    [{**CHAT, "top_k": each} for each in (9, 10)],
]


@pytest.mark.parametrize("requests", DIFFERENT)
async def test_keys_tell_requests_apart(cache: DOCache, requests: list[dict[str, Any]]) -> None:
    """Of local_testing/test_unit_test_caching.py: test_get_cache_key_chat_completion, test_get_cache_key_embedding,
    test_get_cache_key_text_completion, test_get_hashed_cache_key; of test_cache_preset_key.py:
    test_get_cache_key_without_preset_cache_key; of test_litellm/caching/test_caching.py:
    test_exact_cache_key_still_includes_prompt; and of test_caching.py the one of provider specific parameters, which
    count without a switch.
    """
    keys = [cache.get_cache_key(**each) for each in requests]
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in keys)
    assert len(set(keys)) == len(requests)
    assert [cache.get_cache_key(**each) for each in requests] == keys


@pytest.mark.parametrize("parameter", [{"system": "answer ALPHA"}, {"top_k": 5}, {"stop_sequences": ["STOP"]}], ids=str)
async def test_keys_hold_what_only_anthropic_has(cache: DOCache, parameter: dict[str, Any]) -> None:
    """Of test_litellm/caching/test_caching.py: test_exact_cache_key_includes_anthropic_messages_params."""
    assert cache.get_cache_key(**CHAT) != cache.get_cache_key(**CHAT, **parameter)


NOISE: dict[str, Any] = {
    "litellm_call_id": "ffe75e7e-8a07-431f-9a74-71a5b9f35f0b",
    "litellm_logging_obj": {},
    "api_key": "",
    "timeout": None,
    "max_retries": 0,
    "caching": True,
    "client": "<openai.lib.azure.AsyncAzureOpenAI object at 0x12b6a1060>",
    "proxy_server_request": {"url": "http://0.0.0.0:8000/embeddings", "headers": {"host": "0.0.0.0:8000"}},
    "user": None,
    "model_info": {"mode": "embedding", "id": "20b2b515-f151-4dd5-a74f-2231e2f54e29"},
    "metadata": {"user_api_key": None, "headers": {"host": "0.0.0.0:8000"}},
    "preset_cache_key": "2f69f5640d5e0f25315d0e132f1278bb643554d14565d2c61d61564b10ade90f",
    "litellm_params": {},
}


@pytest.mark.parametrize("request_", [CHAT, EMBEDDING, TEXT], ids=["chat", "embedding", "text"])
async def test_what_is_of_one_call_only_does_not_count(cache: DOCache, request_: dict[str, Any]) -> None:
    """Of local_testing/test_caching.py: test_get_cache_key; of test_cache_preset_key.py:
    test_get_cache_key_with_preset_cache_key_in_kwargs; of test_search_caching.py:
    test_search_cache_key_excludes_transient_litellm_params.
    """
    assert cache.get_cache_key(**request_, **NOISE) == cache.get_cache_key(**request_)
    again = {**NOISE, "litellm_call_id": "another", "metadata": {"user_api_key": "another"}}
    assert cache.get_cache_key(**request_, **again) == cache.get_cache_key(**request_)


def grouped(model: str, group: str | None, where: str = "metadata", **deployment: Any) -> dict[str, Any]:
    metadata = {"model_group": group, "caching_groups": [("one", "other")], "deployment": model}
    return {**CHAT, **deployment, "model": model, where: metadata}


async def test_the_model_of_a_router_is_that_of_its_group(cache: DOCache) -> None:
    """Of local_testing/test_unit_test_caching.py: test_get_model_param_value; of test_caching.py: test_get_cache_key,
    its last key.
    """
    key = cache.get_cache_key
    azure = {"api_base": "http://azure.test", "api_version": "2023-07-01-preview"}
    assert key(**grouped("gpt-3.5-turbo", "third")) == key(**grouped("azure/gpt-4", "third", **azure))
    assert key(**grouped("gpt-3.5-turbo", "one")) == key(**grouped("azure/gpt-4", "other", **azure))
    assert key(**grouped("gpt-3.5-turbo", "one")) == key(**grouped("gpt-4", "one", "litellm_metadata"))
    different = [grouped("gpt-3.5-turbo", group) for group in ("one", "third", "fourth", None)]
    assert all(key(**one) != key(**other) for one, other in combinations(different, 2))
    assert key(**grouped("gpt-3.5-turbo", None)) == key(**CHAT)


async def test_a_namespace_is_another_key(cache: DOCache) -> None:
    """Of local_testing/test_unit_test_caching.py: test_add_redis_namespace_to_cache_key, but for the one of the class,
    which is a store, and the one in the metadata, which is Redis'.
    """
    namespaces: list[dict[str, Any]] = [
        {},
        {"cache": {"namespace": "custom"}},
        {"cache": {"namespace": "another"}},
        {"extra_body": {"cache": {"namespace": "custom"}}},
    ]
    assert len({cache.get_cache_key(**CHAT, **each) for each in namespaces}) == len(namespaces)


async def test_a_callers_own_key_is_taken(cache: DOCache, provider: Provider, ask: Ask) -> None:
    """Of test_litellm/caching/test_caching.py: test_trusted_sdk_cache_overrides_remain_supported."""
    call: dict[str, Any] = {"model": "openai/gpt-4o", "api_base": provider.url, "api_key": "none", "cache_key": "mine"}
    first = await ask("completion", **call, messages=MESSAGES)
    second = await ask("completion", **call, messages=[{"role": "user", "content": "something else"}])
    assert first.id == second.id
    assert second._hidden_params["cache_key"] == "mine"


async def test_a_function_of_the_users_makes_the_key(
    provider: Provider, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of local_testing/test_caching.py: test_custom_redis_cache_with_key."""

    def key(arguments: dict[str, Any]) -> Any:
        return [arguments.get("model"), arguments.get("temperature")]

    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, key=key))
    call: dict[str, Any] = {"model": "openai/gpt-4o", "api_base": provider.url, "api_key": "none"}
    first = await ask("completion", **call, messages=MESSAGES, temperature=1)
    second = await ask("completion", **call, messages=[{"role": "user", "content": "else"}], temperature=1)
    third = await ask("completion", **call, messages=MESSAGES, temperature=0)
    assert first.id == second.id != third.id
    assert provider.calls == 2


# ---- files

ONE, OTHER = b"fake_audio_content_1" * 100, b"fake_audio_content_2" * 100


def as_path(content: bytes, folder: Path) -> Any:
    folder.mkdir()
    (folder / "audio.wav").write_bytes(content)
    return folder / "audio.wav"


def as_file(content: bytes, folder: Path) -> Any:
    return as_path(content, folder).open("rb")


def as_upload(content: bytes, folder: Path) -> Any:
    return ("audio.wav", content, "audio/wav")


def as_buffer(content: bytes, folder: Path) -> Any:
    return io.BytesIO(content)


def as_bytes(content: bytes, folder: Path) -> Any:
    return content


@pytest.mark.parametrize("form", [as_path, as_file, as_upload, as_buffer, as_bytes])
async def test_a_file_counts_by_its_content(cache: DOCache, tmp_path: Path, form: Any) -> None:
    """Of test_litellm/caching/test_transcription_cache.py: test_transcription_cache_different_files_same_name,
    test_transcription_cache_same_file_content, test_transcription_cache_bytes_input,
    test_transcription_cache_file_like_object, test_calculate_audio_file_hash_function.
    """
    files = [form(each, tmp_path / str(index)) for index, each in enumerate((ONE, ONE, OTHER))]
    keys = [cache.get_cache_key(model="whisper-1", file=each, metadata={}) for each in files]
    assert keys[0] == keys[1] == cache.get_cache_key(model="whisper-1", file=ONE)
    assert keys[2] == cache.get_cache_key(model="whisper-1", file=OTHER) != keys[0]
    for each in files:
        if hasattr(each, "close"):
            assert each.tell() == 0
            each.close()


async def test_a_checksum_in_the_metadata_is_not_needed(cache: DOCache) -> None:
    """Of test_litellm/caching/test_transcription_cache.py: test_transcription_cache_with_metadata_checksum."""
    key = cache.get_cache_key(model="whisper-1", file=ONE, metadata={"file_checksum": "0" * 64})
    assert key == cache.get_cache_key(model="whisper-1", file=ONE)


class Unreadable:
    name = "test_audio.wav"

    def read(self) -> bytes:
        raise OSError("cannot be read")


async def test_a_file_that_cannot_be_read_has_no_key(cache: DOCache) -> None:
    """Of test_litellm/caching/test_transcription_cache.py: test_transcription_cache_fallback_to_filename. LiteLLM takes
    its name instead, which another file may have.
    """
    assert cache.get_cache_key(model="whisper-1", file=Unreadable(), metadata={}) == ""
    assert cache.get_cache(model="whisper-1", file=Unreadable(), metadata={}) is None
