"""A program that goes through an object, and prints how many rows it met and by how many bytes its peak grew.

``scanning.py FOLDER scan|ascan``
"""

import asyncio
import resource
import sys

from chatcache import ObjectNamespace
from chatcache.storage import Storage

NAME = "many"


def main(folder: str, way: str) -> None:
    storage = ObjectNamespace(folder).get_by_name(NAME).storage
    start = _peak()
    rows = asyncio.run(_ascan(storage)) if way == "ascan" else sum(1 for _ in storage.scan())
    sys.stdout.write(f"{rows} {_peak() - start}\n")


async def _ascan(storage: Storage) -> int:
    rows = 0
    async for _ in storage.ascan():
        rows += 1
    return rows


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
