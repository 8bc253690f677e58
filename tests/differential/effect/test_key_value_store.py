"""Random operations on text and bytes under keys give what Effect gives, over memory and over an object, either way."""

import asyncio
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chatcache import KeyValueStore, MemoryStorage, ObjectNamespace, RowStorage

from .laboratory import Laboratory
from .scripts import Op

OPERATIONS = int(os.environ.get("FUZZ_OPERATIONS", "2000"))
SEED = os.environ.get("FUZZ_SEED", "1")
LENGTH = 50  # operations of a script

KEYS = ["a", "A", "a:", "a:b", "a%", "a_", "b", "é", "😀", "", "a:b:c"]
PREFIXES = ["a", "a:", "%", "_", "é", "", "b", "A"]
TEXTS = ["", "x", "dGV4dA==", "é😀", "\0\n", "AAAA"]
BYTES = ["", "x", "\xff\x00", "text"]  # each character is a byte
METHODS = ["get", "get_bytes", "has", "size", "is_empty", "keys", "remove", "modify", "modify_bytes"]


def generate(seed: str) -> list[Op]:
    random = Random(seed)  # noqa: S311 - chance, no secret
    return [operation(random) for _ in range(LENGTH)]


def operation(random: Random) -> Op:
    method = random.choice([*METHODS * 2, *["set", "set_bytes"] * 8, "clear_prefix", "clear"])
    return {
        "op": "text",
        "prefixes": random.sample(PREFIXES, random.choice([0, 0, 0, 1, 1, 2])),
        "method": method,
        "key": random.choice(PREFIXES if method == "clear_prefix" else KEYS),
        "value": random.choice(BYTES if "bytes" in method else TEXTS),
    }


def arguments(op: Op) -> list[Any]:
    match op["method"]:
        case "size" | "is_empty" | "keys" | "clear":
            return []
        case "set":
            return [op["key"], op["value"]]
        case "set_bytes":
            return [op["key"], op["value"].encode("latin-1")]
        case "modify":
            return [op["key"], lambda text: text + op["value"]]
        case "modify_bytes":
            return [op["key"], lambda data: data + op["value"].encode("latin-1")]
        case _:
            return [op["key"]]


def settled(result: Any) -> Any:
    """Return a result as JSON, keys in the order of Python."""
    if isinstance(result, bytes):
        return result.decode("latin-1")
    return sorted(result) if isinstance(result, list) else result


def ours(storage: RowStorage, script: list[Op], runner: asyncio.Runner | None) -> list[Any]:
    results = []
    for op in script:
        store = KeyValueStore(storage, "store")
        for prefix in op["prefixes"]:
            store = store.prefix(prefix)
        name = "set" if op["method"] == "set_bytes" else op["method"]
        if runner is None:
            result = getattr(store, name)(*arguments(op))
        else:
            result = runner.run(getattr(store, f"a{name}")(*arguments(op)))
        results.append(settled(result))
    return results


@pytest.mark.timeout(600 + OPERATIONS / 50)
def test_random_operations_on_text_and_bytes_give_what_effect_gives(laboratory: Laboratory, tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path)
    with asyncio.Runner() as runner:
        for number in range(-(-OPERATIONS // LENGTH)):
            script = generate(f"{SEED}/{number}")
            ran = laboratory.effect.run({"stores": [], "caches": [], "ops": script})
            theirs = [settled(each["is"].get("ok", each["is"])) for each in ran]
            for awaiting in (False, True):
                thing = namespace.get_by_name(f"{number} {awaiting}").storage
                storage = MemoryStorage() if number % 4 else thing  # a file for every script would take long
                results = ours(storage, script, runner if awaiting else None)
                differing = [each for each in zip(script, theirs, results, strict=True) if each[1] != each[2]]
                assert not differing, f"script {number} of FUZZ_SEED={SEED}, {awaiting=}: {differing[0]}"
