"""No secret is in a record, and a mask changes no answer and joins no two requests."""

import base64
import json
import random
import re
import string
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatcache import ResponseCache, credentials
from chatcache.keys import request_key
from chatcache.recording import (
    MASK,
    Bundle,
    Policy,
    RecordMode,
    Skipped,
    formats,
    into_store,
    recording,
    scrubbed,
    secrets_in,
)
from chatcache.recording import texts as recorded_texts
from chatcache.recording.replaced import Replaced
from chatcache.recording.volatile import Volatile

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
UUID = "3f2a8c1e-0f6b-4a58-9d55-0a8f5a0c9b11"
UPPER = string.ascii_uppercase + "234567"
RANDOM = random.Random(19)  # noqa: S311 - samples, no secrets


def chosen(number: int, signs: str = ALNUM) -> str:
    """Return so many characters, a digit and a letter among them where there are both."""
    text = "".join(RANDOM.choice(signs) for _ in range(number - 2))
    return f"{signs[1]}{text}{'7' if '7' in signs else signs[2]}"


def pem(kind: str) -> str:
    lines = "\n".join(chosen(64, ALNUM + "+/") for _ in range(6))
    return f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----"


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


FORMATS = [
    "sk-ant-api03-" + "aB3" * 20,
    "sk-proj-" + "aB3_" * 12,
    "sk-" + "aB3d" * 12,
    "sk-or-v1-" + chosen(64, HEX),
    "AIza" + "aB3-d" * 7,
    "AKIA" + "ABCD" * 4,
    "ghp_" + "aB3d" * 9,
    "gsk_" + "aB3d" * 13,
    "hf_" + "aBcD" * 9,
    "xoxb-173456789012-" + chosen(24),
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    *(prefix + chosen(40) for prefix in ("xai-", "pplx-", "nvapi-", "tvly-", "pcsk_", "fw_", "r8_", "csk-", "tgp_v1_")),
    *(prefix + chosen(40) for prefix in ("glpat-", "npm_", "pypi-AgEIcHlwaS5vcmc", "dckr_pat_", "lin_api_", "ntn_")),
    *(prefix + chosen(48, HEX) for prefix in ("dop_v1_", "shpat_", "rubygems_", "lsv2_pt_", "sgp_")),
    "SG." + chosen(22) + "." + chosen(43),
    "sk_car_" + chosen(24),
    "tr_prod_" + chosen(24),
    "snyk_uat." + chosen(8, HEX) + "." + chosen(60),
    "sdk-4f1c7d2e-9b3a-4c5d-8e6f-a1b2c3d4e5f6",
    "st." + chosen(24, HEX) + "." + chosen(32, HEX) + "." + chosen(32, HEX),
    "polar_oat_" + chosen(43),
    "aB3dE7_" + chosen(29) + "_mmk",
    "sk_live_" + chosen(24),
    "SK" + chosen(32, HEX),
    "dapi" + chosen(32, HEX),
    "hvs." + chosen(90),
    "dp.pt." + chosen(43),
    "123987456:AA" + chosen(33),
    "M" + chosen(23) + "." + chosen(6) + "." + chosen(38),
    "k7Q8Q~" + chosen(34),
    "AGE-SECRET-KEY-1" + chosen(58, UPPER),
    "xapp-1-A" + chosen(10, UPPER) + "-1234567890123-" + chosen(64, HEX),
    "GOCSPX-" + chosen(28),
    "1//0" + chosen(60),
    "IQoJb3JpZ2luX2Vj" + chosen(300, ALNUM + "/+") + "=",
    "ABSK" + chosen(128),
    "ATATT3x" + chosen(180),
    "$2b$12$" + chosen(53, ALNUM + "./"),
    "otpauth://totp/ACME:ann?secret=" + chosen(32, UPPER) + "&issuer=ACME",
    "https://hooks.slack.com/services/T" + chosen(8, UPPER) + "/B" + chosen(8, UPPER) + "/" + chosen(24),
    "https://discord.com/api/webhooks/123456789012345678/" + chosen(68),
    *map(pem, ("PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK")),
    base64.b64encode(pem("PRIVATE KEY").encode()).decode(),
]
# Formats that are told by their middle or by their end.
FRAMED = [
    "aB3dE7_" + chosen(29) + "_mmk",
    "k7Q8Q~" + chosen(34),
    chosen(52) + "JQQJ9" + "9" + "aB3d" * 6 + "x7",
    chosen(14) + ".atlasv1." + chosen(60),
    chosen(32, HEX) + "-us12",
    chosen(32, HEX) + "-0f6b4a58-9d550a8f",
]
"""Credentials told by their format."""

