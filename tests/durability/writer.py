"""A program that forks a writer each time one was killed; each lane notes what it begins and what was confirmed.

The notes are in a file that is mapped, so they outlive the process: two numbers a lane, the last one that was begun and
the last one that was confirmed.
"""

import asyncio
import mmap
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

from chatcache import ObjectNamespace, Storage
from chatcache.storage import Transaction

LANES = ("put", "pair", "turn", "count", "acount", "window", "sql", "chain")
KEYS_OF_A_TURN = 5
LONGEST = 20.0  # seconds that a writer lives if nobody kills it


class Notes:
    """What was begun and what was confirmed, in a file."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._numbers = memoryview(mmap.mmap(file.fileno(), 16 * len(LANES))).cast("q")

    def begin(self, lane: str, number: int) -> None:
        self._numbers[2 * LANES.index(lane)] = number

    def confirm(self, lane: str, number: int) -> None:
        self._numbers[2 * LANES.index(lane) + 1] = number

    def of(self, lane: str) -> tuple[int, int]:
        at = 2 * LANES.index(lane)
        return self._numbers[at], self._numbers[at + 1]

    def clear(self) -> None:
        for lane in LANES:
            self.begin(lane, 0)
            self.confirm(lane, 0)


class Writer:
    """Writes in all the ways there are, as fast as it can."""

    def __init__(self, storage: Storage, notes: Notes) -> None:
        self._storage = storage
        self._notes = notes

    def put(self, number: int) -> None:
        self._storage.put("put", number)

    def pair(self, number: int) -> None:
        self._storage.put_many({"pair a": number, "pair b": number})

    def count(self, number: int) -> None:
        def body(inner: Transaction) -> None:
            inner.put("count", inner.get("count", 0) + 1)
            inner.put(f"count {number:06}", number)

        self._storage.transaction(body)

    def window(self, number: int) -> None:
        self._storage.put(f"window {number:06}", number)
        earlier = [*self._storage.list(prefix="window ", end=f"window {number:06}")]
        assert self._storage.delete_many(earlier) == len(earlier)

    async def turn(self, number: int) -> None:
        for each in range(KEYS_OF_A_TURN):
            await self._storage.aput(f"turn {each}", number)
        await self._storage.aflush()

    async def acount(self, number: int) -> None:
        async def body(inner: Transaction) -> None:
            count = await inner.aget("acount", 0)
            await inner.aput(f"acount {number:06}", number)
            await asyncio.sleep(0)
            await inner.aput("acount", count + 1)

        await self._storage.atransaction(body)

    async def sql(self, number: int) -> None:
        await self._storage.aput("sql", number)
        self._storage.sql.exec("INSERT INTO numbers VALUES (?)", number)
        self._storage.kv.put("sql again", number)
        await self._storage.aflush()

    async def chain(self, number: int) -> None:
        await self._storage.aput("chain 1", number)
        await asyncio.sleep(0)
        await self._storage.aput("chain 2", number)
        await asyncio.sleep(0)

    def forever(self, lane: str, write: Callable[[int], None]) -> None:
        number = self._last(lane)
        while True:
            number += 1
            self._notes.begin(lane, number)
            write(number)
            self._notes.confirm(lane, number)

    async def aforever(self, lane: str, write: Callable[[int], Awaitable[None]]) -> None:
        number = self._last(lane)
        while True:
            number += 1
            self._notes.begin(lane, number)
            await write(number)
            if lane != "chain":  # nobody said that it is on disk
                self._notes.confirm(lane, number)

    def run(self) -> None:
        self._storage.sql.exec("CREATE TABLE IF NOT EXISTS numbers (number)")
        for lane, write in {"put": self.put, "pair": self.pair, "count": self.count, "window": self.window}.items():
            threading.Thread(target=self.forever, args=(lane, write), daemon=True).start()
        asyncio.run(asyncio.wait_for(self._tasks(), LONGEST))

    async def _tasks(self) -> None:
        lanes = {"turn": self.turn, "acount": self.acount, "sql": self.sql, "chain": self.chain}
        await asyncio.gather(*(self.aforever(lane, write) for lane, write in lanes.items()))

    def _last(self, lane: str) -> int:
        key = {"pair": "pair a", "turn": "turn 0", "chain": "chain 1"}.get(lane, lane)
        if lane == "window":
            return max(self._storage.list(prefix="window ").values(), default=0)
        last: int = self._storage.get(key, 0)
        return last


def main(folder: str) -> None:
    """Fork a writer to the object that each line names, say its id, and go on when it ended."""
    for line in sys.stdin:
        name, durability = line.split()
        child = os.fork()
        if child == 0:
            storage = ObjectNamespace(folder, durability=durability).get_by_name(name).storage
            Writer(storage, Notes(Path(folder) / "notes")).run()
            os._exit(1)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
