"""Who shares records behind LiteLLM's proxy: live proxies, three keys, all kinds of calls."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import litellm
import pytest
from provider import Provider

from chatcache import InvalidInputError
from litellm_chatcache import DOCache
from litellm_chatcache.tenants import scope_in, tenant_of
from tests.integrations.endpoints import Endpoints, endpoints
from tests.integrations.proxies import EXAMPLE, KEYS, Proxy, starting, with_keys

pytest.importorskip("fastapi", reason="the proxy of LiteLLM is not installed")

MODELS = """
model_list:
  - model_name: text
    litellm_params: {model: text-completion-openai/babbage, api_base: URL/v1, api_key: none}
  - model_name: embeddings
    litellm_params: {model: openai/text-embedding-3-small, api_base: URL/v1, api_key: none}
  - model_name: speech
    litellm_params: {model: openai/whisper-1, api_base: URL/v1, api_key: none}
  - model_name: rerank
    litellm_params: {model: cohere/rerank-v3, api_base: URL/v1, api_key: none}
  - model_name: responses
    litellm_params: {model: openai/gpt-4o-mini, api_base: URL/v1, api_key: none}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: URL, api_key: none}
"""
CALLS = {"key": 3, "user": 2, "team": 2, "organization": 1, "shared": 1}  # of the provider, if each key asks twice


class Proxies:
    """A proxy for each scope, their records, and the provider behind them."""

    def __init__(self, provider: Provider, server: Endpoints, running: dict[str, Proxy], records: Path) -> None:
        self.running = running
        self.records = records
        self._provider = provider
        self._server = server

    @property
    def calls(self) -> int:
        return self._provider.calls + self._server.calls.total()


@pytest.fixture(scope="module")
def proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxies]:
    folder = tmp_path_factory.mktemp("tenants")
    with ExitStack() as stack:
        provider, server = stack.enter_context(Provider()), stack.enter_context(endpoints())
        config = EXAMPLE.read_text().replace("http://127.0.0.1:8000/v1", provider.url)
        config = config.replace("\nmodel_list:\n", MODELS.replace("URL", server.url.removesuffix("/v1")))
        config = with_keys(config, folder)
        running = {
            scope: stack.enter_context(starting(config, folder, CHATCACHE_SCOPE=scope, CHATCACHE_OBJECT=scope))
            for scope in CALLS
        }
        for proxy in running.values():
            proxy.wait()
        yield Proxies(provider, server, running, folder / "records")


def ask(proxy: Proxy, key: str, path: str, body: dict[str, Any]) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    if "file" in body:
        fields = {name: value for name, value in body.items() if name != "file"}
        answer = proxy.client.post(path, data=fields, files={"file": ("a.wav", body["file"])}, headers=headers)
    else:
        answer = proxy.client.post(path, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


MESSAGES = [{"role": "user", "content": "Who else asks this?"}]
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"model": "gpt-4o", "messages": MESSAGES}),
    "chat stream": ("/v1/chat/completions", {"model": "gpt-4o", "messages": MESSAGES, "stream": True, "seed": 1}),
    "text": ("/v1/completions", {"model": "text", "prompt": "hi"}),
    "text stream": ("/v1/completions", {"model": "text", "prompt": "hi", "stream": True, "seed": 1}),
    "embeddings": ("/v1/embeddings", {"model": "embeddings", "input": ["one", "two"]}),
    "transcription": ("/v1/audio/transcriptions", {"model": "speech", "file": b"RIFF....WAVE"}),
    "rerank": ("/v1/rerank", {"model": "rerank", "query": "weather", "documents": ["sun", "rain"]}),
    "responses": ("/v1/responses", {"model": "responses", "input": "hi"}),
    "responses stream": ("/v1/responses", {"model": "responses", "input": "hi", "stream": True, "temperature": 0}),
    "messages": ("/v1/messages", {"model": "claude", "messages": MESSAGES, "max_tokens": 9}),
    "messages stream": ("/v1/messages", {"model": "claude", "messages": MESSAGES, "max_tokens": 8, "stream": True}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scope", CALLS)
def test_each_tenant_has_records_of_its_own(proxies: Proxies, scope: str, kind: str) -> None:
    before = proxies.calls
    for key in KEYS:
        for _ in range(2):
            ask(proxies.running[scope], key, *KINDS[kind])
    assert proxies.calls - before == CALLS[scope]


@pytest.mark.parametrize(
    "metadata",
    [{"user_api_key": "sk-ann"}, {"user_api_key_team_id": "red"}, {"redis_namespace": "x"}],
    ids=str,
)
def test_a_request_cannot_claim_to_be_anothers(proxies: Proxies, metadata: dict[str, str]) -> None:
    path = "/v1/chat/completions"
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": json.dumps(metadata)}]}
    ask(proxies.running["team"], "sk-ann", path, {**body, "metadata": metadata})
    before = proxies.calls
    claiming = {**body, "metadata": metadata, "litellm_metadata": metadata, "user": "sk-ann", "cache_key": "x"}
    assert "x-chatcache-age" not in ask(proxies.running["team"], "sk-cat", path, claiming).headers
    assert proxies.calls == before + 1


def test_no_record_says_who_asked(proxies: Proxies) -> None:
    ask(proxies.running["team"], "sk-ben", *KINDS["chat"])
    stored = b"".join(file.read_bytes() for file in proxies.records.rglob("*") if file.is_file())
    assert b"sk-ben" not in stored


def test_an_invalid_scope_is_an_error_at_the_start(tmp_path: Path) -> None:
    said = "CHATCACHE_SCOPE is 'teams'; set it to one of key, user, team"
    with (
        starting(EXAMPLE.read_text(), tmp_path, CHATCACHE_SCOPE="teams") as proxy,
        pytest.raises(RuntimeError, match=said),
    ):
        proxy.wait()


@pytest.mark.parametrize(
    ("scope", "tenants"),
    [
        ("key", ["key 1", "key 2", "key 3", None]),
        ("user", ["user ann", "user ann", "key 3", None]),
        ("team", ["team red", "team blue", "key 3", None]),
        ("organization", ["organization us", "organization us", "key 3", None]),
        ("shared", ["shared"] * 4),
    ],
)
def test_a_key_without_the_id_of_the_scope_is_a_tenant_of_its_own(scope: str, tenants: list[str | None]) -> None:
    keys = [
        SimpleNamespace(api_key="1", user_id="ann", team_id="red", org_id="us"),
        SimpleNamespace(api_key="2", user_id="ann", team_id="blue", org_id="us"),
        SimpleNamespace(api_key="3", user_id=None, team_id=None, org_id=None),
        SimpleNamespace(api_key=None, user_id=None, team_id=None, org_id=None),
    ]
    assert [tenant_of(scope)(each) for each in keys] == tenants


def test_the_scope_is_the_key_unless_the_environment_says_otherwise() -> None:
    assert scope_in({}) == scope_in({"CHATCACHE_SCOPE": ""}) == "key"
    with pytest.raises(InvalidInputError, match="CHATCACHE_SCOPE is 'all'"):
        scope_in({"CHATCACHE_SCOPE": "all"})


@pytest.mark.parametrize("tenant", [42, "", ("a", "b"), False])
def test_what_names_no_tenant_is_said_and_not_cached(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tenant: Any
) -> None:
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, tenant=lambda: tenant))
    for _ in range(2):
        litellm.completion("openai/gpt-4o", MESSAGES, api_base=provider.url, api_key="none")
    assert provider.calls == 2
    assert f"tenant= returned {tenant!r}: return a text" in caplog.text


def test_a_call_of_nobody_is_not_cached(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tenants = iter(["ann", "ann", "ben", None, None])
    now: list[str | None] = [None]
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, tenant=lambda: now[0]))
    calls = []
    for now[0] in tenants:
        litellm.completion("openai/gpt-4o", MESSAGES, api_base=provider.url, api_key="none")
        calls.append(provider.calls)
    assert calls == [1, 1, 2, 3, 4]
    assert "nobody says whose records it may share" in caplog.text
