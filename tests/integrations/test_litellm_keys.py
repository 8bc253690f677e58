"""What the key of a call through LiteLLM is made of, as users can see and change it, and what a call may ask for."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import litellm
import pytest
from litellm.exceptions import InternalServerError
from litellm.router import Router
from openai import OpenAI
from provider import Provider

from chatcache import InvalidInputError
from litellm_chatcache import DOCache
from tests.integrations.asking import Ask
from tests.integrations.endpoints import Endpoints, endpoints

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]
CALL: dict[str, Any] = {"model": "openai/gpt-4o", "messages": MESSAGES}


@pytest.fixture
def server() -> Iterator[Endpoints]:
    with endpoints() as running:
        yield running


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DOCache]:
    """Makes a cache, and sets it."""

    def made(**options: Any) -> DOCache:
        cache = DOCache("store", path=tmp_path, **options)
        monkeypatch.setattr(litellm, "cache", cache)
        return cache

    return made


async def test_explain_says_what_counts_and_what_does_not(make: Callable[..., DOCache], provider: Provider) -> None:
    cache = make(ignore=["seed"])
    call = {**CALL, "api_base": provider.url, "api_key": "sk-hush", "temperature": 0.5, "seed": 7, "timeout": 30}
    before = cache.explain(**call)
    litellm.completion(**call)
    list(litellm.completion(**call, stream=True, cache={"mode": "refresh"}))
    after = cache.explain(**call)
    assert before.key == after.key == cache.get_cache_key(**call)
    assert before.left_out == ["api_key", "seed", "timeout"]
    assert before.request["arguments"] == {**CALL, "api_base": provider.url, "temperature": 0.5}
    assert (before.recorded, after.recorded) == ([], ["answer", "stream"])
    said = str(after)
    assert "counts     temperature = 0.5" in said
    assert "left out   seed" in said
    assert "recorded   answer, stream" in said
    assert "hush" not in said


async def test_explain_says_why_a_call_has_no_key(make: Callable[..., DOCache]) -> None:
    explained = make().explain(**CALL, thing=object())
    assert explained.key is None
    assert "$.arguments.thing: an object of type object is not JSON" in str(explained)


async def test_explain_takes_the_name_of_a_function(make: Callable[..., DOCache]) -> None:
    cache = make()
    call = {"model": "openai/gpt-4o", "input": "Hi"}
    assert cache.explain("responses", **call).key == cache.explain("aresponses", **call).key
    assert cache.explain("responses", **call).key != cache.explain(**call).key == cache.explain("embedding", **call).key
    with pytest.raises(InvalidInputError, match=r"'image_generation'.* cannot be cached; pass a list of some of"):
        cache.explain("image_generation", **call)


IGNORED = [
    (["seed"], {"seed": 1}, {"seed": 2}),
    (["extra_body.user"], {"extra_body": {"user": 1, "x": 1}}, {"extra_body": {"user": 2, "x": 1}}),
    (["extra_headers.x-request-id"], {"extra_headers": {"x-request-id": "1"}}, {"extra_headers": {}}),
    (["not", "there.at.all"], {}, {}),
]


@pytest.mark.parametrize(("ignore", "one", "other"), IGNORED, ids=str)
async def test_what_is_ignored_does_not_count(
    make: Callable[..., DOCache], ignore: list[str], one: dict[str, Any], other: dict[str, Any]
) -> None:
    cache = make(ignore=ignore)
    assert cache.get_cache_key(**CALL, **one) == cache.get_cache_key(**CALL, **other) != ""


async def test_only_what_is_ignored_does_not_count(make: Callable[..., DOCache]) -> None:
    cache = make(ignore=["extra_body.user"])
    one, other = ({"extra_body": {"user": 1, "x": each}} for each in (1, 2))
    assert cache.get_cache_key(**CALL, **one) != cache.get_cache_key(**CALL, **other)
    assert one == {"extra_body": {"user": 1, "x": 1}}


async def test_where_the_provider_is_counts_however_it_is_said(
    make: Callable[..., DOCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make()
    by_argument = cache.get_cache_key(**CALL | {"api_base": "http://one.test/v1/"})
    by_client = cache.get_cache_key(**CALL | {"client": OpenAI(base_url="http://one.test/v1", api_key="none")})
    another = cache.get_cache_key(**CALL | {"client": OpenAI(base_url="http://two.test/v1", api_key="none")})
    monkeypatch.setattr(litellm, "api_base", "http://one.test/v1/")
    for_all = cache.get_cache_key(**CALL)
    assert by_argument == by_client == for_all != another != ""


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("headers", {"x-variant": "b"}),
        ("api_version", "2"),
        ("project", "p-2"),
        ("modify_params", True),
        ("add_function_to_prompt", True),
        ("custom_prompt_dict", {"gpt-4o": {"roles": {}}}),
        ("default_fallbacks", ["openai/gpt-4"]),
        ("vertex_location", "europe-west1"),
    ],
)
async def test_what_litellm_sends_with_every_call_counts(
    make: Callable[..., DOCache], monkeypatch: pytest.MonkeyPatch, setting: str, value: Any
) -> None:
    cache = make()
    before = cache.get_cache_key(**CALL)
    monkeypatch.setattr(litellm, setting, value)
    assert cache.get_cache_key(**CALL) != before
    assert cache.get_cache_key(**CALL, **{setting: "its own"}) != cache.get_cache_key(**CALL)


async def test_the_model_that_an_alias_stands_for_counts(
    make: Callable[..., DOCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make()
    small, large = (cache.get_cache_key(model=model, messages=MESSAGES) for model in ("small", "large"))
    monkeypatch.setattr(litellm, "model_alias_map", {"small": "large"})
    assert cache.get_cache_key(model="small", messages=MESSAGES) == large != small


@pytest.mark.parametrize("sends", [{"default_headers": {"x-variant": "c"}}, {"default_query": {"api-version": "2"}}])
async def test_what_a_client_sends_with_every_call_counts(make: Callable[..., DOCache], sends: Any) -> None:
    cache = make()
    plain, other = (
        cache.get_cache_key(**CALL, client=OpenAI(base_url="http://one.test/v1", api_key="none", **each))
        for each in (dict[str, Any](), sends)
    )
    secret = OpenAI(base_url="http://one.test/v1", api_key="none", default_headers={"Authorization": "Bearer x"})
    assert cache.get_cache_key(**CALL, client=secret) == plain != other


async def test_headers_that_hold_a_secret_and_nothing_else_do_not_count(make: Callable[..., DOCache]) -> None:
    cache = make()
    secret = cache.get_cache_key(**CALL, extra_headers={"Authorization": "Bearer secret"})
    assert secret == cache.get_cache_key(**CALL, extra_headers={}) == cache.get_cache_key(**CALL) != ""


URL = "https://models.example/v1"
SAS = "sv=2024-11-04&st=2026-01-0{n}T00:00:00Z&se=2026-02-0{n}T00:00:00Z&sr=c&sp=r&sig=%2F"
SEARCH: dict[str, Any] = {"endpoint": "https://search.example", "index_name": "books", "top_n_documents": 3}


def data_source(**authentication: str) -> list[dict[str, Any]]:
    return [{"type": "azure_search", "parameters": {**SEARCH, "authentication": authentication}}]


def mcp(**more: Any) -> list[dict[str, Any]]:
    return [{"type": "mcp", "server_label": "docs", "server_url": "https://mcp.example/sse", **more}]


# Each takes the credential of one caller.
CREDENTIALS: dict[str, Callable[[str], dict[str, Any]]] = {
    "user info in an address": lambda secret: {"api_base": f"https://me:{secret}@models.example/v1"},
    "token as a user": lambda secret: {"base_url": f"https://{secret}@models.example/v1"},
    "password with an at sign": lambda secret: {"api_base": f"https://me:p@{secret}@models.example/v1"},
    **{
        f"?{name}= in an address": lambda secret, name=name: {"api_base": f"{URL}?{name}={secret}&api-version=3"}  # type: ignore[misc]
        for name in ("key", "api-key", "api_key", "apiKey", "subscription-key", "token", "access_token", "code_token")
    },
    "SAS in an address": lambda secret: {"api_base": f"{URL}?{SAS.format(n=len(secret))}{secret}"},
    "presigned address": lambda secret: {
        "api_base": f"{URL}?X-Amz-Date=2026010{len(secret)}&X-Amz-Credential=AK{secret}&X-Amz-Signature={secret}"
    },
    "fragment of an address": lambda secret: {"api_base": f"{URL}#access_token={secret}"},
    "extra_query": lambda secret: {"extra_query": {"key": secret, "version": "3"}},
    **{
        f"header {name}": lambda secret, name=name: {"extra_headers": {name: secret, "x-variant": "b"}}  # type: ignore[misc]
        for name in ("X-Api-Key", "apikey", "X-Password", "X-PAT", "X-Cred", "X-Access", "X-Signature", "X-Hmac")
    },
    "header with a scheme": lambda secret: {"headers": {"X-Forwarded-For-Me": f"Bearer {secret}"}},
    "headers in pairs": lambda secret: {"headers": [["Authorization", secret], ["x-variant", "b"]]},
    "header of a provider": lambda secret: {
        "provider_specific_header": {"custom_llm_provider": "x", "extra_headers": {"x-api-key": secret}}
    },
    **{
        name: lambda secret, name=name: {name: secret}  # type: ignore[misc]
        for name in (
            *("anthropic_identity_token", "api_token", "apikey", "auth", "authorization", "aws_external_id"),
            *("aws_secret_access_key", "aws_session_token", "azure_ad_token", "azure_password", "clientSecret"),
            *("cookie", "credentials", "databricks_token", "gigachat_access_token", "hf_token", "key"),
            *("my_vendor_token", "oci_fingerprint", "oci_key", "oci_key_file", "oci_tenancy", "oci_user", "password"),
            *("private_key", "s3_secret_access_key", "service_account_json", "service_key", "session"),
            *("snowflake_jwt", "token", "vertex_credentials", "wandb_api_key", "watsonx_token"),
            *("watsonx_apikey", "zen_api_key"),
        )
    },
    "credentials in an object": lambda secret: {"service_key": {"clientid": "me", "clientsecret": secret}},
    "api key of a data source": lambda secret: {"data_sources": data_source(type="api_key", key=secret)},
    "password of a data source": lambda secret: {
        "data_sources": data_source(type="username_and_password", username=secret, password=secret)
    },
    "data source in extra_body": lambda secret: {
        "extra_body": {"data_sources": data_source(type="connection_string", connection_string=secret)}
    },
    "connection string": lambda secret: {
        "data_sources": [{"connection_string": f"AccountEndpoint=https://db.example;AccountKey={secret};"}]
    },
    "extra_body": lambda secret: {"extra_body": {"api_key": secret, "nested": {"token": secret, "depth": 2}}},
    "metadata": lambda secret: {"metadata": {"token": secret}},
    "fallbacks": lambda secret: {"fallbacks": [{"model": "x", "api_key": secret, "api_base": f"{URL}?key={secret}"}]},
    "configuration of a router": lambda secret: {
        "user_config": {"model_list": [{"model_name": "x", "litellm_params": {"api_key": secret, "model": "x"}}]}
    },
    "headers of an MCP server": lambda secret: {"tools": mcp(headers={"Authorization": secret, "X-Team": "a"})},
    "authorization of an MCP server": lambda secret: {"tools": mcp(authorization=secret)},
    "address of an MCP server": lambda secret: {"tools": mcp(server_url=f"https://mcp.example/sse?exaApiKey={secret}")},
    "MCP server of Anthropic's": lambda secret: {
        "mcp_servers": [{"type": "url", "url": "https://mcp.example", "authorization_token": secret}]
    },
}  # fmt: skip


@pytest.mark.parametrize("place", CREDENTIALS)
async def test_a_new_credential_finds_the_same_record(make: Callable[..., DOCache], place: str) -> None:
    cache = make()
    explained = [cache.explain(**CALL, **CREDENTIALS[place](secret)) for secret in ("hush1xQ", "hush22xQ9")]
    assert explained[0].key == explained[1].key is not None
    assert "hush" not in str(explained[0])
    assert "hush" not in str(explained[0].request)


@pytest.mark.parametrize("requests", ["full", "redacted", "digest"])
async def test_no_credential_is_in_a_store(
    make: Callable[..., DOCache], provider: Provider, tmp_path: Path, requests: str
) -> None:
    cache = make(store_requests=requests)
    call: dict[str, Any] = {**CALL, "api_base": provider.url, "api_key": "hush1xQ"}
    for each in CREDENTIALS.values():
        litellm.completion(**{**call, "mock_response": "Hi", **each("hush1xQ")})
    litellm.completion(**call, user="hush1xQ")
    assert provider.calls == 1
    cache.engine.close()
    assert cache.engine.stats().bypasses == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hush" in path.read_bytes()]


TEXTS: dict[str, Callable[[str], Any]] = {
    "response_format": lambda text: {"properties": {"password": {"description": text}}},
    "guided": lambda text: {"properties": {"password": {"description": text}}},
    "tools": lambda text: [{"type": "function", "function": {"name": "f", "parameters": {"secret": text}}}],
    "functions": lambda text: [{"name": "f", "parameters": {"token": text}}],
}

COUNTED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"api_base": "https://me:x@one.example"}, {"api_base": "https://me:x@two.example"}),
    ({"api_base": f"{URL}?api-version=1&key=x"}, {"api_base": f"{URL}?api-version=2&key=x"}),
    ({"api_version": "1"}, {"api_version": "2"}),
    ({"deployment_id": "1"}, {"deployment_id": "2"}),
    ({"aws_region_name": "1"}, {"aws_region_name": "2"}),
    ({"oci_compartment_id": "1"}, {"oci_compartment_id": "2"}),
    ({"vertex_project": "1"}, {"vertex_project": "2"}),
    ({"extra_query": {"key": "x", "version": "1"}}, {"extra_query": {"key": "x", "version": "2"}}),
    ({"extra_headers": {"x-variant": "a"}}, {"extra_headers": {"x-variant": "b"}}),
    ({"data_sources": [{**SEARCH, "index_name": "1"}]}, {"data_sources": [{**SEARCH, "index_name": "2"}]}),
    ({"tools": mcp(headers={"X-Team": "a"})}, {"tools": mcp(headers={"X-Team": "b"})}),
    ({"tools": mcp(allowed_tools=["a"])}, {"tools": mcp(allowed_tools=["b"])}),
    ({"max_tokens": 1}, {"max_tokens": 2}),
    ({"user": "a"}, {"user": "b"}),
    ({"prompt_variables": {"secret": "the butler"}}, {"prompt_variables": {"secret": "the cook"}}),
    ({"extra_body": {"bos_token": "<s>"}}, {"extra_body": {"bos_token": "<b>"}}),
    ({"extra_body": {"filter": {"key": "a"}}}, {"extra_body": {"filter": {"key": "b"}}}),
    ({"extra_body": {"add_bos_token": True}}, {"extra_body": {"add_bos_token": False}}),
    *(({name: shape("a")}, {name: shape("b")}) for name, shape in TEXTS.items()),
]


@pytest.mark.parametrize(("one", "other"), COUNTED, ids=repr)
async def test_what_is_no_credential_counts(
    make: Callable[..., DOCache], one: dict[str, Any], other: dict[str, Any]
) -> None:
    cache = make()
    assert cache.get_cache_key(**CALL, **one) != cache.get_cache_key(**CALL, **other) != ""


@pytest.mark.parametrize("colour", ["blocking", "awaiting"])
async def test_the_answer_of_a_fallback_is_for_those_who_name_it(
    make: Callable[..., DOCache], provider: Provider, colour: str
) -> None:
    make()
    ask = Ask(colour)
    call: dict[str, Any] = {"messages": CALL["messages"], "api_base": provider.url, "api_key": "none"}
    fallbacks = [{"model": "openai/gpt-4o", **call, "api_key": "another"}]
    failing = {"model": "openai/gpt-4o-mini", **call, "api_base": "http://127.0.0.1:1/v1", "num_retries": 0}
    first = await ask("completion", **failing, fallbacks=fallbacks)
    assert first.model == "gpt-4o"
    assert (await ask("completion", **failing, fallbacks=fallbacks)).id == first.id
    assert provider.calls == 1
    with pytest.raises(InternalServerError):
        await ask("completion", **failing)


@pytest.mark.parametrize("ignore", ["seed", [1], [""]], ids=repr)
async def test_what_cannot_be_ignored_is_refused(tmp_path: Path, ignore: Any) -> None:
    with pytest.raises(InvalidInputError, match="pass a list of names of arguments"):
        DOCache("store", path=tmp_path, ignore=ignore)


async def test_a_key_of_ones_own(make: Callable[..., DOCache], provider: Provider) -> None:
    def last_message(counting: dict[str, Any]) -> Any:
        return [counting["model"], counting["messages"][-1]["content"]]

    make(key=last_message)
    for history in ([], [{"role": "user", "content": "Hello"}]):
        messages = [*history, *MESSAGES]
        litellm.completion("openai/gpt-4o", messages, api_base=provider.url, api_key="none")
        await litellm.acompletion("openai/gpt-4o", messages, api_base=provider.url, api_key="none")
    assert provider.calls == 1


async def test_a_key_function_that_fails_takes_no_call_down(make: Callable[..., DOCache], provider: Provider) -> None:
    cache = make(key=lambda counting: counting["nothing"])
    for _ in range(2):
        litellm.completion(**CALL, api_base=provider.url, api_key="none")
    assert provider.calls == 2
    assert cache.engine.stats().bypasses > 0


def deployments(*urls: str, **more: Any) -> list[dict[str, Any]]:
    return [
        {"model_name": "group", "litellm_params": {"model": "openai/gpt-4o", "api_base": url, "api_key": "x", **more}}
        for url in urls
    ]


async def test_the_deployments_of_a_group_share_their_records(make: Callable[..., DOCache]) -> None:
    make()
    with Provider() as one, Provider() as other:
        router: Any = Router(model_list=deployments(one.url, other.url), cache_responses=True)
        for _ in range(6):
            await router.acompletion("group", MESSAGES)
            router.completion("group", MESSAGES)
        assert one.calls + other.calls == 1


async def test_deployments_that_ask_for_something_else_do_not(make: Callable[..., DOCache], provider: Provider) -> None:
    """With LiteLLM's own cache the second one gets the first one's answer."""
    make()
    for body in ({"min_p": 0.1}, {"min_p": 0.2}, {"min_p": 0.1}):
        router: Any = Router(model_list=deployments(provider.url, extra_body=body), cache_responses=True)
        await router.acompletion("group", MESSAGES)
    assert provider.calls == 2


async def test_caching_groups_share_their_records(make: Callable[..., DOCache], provider: Provider) -> None:
    make()
    parameters = {"model": "openai/gpt-4o", "api_base": provider.url, "api_key": "x"}
    router: Any = Router(
        model_list=[{"model_name": name, "litellm_params": parameters} for name in ("one", "two", "three")],
        cache_responses=True,
        caching_groups=[("one", "two")],
    )
    calls = []
    for name in ("one", "two", "three", "two"):
        await router.acompletion(name, MESSAGES)
        calls.append(provider.calls)
    assert calls == [1, 1, 2, 2]


def named(content: bytes, name: str) -> io.BytesIO:
    file = io.BytesIO(content)
    file.name = name
    return file


async def test_a_file_counts_by_its_bytes(make: Callable[..., DOCache], server: Endpoints, tmp_path: Path) -> None:
    make()
    path = tmp_path / "speech.wav"
    path.write_bytes(b"one")
    read = named(b"one", "a.wav")
    read.read()
    for file in (named(b"one", "a.wav"), named(b"one", "b.wav"), ("c.wav", b"one"), str(path), read):
        await litellm.atranscription(model="openai/whisper-1", file=file, api_base=server.url, api_key="none")
    assert server.calls["audio/transcriptions"] == 1
    await litellm.atranscription(
        model="openai/whisper-1", file=named(b"other", "a.wav"), api_base=server.url, api_key="none"
    )
    assert server.calls["audio/transcriptions"] == 2


async def test_calls_of_different_kinds_are_not_mixed_up(make: Callable[..., DOCache]) -> None:
    cache = make()
    call = {"model": "m", "messages": MESSAGES, "max_tokens": 5}
    assert cache.explain("completion", **call).key != cache.explain("anthropic_messages", **call).key


async def test_opting_in(make: Callable[..., DOCache], provider: Provider) -> None:
    make(default_off=True)
    for controls in ({}, {}, {"use-cache": True}, {"use-cache": True}, {"use-cache": False}):
        litellm.completion(**CALL, api_base=provider.url, api_key="none", cache=controls)
        await litellm.acompletion(**CALL, api_base=provider.url, api_key="none", cache=controls)
    assert provider.calls == 7


async def test_only_the_kinds_of_calls_that_are_supported_are_cached(
    make: Callable[..., DOCache], provider: Provider, server: Endpoints
) -> None:
    make(supported_call_types=["embedding", "aembedding"])
    for _ in range(2):
        litellm.completion(**CALL, api_base=provider.url, api_key="none")
        litellm.embedding(model="openai/embed", input="Hi", api_base=server.url, api_key="none")
    assert provider.calls == 2
    assert server.calls["embeddings"] == 1


@pytest.mark.parametrize("functions", [["completion", "speech"], "completion"], ids=repr)
async def test_what_cannot_be_supported_is_refused(tmp_path: Path, functions: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"supported_call_types: .* cannot be cached; pass a list of some of"):
        DOCache("store", path=tmp_path, supported_call_types=functions)


async def test_controls_that_are_none_are_refused(make: Callable[..., DOCache], provider: Provider) -> None:
    make()
    with pytest.raises(InvalidInputError, match="invalid mode 'never' in cache="):
        litellm.completion(**CALL, api_base=provider.url, api_key="none", cache={"mode": "never"})
    assert provider.calls == 0


EMBED: dict[str, Any] = {"model": "openai/embed", "api_key": "none"}


async def test_embeddings_are_recorded_one_by_one(make: Callable[..., DOCache], server: Endpoints) -> None:
    cache = make()
    first = await litellm.aembedding(**EMBED, input=["a", "b", "c"], api_base=server.url)
    mixed = await litellm.aembedding(**EMBED, input=["c", "new", "a"], api_base=server.url)
    assert server.inputs == ["a", "b", "c", "new"]
    vectors = {text: each["embedding"] for text, each in zip("abc", first.data, strict=True)}
    assert [mixed.data[0]["embedding"], mixed.data[2]["embedding"]] == [vectors["c"], vectors["a"]]
    assert [each["index"] for each in mixed.data] == [0, 1, 2]
    assert mixed.usage.total_tokens == 15
    assert (cache.engine.stats().hits, cache.engine.stats().stores) == (2, 4)


async def test_both_colours_share_their_embeddings(make: Callable[..., DOCache], server: Endpoints) -> None:
    make()
    litellm.embedding(**EMBED, input=["a", "b"], api_base=server.url)
    await litellm.aembedding(**EMBED, input=["b", "a"], api_base=server.url)
    await litellm.aembedding(**EMBED, input="c", api_base=server.url)
    litellm.embedding(**EMBED, input=["c", "b"], api_base=server.url)
    litellm.embedding(**EMBED, input="a", api_base=server.url)
    assert server.inputs == ["a", "b", "c"]


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_a_list_of_tokens_is_one_input(make: Callable[..., DOCache], server: Endpoints, encoding: str) -> None:
    make()
    call: dict[str, Any] = {**EMBED, "api_base": server.url, "encoding_format": encoding}
    one = litellm.embedding(**call, input=[1, 2, 3])
    assert litellm.embedding(**call, input=[1, 2, 3]).data == one.data
    two = await litellm.aembedding(**call, input=[[4, 5], [6]])
    assert [each["embedding"] for each in (await litellm.aembedding(**call, input=[[4, 5], [6]])).data] == [
        each["embedding"] for each in two.data
    ]
    assert server.calls["embeddings"] == 2


async def test_the_user_that_a_proxy_makes_of_a_key_does_not_count(make: Callable[..., DOCache]) -> None:
    cache = make()
    stamped = {"user": "ann", "metadata": {"user_api_key_user_id": "ann"}}
    assert cache.get_cache_key(**CALL, **stamped) == cache.get_cache_key(**CALL)
    own = {"user": "ben", "metadata": {"user_api_key_user_id": "ann"}}
    assert cache.get_cache_key(**CALL, **own) == cache.get_cache_key(**CALL, user="ben") != cache.get_cache_key(**CALL)
