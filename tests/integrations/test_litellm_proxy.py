"""Live processes of LiteLLM's proxy: two workers, one more proxy with the same records, and one that only replays."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx
import pytest
from openai import APIStatusError, OpenAI
from provider import Provider

from tests.integrations.endpoints import Endpoints, endpoints
from tests.integrations.proxies import EXAMPLE, KEY, Proxy, starting

pytest.importorskip("fastapi", reason="the proxy of LiteLLM is not installed")

MODELS = """
model_list:
  - model_name: embeddings
    litellm_params: {model: openai/text-embedding-3-small, api_base: URL/v1, api_key: none}
  - model_name: responses
    litellm_params: {model: openai/gpt-4o-mini, api_base: URL/v1, api_key: none}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: URL, api_key: none}
  - model_name: pictures
    litellm_params: {model: openai/dall-e-3, api_base: URL/v1, api_key: none}
"""
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Setup:
    """What runs.

    Attributes:
        provider: answers chat completions.
        server: answers all else.
        records: the folder of the records, which all proxies share.
        first: a proxy with two workers.
        second: another one.
        replaying: one in mode ``replay``.
    """

    provider: Provider
    server: Endpoints
    records: Path
    first: Proxy
    second: Proxy
    replaying: Proxy

    @property
    def calls(self) -> int:
        """How often a provider was called."""
        return self.provider.calls + self.server.calls.total()


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    folder = tmp_path_factory.mktemp("proxy")
    with ExitStack() as stack:
        provider, server = stack.enter_context(Provider()), stack.enter_context(endpoints())
        config = EXAMPLE.read_text().replace("http://127.0.0.1:8000/v1", provider.url)
        config = config.replace("\nmodel_list:\n", MODELS.replace("URL", server.url.removesuffix("/v1")))
        first = stack.enter_context(starting(config, folder, workers=2))
        second = stack.enter_context(starting(config, folder))
        replaying = stack.enter_context(starting(config, folder, CHATCACHE_MODE="replay"))
        for proxy in (first, second, replaying):
            proxy.wait()
        yield Setup(provider, server, folder / "records", first, second, replaying)


@pytest.fixture
def prompt(request: pytest.FixtureRequest) -> str:
    """Return what nobody else asks for."""
    return f"Nobody but {request.node.name} asks."


def chat(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}], **more}


def text(answer: httpx.Response) -> str:
    """Return the text of a chat completion, or of a stream of one."""
    assert answer.status_code == 200, answer.text
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return str(answer.json()["choices"][0]["message"]["content"])
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    return "".join(json.loads(line)["choices"][0]["delta"].get("content") or "" for line in lines)


def is_hit(answer: httpx.Response) -> bool:
    return "x-chatcache-age" in answer.headers


def test_a_second_request_is_a_hit_whose_headers_say_so(setup: Setup, prompt: str) -> None:
    miss, hit = [setup.first.post(CHAT, chat(prompt)) for _ in range(2)]
    assert text(miss) == f"You said: {prompt}"
    assert hit.json() == miss.json()
    assert setup.provider.prompts.count(prompt) == 1
    assert not {"x-litellm-cache-key", "x-chatcache-age"} & miss.headers.keys()
    assert float(miss.headers["x-litellm-response-cost"]) > 0
    assert len(hit.headers["x-litellm-cache-key"]) == 64
    assert float(hit.headers["x-chatcache-age"]) > 0
    assert float(hit.headers["x-litellm-response-cost"]) == 0


def test_a_second_stream_has_the_same_chunks(setup: Setup, prompt: str) -> None:
    miss, hit = [setup.first.post(CHAT, chat(prompt, stream=True)) for _ in range(2)]
    assert text(miss) == f"You said: {prompt}"
    assert hit.text == miss.text
    assert hit.text.count("data: {") > 5
    assert (is_hit(miss), is_hit(hit)) == (False, True)
    assert setup.provider.prompts.count(prompt) == 1


@pytest.mark.parametrize("first_is_stream", [False, True])
def test_a_stream_and_a_whole_answer_share_a_record(setup: Setup, prompt: str, *, first_is_stream: bool) -> None:
    asked = [first_is_stream, not first_is_stream]
    miss, hit = [setup.first.post(CHAT, chat(prompt, stream=stream)) for stream in asked]
    assert text(miss) == text(hit) == f"You said: {prompt}"
    assert is_hit(hit)
    assert setup.provider.prompts.count(prompt) == 1


def test_the_client_of_openai_is_served(setup: Setup, prompt: str) -> None:
    with OpenAI(base_url=f"{str(setup.first.client.base_url).rstrip('/')}/v1", api_key=KEY, max_retries=0) as client:
        ask = client.chat.completions.with_raw_response.create
        messages: Any = [{"role": "user", "content": prompt}]
        miss, hit = [ask(model="gpt-4o", messages=messages) for _ in range(2)]
        again = ask(model="gpt-4o", messages=messages, extra_body={"cache": {"no-cache": True}})
        assert miss.parse() == hit.parse()
        assert ["x-chatcache-age" in each.headers for each in (miss, hit, again)] == [False, True, False]
        with pytest.raises(APIStatusError, match="invalid mode 'none' in cache=") as refused:
            ask(model="gpt-4o", messages=messages, extra_body={"cache": {"mode": "none"}})
        assert refused.value.status_code == 400


CONTROLS: list[tuple[str, list[Any], list[bool]]] = [
    # what each of some equal requests says of the cache, and which of them are hits
    ("no-cache", [{}, {"no-cache": True}, {}], [False, False, True]),
    ("no-store", [{"no-store": True}, {}, {"no-store": True}], [False, False, True]),
    ("ttl", [{"ttl": 0.001}, {"ttl": 600}, {}], [False, False, True]),
    ("namespace", [{"namespace": "a"}, {"namespace": "b"}, {"namespace": "a"}, {}], [False, False, True, False]),
    ("s-maxage", [{}, {"s-maxage": 0}, {"s-maxage": 600}], [False, False, True]),
    ("mode read_only", [{"mode": "read_only"}, {}, {"mode": "read_only"}], [False, False, True]),
    ("mode refresh", [{}, {"mode": "refresh"}, {}], [False, False, True]),
    ("mode off", [{"mode": "off"}, {}, {"mode": "off"}], [False, False, False]),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("asked", "hits"), [each[1:] for each in CONTROLS], ids=[each[0] for each in CONTROLS])
def test_a_request_may_say_how_it_is_cached(
    setup: Setup, prompt: str, asked: list[Any], hits: list[bool], *, stream: bool
) -> None:
    answers = [setup.first.post(CHAT, chat(prompt, stream=stream, cache=cache)) for cache in asked]
    assert [is_hit(answer) for answer in answers] == hits
    assert {text(answer) for answer in answers} == {f"You said: {prompt}"}
    assert setup.provider.prompts.count(prompt) == hits.count(False)


def test_a_request_may_be_replayed_only(setup: Setup, prompt: str) -> None:
    miss = setup.first.post(CHAT, chat(prompt, cache={"mode": "replay"}))
    assert (miss.status_code, setup.provider.prompts.count(prompt)) == (424, 0)
    assert "no record to replay: nothing is recorded\n" in miss.json()["error"]["message"]
    setup.first.post(CHAT, chat(prompt))
    assert is_hit(setup.first.post(CHAT, chat(prompt, cache={"mode": "replay"})))


@pytest.mark.parametrize(
    ("cache", "complaint"),
    [({"mode": "none"}, "invalid mode 'none' in cache="), ({"s-maxage": "soon"}, "s-maxage='soon' in cache=")],
)
def test_controls_that_cannot_be_right_are_a_bad_request(
    setup: Setup, prompt: str, cache: dict[str, Any], complaint: str
) -> None:
    refused = setup.first.post(CHAT, chat(prompt, cache=cache))
    assert (refused.status_code, setup.provider.prompts.count(prompt)) == (400, 0)
    assert complaint in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ({"User-Agent": "another", "X-Request-Id": "1"}, {}),
        ({"Cache-Control": "max-age=0, s-maxage=60"}, {}),
        ({"x-litellm-timeout": "50", "x-litellm-num-retries": "1"}, {}),
        ({"x-litellm-tags": "a,b"}, {"metadata": {"run": 1}}),
        ({}, {"messages": [{"content": "PROMPT", "role": "user"}], "temperature": None}),
    ],
)
def test_who_asks_and_how_does_not_count(
    setup: Setup, prompt: str, headers: dict[str, str], more: dict[str, Any]
) -> None:
    setup.first.post(CHAT, chat(prompt))
    body = json.loads(json.dumps(chat(prompt, **more)).replace("PROMPT", prompt))
    assert is_hit(setup.first.client.post(CHAT, json=body, headers=headers))


@pytest.mark.parametrize(
    "forged",
    [
        {"cache_key": "mine"},
        {"preset_cache_key": "mine"},
        {"litellm_params": {"preset_cache_key": "mine", "metadata": {"caching_groups": [["gpt-4o", "mine"]]}}},
        {"metadata": {"model_group": "mine", "caching_groups": [["gpt-4o", "mine"]]}},
        {"litellm_metadata": {"model_group": "mine", "caching_groups": [["gpt-4o", "mine"]]}},
    ],
    ids=lambda forged: next(iter(forged)),
)
def test_no_request_chooses_the_record_of_another(setup: Setup, prompt: str, forged: dict[str, Any]) -> None:
    """Whoever has a key could have an answer of their own choice replayed to all."""
    bodies: list[tuple[str, Callable[[str], dict[str, Any]]]] = [
        (CHAT, chat),
        ("/v1/responses", lambda asked: {"model": "responses", "input": asked}),
    ]
    for path, body in bodies:
        before = setup.calls
        for asked in (f"First {prompt}", f"Second {prompt}"):
            assert not is_hit(setup.first.post(path, {**body(asked), **forged}))
            assert is_hit(setup.first.post(path, body(asked))), "forged arguments count for nothing"
        assert setup.calls == before + 2


def test_two_workers_share_the_records(setup: Setup, prompt: str) -> None:
    one, other = setup.first.workers()
    with setup.first.only(one):
        miss = setup.first.post(CHAT, chat(prompt))
    with setup.first.only(other):
        hit = setup.first.post(CHAT, chat(prompt))
        stream = setup.first.post(CHAT, chat(prompt, stream=True))
    assert text(miss) == text(hit) == text(stream)
    assert [is_hit(answer) for answer in (miss, hit, stream)] == [False, True, True]
    assert setup.provider.prompts.count(prompt) == 1


def test_two_proxies_share_the_records(setup: Setup, prompt: str) -> None:
    answers = [proxy.post(CHAT, chat(prompt)) for proxy in (setup.first, setup.second, setup.replaying)]
    assert [is_hit(answer) for answer in answers] == [False, True, True]
    assert answers[0].json() == answers[1].json() == answers[2].json()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_equal_requests_to_both_proxies_at_once_are_one_call(setup: Setup, prompt: str, *, stream: bool) -> None:
    asking, barrier = 20, Barrier(20)

    def ask(number: int) -> str:
        barrier.wait()
        return text((setup.first, setup.second)[number % 2].post(CHAT, chat(prompt, stream=stream)))

    setup.provider.delay = 0.5
    try:
        with ThreadPoolExecutor(asking) as pool:
            assert set(pool.map(ask, range(asking))) == {f"You said: {prompt}"}
    finally:
        setup.provider.delay = 0.0
    assert setup.provider.prompts.count(prompt) == 1


KINDS: list[tuple[str, str, dict[str, Any]]] = [
    ("embeddings", "/v1/embeddings", {"model": "embeddings", "input": ["one", "two"]}),
    ("responses", "/v1/responses", {"model": "responses", "input": "How is the weather?"}),
    ("responses, streamed", "/v1/responses", {"model": "responses", "input": "And then?", "stream": True}),
    ("messages", "/v1/messages", {**chat("How is the weather?"), "model": "claude", "max_tokens": 9}),
    ("messages, streamed", "/v1/messages", {**chat("And then?", stream=True), "model": "claude", "max_tokens": 9}),
]


@pytest.mark.parametrize(("path", "body"), [each[1:] for each in KINDS], ids=[each[0] for each in KINDS])
def test_other_kinds_of_requests_are_replayed_too(setup: Setup, path: str, body: dict[str, Any]) -> None:
    before = setup.calls
    answers = [proxy.post(path, body) for proxy in (setup.first, setup.second, setup.replaying)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert [is_hit(answer) for answer in answers] == [False, True, True]
    assert [float(answer.headers.get("x-litellm-response-cost", 0)) for answer in answers[1:]] == [0, 0]
    assert setup.calls == before + 1
    miss, *hits = [without_ids(answer) for answer in answers]
    assert hits == [miss, miss]


def without_ids(answer: httpx.Response) -> Any:
    """Return the answer, without the ids of responses, into which the proxy encrypts whose they are, anew each time."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return anonymous(answer.json())
    lines = [line for line in answer.text.splitlines() if line]
    return [anonymous(json.loads(line[6:])) if line.startswith("data: {") else line for line in lines]