NAMED = [
    ('{{"api_key": "{}"}}', "zk9-prod-7731-abcd"),
    ('{{\\"password\\": \\"{}\\"}}', "hunter2-Blue42!"),
    ("{{'password': '{}'}}", "kX9#vvQ2-mm!!aB7"),
    ('client = Client(api_key="{}")', "a8f3k2m1q9"),
    ("AZURE_API_KEY={}\nX=1", chosen(32, HEX)),
    ("curl -H 'api-key: {}'", chosen(32, HEX)),
    ("curl -u admin:{} https://host", "Tr0ub4dor&3xyz"),
    ("tool --password {} --verbose", "Tr0ub4dor&3xyz"),
    ("Cookie: theme=dark; sessionid={}\nHost: a", chosen(32)),
    ("sessionid={}; theme=dark", chosen(32)),
    ("Authorization: Token {}", chosen(40, HEX)),
    ("Authorization: Basic {}", base64.b64encode(b"admin:pa55-w0rd").decode()),
    ("It needs Bearer {} to work.", chosen(40)),
    ("postgres://svc:{}@db:5432/prod", "S3cr3tPw_99"),
    ("redis://:{}@cache:6379/0", chosen(32)),
    ("https://host/v1?api_key={}&x=1", "q7f2k9m4z"),
    ("https://a.blob.core.windows.net/c?sv=2022&sig={}&se=1", chosen(40) + "%3D"),
    ("https://b.s3.amazonaws.com/k?X-Amz-Signature={}", chosen(64, HEX)),
    ("AccountName=acme;AccountKey={};EndpointSuffix=x", chosen(86, ALNUM + "+/") + "=="),
    ("Server=db;User ID=sa;Password={};Encrypt=true;", chosen(16)),
    ("aws_secret_access_key = {}", chosen(40, ALNUM + "/+")),
    ("Use the credential {} for it.", chosen(32, HEX)),
    ("The secret access key is {}.", chosen(40, ALNUM + "/+")),
    ("<password>{}</password>", "Tr0ub4dor-3xyz"),
    ("machine github.com\n  login ann\n  password {}", "Tr0ub4dor&3xyz"),
    ("    client-key-data: {}", chosen(120)),
    ('{{"kty":"RSA","d":"{}"}}', chosen(43)),
]
"""Texts, and the credential that stands in each after a name."""

HARMLESS = [
    "the hash is d41d8cd98f00b204e9800998ecf8427ed41d8cd98f00b204e9800998ecf8427e",
    "sha384-oqVuAfXRKap7fdgcCY5uykM6+R9GqQ8K/uxy9rx7HNQlGYl1kPzQho1wx4JwY8wC",
    "alpine@sha256:8a5edab282632443219e051e4ade2d1d5bbc671c781051bf1437897cbdfea0f1",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8Zq1fJ5kQ0x7YpVt2cGmN3bRs4wLhUaEo9Xd6PiKvT ann@host",
    "![x](data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7)",
    "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----",
    "A key begins with -----BEGIN PRIVATE KEY----- and is kept private.",
    "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
    "a_very_long_function_name_that_somebody_wrote_v2",
    "getHTTPResponseFromV2EndpointWithRetryPolicy3Attempts",
    "Enter your password: it is a task-oriented risk-assessment",
    "an API key is a secret, and the token is a word",
    "This is basic troubleshooting. These are the basic characteristics, and basic responsibilities.",
    "See https://x.com/sk-hynix-announces-new-memory-chips",
    "https://docs.google.com/document/d/1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms/edit",
    "https://a.com/h/m/557/2025/9/Historical-Weather-in-September-2025-in-San-Francisco-United-States",
    "Halve this recipe. Cookie: 2 cups of flour and 300 g of sugar",
    "The secret: banana42. Guess again!",
    "The token 507f1f77bcf86cd799439011 and the token ACME-0042 are ids.",
    "The cache key d41d8cd98f00b204e9800998ecf8427e is a digest.",
    '{"cookie": "oatmeal raisin", "minutes": 12}',
    '{"tokens": [{"id_token": "Berlin", "label": "LOC"}], "next_page_token": "CAUQAA8xYz17"}',
    '{"user": "ann", "password": "Spring2024!"}',
    '{"account_key": "ACME-0042", "access_keys": ["A", "B"]}',
    'client = Client(api_key="YOUR_API_KEY")',
    "export OPENAI_API_KEY=sk-your-key-here-1234567890abcd",
    "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "sk-ant-api03-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "Send the header `Authorization: Bearer abcdef0123456789abcdef` with each request.",
    "Authorization: Bearer <token>",
    "postgresql://app:app@localhost:5432/app",
    "http://127.0.0.1:8000/v1 and mail@host",
    "curl 'https://api.example.com/v1?api_key=DEMO_KEY_1'",
    'api_key = os.environ["OPENAI_API_KEY"]',
    "password = getpass.getpass(prompt='Password 1: ')",
    "client = OpenAI(api_key=settings.openai_key_v2)",
    "api_key: ${OPENAI_API_KEY_2}",
    "def sign(private_key: ed25519.Ed25519PrivateKey, auth=s3_disable_express_session_auth): ...",
    "password: {{ vault_db_password_2 }}",
    "WHERE user_password = $1 AND id = 2",
    "def test_getUserFromV2Endpoint_returns404(): ...",
    "密码: 请输入您的密码12345678",
    "chatcmpl-BvZ2mT0q5gD3xJ8sKf1wPnYcR7uE4aB3 and toolu_01A09q90qw90lq917835lq9",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
]
"""Texts without a secret."""


def placed(text: str) -> list[Any]:
    """Return requests and answers in which a text stands as providers have it."""
    return [
        {"content": f"use {text} for it"},
        {"list": [text]},
        {"arguments": json.dumps({"value": text})},
        {"arguments": json.dumps({"inner": json.dumps({"value": f"is:\n{text}"})})},
    ]


def needle(text: str) -> str:
    """Return the part of a credential that must be nowhere."""
    return text.rpartition("/")[2][-20:] if text.startswith("https://") else max(text.split("\n"), key=len)[-16:]


@pytest.mark.parametrize("secret", FORMATS, ids=lambda secret: secret[:16])
@pytest.mark.parametrize("random", [True, False], ids=["request", "answer"])
def test_a_credential_is_told_by_its_format_wherever_it_stands(secret: str, random: bool) -> None:  # noqa: FBT001
    part = secret[31:63] if secret.startswith("otpauth") else needle(secret)
    for value in placed(secret):
        assert part in json.dumps(value)
        clean = scrubbed(value, random=random)
        assert part not in json.dumps(clean)
        assert "<<secret" in json.dumps(clean)
        assert secrets_in(value, random=random)
        assert not secrets_in(clean, random=random)


