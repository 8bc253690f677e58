"""Which parts of a call's arguments are credentials, for every adapter."""

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


def test_the_arguments_of_the_caller_are_not_changed() -> None:
    arguments = {"extra_body": {"token": "x", "servers": [{"headers": {"Authorization": "x"}}]}}
    before = repr(arguments)
    assert without_credentials(arguments) == {"extra_body": {"servers": [{"headers": {}}]}}
    assert repr(arguments) == before