def anonymous(value: dict[str, Any]) -> dict[str, Any]:
    kept = {name: inner for name, inner in value.items() if not str(inner).startswith("resp_")}
    return {name: anonymous(inner) if isinstance(inner, dict) else inner for name, inner in kept.items()}


def test_only_new_inputs_of_embeddings_are_paid_for(setup: Setup) -> None:
    for asked in (["three", "four"], ["four", "five"]):
        answer = setup.first.post("/v1/embeddings", {"model": "embeddings", "input": asked})
        assert [each["index"] for each in answer.json()["data"]] == [0, 1]
        assert not is_hit(answer)
    assert setup.server.inputs[-3:] == ["three", "four", "five"]


MISSES: list[tuple[str, str, dict[str, Any]]] = [
    ("chat", CHAT, chat("Nobody asked.")),
    ("stream", CHAT, chat("Nobody asked.", stream=True)),
    ("no-cache", CHAT, chat("Nobody asked.", cache={"no-cache": True})),
    ("caching", CHAT, chat("Nobody asked.", caching=False)),
    ("retries", CHAT, chat("Nobody asked.", num_retries=3)),
    ("embeddings", "/v1/embeddings", {"model": "embeddings", "input": ["one", "nobody asked"]}),
    ("responses", "/v1/responses", {"model": "responses", "input": "Nobody asked."}),
    ("messages", "/v1/messages", {**chat("Nobody asked."), "model": "claude", "max_tokens": 9}),
    ("pictures", "/v1/images/generations", {"model": "pictures", "prompt": "Nobody asked."}),
    ("moderations", "/v1/moderations", {"model": "embeddings", "input": "Nobody asked."}),
]


