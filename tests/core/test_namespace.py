"""Objects by name: their ids, and names that cannot be."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chatcache import (
    CorruptStorageError,
    InvalidInputError,
    InvalidNameError,
    ObjectNamespace,
    StorageError,
    Transaction,
    TransactionError,
)
from chatcache.storage.ids import object_id

Delete = Callable[[ObjectNamespace, str], Awaitable[bool]]


@pytest.fixture(params=["blocking", "awaiting"])
def delete(request: pytest.FixtureRequest) -> Delete:
    """Deletes an object of a namespace by its name."""

    async def either(namespace: ObjectNamespace, name: str) -> bool:
        return namespace.delete(name) if request.param == "blocking" else await namespace.adelete(name)

    return either


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("case1", "edc45eec0be49819e9c089da5b59fa4983af26a637d346a0e93983ee4ab9a32b"),
        ("a", "da073475ff7aab94001e3a541e305b7a0482d0a4956fb59263115810848d70db"),
        ("ünï/42", "d3a4d2c0e7b95682086abf88479c5e0206b5d72a9fd3114ea914e140508400fa"),
    ],
)
def test_ids_are_those_of_workerd(name: str, identifier: str) -> None:
    """What ``idFromName`` gave in workerd 2026-11-17 for a namespace with the unique key ``k``."""
    assert object_id("k", name) == identifier


def test_the_same_name_is_the_same_object(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path)
    assert namespace.get_by_name("a") is namespace.get_by_name("a")
    assert namespace.get_by_name("a").path != namespace.get_by_name("b").path
    assert ObjectNamespace(tmp_path, "other").get_by_name("a").path != namespace.get_by_name("a").path


@pytest.mark.parametrize("name", ["tenant/42", "a..b", "user:1", "ünï", "a b", "x" * 1024])
def test_names_that_are_fine(tmp_path: Path, name: str) -> None:
    thing = ObjectNamespace(tmp_path).get_by_name(name)
    thing.storage.put("key", name)
    assert thing.path.parent == tmp_path / "default"
    thing.close()


@pytest.mark.parametrize(
    "name", ["", "../../x", "..", "a/../b", "a\\..\\b", "./x", "a\0b", "a\nb", "x" * 1025, "\ud800", 5, None]
)
def test_names_that_are_refused(tmp_path: Path, name: Any) -> None:
    with pytest.raises(InvalidNameError, match="object name"):
        ObjectNamespace(tmp_path).get_by_name(name)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\\b", "a b", "x" * 101, None])
def test_names_of_namespaces_that_are_refused(tmp_path: Path, name: Any) -> None:
    with pytest.raises(InvalidNameError, match="namespace"):
        ObjectNamespace(tmp_path, name)


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is a file: pass a folder"):
        ObjectNamespace(tmp_path / "file")


def test_namespaces_of_equal_settings_have_one_object_between_them(tmp_path: Path) -> None:
    one, other = ObjectNamespace(tmp_path), ObjectNamespace(str(tmp_path), timeout=10, durability="full")
    assert one.get_by_name("a") is other.get_by_name("a")
    identifier = one.new_unique_id()
    assert one.get(identifier) is other.get(identifier)


@pytest.mark.parametrize("settings", [{"timeout": 9}, {"durability": "normal"}, {"longest_row": 9}, {"alarm": print}])
def test_namespaces_of_other_settings_have_objects_of_their_own_for_the_same_file(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    one, other = ObjectNamespace(tmp_path), ObjectNamespace(tmp_path, **settings)
    assert one.get_by_name("a") is not other.get_by_name("a")
    assert one.get_by_name("a").path == other.get_by_name("a").path
    other.close()


def test_an_object_that_nobody_holds_is_made_anew_with_what_was_stored(tmp_path: Path) -> None:
    ObjectNamespace(tmp_path).get_by_name("a").storage.put("key", 1)
    gc.collect()
    assert ObjectNamespace(tmp_path).get_by_name("a").storage.get("key") == 1


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("normal", 1)])
async def test_durability_is_what_a_commit_waits_for(tmp_path: Path, durability: str, synchronous: int) -> None:
    thing = ObjectNamespace(tmp_path, durability=durability).get_by_name("thing")
    await thing.storage.aput("key", 1)
    await thing.storage.aflush()
    with thing._turns.writer() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)
    thing.close()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"durability": "none"}, "durability 'none': use 'full' or 'normal'"),
        ({"durability": None}, "use 'full' or 'normal'"),
        ({"timeout": -1}, "pass seconds, from 0 on"),
        ({"timeout": float("nan")}, "pass seconds, from 0 on"),
        ({"timeout": "10"}, "pass seconds, from 0 on"),
        ({"timeout": None}, "pass seconds, from 0 on"),
        ({"timeout": float("inf")}, "pass seconds, from 0 on"),
        ({"timeout": 10**400}, "pass seconds, from 0 on"),
        ({"longest_row": 0}, "pass a number of bytes, from 1 on"),
        ({"longest_row": 1.5}, "pass a number of bytes, from 1 on"),
        ({"longest_row": True}, "pass a number of bytes, from 1 on"),
        ({"alarm": "handler"}, "alarm"),
        ({"alarm": [print]}, "alarm"),
        ({"clock": 5}, "clock"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_settings_that_cannot_be_right_are_refused(tmp_path: Path, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        ObjectNamespace(tmp_path, **settings)
    assert [*tmp_path.iterdir()] == []


def test_the_names_of_what_was_written_are_told(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path)
    assert [*namespace.names()] == []
    before = datetime.now(UTC) - timedelta(seconds=2)
    for name in ("small", "large", "ünï/42"):
        namespace.get_by_name(name).storage.put("key", "x" * (200_000 if name == "large" else 1))
    nameless = namespace.get(namespace.new_unique_id())
    nameless.storage.put("key", 1)
    namespace.get_by_name("only read").storage.get("key")
    found = [*ObjectNamespace(tmp_path, timeout=9).names()]
    assert [info.id for info in found] == sorted(info.id for info in found)
    by_name = {info.name: info for info in found}
    assert by_name.keys() == {"small", "large", "ünï/42", None}
    assert by_name[None].id == nameless.id
    assert by_name["small"].id == namespace.id_from_name("small")
    assert by_name["large"].size > by_name["small"].size + 100_000
    assert all(before < info.modified < datetime.now(UTC) + timedelta(seconds=2) for info in found)
    assert all(info.modified.tzinfo is UTC for info in found)


def test_an_object_that_was_only_asked_for_by_its_id_has_its_name_later(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path)
    thing = namespace.get(namespace.id_from_name("late"))
    thing.storage.put("key", 1)
    assert [info.name for info in namespace.names()] == [None]
    namespace.get_by_name("late").storage.put("key", 2)
    thing.close()
    ObjectNamespace(tmp_path, timeout=9).get_by_name("late").storage.put("key", 3)
    assert [info.name for info in ObjectNamespace(tmp_path, timeout=8).names()] == ["late"]


def test_alarms_are_no_objects(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path, alarm=print, clock=lambda: 1)
    namespace.get_by_name("thing").storage.set_alarm(5)
    assert [info.name for info in namespace.names()] == ["thing"]
    namespace.close()


def test_other_files_in_the_folder_are_no_objects(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path)
    namespace.get_by_name("thing").storage.put("key", 1)
    for name in ("notes.txt", "copy.sqlite", ".hidden.sqlite"):
        (tmp_path / "default" / name).write_text("no object")
    assert [info.name for info in namespace.names()] == ["thing"]


def test_a_deleted_object_is_gone_and_can_be_made_anew(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path)
    thing = namespace.get_by_name("thing")
    thing.storage.put("key", 1)
    thing.storage.sql.exec("CREATE TABLE own (x)")
    assert namespace.delete("thing") is True
    assert [*(tmp_path / "default").iterdir()] == []
    assert namespace.delete("thing") is False
    assert [*namespace.names()] == []
    assert thing.storage.get("key") is None
    thing.storage.put("key", 2)
    assert ObjectNamespace(tmp_path, timeout=9).get_by_name("thing").storage.list() == {"key": 2}
    assert thing.storage.sql.exec("SELECT name FROM sqlite_master WHERE name = 'own'").raw() == []


async def test_what_a_turn_holds_is_deleted_with_the_object(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path)
    thing = namespace.get_by_name("thing")
    thing.storage.put("key", 1)
    await thing.storage.aput("awaited", 1)
    assert namespace.delete("thing") is True
    await asyncio.sleep(0)
    await thing.storage.aflush()
    assert await thing.storage.alist() == {}
    assert [*(tmp_path / "default").iterdir()] == []


async def test_what_was_only_written_in_the_turn_so_far_is_deleted(tmp_path: Path, delete: Delete) -> None:
    namespace = ObjectNamespace(tmp_path)
    thing = namespace.get_by_name("thing")
    await thing.storage.aput("awaited", 1)
    assert await delete(namespace, "thing") is True
    await thing.storage.aflush()
    assert await thing.storage.alist() == {}
    assert [*namespace.names()] == []
    assert await delete(namespace, "thing") is False
    assert [*(tmp_path / "default").iterdir()] == []


async def test_deletion_awaits_the_transaction_of_another_task(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path)
    storage = namespace.get_by_name("thing").storage
    begun = asyncio.Event()

    async def body(transaction: Transaction) -> None:
        begun.set()
        for number in range(3):
            await transaction.aput(f"{number}", number)
            await asyncio.sleep(0)
        await transaction.aget_many(f"{number}" for number in range(200))  # which takes a thread

    transaction = asyncio.create_task(storage.atransaction(body))
    await begun.wait()
    with pytest.raises(TransactionError, match="would wait for a task of the loop"):
        namespace.delete("thing")
    assert sorted(await asyncio.gather(*(namespace.adelete("thing") for _ in range(12)))) == [*[False] * 11, True]
    assert transaction.done()
    assert await storage.alist() == {}


async def test_within_a_transaction_its_object_can_be_neither_deleted_nor_closed(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path)
    thing = namespace.get_by_name("thing")

    async def body(_transaction: Transaction) -> None:
        with pytest.raises(TransactionError, match="within a transaction"):
            await namespace.adelete("thing")
        with pytest.raises(TransactionError, match="within a transaction"):
            await thing.aclose()

    await thing.storage.atransaction(body)


@pytest.mark.parametrize("garbage", [b"garbage" * 1000, b"SQLite format 3\0" + b"garbage" * 1000], ids=["all", "most"])
async def test_a_damaged_object_hides_no_other_and_can_be_deleted(
    tmp_path: Path, delete: Delete, garbage: bytes
) -> None:
    before = ObjectNamespace(tmp_path)
    for name in "abc":
        before.get_by_name(name).storage.put("key", name)
    damaged = before.get_by_name("b").path
    before.close()
    damaged.write_bytes(garbage)
    namespace = ObjectNamespace(tmp_path, timeout=9)
    found = {info.id: info for info in namespace.names()}
    assert found == {info.id: info async for info in namespace.anames()} | {damaged.stem: found[damaged.stem]}
    assert {info.name for info in found.values()} == {"a", None, "c"}
    assert {info.id: type(info.error) for info in found.values() if info.error} == {damaged.stem: CorruptStorageError}
    assert found[damaged.stem].size == len(garbage)
    with pytest.raises(CorruptStorageError):
        namespace.get_by_name("b").storage.get("key")
    assert await delete(namespace, "b") is True
    assert [info.name for info in namespace.names()] == [info.name for info in found.values() if info.name]
    namespace.get_by_name("b").storage.put("key", "anew")
    assert namespace.get_by_name("b").storage.list() == {"key": "anew"}


async def test_names_are_given_piece_by_piece_to_tasks_too(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path, durability="normal")
    assert [info async for info in namespace.anames()] == []
    for number in range(150):
        namespace.get_by_name(f"{number}").storage.put("key", 1)
    assert [info async for info in namespace.anames()] == [*namespace.names()]


def test_only_the_object_of_that_name_is_deleted(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path)
    for name in ("a", "b"):
        namespace.get_by_name(name).storage.put("key", name)
    assert namespace.delete("a") is True
    assert [info.name for info in namespace.names()] == ["b"]
    assert namespace.get_by_name("b").storage.get("key") == "b"
    with pytest.raises(InvalidNameError):
        namespace.delete("../b")


def test_closing_releases_every_file_and_what_is_used_opens_again(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path)
    things = [namespace.get_by_name(str(number)) for number in range(3)]
    for thing in things:
        thing.storage.put("key", 1)
    namespace.close()
    assert {path.suffix for path in (tmp_path / "default").iterdir()} == {".sqlite"}
    assert [thing.storage.get("key") for thing in things] == [1, 1, 1]
    namespace.close()


async def test_closing_can_be_awaited_and_keeps_the_turn(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path)
    things = [namespace.get_by_name(name) for name in "ab"]
    for close in (things[0].aclose, namespace.aclose):
        for thing in things:
            await thing.storage.aput("key", 1)
        await close()
        assert not things[0].path.with_name(f"{things[0].path.name}-wal").exists()
    assert {path.suffix for path in (tmp_path / "default").iterdir()} == {".sqlite"}
    assert [thing.storage.get("key") for thing in things] == [1, 1]


@pytest.mark.parametrize("path", ["~", "~/.cache/llm", Path("~/x")])
def test_a_tilde_is_the_home_folder_where_no_shell_expands_it(
    path: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CHATCACHE_DIR", str(path))
    expected = Path(str(path).replace("~", str(tmp_path)))
    assert ObjectNamespace(path).root == ObjectNamespace(None).root == expected


def test_the_environment_may_name_the_folder_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", str(tmp_path))
    monkeypatch.setenv("CHATCACHE_DIR", "$PLACE/${PLACE}x")
    assert ObjectNamespace(None).root == Path(f"{tmp_path}/{tmp_path}x")
    monkeypatch.setenv("CHATCACHE_DIR", "$NO_SUCH_PLACE/x")
    with pytest.raises(InvalidInputError, match=r"CHATCACHE_DIR is '\$NO_SUCH_PLACE/x': \$NO_SUCH_PLACE is not set"):
        ObjectNamespace(None)


def test_the_home_folder_of_nobody_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="there is no home folder for ~no-such-user"):
        ObjectNamespace("~no-such-user/x")
