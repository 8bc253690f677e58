"""Chats that keep their history: statements 46 to 55 of the contract, and `MessageLog`, which keeps it."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

from chatcache import (
    Chat,
    ChatNotFoundError,
    Chats,
    DecodeError,
    InvalidInputError,
    InvalidNameError,
    InvalidTTLError,
    InvalidValueError,
    MessageLog,
    NotStoredError,
    ObjectNamespace,
    PersistenceError,
    StorageError,
    TransactionError,
)
from chatcache.testing import ManualClock
from tests.waiting import until

Generate = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["blocking", "awaiting"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def call(colour: str) -> Generate:
    """Calls a method, or awaits its twin."""

    async def either(thing: Any, method: str, *arguments: Any) -> Any:
        if colour == "blocking":
            return getattr(thing, method)(*arguments)
        return await getattr(thing, f"a{method}")(*arguments)

    return either


@pytest.fixture
def generate(colour: str) -> Generate:
    """Takes a turn whose answer is given, or is made of what the model is shown."""

    async def either(chat: Chat, prompt: Any, answer: Any) -> Any:
        def fn(messages: list[Any]) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer(messages) if callable(answer) else answer

        async def afn(messages: list[Any]) -> Any:
            return fn(messages)

        return chat.generate(prompt, fn) if colour == "blocking" else await chat.agenerate(prompt, afn)

    return either


@pytest.fixture
def stream(colour: str) -> Generate:
    """Takes a turn whose answer comes in parts, and reads so many of them; an exception among them is raised."""

    def fn(parts: list[Any]) -> Iterator[Any]:
        for part in parts:
            if isinstance(part, Exception):
                raise part
            yield part

    async def afn(parts: list[Any]) -> AsyncIterator[Any]:
        for part in fn(parts):
            yield part

    async def either(chat: Chat, prompt: Any, parts: list[Any], most: int | None = None) -> list[Any]:
        if colour == "blocking":
            with closing(chat.stream(prompt, lambda _: fn(parts))) as stream:
                return list(islice(stream, most))
        got = []
        async with aclosing(chat.astream(prompt, lambda _: afn(parts))) as astream:
            async for part in astream:
                got.append(part)
                if len(got) == most:
                    break
        return got

    return either


def said(chat: Chat) -> list[tuple[str, Any]]:
    return [(message["role"], message["content"]) for message in chat.history()]


def ids(chat: Chat) -> list[str]:
    return [message["options"]["effect/ai/Chat/Persisted"]["messageId"] for message in chat.history()]


async def test_a_chat_that_is_not_there_is_an_error_that_names_it(tmp_path: Path, call: Generate) -> None:
    with pytest.raises(ChatNotFoundError, match="there is no chat 'a'") as caught:
        await call(Chats(path=tmp_path), "get", "a")
    assert caught.value.chat_id == "a"


async def test_a_chat_is_there_as_soon_as_it_is_made(tmp_path: Path, call: Generate) -> None:
    await call(Chats(path=tmp_path), "get_or_create", "a")
    chat = await call(Chats(path=tmp_path), "get", "a")
    assert await call(chat, "export") == {"content": []}
    with pytest.raises(ChatNotFoundError):
        await call(Chats(path=tmp_path, store_id="other"), "get", "a")
    await call(Chats(path=tmp_path), "remove", "a")
    with pytest.raises(ChatNotFoundError):
        await call(Chats(path=tmp_path), "get", "a")


async def test_a_history_that_cannot_be_read_is_said_and_left_as_it_is(
    tmp_path: Path, call: Generate, generate: Generate
) -> None:
    chats = Chats(path=tmp_path)
    chat = chats.get_or_create("a")
    MessageLog("a", path=tmp_path).append([{"no": "message"}])
    for method in ("get", "get_or_create"):
        with pytest.raises(PersistenceError, match='Failed to decode persisted history for chat "a"'):
            await call(chats, method, "a")
    with pytest.raises(DecodeError):
        await generate(chat, "Hi", "never")
    assert MessageLog("a", path=tmp_path).messages() == [{"no": "message"}]


async def test_a_turn_is_shown_what_was_said_and_kept(tmp_path: Path, generate: Generate) -> None:
    chat = Chats(path=tmp_path).get_or_create("a")
    assert await generate(chat, "Hi", "Hello") == "Hello"
    answer = {"role": "assistant", "content": [{"type": "text", "text": "Fine"}]}
    assert await generate(chat, [{"role": "user", "content": "How are you?"}], lambda shown: answer) == answer
    assert await generate(chat, {"role": "user", "content": "Count"}, lambda shown: str(len(shown))) == "5"
    assert said(Chats(path=tmp_path).get("a")) == [
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "How are you?"),
        ("assistant", [{"type": "text", "text": "Fine"}]),
        ("user", "Count"),
        ("assistant", "5"),
    ]


async def test_a_turn_that_fails_leaves_the_history_as_it_was(
    tmp_path: Path, generate: Generate, stream: Generate
) -> None:
    chat = Chats(path=tmp_path).get_or_create("a")
    await generate(chat, "Hi", "Hello")
    with pytest.raises(ZeroDivisionError):
        await generate(chat, "Hi again", ZeroDivisionError())
    assert said(chat) == [("user", "Hi"), ("assistant", "Hello")]


async def test_of_a_stream_what_came_is_kept_however_it_ends(tmp_path: Path, stream: Generate) -> None:
    chat = Chats(path=tmp_path).get_or_create("a")
    image = {"type": "file", "mediaType": "image/png"}
    assert await stream(chat, "1", ["a", "b", image, "c"]) == ["a", "b", image, "c"]
    with pytest.raises(ZeroDivisionError):
        await stream(chat, "2", ["a", "b", ZeroDivisionError()])
    assert await stream(chat, "3", ["a", "b", "c"], most=2) == ["a", "b"]
    with pytest.raises(ZeroDivisionError):
        await stream(chat, "4", [ZeroDivisionError()])
    assert said(chat) == [
        ("user", "1"),
        ("assistant", [{"type": "text", "text": "ab"}, image, {"type": "text", "text": "c"}]),
        ("user", "2"),
        ("assistant", "ab"),
        ("user", "3"),
        ("assistant", "ab"),
        ("user", "4"),
    ]


async def test_a_whole_conversation_keeps_its_first_id(tmp_path: Path, generate: Generate, stream: Generate) -> None:
    numbers = count(1)
    chats = Chats(path=tmp_path, new_id=lambda: f"id{next(numbers)}")
    chat = chats.get_or_create("a")
    await generate(chat, "1", "2")
    await stream(chats.get("a"), "3", ["4"])
    assert ids(chat) == ["id1"] * 4
    stamped = {"role": "user", "content": "5", "options": {"effect/ai/Chat/Persisted": {"messageId": "own"}}}
    await generate(chat, stamped, "6")
    assert ids(chat)[4:] == ["own", "id1"]


async def test_two_turns_at_once_on_one_chat_follow_each_other(tmp_path: Path, colour: str) -> None:
    numbers = count(1)
    chat = Chats(path=tmp_path, new_id=lambda: f"id{next(numbers)}").get_or_create("a")

    def fn(shown: list[Any]) -> str:
        time.sleep(0.01)
        return str(len(shown))

    async def afn(shown: list[Any]) -> str:
        await asyncio.sleep(0.01)
        return str(len(shown))

    if colour == "blocking":
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: chat.generate("Hi", fn), range(4)))
    else:
        answers = await asyncio.gather(*(chat.agenerate("Hi", afn) for _ in range(4)))
    assert sorted(answers) == ["1", "3", "5", "7"]
    assert ids(chat) == ["id1"] * 8  # Effect stamps the earlier turn's messages anew


async def test_two_objects_of_one_chat_lose_no_turn(tmp_path: Path) -> None:
    Chats(path=tmp_path).get_or_create("a")
    chats = [Chats(path=tmp_path).get("a") for _ in range(4)]
    inside = asyncio.Event()

    async def fn(_shown: list[Any]) -> str:
        inside.set()
        await asyncio.sleep(0.02)
        return "answer"

    await asyncio.gather(*(chat.agenerate(f"prompt {number}", fn) for number, chat in enumerate(chats)))
    roles = [role for role, _ in said(chats[0])]
    assert roles == ["user", "assistant"] * 4
    assert {content for _, content in said(chats[0])[::2]} == {f"prompt {number}" for number in range(4)}


async def test_a_blocking_turn_that_would_wait_for_a_task_of_its_loop_is_refused(tmp_path: Path) -> None:
    chat = Chats(path=tmp_path).get_or_create("a")
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def fn(_shown: list[Any]) -> str:
        begun.set()
        await go_on.wait()
        return "answer"

    task = asyncio.create_task(chat.agenerate("Hi", fn))
    await begun.wait()
    with pytest.raises(TransactionError, match=r"await agenerate\(\) or read astream\(\)"):
        chat.generate("Ho", lambda _: "never")
    go_on.set()
    assert await task == "answer"
    assert said(chat) == [("user", "Hi"), ("assistant", "answer")]


async def test_a_turn_within_a_turn_is_refused(tmp_path: Path) -> None:
    chat = Chats(path=tmp_path).get_or_create("a")
    stream = chat.stream("1", lambda _: ["a", "b"])
    next(stream)
    with pytest.raises(TransactionError, match="read its stream to the end"):
        chat.generate("2", lambda _: "never")
    assert list(stream) == ["b"]
    with pytest.raises(TransactionError):
        chat.generate("3", lambda _: chat.generate("4", lambda _: "never"))

    async def parts() -> AsyncIterator[str]:
        yield "c"

    async def fn(_shown: list[Any]) -> str:
        return "never"

    async for _ in chat.astream("5", lambda _: parts()):
        with pytest.raises(TransactionError):
            await chat.agenerate("6", fn)
    assert said(chat) == [("user", "1"), ("assistant", "ab"), ("user", "5"), ("assistant", "c")]


async def test_a_chat_is_made_once_by_those_who_make_it_at_once(tmp_path: Path, call: Generate) -> None:
    exported = {"content": [{"role": "user", "content": "Hi"}]}

    async def make() -> bool:
        try:
            await call(Chats(path=tmp_path), "from_export", "a", exported)
        except InvalidInputError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        loop = asyncio.get_running_loop()
        made = await asyncio.gather(*(loop.run_in_executor(pool, asyncio.run, make()) for _ in range(12)))
    assert sum(made) == 1
    assert Chats(path=tmp_path).get("a").export() == exported


async def test_a_part_that_cannot_be_kept_is_an_error_and_what_came_before_is_kept(
    tmp_path: Path, stream: Generate
) -> None:
    chat = Chats(path=tmp_path).get_or_create("a")
    with pytest.raises(InvalidInputError, match="is no part of an answer"):
        await stream(chat, "1", ["a", 7, "b"])
    with pytest.raises(InvalidInputError):
        await stream(chat, "2", [{"type": {1}}])
    assert said(chat) == [("user", "1"), ("assistant", "a"), ("user", "2")]


async def test_a_ttl_is_that_of_who_saved_last(tmp_path: Path, generate: Generate, call: Generate) -> None:
    clock = ManualClock()
    chats = Chats(path=tmp_path, ttl=60, clock=clock)
    chat = await call(chats, "get_or_create", "a")
    clock.now += 59
    await generate(chat, "Hi", "Hello")
    clock.now += 59
    await call(chat, "save")
    clock.now += 59
    with pytest.raises(ZeroDivisionError):
        await generate(chat, "Hi", ZeroDivisionError())
    clock.now += 59
    assert len(chat.history()) == 2
    for_ever = Chats(path=tmp_path, clock=clock).get("a")
    clock.now += 1
    with pytest.raises(ChatNotFoundError):
        chats.get("a")
    await call(for_ever, "save")
    clock.now += 10**6
    assert chats.get("a").history() == []


async def test_a_ttl_of_nothing_keeps_nothing(tmp_path: Path, generate: Generate, call: Generate) -> None:
    Chats(path=tmp_path).get_or_create("a")
    chat = Chats(path=tmp_path, ttl=0).get("a")
    await generate(chat, "Hi", "Hello")
    with pytest.raises(ChatNotFoundError):
        await call(Chats(path=tmp_path), "get", "a")


async def test_export_and_import(tmp_path: Path, generate: Generate, call: Generate) -> None:
    chats = Chats(path=tmp_path)
    chat = chats.get_or_create("a")
    await generate(chat, "H\u00ed \ud83d", [{"role": "assistant", "content": []}, {"role": "tool", "content": [1.5]}])
    exported, text = await call(chat, "export"), await call(chat, "export_json")
    assert json.loads(text) == exported
    for copy in (await call(chats, "from_export", "b", exported), await call(chats, "from_json", "c", text)):
        assert await call(copy, "export") == exported
    with pytest.raises(InvalidInputError, match="there is a chat 'b' already"):
        await call(chats, "from_export", "b", {"content": []})
    assert chats.get("b").export() == exported


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {},
        {"content": 1},
        {"content": [{"role": "user"}]},
        {"content": ["Hi"]},
        {"content": [{"role": "user", "content": "Hi", "options": None}]},
    ],
)
async def test_what_is_no_export_is_refused_and_makes_no_chat(tmp_path: Path, call: Generate, bad: Any) -> None:
    chats = Chats(path=tmp_path)
    for method, given in (
        ("from_export", bad),
        ("from_json", json.dumps(bad)),
        ("from_json", "{"),
        ("from_json", None),
    ):
        with pytest.raises(InvalidInputError):
            await call(chats, method, "a", given)
    with pytest.raises(ChatNotFoundError):
        chats.get("a")


@pytest.mark.parametrize("answer", [None, 7, {"role": "assistant"}, ["Hello"], {"role": "assistant", "content": [{1}]}])
async def test_an_answer_that_cannot_be_kept_is_in_the_error(tmp_path: Path, generate: Generate, answer: Any) -> None:
    chat = Chats(path=tmp_path).get_or_create("a")
    with pytest.raises(NotStoredError) as caught:
        await generate(chat, "Hi", answer)
    assert caught.value.answer is answer
    assert chat.history() == []
    assert await generate(chat, "Hi", "Hello") == "Hello"


async def test_a_prompt_that_is_none_is_refused_before_anything_is_called(
    tmp_path: Path, generate: Generate, stream: Generate
) -> None:
    chat = Chats(path=tmp_path).get_or_create("a")
    for take in (generate, stream):
        with pytest.raises(InvalidInputError, match="neither a text, nor a message"):
            await take(chat, 7, [ZeroDivisionError()])


def test_bad_input_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidTTLError):
        Chats(path=tmp_path, ttl="soon")
    with pytest.raises(InvalidNameError):
        Chats(path=tmp_path, store_id="")
    with pytest.raises(InvalidNameError):
        Chats(path=tmp_path).get("\ud800")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        Chats(path=tmp_path / "file").get("a")
    log = MessageLog("a", path=tmp_path)
    with pytest.raises(InvalidValueError, match=r"\$\.a"):
        log.append([1, {"a": {2}}])
    assert log.messages() is None


async def test_what_is_appended_at_once_stays_in_one_piece(tmp_path: Path) -> None:
    program = (
        "import sys; from chatcache import MessageLog\n"
        "log = MessageLog('a', path=sys.argv[1])\n"
        "for n in range(50): log.append([[sys.argv[2], n, i] for i in range(3)])"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), f"process {number}"]) for number in range(2)
    ]

    async def append(name: str) -> None:
        log = MessageLog("a", path=tmp_path)
        for number in range(50):
            await log.aappend([[name, number, place] for place in range(3)])

    await asyncio.gather(append("task 1"), append("task 2"))
    assert [process.wait() for process in processes] == [0, 0]
    messages = MessageLog("a", path=tmp_path).messages()
    assert messages is not None
    assert len(messages) == 600
    for first, second, third in zip(*[iter(messages)] * 3, strict=True):
        assert [first[2], second[2], third[2]] == [0, 1, 2]
        assert first[:2] == second[:2] == third[:2]


async def test_a_message_of_any_size_is_kept(tmp_path: Path, call: Generate) -> None:
    log = MessageLog("a", path=tmp_path)
    large = {"text": "\u00e4\U0001f5fc\ud800" * 1_000_000}
    await call(log, "append", [1, large])
    await call(log, "append", [{"n": [None, True, 1.5, 2**70]}])
    assert await call(log, "messages") == [1, large, {"n": [None, True, 1.5, 2**70]}]


def test_conversations_that_are_over_are_deleted_though_nobody_asks_for_them(tmp_path: Path) -> None:
    logs = [MessageLog(f"{ttl} s", path=tmp_path, ttl=ttl) for ttl in (0.3, 60, None)]
    for log, message in zip(logs, ("a secret", "another", "a third"), strict=True):
        log.append([message])
    storage = ObjectNamespace(tmp_path, "chats").get_by_name("default").storage
    until(lambda: "a secret" not in str(storage.list()))
    left = str(storage.list())
    assert "a secret" not in left
    assert left.count("due:") == 1
    assert left.count("head:") == 2
