"""Ids: those of workerd, for names and for none."""

from pathlib import Path
from typing import Any

import pytest

from chatcache import InvalidNameError, ObjectNamespace


@pytest.fixture
def namespace(tmp_path: Path) -> ObjectNamespace:
    return ObjectNamespace(tmp_path, "oracle-new")


# what workerd derived for the unique key oracle-new
KNOWN = {
    "x": "672519d79dbba46c2b23a8b3e4bb67435cf1ec93f54dca09b43c450d80f4a75f",
    "a": "0f7b518e95f61a793380c52dedeba9846400d288e9c63cd6dda1cdbeffcab586",
    "5": "071656081a4aa38bf3febe6bfbf7e929daa601f302fff580ff3f043560834e98",
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_id_of_a_name_is_that_of_workerd(namespace: ObjectNamespace, name: str) -> None:
    assert namespace.id_from_name(name) == KNOWN[name]
    thing = namespace.get_by_name(name)
    assert (thing.id, thing.name, thing.path.name) == (KNOWN[name], name, f"{KNOWN[name]}.sqlite")


def test_an_id_that_workerd_made_up_is_one_of_its_namespace(namespace: ObjectNamespace) -> None:
    unique = "2a10057822261a58db6c2c5dfe08205064e003dfa2e815b3cc610b8efa8f7cd1"
    assert namespace.id_from_string(unique) == unique
    assert namespace.get(unique).name is None


def test_new_ids_are_unique_and_of_the_namespace(namespace: ObjectNamespace) -> None:
    identifiers = {namespace.new_unique_id() for _ in range(100)}
    assert len(identifiers) == 100
    assert all(namespace.id_from_string(each) == each for each in identifiers)


def test_capitals_are_read_as_small_letters(namespace: ObjectNamespace) -> None:
    assert namespace.id_from_string(KNOWN["a"].upper()) == KNOWN["a"]
    assert namespace.get(KNOWN["a"].upper()) is namespace.get_by_name("a")


@pytest.mark.parametrize(
    "text",
    ["", "a", KNOWN["a"][:-1], KNOWN["a"] + "0", "g" * 64, f" {KNOWN['a'][1:]}", KNOWN["a"] + "\n", None, 5, b"a" * 64],
)
def test_what_is_no_id_is_refused(namespace: ObjectNamespace, text: Any) -> None:
    with pytest.raises(InvalidNameError, match="an id is 64 hexadecimal digits"):
        namespace.id_from_string(text)
    with pytest.raises(InvalidNameError, match="an id is 64 hexadecimal digits"):
        namespace.get(text)


@pytest.mark.parametrize("digit", [0, 31, 32, 63])
def test_an_id_of_another_namespace_is_refused(namespace: ObjectNamespace, tmp_path: Path, digit: int) -> None:
    with pytest.raises(InvalidNameError, match="it belongs to another namespace than 'oracle-new'"):
        namespace.id_from_string(ObjectNamespace(tmp_path, "other").id_from_name("a"))
    changed = "1" if KNOWN["a"][digit] == "0" else "0"
    with pytest.raises(InvalidNameError, match="it belongs to another namespace"):
        namespace.get(KNOWN["a"][:digit] + changed + KNOWN["a"][digit + 1 :])


@pytest.mark.parametrize("name", ["", "..", 5, None])
def test_the_id_of_what_is_no_name_is_refused(namespace: ObjectNamespace, name: Any) -> None:
    with pytest.raises(InvalidNameError, match="object name"):
        namespace.id_from_name(name)


def test_by_name_and_by_id_it_is_one_object(namespace: ObjectNamespace) -> None:
    by_id = namespace.get(KNOWN["a"])
    assert by_id.name is None
    assert namespace.get_by_name("a") is by_id
    assert by_id.name == "a"