@pytest.mark.parametrize(("text", "secret"), NAMED, ids=[text[:24] for text, _ in NAMED])
@pytest.mark.parametrize("random", [True, False], ids=["request", "answer"])
def test_the_value_of_a_name_in_a_text_is_masked(text: str, secret: str, random: bool) -> None:  # noqa: FBT001
    begin, _, end = text.replace("{{", "{").replace("}}", "}").partition("{}")
    clean = scrubbed({"content": text.format(secret)}, random=random)["content"]
    assert secret not in clean
    assert clean.startswith(begin + "<<secret")
    assert clean.endswith(end)
    assert not secrets_in({"content": clean}, random=random)


@pytest.mark.parametrize("text", HARMLESS, ids=lambda text: text[:24])
def test_words_examples_and_program_text_stay(text: str) -> None:
    for value in placed(text):
        assert scrubbed(value, random=False) == value
        assert scrubbed(value) == value
        assert not secrets_in(value)


@pytest.mark.parametrize(
    "value",
    [
        {"id": "chatcmpl-BvZ2mT0q5gD3xJ8sKf1wPnYcR7uE4aB3"},
        {"tool_call_id": "call_zX9kQ2vB7nM4pL8wR3tY6uI1oA5sD0fG"},
        {"signature": "EooDCokBCA8YAipArdh/ugu99mvdK4hF5/E+woVxkF8lFPvFqh8srWpXNR3k"},
        {"image_url": {"url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"}},
        {"encrypted_content": "gAAAAABotFmzX9kQ2vB7nM4pL8wR3tY6uI1oA5sD0fGabcDEF"},
        {"token": "Hello", "max_tokens": 5, "name": "api_key"},
        {"tools": [{"parameters": {"properties": {"api_key": {"type": "string", "description": "yours"}}}}]},
        {"password": None, "secret": True, "api_key": ""},
    ],
)
def test_ids_payloads_and_schemas_stay(value: Any) -> None:
    assert scrubbed(value) == value
    assert not secrets_in(value)


@pytest.mark.parametrize(
    "name",
    [
        *("api_key", "Authorization", "x-api-key", "password", "client_secret", "access_token", "aws_session_token"),
        *("hf_token", "azure_ad_token", "X-Amz-Security-Token", "openaiApiKey"),
    ],
)
def test_what_is_passed_as_a_credential_is_masked_whatever_it_is(name: str) -> None:
    assert scrubbed({name: "correct horse"}) == {name: MASK}
    assert secrets_in({name: "hunter2"})


@pytest.mark.parametrize("jar", [{"sid": "correct horse", "theme": "dark"}, "sid=correct horse; theme=dark"])
def test_the_cookies_of_a_client_are_masked(jar: Any) -> None:
    assert "correct horse" not in str(scrubbed({"cookies": jar, "messages": []}))
    for content in ({"cookies": ["oatmeal"]}, {"messages": [{"content": {"cookies": "flour = 2 cups"}}]}):
        assert scrubbed(content) == content


@pytest.mark.parametrize("name", ["X-Acme-Auth", "Cookie", "api-key", "X-Vault-Token"])
def test_headers_that_hold_credentials_are_masked(name: str) -> None:
    assert scrubbed({"extra_headers": {name: "correct horse", "X-Team": "a"}}) == {
        "extra_headers": {name: MASK, "X-Team": "a"}
    }


@pytest.mark.parametrize(
    "name",
    ["secret", "cookie", "auth", "pat", "pwd", "token", "key", "target_token", "sort_key", "author", "page_token"],
)
def test_a_word_that_may_be_content_is_no_place_of_a_credential(name: str) -> None:
    assert scrubbed({name: "correct horse"}) == {name: "correct horse"}
    assert scrubbed({"headers": {"X-Sort-Key": "up", "X-Page-Token": "2"}}) == {
        "headers": {"X-Sort-Key": "up", "X-Page-Token": "2"}
    }


@pytest.mark.parametrize("value", [12345678, {"value": "hunter2"}, ["hunter2"]])
def test_all_that_is_passed_as_a_credential_is_masked(value: Any) -> None:
    clean = scrubbed({"api_key": value})
    assert "hunter2" not in str(clean)
    assert "12345678" not in str(clean)
    assert secrets_in({"api_key": value})
    assert not secrets_in(clean)


@pytest.mark.parametrize(
    "request_",
    [
        {"extra_headers": [["X-Api-Key", "correcthorse9"], ["X-Team", "a"]]},
        {"headers": [{"name": "X-Api-Key", "value": "correcthorse9"}]},
        {"headers": [{"header": "Authorization", "value": "correcthorse9"}]},
        {"headers": "X-Team: a\nX-Api-Key: correcthorse9"},
        {"proxy": "http://ann:correcthorse9@host"},
        {"proxies": {"https": "ann:correcthorse9@host:1"}},
        {"api_base": "https://host/v1?key=correcthorse9&size=2"},
        {"api_key": {"type": "literal", "value": "correcthorse9"}},
        {"api_key": {"type": "string", "value": "correcthorse9"}},
    ],
)
def test_settings_of_each_form_lose_their_credentials(request_: Any) -> None:
    assert "correcthorse9" not in json.dumps(scrubbed(request_))


def test_the_secrets_of_the_environment_are_masked_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_KEY", "correct horse battery")
    assert scrubbed(["say correct horse battery staple"]) == [f"say {MASK} staple"]
    monkeypatch.setenv("MY_SERVICE_KEY", "another one altogether")
    assert scrubbed(["say another one altogether"]) == [f"say {MASK}"]


def test_random_texts_are_told_apart_and_stay_in_answers() -> None:
    one, other = "zX9kQ2vB7nM4pL8wR3tY6uI1oA5sD0fG", "aX9kQ2vB7nM4pL8wR3tY6uI1oA5sD0fG"
    assert one not in str(scrubbed([one]))
    assert scrubbed([one]) != scrubbed([other])
    assert scrubbed([one], random=False) == [one]


