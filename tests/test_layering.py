"""The arrows of the design: who may import what, read from every import statement, also from those inside functions."""

import ast
import sys
from collections.abc import Collection, Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

import chatcache
from chatcache import recording

ROOT = Path(__file__).parents[1]

# From the lowest to the highest: a module imports from its own layer and from those below. A package counts as one.
LAYERS = {
    "pure": {"errors", "keys", "credentials", "codec", "ttl", "clock", "mode", "schema", "exit", "interrupts"},
    "bridge": {"_bridge"},
    "storage": {"storage"},
    "backing": {"backing"},
    "typed": {"persistence", "memory_storage", "key_value_store"},
    "cache": {"cache", "persisted_cache", "memory_tier", "store_errors", "queues", "chats"},
    "recording": {"recording"},
    "command line": {"cli", "__main__"},
    "public names": {"__init__"},
    "for tests": {"testing"},
}

# What the engine has beside the standard library: no framework, no client of a service.
LIBRARIES = {"aiosqlite", "click", "opentelemetry", "orjson", "pydantic", "pytest", "rich", "xxhash", "yaml"}

_IMPURE = ("storage", "backing", "typed", "cache", "recording", "command line")

# What only these may import; a package stands for all of its modules.
ONLY_FOR = {
    "asyncio": {"_bridge", "testing"},
    "concurrent": {"_bridge", "testing"},
    "threading": {"_bridge", "testing"},
    "sqlite3": {"storage"},
    "xxhash": {"storage.rows"},
    "aiosqlite": {"storage.database"},
    "opentelemetry": {"cache.statistics.telemetry"},  # where the program has imported it
    "pydantic": {"schema"},  # an extra
    "pytest": {"testing"},  # another one
    "click": {"cli"},  # as this, and the next two
    "rich": {"cli"},
    "yaml": {"recording.vcr"},
    "time": {"clock", "_bridge.pauses", "storage.patience"},  # the last one sleeps; the clock is for all others
    # no pure module reads, or writes, by itself
    **{
        name: {"_bridge"}.union(
            *(LAYERS[layer] for layer in ("storage", "backing", "typed", "cache", "recording", "command line"))
        )
        for name in ("io", "logging", "os", "pathlib", "random")
    },
}


def modules(package: Path) -> dict[str, list[str]]:
    """Return the modules of a package by their names within it, as ``storage.ranges``, each with what it imports."""
    paths = {".".join(path.relative_to(package).with_suffix("").parts): path for path in sorted(package.rglob("*.py"))}
    return {name: list(imports(path, f"{package.name}.{name}".rpartition(".")[0])) for name, path in paths.items()}


def imports(path: Path, package: str) -> Iterator[str]:
    """Yield the full names of what a file imports: ``from .ttl import TTL`` as ``chatcache.ttl.TTL``."""
    for node in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{module}.{alias.name}" for alias in node.names)


ENGINE = modules(ROOT / "chatcache")
ADAPTERS = {path.parent.name: modules(path.parent) for path in ROOT.glob("integrations/*/*_chatcache/__init__.py")}
EVERY_IMPORT = [(module, imported) for module, names in ENGINE.items() for imported in names]


def within(name: str, places: Collection[str]) -> bool:
    """Say whether a dotted name is one of the places, or lies in one."""
    return any(f"{name}.".startswith(f"{place}.") for place in places)


def height(module: str) -> int:
    """Return how high the layer of a module is; one that is in none is above all."""
    return next((height for height, members in enumerate(LAYERS.values()) if within(module, members)), len(LAYERS))


@pytest.mark.parametrize("module", ENGINE)
def test_every_module_stands_in_a_layer(module: str) -> None:
    assert height(module) < len(LAYERS), (
        f"chatcache.{module} is in no layer: add it to LAYERS in {__file__}, just above the highest that it imports"
    )


def test_a_module_imports_only_from_its_own_layer_and_from_lower_ones() -> None:
    ours = [(module, name.removeprefix("chatcache.")) for module, name in EVERY_IMPORT if within(name, ["chatcache"])]
    upwards = [(module, name) for module, name in ours if height(name) > height(module)]
    assert upwards == [], "what both need belongs below both; public names are for users, not for the engine itself"


def test_the_engine_imports_no_framework_and_no_library_beside_its_own() -> None:
    known = {*sys.stdlib_module_names, *LIBRARIES, "chatcache"}
    assert [f"{module} imports {imported}" for module, imported in EVERY_IMPORT if not within(imported, known)] == []


@pytest.mark.parametrize("guarded", ONLY_FOR)
def test_what_few_modules_may_import_is_imported_by_no_others(guarded: str) -> None:
    importers = [(module, imported) for module, imported in EVERY_IMPORT if within(imported, [guarded])]
    assert [each for each in importers if not within(each[0], ONLY_FOR[guarded])] == []


@pytest.mark.parametrize("adapter", sorted({"litellm_chatcache", "langchain_chatcache", *ADAPTERS}))
def test_an_adapter_uses_the_public_names_of_chatcache_and_no_other_adapter(adapter: str) -> None:
    public = {f"chatcache.{name}" for name in chatcache.__all__}
    public |= {f"chatcache.recording.{name}" for name in recording.__all__}
    if adapter == "pytest_chatcache":  # which has caches stand in, if these adapters are installed
        public |= {"litellm_chatcache.StandInCaches", "langchain_chatcache.StandInCache"}
    foreign = {"chatcache", *ADAPTERS} - {adapter}
    used = {name for names in ADAPTERS[adapter].values() for name in names if within(name, foreign)}
    assert used - public == set(), "write 'from chatcache import ...' with names of chatcache.__all__"
