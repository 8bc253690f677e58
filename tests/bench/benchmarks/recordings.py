"""Bundles beside the cassettes of vcrpy, with the same exchanges: what vcrpy itself records of OpenAI's client.

The suites are whole runs of pytest, in processes of their own, over the same tests and the same program, whose cache
replays a bundle in one of them, and is a dictionary in the other. What they import is compiled before, as it is on
machines where tests run more than once.
"""

import json
import os
import subprocess
import sys
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy  # or YAML would say what is alike only once
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from chatcache import Form, ObjectNamespace, ResponseCache, request_key
from chatcache.recording import Bundle, Policy, Record, RecordMode, Shelf, nearest, recording, sketch_of
from chatcache.recording.replaced import Replaced
from chatcache.recording.volatile import Volatile

from .measure import AbsentError, Amount, Line, Rounds, Row
from .provider import MESSAGES, provider

__all__ = ["ROWS"]

# What OpenAI's servers send with each answer, and the provider on this machine does not; vcrpy records it.
_HEADERS = {
    "access-control-expose-headers": "X-Request-ID",
    "alt-svc": 'h3=":443"; ma=86400',
    "cf-cache-status": "DYNAMIC",
    "cf-ray": "9a0b1c2d3e4f5a6b-FRA",
    "openai-organization": "org-0123456789abcdef01234567",
    "openai-processing-ms": "547",
    "openai-project": "proj_0123456789abcdef01234567",
    "openai-version": "2020-10-01",
    "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
    "x-content-type-options": "nosniff",
    "x-envoy-upstream-service-time": "560",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-limit-tokens": "200000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-remaining-tokens": "199982",
    "x-ratelimit-reset-requests": "8.64s",
    "x-ratelimit-reset-tokens": "5ms",
    "x-request-id": "req_0123456789abcdef0123456789abcdef",
}
_TRAFFIC = Path(__file__).parents[4] / "shared" / "traffic"
_EXCHANGES = 1_000
_MANY = 10_000
_TESTS = 1_000