def test_a_credential_has_one_mask_in_a_request_and_any_other_one_has_another() -> None:
    one, other = FORMATS[0], FORMATS[2]
    first, second = scrubbed([one, f"{other} {one}"])
    assert second.endswith(f" {first}")
    assert second != f"{first} {first}"
    assert scrubbed({"api_key": one, "client_secret": other, "q": f"{other} {one}"})["q"] == f"<<secret-2>> {MASK}"
    assert scrubbed({"api_key": "placeholder", "q": "placeholder text"}) == {"api_key": MASK, "q": "placeholder text"}


def test_a_text_that_goes_on_after_a_secret_of_the_environment_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_KEY", "sk-aB3dE6fG9hJ2kL5m")
    assert scrubbed(["Explain sk-aB3dE6fG9hJ2kL5m."]) == [f"Explain {MASK}."]
    one, other = (scrubbed([f"Explain sk-aB3dE6fG9hJ2kL5m{rest}."]) for rest in ("Reader", "Writer"))
    assert one != other


def test_which_credentials_a_run_has_makes_no_difference() -> None:
    def asked(one: str, other: str) -> str:
        return request_key(scrubbed({"api_key": one, "client_secret": other, "q": f"{FORMATS[0]} or {FORMATS[1]}"}))

    assert asked("sk-real-7731", "zk9-prod") == asked("dummy", "dummy") == asked("x", "")[:0] + asked("x", "y")


def test_a_mask_that_a_text_has_already_is_not_given_again() -> None:
    asked = {"q": f"{MASK} is not {FORMATS[0]}", "api_key": FORMATS[0]}
    assert scrubbed(asked) == {"q": f"{MASK} is not <<secret-2>>", "api_key": "<<secret-2>>"}


def test_a_key_over_several_lines_is_masked_to_its_end() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEow\n-----END RSA PRIVATE KEY-----"
    assert scrubbed([f"a {key} b"], random=False) == [f"a {MASK} b"]
    cut = pem("PRIVATE KEY").partition("\n-----END")[0]
    assert scrubbed([cut], random=False) == [MASK]


def test_a_secret_beside_a_payload_is_masked_and_the_payload_stays() -> None:
    payload = base64.b64encode(RANDOM.randbytes(60_000)).decode()
    url = "data:image/png;base64," + payload[:400]
    for text in (payload, encoded(payload), url):
        assert re.fullmatch(f"{re.escape(text)} <<secret-\\w+>>", scrubbed([f"{text} {FORMATS[0]}"])[0])


