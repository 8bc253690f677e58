"""Objects by name: their ids, and names that cannot be."""

from pathlib import Path
from typing import Any

import pytest

from chatcache import InvalidNameError, ObjectNamespace, StorageError
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
