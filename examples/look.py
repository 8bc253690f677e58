"""Shows what is recorded, from LiteLLM and from LangChain alike.

::

    python examples/look.py .chatcache
    python examples/look.py .chatcache/calls/<id>.sqlite
"""

import argparse
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chatcache import ChatcacheError, DurableObject, ObjectNamespace

OWN = re.compile("%(?!25|3A)")  # how the rows begin that stores keep beside their entries


def main() -> None:
    """List the records of one object."""
    parser = argparse.ArgumentParser(description="Show what is recorded, from LiteLLM and from LangChain alike.")
    parser.add_argument("path", type=Path, help="the folder that the cache was given as path=, or a file in it")
    parser.add_argument("--object", default="default", help="the name of the object (default: %(default)s)")
    options = parser.parse_args()
    try:
        found = object_at(options.path, options.object)
        entries = {key: entry for key, entry in found.storage.list().items() if not OWN.match(key)}
    except ChatcacheError as error:
        sys.exit(str(error))
    if not entries:
        sys.exit(f"{found.path}: nothing is recorded there")
    console = Console(highlight=False)
    console.print(table_of(entries))
    console.print(f"\n{len(entries)} records in {found.path}", soft_wrap=True)


def object_at(path: Path, name: str) -> DurableObject:
    """Return the object of that name in a folder, or in a file."""
    if not path.is_file():
        return ObjectNamespace(path, "calls").get_by_name(name)
    path = path.resolve()
    found = ObjectNamespace(path.parent.parent, path.parent.name).get_by_name(name)
    if found.path != path:
        sys.exit(f"{path} is not the file of the object {name!r}, which is {found.path.name}: pass the right --object")
    return found


def table_of(entries: dict[str, Any]) -> Table:
    """Return the entries of a storage as a table; long keys and answers are cut."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), expand=True)
    for name in ("store", "key", "expires", "from", "model"):
        table.add_column(name, no_wrap=True)
    table.add_column("answer", no_wrap=True, overflow="ellipsis", ratio=1)
    for name, entry in entries.items():
        store, _, key = name.partition(":")
        table.add_row(*map(in_one_line, (unquote(store), key[:8], *cells(entry))))
    return table


def cells(entry: Any) -> tuple[str, ...]:
    """Return what there is to see of an entry, which a cache writes as ``[record, expires]``."""
    match entry:
        case [record, None]:
            return "never", *seen(record)
        case [record, int(expires)]:
            return when(expires), *seen(record)
        case _:
            return "", *seen(entry)


def when(expires: int) -> str:
    """Return a time that is given in milliseconds since the epoch."""
    try:
        return f"{datetime.fromtimestamp(expires / 1000, UTC).astimezone():%Y-%m-%d %H:%M}"
    except (OverflowError, ValueError):
        return "after 9999"


def seen(record: Any) -> tuple[str, str, str]:
    """Return who made a record, which model answered, and what it said."""
    match record:
        case {"answer": answer, "at": _}:
            return seen(answer)
        case {"choices": [{"message": dict(message)}, *_], "model": model}:
            return "LiteLLM", str(model), said(message)
        case {"generations": [{"fields": dict(message)}, *_], **rest}:
            return "LangChain", str(rest.get("model", "")), said(message)
        case {"chunks": [dict(first), *_] as chunks}:
            models = [str(chunk["model"]) for chunk in chunks if chunk.get("model")]
            source = "LiteLLM" if "choices" in first else "LangChain"
            return source, "".join(models[:1]), "".join(map(streamed, chunks))
        case [{"kind": _, "text": str(text)}, *_]:
            return "LangChain", "", text
        case _:
            return "", "", json.dumps(record)


def said(message: dict[str, Any]) -> str:
    """Return the text of a message, or the names of the functions it calls."""
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = " ".join(block.get("text", "") for block in content if isinstance(block, dict))
    names = [call.get("name") or call["function"]["name"] for call in message.get("tool_calls") or ()]
    return content or " ".join(f"{name}(...)" for name in names if name)


def streamed(chunk: dict[str, Any]) -> str:
    """Return what a chunk of a stream adds to its message."""
    match chunk:
        case {"choices": [{"delta": dict(delta)}, *_]}:
            return said(delta)
        case {"fields": dict(message)}:
            return said(message)
        case _:
            return ""


def in_one_line(text: str) -> Text:
    """Return a text as a cell: without line breaks, and without what a terminal would take for a command."""
    return Text("".join(filter(str.isprintable, " ".join(text.split()))))


if __name__ == "__main__":
    main()