@pytest.mark.parametrize(
    "part",
    [
        *(
            "sk-",
            "eyJabcdefgh",
            "password=",
            "a-",
            "api_",
            "cookie: ",
            "http://a:b",
            "token ",
            "otpauth://a?",
            "a.key=",
        ),
        *("\x00key=", "cookie=aaaaaaaa; ", "key=...", "data:;base64,AAAA ", "-----BEGIN PRIVATE KEY-----"),
    ],
)
def test_a_long_text_that_begins_like_a_secret_again_and_again_is_read_once(part: str) -> None:
    text = part * (400_000 // len(part))
    assert scrubbed([text]) == [text]
    assert not secrets_in([text])


@pytest.mark.parametrize("name", ["data", "file_data", "signature", "encrypted_content", "redacted_reply", "b64_json"])
@pytest.mark.parametrize("is_request", [True, False])
def test_a_secret_is_masked_under_the_name_of_a_payload_and_a_payload_stays(name: str, is_request: bool) -> None:  # noqa: FBT001
    key = "sk-ant-api03-" + chosen(95, ALNUM + "_-")
    for text in (key, f"the key for the new service that you asked me about is {FORMATS[1]} and nothing else"):
        assert needle(key if text is key else FORMATS[1]) not in str(scrubbed({name: text}, random=is_request))
        assert secrets_in({name: text}, random=is_request)
    for size in (48, 300, 2_000):
        for payload in (base64.b64encode(RANDOM.randbytes(size)), base64.urlsafe_b64encode(RANDOM.randbytes(size))):
            value = {name: payload.decode()}
            assert scrubbed(value, random=is_request) == value


def test_a_dump_of_credentials_is_masked_as_a_whole() -> None:
    lines = [f"password: {chosen(6)}-{chosen(6)}" for _ in range(2_000)]
    text, other = "\n".join(lines), "\n".join([*lines[:-1], "password: a1B2c3-d4E5f6"])
    clean = scrubbed([text])[0]
    assert re.fullmatch(r"<<secret-\w+>>", clean)
    assert clean != scrubbed([other])[0]
    assert scrubbed(["\n".join(lines[:900])])[0].count("password: <<secret-") == 900
    allowed = re.compile(r"\w{6}-\w{6}")
    assert scrubbed([text], allowed=allowed) == [text]


def test_each_character_of_a_long_token_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "v1.local." * 2_000
    ends: list[tuple[int, int]] = []
    more = formats._MORE

    class Counting:
        def match(self, text: str, begin: int, end: int) -> Any:
            found = more.match(text, begin, end)
            ends.append((begin, begin if found is None else found.end()))
            return found

    monkeypatch.setattr(formats, "_MORE", Counting())
    assert scrubbed([f"Use {text}a1B2 now."])[0].startswith("Use <<secret")
    assert sum(end - begin for begin, end in ends) <= len(text)


def test_each_name_is_divided_into_words_once() -> None:
    names = [f"my_{chosen(8)}_token" for _ in range(3 * 4_096)]
    before = credentials._last_words.cache_info().misses
    masked = scrubbed({name: f"{chosen(10)}1a" for name in names})
    assert all(re.fullmatch(r"<<secret\S*>>", text) for text in masked.values())
    assert credentials._last_words.cache_info().misses - before <= len(names) + 100


def test_a_secret_over_many_chunks_is_one_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    edits: list[int] = []
    apart = recorded_texts._apart

    def counted(parts: list[Any]) -> Any:
        edits.append(len(parts))
        return apart(parts)

    monkeypatch.setattr(recorded_texts, "_apart", counted)
    dump = "\n".join(f"password: {chosen(6)}-{chosen(6)}" for _ in range(2_000))
    recorded = Replaced.of({"q": "x"}, Volatile({})).recorded([*dump], is_stream=True)
    assert len(recorded) == len(dump)
    assert "".join(recorded) == MASK
    assert sum(edits) < 10


def test_many_short_texts_are_searched_together(monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[int] = []
    formats_in = formats.formats_in

    def counted(text: str, begin: int, end: int) -> Any:
        searches.append(end - begin)
        return formats_in(text, begin, end)

    monkeypatch.setattr("chatcache.recording.secrets.formats_in", counted)
    texts = [f"line {number} of a text" for number in range(5_000)]
    texts[3_000] += f" {FORMATS[1]} ends here"
    for is_request in (True, False):
        searches.clear()
        masked = scrubbed(texts, random=is_request)
        assert re.fullmatch(r"line 3000 of a text <<secret\S*>> ends here", masked[3_000])
        assert masked[:3_000] + masked[3_001:] == texts[:3_000] + texts[3_001:]
        assert len(searches) < 50
        assert sum(searches) < 2 * sum(map(len, texts))


def test_lines_that_are_no_json_are_not_parsed_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def loads(text: str) -> Any:
        parsed.append(text)
        return real(text)

    real = json.loads
    monkeypatch.setattr("chatcache.recording.json_lines.json.loads", loads)
    chunks = ['{"}\n' * 20_000]
    assert Replaced.of({"q": 1}, None).recorded(chunks, is_stream=True) == chunks
    assert len(parsed) < 1_000


def test_a_value_in_quotes_hides_no_secret_in_it() -> None:
    said = f'token: "{"sentences " * 20}password=a1B2-c3D4 {"words " * 20}"'
    for is_request in (True, False):
        assert "a1B2-c3D4" not in scrubbed([said], random=is_request)[0]


TEXTS = st.lists(
    st.lists(
        st.sampled_from(
            [
                *(
                    "password",
                    "api_key",
                    "token",
                    "=",
                    ": ",
                    '"',
                    "'",
                    "\\n",
                    "\n",
                    " ",
                    "cookie: ",
                    "a=",
                    ";",
                    "Bearer ",
                ),
                *("Authorization: ", "://u:", "@h/", "machine ", "login ", "kty", '"d":"', "otpauth://a?secret="),
                *("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "Private-Lines: 1\n", "hunter2-Blue42!"),
                *("words of a text", "x", "1", "%20", "<<secret>>", "curl -u a:", "JBSWY3DPEHPK3PXPJBSW", *FORMATS),
            ]
        ),
        max_size=9,
    ).map("".join),
    max_size=9,
)


@settings(deadline=None)
@given(texts=TEXTS, is_request=st.booleans())
def test_texts_beside_each_other_are_masked_as_each_alone(texts: list[str], *, is_request: bool) -> None:
    def told(value: Any) -> list[str]:
        return [re.sub(r"<<secret\S*?>>", "<<secret>>", text) for text in scrubbed(value, random=is_request)]

    alone = [told([text])[0] for text in texts]
    if is_request:  # a secret of one text is masked in the others, too
        assert [one for one, both in zip(alone, told(texts), strict=True) if both.count("<<") < one.count("<<")] == []
    else:
        assert told(texts) == alone


@pytest.mark.parametrize("before", ["", "a ", "\\n", "id=", '{"key": "'])
@pytest.mark.parametrize("secret", FRAMED)
def test_a_secret_told_by_its_middle_or_its_end_is_masked_from_its_beginning(before: str, secret: str) -> None:
    for is_request in (True, False):
        masked = scrubbed([f"{before}{secret} now"], random=is_request)[0]
        assert re.sub(r"<<secret\S*>>", "", masked) == f"{before} now"
    assert scrubbed([f"{before}aB3{secret} now"], random=False) == [f"{before}aB3{secret} now"]


def test_a_user_in_each_address_of_a_list_is_masked() -> None:
    masked = scrubbed({"api_base": "http://a:8080,http://ann:p4ss/word@h,http://bob:b0bs@h"})["api_base"]
    assert re.fullmatch(r"http://a:8080,http://ann:<<secret\S+?>>@h,http://bob:<<secret\S+?>>@h", masked)


def test_many_short_texts_may_be_a_dump_of_credentials() -> None:
    texts = [f"password: {chosen(6)}-{chosen(6)}" for _ in range(3_000)]
    clean = scrubbed(texts)
    assert clean[900].startswith("password: <<secret-")
    assert re.fullmatch(r"<<secret-\w+>>", clean[-1])
    assert not secrets_in(clean)
    assert len({*clean}) == 3_000
    assert scrubbed(texts, allowed=re.compile(r"\w{6}-\w{6}")) == texts
    sparse = [text for each in texts for text in (each, *["words of a text that holds no secret"] * 60)]
    assert all(text.startswith(("words", "password: <<secret-")) for text in scrubbed(sparse))


def test_a_secret_in_a_name_is_found() -> None:
    assert "the name of" in secrets_in(scrubbed({FORMATS[0]: 1}))[0]


def test_chunks_are_looked_at_together() -> None:
    secret = FORMATS[1]
    chunks = [{"delta": {"content": secret[at : at + 9]}} for at in range(0, len(secret), 9)]
    assert "over several texts" in secrets_in(chunks, random=False)[0]


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="<>"), max_size=40)
VALUES = st.one_of(
    WORDS,
    st.sampled_from(
        ["the butler did it", "vanilla", "${NAME_2}", "hunter2", "12345678", "kX9#vvQ2-mm!!aB7", "a1b2c3d4e5"]
    ),
)
FRAMES = st.sampled_from(
    [
        '{{"secret": "{}"}}',
        "Cookie: {}",
        "password={}",
        "https://x.y/a?token={}",
        "api_key: {}",
        "{}",
        "https://ann:{}@host",
        "Authorization: Bearer {}",
        'Is this strong? "password": "{}"',
    ]
)


@settings(deadline=None)
@given(frame=FRAMES, one=VALUES, other=VALUES)
def test_requests_with_different_words_have_different_keys(frame: str, one: str, other: str) -> None:
    def asked(value: str) -> Any:
        text = frame.replace("{{", "{").replace("}}", "}").replace("{}", value)
        return {"model": "m", "messages": [{"role": "user", "content": text}]}

    assert (request_key(scrubbed(asked(one))) == request_key(scrubbed(asked(other)))) == (one == other)


PREFIXES = [
    *("sk-", "sk-lf-", "sk-ant-", "fw_", "sess-", "BSA", "whsec_", "tvly-", "unkey_", "pcsk_", "GOCSPX-", "NRAK-"),
    *("glpat-", "xoxb-", "gsk_", "hf_", "r8_", "AIza", "ghp_", "test_", "live_", "secret_", "API-", "AKIA", "sk_car_"),
]


@settings(deadline=None)
@given(
    prefix=st.sampled_from(PREFIXES),
    one=st.lists(st.sampled_from(["Random", "User", "V2", "HTTP", "Home1", "x509", "abc", "REPORT7"]), min_size=4),
    other=st.lists(st.sampled_from(["Forest", "Order", "V3", "JSON", "Page9", "tls13", "xyz", "BOOKS6"]), min_size=4),
)
def test_names_that_begin_like_a_credential_are_told_apart(prefix: str, one: list[str], other: list[str]) -> None:
    first, second = ({"messages": [{"content": f"Explain {prefix}{''.join(words)}."}]} for words in (one, other))
    assert request_key(scrubbed(first)) != request_key(scrubbed(second))


@pytest.mark.parametrize("secret", FORMATS, ids=lambda secret: secret[:16])
def test_requests_with_different_credentials_in_their_texts_are_told_apart(secret: str) -> None:
    other = needle(secret)
    changed = secret.replace(other, other[::-1])
    assert scrubbed([f"use {secret}"]) != scrubbed([f"use {changed}"])


@settings(deadline=None)
@given(
    secret=st.sampled_from([*FORMATS, *(text.format(secret) for text, secret in NAMED)]),
    cuts=st.lists(st.integers(0, 400), max_size=60),
)
def test_a_stream_is_masked_like_the_text_that_its_chunks_make_up(secret: str, cuts: list[int]) -> None:
    text = f"I say {secret} and more."
    pieces = [text[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(text)], strict=True)]
    replaced = Replaced.of({"q": "why"}, None)
    whole = replaced.recorded({"content": text}, is_stream=False)["content"]
    chunks = replaced.recorded(
        [{"id": "c", "choices": [{"index": 0, "delta": {"content": each}}]} for each in pieces], is_stream=True
    )
    assert "".join(each["choices"][0]["delta"]["content"] for each in chunks) == whole
    assert len(chunks) == len(pieces)


