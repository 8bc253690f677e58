"""No secret is in a record."""

import json
from typing import Any

import pytest

from chatcache.recording import MASK, scrubbed, secrets_in

SECRETS = [
    "sk-ant-api03-" + "aB3" * 20,
    "sk-proj-" + "aB3_" * 12,
    "sk-" + "aB3d" * 12,
    "AIza" + "aB3-d" * 7,
    "AKIA" + "ABCD" * 4,
    "ghp_" + "aB3d" * 9,
    "gsk_" + "aB3d" * 13,
    "hf_" + "aBcD" * 9,
    "xoxb-1234567890-abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "Bearer abcdef0123456789abcdef",
    "zX9kQ2vB7nM4pL8wR3tY6uI1oA5sD0fG",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_secret_is_masked(secret: str) -> None:
    value = {"content": f"use {secret} for it", "list": [secret]}
    clean = scrubbed(value)
    assert secret not in json.dumps(clean)
    assert MASK[:-2] in clean["content"]
    assert clean["content"].startswith("use ")
    assert secrets_in(value)
    assert not secrets_in(clean)


@pytest.mark.parametrize(
    "name",
    [
        *("api_key", "Authorization", "x-api-key", "password", "client_secret", "access_token", "aws_session_token"),
        *("hf_token", "azure_ad_token", "X-Amz-Security-Token", "openaiApiKey"),
    ],
)
def test_what_stands_under_the_name_of_a_secret_is_masked(name: str) -> None:
    assert scrubbed({name: "correct horse"}) == {name: MASK}
    assert secrets_in({name: "hunter2"})


def test_the_secrets_of_the_environment_are_masked_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_KEY", "correct horse battery")
    assert scrubbed(["say correct horse battery staple"]) == [f"say {MASK} staple"]
    monkeypatch.setenv("MY_SERVICE_KEY", "another one altogether")
    assert scrubbed(["say another one altogether"]) == [f"say {MASK}"]


@pytest.mark.parametrize(
    "value",
    [
        {"id": "chatcmpl-BvZ2mT0q5gD3xJ8sKf1wPnYcR7uE4aB3"},
        {"tool_call_id": "call_zX9kQ2vB7nM4pL8wR3tY6uI1oA5sD0fG"},
        {"signature": "EooDCokBCA8YAipArdh/ugu99mvdK4hF5/E+woVxkF8lFPvFqh8srWpXNR3k"},
        {"image_url": {"url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"}},
        {"encrypted_content": "gAAAAABotFmzX9kQ2vB7nM4pL8wR3tY6uI1oA5sD0fGabcDEF"},
        {"content": "the hash is d41d8cd98f00b204e9800998ecf8427ed41d8cd98f00b204e9800998ecf8427e"},
        {"content": "a_very_long_function_name_that_somebody_wrote_v2"},
        {"token": "Hello", "max_tokens": 5, "name": "api_key"},
        {"content": "Enter your password: it is a task-oriented risk-assessment"},
        {"content": "an API key is a secret"},
        {"content": "This is basic troubleshooting. These are the basic characteristics, and basic responsibilities."},
        {"content": "See https://x.com/sk-hynix-announces-new-memory-chips"},
        {"tools": [{"parameters": {"properties": {"api_key": {"type": "string", "description": "yours"}}}}]},
        {"password": None, "secret": True, "api_key": ""},
        {"content": "https://a.com/h/m/557/2025/9/Historical-Weather-in-September-2025-in-San-Francisco-United-States"},
    ],
)
def test_what_is_none_stays(value: Any) -> None:
    assert scrubbed(value) == value
    assert not secrets_in(value)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"api_key": "abcsecret12345"}', '{"api_key": "<<secret>>"}'),
        ('{\\"password\\": \\"hunter2\\"}', '{\\"password\\": \\"<<secret>>\\"}'),
        ("https://user:hunter2pass@host/v1", "https://user:<<secret>>@host/v1"),
        ("https://host/v1?api_key=abc123&x=1", "https://host/v1?api_key=<<secret>>&x=1"),
        ('{"password": "correct horse battery staple"}', '{"password": "<<secret>>"}'),
        ('{"password": "p@ssw0rd!longer"}', '{"password": "<<secret>>"}'),
        ('{"password": 12345678}', '{"password": <<secret>>}'),
        ('{"Authorization": "Token 9944b09199c62bcf"}', '{"Authorization": "<<secret>>"}'),
        ('{"Cookie": "theme=dark; sessionid=abc"}', '{"Cookie": "<<secret>>"}'),
        ("{'api_key': 'abc def'}", "{'api_key': '<<secret>>'}"),
        ('client = Client(api_key="abcdef")', 'client = Client(api_key="<<secret>>")'),
        ("AZURE_API_KEY=0123456789abcdef\nX=1", "AZURE_API_KEY=<<secret>>\nX=1"),
        ("curl -H 'api-key: 0123456789abcdef'", "curl -H 'api-key: <<secret>>'"),
        ("Cookie: theme=dark; id=1234\nHost: a", "Cookie: <<secret>>\nHost: a"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://127.0.0.1:8000/v1 and mail@host", "http://127.0.0.1:8000/v1 and mail@host"),
    ],
)
def test_secrets_within_texts(text: str, masked: str) -> None:
    assert scrubbed({"content": text}) == {"content": masked}
    assert bool(secrets_in({"content": text})) == (text != masked)
    assert not secrets_in({"content": masked})


def test_random_texts_are_told_apart_and_stay_in_answers() -> None:
    one, other = "zX9kQ2vB7nM4pL8wR3tY6uI1oA5sD0fG", "aX9kQ2vB7nM4pL8wR3tY6uI1oA5sD0fG"
    assert scrubbed([one]) != scrubbed([other])
    assert scrubbed([one], random=False) == [one]


def test_a_secret_that_runs_over_chunks_is_found() -> None:
    secret = SECRETS[1]
    chunks = [{"delta": {"content": secret[at : at + 9]}} for at in range(0, len(secret), 9)]
    assert "over several texts" in secrets_in(scrubbed(chunks))[0]


def test_which_secrets_there_are_makes_no_difference() -> None:
    one, other = SECRETS[0], SECRETS[2]
    assert scrubbed([one, f"{other} {one}"]) == [MASK, f"{MASK} {MASK}"]
    assert scrubbed({"api_key": "placeholder", "q": "placeholder text"}) == {"api_key": MASK, "q": "placeholder text"}


@pytest.mark.parametrize("value", [12345678, {"value": "hunter2"}, ["hunter2"]])
def test_whatever_stands_under_the_name_of_a_secret_is_one(value: Any) -> None:
    clean = scrubbed({"api_key": value})
    assert "hunter2" not in str(clean)
    assert "12345678" not in str(clean)
    assert secrets_in({"api_key": value})
    assert not secrets_in(clean)


def test_a_key_over_several_lines_is_masked_to_its_end() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEow\n-----END RSA PRIVATE KEY-----"
    assert scrubbed([f"a {key} b"]) == [f"a {MASK} b"]


@pytest.mark.parametrize("part", ["sk-", "eyJabcdefgh", "password=", "a-", "api_", "cookie: ", "http://a:b", "token "])
def test_a_long_text_that_begins_like_a_secret_again_and_again_is_read_once(part: str) -> None:
    text = part * (400_000 // len(part))
    assert scrubbed([text]) == [text]
    assert not secrets_in([text])


def test_a_secret_in_a_name_is_found() -> None:
    assert "the name of" in secrets_in(scrubbed({SECRETS[0]: 1}))[0]
