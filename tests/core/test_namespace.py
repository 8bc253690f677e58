"""Objects by name: their ids, and names that cannot be."""

import asyncio
import gc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chatcache import InvalidInputError, InvalidNameError, ObjectNamespace, StorageError
from chatcache.storage.ids import object_id


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
