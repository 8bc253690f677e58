"""Sweeps and large writes that are killed in the middle: nothing is seen by half, and the next one goes on."""

import random
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from chatcache import (
    Alarm,
    BackingStore,
    DurableObject,
    DurableObjectPersistence,
    Limits,
    ObjectNamespace,
    sweep_expired,
)

from .growing import LENGTH, TTL

HERE = Path(__file__).parent
ENTRIES = 3000
NOW = 1_700_000_000


def killed(folder: Path, work: str, after: float, *, written: int = 0) -> None:
    """Kill a program so many seconds after it was at it, and had written so many values."""
    command = [sys.executable, str(HERE / "growing.py"), str(folder), work]
    with subprocess.Popen(command, env={"PYTHONPATH": str(HERE.parents[1])}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        for _ in range(written):
            assert process.stdout.readline() == b"written\n"
        time.sleep(after)
        process.kill()


def opened(folder: Path, now: float) -> tuple[DurableObject, BackingStore]:
    thing = ObjectNamespace(folder, alarm=sweep_expired, clock=lambda: now).get_by_name("thing")
    return thing, DurableObjectPersistence(thing.storage).make("store", limits=Limits(max_entries=2 * ENTRIES))


def test_a_sweep_that_is_killed_leaves_nothing_half_deleted_and_is_gone_on_with(tmp_path: Path) -> None:
    thing, store = opened(tmp_path, NOW)
    store.set_many([(f"{number}", "x" * 100, TTL) for number in range(ENTRIES)])
    for number in range(0, ENTRIES, 10):
        store.set(f"{number}", "y" * 100, TTL, note="note")
    store.set("kept", "value")
    thing.close()
    left = []
    for _ in range(6):
        killed(tmp_path, "sweep", 0.05)
        thing, _ = opened(tmp_path, NOW)
        rows = thing.storage.list()
        entries = [key for key in rows if key.startswith("store:") and key != "store:kept"]
        left.append(len(entries))
        kinds = {kind: {key.split(":", 1)[1] for key in rows if key.startswith(kind)} for kind in ("%note:", "%use:")}
        assert kinds["%use:"] == {*entries, "store:kept"}
        assert kinds["%note:"] == {key for key in entries if rows[key][0][0] == "y"}
        assert {f"store:{key.split(':', 3)[3]}" for key in rows if key.startswith("%due:")} == {*entries}
        assert rows["%total:store"] == [
            len(entries) + 1,
            sum(rows[f"%use:{key}"][0] for key in [*entries, "store:kept"]),
        ]
        thing.close()
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1]
    thing, store = opened(tmp_path, NOW + 2 * TTL)
    sweep_expired(thing, Alarm(datetime.now(UTC), 0))
    assert [key for key in thing.storage.list() if not key.startswith(("%use:", "%total:"))] == ["store:kept"]
    thing.close()


def test_a_large_write_that_is_killed_leaves_the_one_before(tmp_path: Path) -> None:
    moments = random.Random(3)  # noqa: S311 - the same ones each time
    seen: set[str] = set()
    for attempt in range(12):
        killed(tmp_path, "write", moments.uniform(0, 0.1), written=attempt % 3)
        thing = ObjectNamespace(tmp_path).get_by_name("thing")
        store = DurableObjectPersistence(thing.storage).make("store")
        value = store.get("large")
        if value is not None:
            letter = value[0][0]
            seen.add(letter)
            assert value == [letter * (LENGTH - "abc".index(letter) * 1_500_000)]
            assert store.note("large") == [letter] * 1_000_000
            parts = thing.storage.get("store:large")[2] + thing.storage.get("%note:store:large")[2]
            assert len(thing.storage.sizes(prefix="%part:")) == parts
        thing.close()
    assert len(seen) > 1