@pytest.mark.parametrize(("path", "body"), [each[1:] for each in MISSES], ids=[each[0] for each in MISSES])
def test_a_proxy_in_mode_replay_says_what_is_missing_and_calls_nothing(
    setup: Setup, path: str, body: dict[str, Any]
) -> None:
    like_it = json.loads(json.dumps(body).replace("obody asked", "o one asks"))
    setup.first.post(path, {name: value for name, value in like_it.items() if name not in ("cache", "caching")})
    before = setup.calls
    missed = setup.replaying.post(path, body)
    assert (missed.status_code, setup.calls) == (424, before)
    message = missed.json()["error"]["message"]
    assert "no record to replay" in message
    assert "obody" in message, "the difference from the nearest record is told"
    assert "Nothing was called." in message


def test_misses_let_no_deployment_rest(setup: Setup, prompt: str) -> None:
    setup.first.post(CHAT, chat(prompt))
    for number in range(10):
        assert setup.replaying.post(CHAT, chat(f"{number} {prompt}")).status_code == 424
    assert is_hit(setup.replaying.post(CHAT, chat(prompt)))


def test_the_cache_is_healthy_and_shows_no_record(setup: Setup, prompt: str) -> None:
    setup.first.post(CHAT, chat(prompt))
    answer = setup.first.client.get("/cache/ping")
    assert (answer.status_code, answer.json()["status"], answer.json()["cache_type"]) == (200, "healthy", "local")
    assert prompt not in answer.text
    assert len(answer.text) < 2_000


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/cache/delete", 500), ("POST", "/cache/flushall", 503), ("GET", "/cache/redis/info", 503)],
)
def test_what_the_proxy_offers_for_redis_only_is_refused(setup: Setup, method: str, path: str, status: int) -> None:
    answer = setup.first.client.request(method, path, json={"keys": ["any"]})
    assert (answer.status_code, "Cache type local does not support" in answer.text) == (status, True)


def test_health_checks_call_the_provider(setup: Setup) -> None:
    before = setup.provider.calls
    for number in (1, 2):
        checked = setup.first.client.get("/health", params={"model": "gpt-4o"})
        assert checked.json()["healthy_count"] == 1
        assert setup.provider.calls == before + number


def test_no_key_of_the_proxy_is_in_its_records(setup: Setup, prompt: str) -> None:
    for path, body in ((CHAT, chat(prompt)), ("/v1/messages", {**chat(prompt), "model": "claude", "max_tokens": 9})):
        assert setup.first.client.post(path, json=body, headers={"anthropic-beta": "any"}).status_code == 200
    content = b"".join(file.read_bytes() for file in setup.records.rglob("*") if file.is_file())
    assert prompt.encode() in content
    assert KEY.encode() not in content


def test_nothing_was_logged_as_an_error_of_the_cache(setup: Setup) -> None:
    for proxy in (setup.first, setup.second, setup.replaying):
        assert [line for line in proxy.log().splitlines() if "chatcache" in line and "replay" not in line] == []