def _exchanges(number: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield requests and answers: the one that a client and a provider exchange, with another question each."""
    for each in range(number):
        asked = [*MESSAGES[:-1], {"role": "user", "content": f"{MESSAGES[-1]['content']} It is order {each}."}]
        request = {"messages": asked, "model": "gpt-4o-mini", "temperature": 0.2, "max_tokens": 1000}
        yield request, {"id": f"chatcmpl-{each:029}"}


def _recorded_once(folder: Path) -> tuple[Any, Any]:
    """Return a request and its response, as vcrpy records them."""
    import openai
    import vcr

    with provider() as server, vcr.use_cassette(str(folder / "one.yaml"), filter_headers=["authorization"]) as cassette:
        client = openai.OpenAI(base_url=server.base_url, api_key="none")
        client.chat.completions.create(**next(_exchanges(1))[0])
        client.close()
    (asked,), (answered,) = cassette.requests, cassette.responses
    answered["headers"] = {**answered["headers"], **{name: [value] for name, value in _HEADERS.items()}}
    return asked, answered


def _record_of(number: int, request: Any, answer: Any, offsets: list[float] | None = None) -> Record:
    return Record(
        scope=f"test_{number:05}",
        store="app",
        key=request_key(request),
        number=1,
        form=Form.ANSWER if offsets is None else Form.STREAM,
        request=request,
        answer=answer,
        offsets=offsets,
        sketch=sketch_of(request),
        at=1_790_000_000_000 + number,
        tokens=719,
        took=1.25,
        versions={"chatcache": "0.1.0", "openai": "2.54.0"},
    )


def _recorded(folder: Path, number: int) -> tuple[Path, Path]:
    """Return a bundle and a cassette of vcrpy with as many exchanges."""
    import vcr
    from vcr.serialize import serialize
    from vcr.serializers import yamlserializer

    asked, answered = _recorded_once(folder)
    answer = json.loads(answered["body"]["string"])
    requests, responses, records = [], [], []
    for at, (request, other) in enumerate(_exchanges(number)):
        said = {**answer, **other}
        body = json.dumps(request).encode()
        requests.append(vcr.request.Request(asked.method, asked.uri, body, deepcopy(dict(asked.headers))))
        responses.append({**deepcopy(answered), "body": {"string": json.dumps(said).encode()}})
        records.append(_record_of(at, request, said))
    theirs, ours = folder / "theirs.yaml", folder / "ours.chatcache"
    theirs.write_text(serialize({"requests": requests, "responses": responses}, yamlserializer))
    Bundle(ours).write(records)
    return ours, theirs


@contextmanager
def _loading() -> Iterator[Rounds]:
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        from vcr.cassette import Cassette

        ours, theirs = _recorded(Path(folder), _EXCHANGES)
        namespace = ObjectNamespace(Path(folder) / "objects", "bundles", durability="normal")

        def load() -> float:
            began = perf_counter()
            shelf = Shelf(Bundle(ours), namespace)
            took = perf_counter() - began
            assert sum(1 for _ in shelf) == _EXCHANGES
            return took * 1e6

        def load_theirs() -> float:
            began = perf_counter()
            cassette = Cassette.load(path=str(theirs))
            took = perf_counter() - began
            assert len(cassette) == _EXCHANGES
            return took * 1e6

        yield load, load_theirs


def _size() -> float:
    """Return how large a bundle of the recorded traffic is, with its blobs, beside a cassette of it."""
    if not _TRAFFIC.is_dir():
        raise AbsentError("no recorded traffic")
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        import vcr
        from vcr.serialize import serialize
        from vcr.serializers import yamlserializer

        asked, answered = _recorded_once(Path(folder))
        requests, responses, records = [], [], []
        for at, line in enumerate(text for file in sorted(_TRAFFIC.glob("*.jsonl")) for text in file.open()):
            said = json.loads(line)
            body = json.dumps(said["request"]).encode()
            uri = f"https://api.openai.com/v1{said['path']}"
            requests.append(vcr.request.Request("POST", uri, body, deepcopy(dict(asked.headers))))
            responses.append({**deepcopy(answered), "body": {"string": said["body"].encode()}})
            records.append(_record_of(at, said["request"], *_answer_of(said)))
        bundle = Bundle(Path(folder) / "ours.chatcache")
        bundle.write(records)
        blobs = sum(file.stat().st_size for file in bundle.folder.iterdir())
        theirs = serialize({"requests": requests, "responses": responses}, yamlserializer)
        return (bundle.path.stat().st_size + blobs) / len(theirs.encode())


def _answer_of(said: dict[str, Any]) -> tuple[Any, list[float] | None]:
    """Return the answer of an exchange of the traffic, and when its chunks came, if it is streamed."""
    if not said["stream"]:
        return json.loads(said["body"]), None
    data = [line.removeprefix("data: ") for line in said["body"].splitlines() if line.startswith("data: {")]
    return [json.loads(each) for each in data], [round(at * 0.013, 3) for at in range(len(data))]


def _explaining() -> float:
    """Return how many ms it takes, at the first miss of a run, to find the nearest record."""
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        ours, _ = _recorded(Path(folder), _MANY)
        shelf = Shelf(Bundle(ours), ObjectNamespace(Path(folder) / "objects", "bundles", durability="normal"))
        request = next(_exchanges(1))[0]
        request["messages"][-1]["content"] = "Where is order 77, and when will it be with me? It is a present."
        began = perf_counter()
        found = nearest(shelf, "test_00077", request)
        took = (perf_counter() - began) * 1e3
        assert found is not None
        return took


_SUITE = """
import pytest
from app import ask

@pytest.mark.parametrize("number", range({tests}))
def test_one(number):
    assert ask(number) == f"answer {{number}}"
"""
_APP = """
from chatcache import ResponseCache

cache = ResponseCache("app")

def ask(number):
    request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"question {number}"}]}
    return cache.call(request, lambda _request: {"content": f"answer {number}"})["content"]
"""
_STUB = """
import app

ANSWERS = {f"question {number}": {"content": f"answer {number}"} for number in range(10_000)}

class Stub:
    def call(self, request, fn):
        return ANSWERS[request["messages"][0]["content"]]