@settings(deadline=None)
@given(
    secret=st.sampled_from(FORMATS),
    text=st.sampled_from(["use {}", "{}", '{{"a": "{}"}}', "first {} then {}"]),
    size=st.integers(1, 30),
)
def test_a_replay_returns_what_the_recorded_run_was_answered(secret: str, text: str, size: int) -> None:
    request = {"q": text.format(secret, secret), "other": FORMATS[3]}
    said = f"{FORMATS[3]}, {secret}: {json.dumps({'args': secret})} {text.format(secret, secret)}"
    replaced = Replaced.of(request, None)
    lost: list[str] = []
    answer = replaced.recorded({"content": said}, is_stream=False, lost=lost)
    chunks = replaced.recorded([said[at : at + size] for at in range(0, len(said), size)], is_stream=True, lost=lost)
    assert not lost
    assert needle(secret) not in json.dumps([answer, "".join(chunks)])
    again = Replaced.of(request, None)
    assert again.put_back(answer) == {"content": said}
    assert "".join(again.put_back(chunks)) == said


def probabilities(text: str) -> Any:
    """Return the log probabilities of a text, as OpenAI has them."""
    tokens = [text[at : at + 4] for at in range(0, len(text), 4)]
    same = [{"token": each, "bytes": [*each.encode()]} for each in tokens]
    return {"content": [{**each, "logprob": -0.1, "top_logprobs": [each, {"token": "a"}]} for each in same]}


def tokens_in(answer: Any) -> str:
    content = [each for choice in answer["choices"] for each in choice["logprobs"]["content"]]
    listed = bytes(byte for each in content for byte in each["bytes"] or []).decode()
    best = "".join(each["top_logprobs"][0]["token"] for each in content if each["top_logprobs"])
    return "|".join(["".join(each["token"] for each in content), listed, best])


