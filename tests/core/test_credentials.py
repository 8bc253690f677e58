"""Which parts of a call's arguments are credentials, for every adapter."""

import json
from typing import Any

import pytest

from chatcache import without_credentials

URLS = {
    "https://models.example/v1": "https://models.example/v1",
    "https://me:p%40ss@models.example/v1/?a=1#top": "https://models.example/v1/?a=1#top",
    "https://models.example/v1?api-version=3&code=7": "https://models.example/v1?api-version=3&code=7",
    "https://models.example/v1?api-version=3&subscription-key=x": "https://models.example/v1?api-version=3",
    "https://models.example/a?Expires=9&Signature=x&Key-Pair-Id=k&size=2": "https://models.example/a?size=2",
    "https://models.example/a?keyword=sky&token_limit=5": "https://models.example/a?keyword=sky&token_limit=5",
    "postgres://me:x@db.example:5432/books?sslmode=require": "postgres://db.example:5432/books?sslmode=require",
    "see https://me:x@models.example": "see https://me:x@models.example",
    " https://me:x@models.example/v1\n": "https://models.example/v1",
    "https://me:a/b@models.example/v1": "https://models.example/v1",
    "https://models.example:8080/v1/@me": "https://models.example:8080/v1/@me",
    "me:x@models.example:8080/v1": "models.example:8080/v1",
    "models.example:8080/v1": "models.example:8080/v1",
    "https://models.example/v1;token=x/a;b=1": "https://models.example/v1/a;b=1",
    "https://models.example/f?code=aB3dE6fG9hJ2&a=1": "https://models.example/f?a=1",
}


@pytest.mark.parametrize(("url", "left"), URLS.items())
def test_an_address_loses_its_credentials_and_nothing_else(url: str, left: str) -> None:
    assert without_credentials({"address": url}) == {"address": left}


@pytest.mark.parametrize(
    "name",
    ["exaApiKey", "OPENAI_API_KEY", "AccessToken", "x_auth", "aws-session-token", "db_password", "oauth2_client"],
)
def test_a_name_is_read_word_by_word(name: str) -> None:
    assert without_credentials({name: "x", "inner": {"deep": [{name: "x", "a": 1}]}}) == {"inner": {"deep": [{"a": 1}]}}


COUNTED: dict[str, Any] = {
    "max_tokens": 5,
    "cache_key": "a",
    "eos_token": "</s>",
    "stop_token_ids": [1],
    "author": "a",
    "auth_url": "https://login.example",
    "token_type": "a",
    "tokenizer": "a",
    "partition_key": "a",
    "passage": "a",
    "passthrough": "a",
    "monkey": "a",
    "secretary": "a",
    "requires_auth": True,
    "messages": [{"role": "user", "content": "a", "token": "a"}],
    "tools": [{"name": "login", "input_schema": {"type": "object"}, "password": "a"}],
    "extra_body": {"schema": {"properties": {"api_key": {"type": "string"}}}},
}


@pytest.mark.parametrize("name", COUNTED)
def test_what_holds_no_credential_is_left_as_it_is(name: str) -> None:
    assert without_credentials({name: COUNTED[name]}) == {name: COUNTED[name]}


SECRET = "aB3dE6fG9hJ2"
SETTINGS: dict[str, tuple[Any, Any]] = {
    "data_sources": (
        [{"type": "azure_search", "parameters": {"index_name": "books", "key": SECRET}}],
        [{"type": "azure_search", "parameters": {"index_name": "books"}}],
    ),
    "extra_body": (
        {"dataSources": [{"parameters": {"key": SECRET}}], "enhancements": {"ocr": {"enabled": True, "key": SECRET}}},
        {"dataSources": [{"parameters": {}}], "enhancements": {"ocr": {"enabled": True}}},
    ),
    "mcp_servers": ([{"url": f"https://a?code={SECRET}", "token": SECRET}], [{"url": "https://a"}]),
    "login": ({"user": "ann", "pw": SECRET}, {"user": "ann"}),
    "extra_query": (f"code={SECRET}&size=2", "size=2"),
    "default_query": ({"code": SECRET, "size": "2"}, {"size": "2"}),
    "http_proxy": (f"ann:{SECRET}@proxy:3128", "proxy:3128"),
    "azure_storage_connection": (f"AccountName=a;AccountKey={SECRET}", "AccountName=a"),
    "service_binding": (json.dumps({"clientsecret": SECRET, "url": "https://a"}), json.dumps({"url": "https://a"})),
    "headers": (f"X-Api-Key: {SECRET}\nX-Team: a", "X-Team: a"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_says_how_to_reach_a_service_loses_its_credentials_only(name: str) -> None:
    given, left = SETTINGS[name]
    assert without_credentials({name: given}) == {name: left}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Config": json.dumps({"token": SECRET})},
        {"X-Upstream": f"tried http://ann:{SECRET}@host/ first"},
        {"X-MS-CLIENT-PRINCIPAL": SECRET},
        {"X-Sas": SECRET, "X-SessionId": SECRET},
        [{"header": "X-Api-Key", "value": SECRET}],
        [{"name": "X-Api-Key", "value": SECRET}],
        [["X-Api-Key", SECRET]],
        [f"X-Api-Key: {SECRET}"],
    ],
)
def test_headers_lose_their_credentials_in_each_form(headers: Any) -> None:
    assert SECRET not in str(without_credentials({"extra_headers": headers}))
    assert SECRET not in str(without_credentials({"extra_body": json.dumps({"headers": headers})}))


@pytest.mark.parametrize(
    "name", ["databricks_key", "iam_key", "ssl_key", "client_cert", "dsn", "webhook_url", "pw", "otp"]
)
def test_further_settings_that_are_credentials_are_left_out(name: str) -> None:
    assert without_credentials({name: SECRET}) == {}


@pytest.mark.parametrize("more", [{"type": "mcp"}, {"type": "mcp", "input_schema": {}}, {"function": {"name": "f"}}])
def test_a_tool_of_a_server_has_no_credentials(more: dict[str, Any]) -> None:
    tool = {"server_url": f"https://ann:{SECRET}@a", "headers": {"Authorization": SECRET}, "authorization": SECRET}
    left = {"server_url": "https://a", "headers": {}, **more}
    assert without_credentials({"tools": [{**tool, **more}]}) == {"tools": [left]}


@pytest.mark.parametrize(
    "value",
    [
        {"filters": {"must": [{"key": "city", "match": {"value": "Paris"}}]}, "sort": {"key": "price"}},
        {"logit_bias": {"50256": -100}, "user": "ann", "prompt_cache_key": "a", "primary_key": "b"},
        '{"city": "Paris",  "key": "price"}',
        "{not JSON",
        "[" * 5_000,
    ],
)
def test_what_only_looks_like_a_setting_stays_as_it_is(value: Any) -> None:
    assert without_credentials({"extra_body": {"a": value}}) == {"extra_body": {"a": value}}


def test_the_arguments_of_the_caller_are_not_changed() -> None:
    arguments = {"extra_body": {"token": "x", "servers": [{"headers": {"Authorization": "x"}}]}}
    before = repr(arguments)
    assert without_credentials(arguments) == {"extra_body": {"servers": [{"headers": {}}]}}
    assert repr(arguments) == before
