"""What tests and fixtures are called in bundles, which bundles those are, and whose a name is.

A test in the bundle of its file is called as within that file; in a bundle of several files its file stands before it.
A fixture is called after the file that defines it and the values it is set up for: ``fixture conftest.py::client``.
"""

import json
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from chatcache.recording import SUFFIX

from .settings import Layout, Settings

__all__ = [
    "CONFTEST",
    "TEARDOWN",
    "Owner",
    "bundle_of",
    "bundle_of_fixture",
    "file_of_fixture",
    "module_of",
    "owner_of",
]

TEARDOWN = " teardown"
"""What is behind the name of a fixture where it is torn down."""

CONFTEST = "conftest.py"
_TEST = re.compile(r"(?:(?P<file>[^:\[]+\.py)::)?(?:\w+::)*\w+(?:\[.*\])?", re.DOTALL)
_FIXTURE = re.compile(rf"(?:\w+::)*fixture (?P<file>[^\[]+?\.py)::[^\[]+(?:\[.*\])?(?:{TEARDOWN})?", re.DOTALL)
_LONGEST_NAME = 120  # bytes of a file's, with room for a digest and what stands behind it
_LONGEST_VALUE = 60  # characters
_PLAIN = re.compile(r"[a-z0-9_]+(?:\[[a-z0-9 .,=+@()/-]*\])?")  # that every file system tells from any other
_NOT_IN_A_NAME = re.compile(r"[^\w\[\](),=+@ -]")
_OF_WINDOWS = re.compile(r"con|prn|aux|nul|(?:com|lpt)[0-9]")  # devices, whatever the suffix
_DIGEST = 12  # hex digits


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a name in a bundle is.

    Attributes:
        is_fixture: whether it is a fixture's, and no test's.
        file: the file that defines it, relative to the folder of the bundle's tests; None for that of the bundle.
    """

    is_fixture: bool
    file: str | None


def owner_of(name: str) -> Owner | None:
    """Return whose a name is, or None where that is not known, as for a doctest."""
    for is_fixture, pattern in ((True, _FIXTURE), (False, _TEST)):
        match = pattern.fullmatch(name)
        if match is not None:
            return Owner(is_fixture, match["file"])
    return None


def bundle_of(settings: Settings, item: pytest.Item) -> tuple[Path, str]:
    """Return the bundle of a test, and what the test is called in it.

    Raises:
        InvalidInputError: the marker names a bundle that cannot be.
    """
    store = settings.store_of(item)
    node = _id_of(item)
    within = node.partition("::")[2] or node
    if store is not None:
        return item.path.parent / settings.folder / f"{store}{SUFFIX}", f"{item.path.name}::{within}"
    if settings.layout is Layout.SUITE:
        return settings.root / settings.folder / f"suite{SUFFIX}", node
    if settings.layout is Layout.TEST:
        return item.path.parent / settings.folder / item.path.stem / f"{_file_name(within)}{SUFFIX}", within
    return _beside(item.path, settings.folder), within


def file_of_fixture(settings: Settings, fixture: pytest.FixtureDef[Any]) -> Path:
    """Return the file that defines a fixture; of a plugin's it is the ``conftest.py`` of the root."""
    place = settings.root / fixture.baseid.partition("::")[0]
    return place / CONFTEST if place.is_dir() else place


def bundle_of_fixture(settings: Settings, fixture: pytest.FixtureDef[Any], item: pytest.Item) -> tuple[Path, str]:
    """Return the bundle of a fixture, and a name that no other one has there, nor the same one for other values.

    Args:
        settings: what the run asks.
        fixture: the fixture, which more than one test may use.
        item: the test that it is set up for.
    """
    place = file_of_fixture(settings, fixture)
    classes: list[str] = []
    if settings.layout is Layout.SUITE:
        tests, bundle = settings.root, settings.root / settings.folder / f"suite{SUFFIX}"
    elif fixture.scope in {"module", "class"}:
        tests, bundle = item.path.parent, _beside(item.path, settings.folder)
        if fixture.scope == "class":
            classes = [each.name for each in item.listchain() if isinstance(each, pytest.Class)]
    else:
        tests, bundle = place.parent, place.parent / settings.folder / f"conftest{SUFFIX}"
    file = Path(os.path.relpath(place, tests)).as_posix()
    return bundle, "::".join([*classes, f"fixture {file}::{fixture.argname}{_values(fixture, item)}"])


def module_of(settings: Settings, bundle: Path) -> Path | None:
    """Return the file of tests that a bundle is of, by its path, or None for that of several files."""
    folder = Path(settings.folder).parts
    if bundle.stem in {"conftest", "suite"}:
        return None
    if bundle.parent.parts[len(bundle.parent.parts) - len(folder) :] == folder:
        return _above(bundle.parent, len(folder)) / f"{bundle.stem}.py"
    return _above(bundle.parent.parent, len(folder)) / f"{bundle.parent.name}.py"  # one of a test of its own


def _file_name(name: str) -> str:
    """Return a name that a file may have on any system, for a test; none other has it, also where case is ignored."""
    if _PLAIN.fullmatch(name) and len(name) <= _LONGEST_NAME and not _OF_WINDOWS.fullmatch(name):
        return name.replace("/", "_")  # there is no other _ behind its [
    readable = _NOT_IN_A_NAME.sub("_", name).strip().encode()[:_LONGEST_NAME].decode(errors="ignore")
    return f"{readable}-{_digest(name)}"


def _above(path: Path, steps: int) -> Path:
    return path if not steps else path.parents[steps - 1]


@lru_cache(maxsize=64)
def _beside(module: Path, folder: str) -> Path:
    """Return the bundle of a file of tests."""
    return module.parent / folder / f"{module.stem}{SUFFIX}"


def _id_of(item: pytest.Item) -> str:
    """Return the id of a test, without the group that pytest-xdist puts behind it."""
    group = item.get_closest_marker("xdist_group") if "@" in item.nodeid else None
    if group is None:
        return item.nodeid
    name = group.args[0] if group.args else group.kwargs.get("name", "default")
    return item.nodeid.removesuffix(f"@{name}")


def _values(fixture: pytest.FixtureDef[Any], item: pytest.Item) -> str:
    """Return the values that a fixture, and those that it needs, are set up for."""
    call = getattr(item, "callspec", None)
    if call is None:
        return ""
    names = sorted(_needed(fixture, item) & call.params.keys())
    return f"[{', '.join(f'{name}={_value(name, item)}' for name in names)}]" if names else ""


def _needed(fixture: pytest.FixtureDef[Any], item: pytest.Item) -> set[str]:
    """Return the names of a fixture and of all that it needs."""
    known = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    needed, left = {fixture.argname}, [*fixture.argnames]
    while left:
        name = left.pop()
        if name not in needed:
            needed.add(name)
            left += [other for each in known.get(name, ()) for other in each.argnames]
    return needed


def _value(name: str, item: pytest.Item) -> str:
    """Return a value as text that no other one has."""
    call = item.callspec  # type: ignore[attr-defined]  # it has one
    try:
        text = json.dumps(call.params[name], sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError):  # it is known by its place, within what the test itself asks for
        return f"#{call.indices[name]} of {item.name.partition('[')[0]}"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:20]}…{_digest(text)}"


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