def test_a_secret_is_masked_in_the_log_probabilities_as_in_the_text() -> None:
    for secret in FORMATS[:12]:
        said = f"It is {secret} "
        whole = {"choices": [{"message": {"content": said}, "logprobs": probabilities(said)}]}
        chunks = [
            {"choices": [{"index": 0, "delta": {"content": each}, "logprobs": probabilities(each)}]}
            for each in (said[at : at + 8] for at in range(0, len(said), 8))
        ]
        replaced = Replaced.of({"q": 1}, None)
        masked = [replaced.recorded(whole, is_stream=False), *replaced.recorded(chunks, is_stream=True)]
        for parts in (masked[:1], masked[1:]):
            told = tokens_in({"choices": [choice for part in parts for choice in part["choices"]]})
            assert not any(needle(secret)[at : at + 5] in told for at in range(11))
        assert secrets_in({"choices": [{"logprobs": probabilities(said)}]}, random=False)
        asked = Replaced.of({"q": said}, None)
        lost: list[str] = []
        assert tokens_in(asked.put_back(asked.recorded(whole, is_stream=False, lost=lost))).startswith(said)
        assert not lost
    legacy = {"logprobs": {"tokens": ["sk-", FORMATS[0][3:12], FORMATS[0][12:]], "top_logprobs": [{"sk-": -0.1}, None]}}
    assert FORMATS[0][12:] not in str(Replaced.of({"q": 1}, None).recorded(legacy, is_stream=False))


def test_a_token_in_log_probabilities_is_no_value_of_a_name() -> None:
    content = [{"token": each, "bytes": [*each.encode()]} for each in ("getUserV2x9", " a1B2c3D4e5", "f6")]
    answer = {"choices": [{"logprobs": {"content": content}}]}
    lost: list[str] = []
    assert Replaced.of({"q": 1}, None).recorded(answer, is_stream=False, lost=lost) == answer
    assert not lost
    assert not secrets_in(answer, random=False)


def test_texts_that_take_turns_in_a_stream_are_kept_apart() -> None:
    secrets = [FORMATS[0], FORMATS[1]]
    openai = [
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": which, "function": {"arguments": secret[at]}}]}}]}
        for at in range(50)
        for which, secret in enumerate(secrets)
        if at < len(secret)
    ]
    anthropic = [
        {
            "type": "content_block_delta",
            "index": which,
            "delta": {"type": "input_json_delta", "partial_json": secret[at]},
        }
        for at in range(50)
        for which, secret in enumerate(secrets)
        if at < len(secret)
    ]
    responses = [
        {"type": "response.output_text.delta", "item_id": f"msg_{which}", "output_index": which, "delta": secret[at]}
        for at in range(50)
        for which, secret in enumerate(secrets)
        if at < len(secret)
    ]
    for chunks in (openai, anthropic, responses):
        lost: list[str] = []
        masked = Replaced.of({"q": 1}, None).recorded(chunks, is_stream=True, lost=lost)
        assert len(lost) == 2
        assert json.dumps(masked).count("<<secret") == 2


def of_openai(at: int, piece: str) -> Any:
    first = {"id": "call_1", "type": "function"} if at == 0 else {}
    function = {"name": "login", "arguments": piece} if at == 0 else {"arguments": piece}
    return {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **first, "function": function}]}}]}


def of_anthropic(piece: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}


SHAPES = {
    "type in the first tool call": of_openai,
    "type in the first chunk": lambda at, piece: {"content": piece, **({"type": "AIMessageChunk"} if at == 0 else {})},
    "types take turns": lambda at, piece: {"type": "start" if at % 2 else "delta", "text": piece},
    "an index counts the chunks": lambda at, piece: {"index": at, "text": piece},
    "each chunk has an id": lambda at, piece: {"item_id": f"msg_{at}", "delta": piece},
    "a text, then blocks": lambda at, piece: {"content": piece if at == 0 else [{"type": "text", "text": piece}]},
    "a text, then numbered blocks": lambda at, piece: {"content": [{"text": piece, "index": 0}] if at else piece},
    "a text, then lists": lambda at, piece: {"content": [piece] if at % 2 else piece},
    "parts": lambda at, piece: {"parts": [{"text": piece[:2]}, {"text": piece[2:]}] if at % 2 else [{"text": piece}]},
    "pairs": lambda _at, piece: ["messages", {"content": piece}],
    "events": lambda _at, piece: f"event: content_block_delta\ndata: {json.dumps(of_anthropic(piece))}\n\n",
    "data only": lambda at, piece: f"data: {json.dumps(of_openai(at, piece))}\r\n\r\n",
    "lines": lambda _at, piece: f"data: {json.dumps(of_anthropic(piece))}",
    "lines of JSON": lambda _at, piece: json.dumps({"response": piece, "done": False}) + "\n",
    "objects": lambda _at, piece: json.dumps({"response": piece}),
    "texts under a name": lambda _at, piece: {"text": f"data: {json.dumps(of_anthropic(piece))}\n\n"},
    "texts of two shapes": lambda at, piece: (
        {"text": f"data: {json.dumps(of_anthropic(piece))}\n\n"}
        if at % 3 == 0
        else f"data: {json.dumps(of_anthropic(piece))}\n\n"
    ),
}


def in_order(value: Any, name: str = "") -> str:
    """Return what the chunks of one of these shapes say."""
    match value:
        case str() if '{"' in value:
            return "".join(in_order(json.loads(line[line.index("{") :])) for line in value.splitlines() if "{" in line)
        case str():
            return value if name in {"arguments", "content", "text", "delta", "response"} else ""
        case dict():
            return "".join(in_order(item, each) for each, item in value.items())
        case list():
            return "".join(in_order(item, name) for item in value)
        case _:
            return ""


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@settings(deadline=None, max_examples=20)
@given(secret=st.sampled_from(FORMATS), size=st.integers(3, 30))
def test_a_secret_in_a_stream_is_masked_whatever_the_shape_of_the_chunks(
    shape: Callable[[int, str], Any], secret: str, size: int
) -> None:
    said = f"Use {secret} for it."
    chunks = [shape(at, said[begin : begin + size]) for at, begin in enumerate(range(0, len(said), size))]
    assert secrets_in(chunks, random=False)
    lost: list[str] = []
    masked = Replaced.of({"q": 1}, None).recorded(chunks, is_stream=True, lost=lost)
    assert lost
    assert not secrets_in(masked, random=False)
    assert needle(secret)[:6] not in in_order(masked)  # a part of it is as bad
    asked = Replaced.of({"q": said}, None)
    lost = []
    masked = asked.recorded(chunks, is_stream=True, lost=lost)
    assert not lost
    assert in_order(asked.put_back(masked)) == in_order(chunks)


