"""A program whose folder becomes unusable while its cache is open.

Its arguments are a folder of its own, and what happens to the folder of the records. It prints JSON: for each form of a
call, the answers while the folder is unusable and afterwards, the bypasses of each call, the number of calls, and the
log.
"""

import asyncio
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chatcache import ResponseCache
from chatcache.storage import database
from tests.forms import FORMS, Provider, ask

Spoil = Callable[[Path], object]

SPOILS: dict[str, Spoil] = {
    "entering forbidden": lambda folder: folder.chmod(0o000),
    "entering its parent forbidden": lambda folder: folder.parent.chmod(0o000),
    "a file": lambda folder: folder.write_text("no folder"),
    "a loop of links": lambda folder: folder.symlink_to(folder.name),
    "a link that leads nowhere": lambda folder: folder.symlink_to("nowhere"),
}
"""What makes the folder of the records unusable; it was deleted before, unless its mode is changed."""

RENEWED: dict[str, Spoil] = {
    "deleted": lambda _folder: None,
    "an empty folder": lambda folder: folder.mkdir(),
    "another store's folder": lambda folder: (folder.parents[1] / "other" / "calls").rename(folder),
}
"""What the cache begins anew in."""


def spoil(what: str, folder: Path) -> None:
    if "forbidden" not in what:
        shutil.rmtree(folder)
    {**SPOILS, **RENEWED}[what](folder)


def mend(folder: Path) -> None:
    folder.parent.chmod(0o700)
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        folder.chmod(0o700)


async def told(folder: Path, form: str, what: str) -> dict[str, Any]:
    """Ask for two things that are recorded and two that are not, and for all of them once the folder is mended."""
    logged: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("chatcache").addHandler(handler)
    other = ResponseCache("store", path=folder / "other")
    other.call("else", lambda _: "other")
    other.close()
    cache, provider = ResponseCache("store", path=folder / "own"), Provider()
    for request in ("one", "two"):
        await ask(form, cache, request, provider)
    spoil(what, cache.location.parent)
    answers, bypassed = [], []
    for request in ("one", "two", "three", "four"):
        before = cache._own_counts.counted()["bypasses"]
        answers.append(await ask(form, cache, request, provider))
        bypassed.append(cache._own_counts.counted()["bypasses"] - before)
    mend(cache.location.parent)
    after = [await ask(form, cache, "five", provider) for _ in range(2)]
    cache.close()
    said = [each for each in logged if "is not used for a call" in each]
    return {"answers": answers, "bypassed": bypassed, "after": after, "calls": provider.calls, "said": said}


def main() -> None:
    folder, what = Path(sys.argv[1]), sys.argv[2]
    database._LOOK = 0.0  # whether the file is still there is looked at each time, not ten times a second
    if os.geteuid() == 0:  # root may enter everything
        os.chown(folder, 65534, 65534)
        os.setgid(65534)
        os.setuid(65534)
    print(json.dumps({form: asyncio.run(told(folder / form, form, what)) for form in FORMS}))  # noqa: T201


if __name__ == "__main__":
    main()