app.cache = Stub()
"""


@contextmanager
def _suites() -> Iterator[Rounds]:
    def suite(folder: Path, conftest: str, *options: str) -> Callable[[], float]:
        folder.mkdir()
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "conftest.py").write_text(conftest)
        (folder / "app.py").write_text(_APP)
        (folder / "test_it.py").write_text(_SUITE.format(tests=_TESTS))

        def run(*more: str) -> float:
            command = [sys.executable, "-m", "pytest", "-q", *options, *more]
            began = perf_counter()
            ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            took = perf_counter() - began
            assert f"{_TESTS} passed" in ended.stdout, ended.stdout + ended.stderr
            return took * 1e6 / _TESTS

        run(*(["--chatcache=refresh"] if options else []))
        return run

    with TemporaryDirectory() as folder:
        ours = suite(Path(folder) / "ours", "", "-p", "pytest_chatcache.plugin", "--chatcache=replay")
        theirs = suite(Path(folder) / "theirs", _STUB)
        yield ours, theirs


@contextmanager
def _small_texts() -> Iterator[Rounds]:
    """Mask requests and streams that are nearly all secrets and ids, each of them in a text of its own."""
    random = Random(19)  # noqa: S311 - nobody uses these passwords
    passwords = [f"{random.getrandbits(40):010x}Zq7" for _ in range(10_000)]
    requests = [
        {f"my_{number}_token": password for number, password in enumerate(passwords)},
        [f"password={password}" for password in passwords],
    ]
    streams = [
        [*"\n".join(f"password={password}" for password in passwords)],
        [{"item_id": f"item-{number}", "delta": "word "} for number in range(10_000)],
    ]
    volatile = Volatile({})

    def mask() -> float:
        began = perf_counter()
        masked = [Replaced.of(request, volatile).request for request in requests]
        recorded = [Replaced.of({}, volatile).recorded(chunks, is_stream=True) for chunks in streams]
        took = perf_counter() - began
        assert not any(password in json.dumps([masked, recorded[0]]) for password in passwords[:10])
        return took * 1e6

    def copy() -> float:
        began = perf_counter()
        deepcopy([requests, streams])
        return (perf_counter() - began) * 1e6

    yield mask, copy


@contextmanager
def _payloads() -> Iterator[Rounds]:
    """Record a request and an answer with an image and audio, 11 MB together, into a bundle."""
    random = Random(19)  # noqa: S311 - bytes of an image, no secret
    image = f"data:image/png;base64,{b64encode(random.randbytes(3_000_000)).decode()}"
    audio = b64encode(random.randbytes(1_125_000)).decode()
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": image}},
        {"type": "input_audio", "input_audio": {"data": audio, "format": "wav"}},
    ]
    request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": parts}]}
    answer = {"choices": [{"message": {"content": "Hi", "audio": {"data": audio}, "images": [{"url": image}]}}]}
    with TemporaryDirectory() as folder:
        cache = ResponseCache("app", path=folder)
        numbers = count()

        def record() -> float:
            bundle = Path(folder) / str(next(numbers)) / "one.chatcache"
            began = perf_counter()
            with recording(bundle, Policy(mode=RecordMode.REFRESH)):
                cache.call(request, lambda _request: answer)
            took = perf_counter() - began
            assert bundle.exists()
            return took * 1e6

        def hash_both() -> float:
            began = perf_counter()
            for value in (request, answer):
                sha256(json.dumps(value).encode()).hexdigest()
            return (perf_counter() - began) * 1e6

        yield record, hash_both


ROWS: list[Line] = [
    Row("recording, loading 1,000 records : vcrpy, YAML by its C loader", 0.1, _loading, rounds=7),
    Row("recording, a replayed suite of 1,000 tests : on a dict", 1.3, _suites, rounds=5),
    Row("recording, many small texts, each a secret or an id : their deepcopy", 14, _small_texts, rounds=9),
    Row("recording, a call with 11 MB of base64 : the same through json.dumps and sha256", 5, _payloads, rounds=9),
    Amount("recording, explaining a miss among 10,000 records", 50, "ms", _explaining),
    Amount("recording, size of the recorded traffic : as YAML of vcrpy", 0.7, "times", _size),
]