def test_events_that_are_cut_anywhere_are_masked_and_stay_events() -> None:
    secret = FORMATS[1]
    events = "".join(f"data: {json.dumps(of_anthropic(each))}\n\n" for each in (secret[:9], secret[9:20], secret[20:]))
    for size in (7, 50, 1_000):
        chunks = [events[at : at + size] for at in range(0, len(events), size)]
        masked = "".join(Replaced.of({"q": 1}, None).recorded(chunks, is_stream=True))
        assert in_order([masked]) == "<<secret>>"
        replaced = Replaced.of({"q": secret}, None)
        assert in_order(["".join(replaced.put_back(replaced.recorded(chunks, is_stream=True)))]) == secret


def test_texts_beside_each_other_make_up_no_secret() -> None:
    chunks = [
        {"choices": [{"index": which, "delta": {"content": text}}]}
        for at in range(0, 60, 6)
        for which, text in enumerate(
            ["The password is not given here, ask for the token or a key. "[at : at + 6], "word 7"]
        )
    ]
    assert Replaced.of({"q": 1}, None).recorded(chunks, is_stream=True) == chunks


def test_a_long_stream_takes_memory_in_proportion_to_its_length() -> None:
    def peak(number: int) -> int:
        chunks = [{"id": "c", "choices": [{"index": 0, "delta": {"content": "word "}}]} for _ in range(number)]
        replaced = Replaced.of({"q": "x"}, None)
        tracemalloc.start()
        replaced.recorded(chunks, is_stream=True)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(4_000) < 6 * peak(1_000)


MARKS = st.builds(
    "{}<{}{}{}>>{}".format,
    st.sampled_from(["", "<", "a ", "<<="]),
    st.sampled_from(["<", "<=", "<==", "="]),
    st.sampled_from(["secret", "secret_json", "uuid", "call", "eof"]),
    st.sampled_from(["", "-1", "-2", "-c168e14da7bb0598"]),
    st.sampled_from(["", ">", " b", "<<secret>>"]),
)
ID = "3f2a8c1e-0f6b-4a58-9d55-0a8f5a0c9b11"


def keyed(text: str) -> str:
    request = {"messages": [{"role": "user", "content": text}], text: 1}
    return request_key(Replaced.of(request, Volatile({}, time.time)).request)


@settings(deadline=None)
@given(one=st.one_of(MARKS, st.sampled_from(FORMATS), st.just(ID)), other=MARKS)
def test_text_that_looks_like_a_mask_shares_no_key_with_a_secret_or_another_text(one: str, other: str) -> None:
    assert (keyed(one) == keyed(other)) == (one == other)


@settings(deadline=None)
@given(mark=MARKS, secret=st.sampled_from([*FORMATS, ID]), size=st.integers(1, 30))
def test_text_that_looks_like_a_mask_is_replayed_as_it_was(mark: str, secret: str, size: int) -> None:
    said = f"{secret} is not {mark}, {mark} is not {secret} "
    replaced = Replaced.of({"q": f"{mark} {secret} {mark}"}, Volatile({}, time.time))
    answer = replaced.recorded({"content": said, mark: mark}, is_stream=False)
    assert needle(secret) not in json.dumps(answer)
    assert replaced.put_back(answer) == {"content": said, mark: mark}
    chunks = replaced.recorded([said[at : at + size] for at in range(0, len(said), size)], is_stream=True)
    assert "".join(replaced.put_back(chunks)) == said


def test_a_prompt_with_a_mask_misses_the_record_of_a_prompt_with_a_secret(tmp_path: Path) -> None:
    bundle, cache = tmp_path / "x.chatcache", ResponseCache("app", path=tmp_path / "objects")
    with recording(bundle):
        cache.call({"q": f"use {FORMATS[0]}"}, lambda _: "the answer to a secret")
        assert cache.call({"q": f"use {MASK}"}, lambda _: f"it is {MASK}") == f"it is {MASK}"
    with recording(bundle, Policy(mode=RecordMode.REPLAY)):
        assert cache.call({"q": f"use {MASK}"}, lambda _: "") == f"it is {MASK}"
        assert cache.call({"q": f"use {FORMATS[0]}"}, lambda _: "") == "the answer to a secret"


def answer_with(text: str, _request: Any) -> Any:
    return {"text": text}


def test_a_store_takes_no_record_of_a_request_with_a_mask(tmp_path: Path) -> None:
    asked = {"secret": f"use {FORMATS[0]}", "id": f"order {UUID}", "literal": f"use {MASK}", "words": "use it"}
    bundle, skipped = tmp_path / "one.chatcache", list[Skipped]()
    with recording(bundle, Policy(mode=RecordMode.ONCE)):
        cache = ResponseCache("app", path=tmp_path / "one")
        for name, text in asked.items():
            cache.call({"q": text}, partial(answer_with, name))
    again = ResponseCache("app", path=tmp_path / "two")
    assert into_store(again, Bundle(bundle).read(), skipped=skipped) == 2
    assert [each.reason for each in skipped] == ["its request holds a mask or a placeholder"] * 2
    answers = {name: again.call({"q": text}, partial(answer_with, "called")) for name, text in asked.items()}
    assert answers == {
        "secret": {"text": "called"},
        "id": {"text": "called"},
        "literal": {"text": "literal"},
        "words": {"text": "words"},
    }
