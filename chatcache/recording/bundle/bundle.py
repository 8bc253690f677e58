"""A bundle: the records of some tests in one text file, which lives in git.

A record is a block of JSON over several lines; a blank line stands between two. So git sees records as paragraphs:
one that is added, or taken away, touches no line of another, and a change in one is shown by the line. The first block
names the format. Blobs lie beside the bundles, in a folder ``blobs``, each under the SHA-256 of its content.
"""

import os
import re
import tempfile
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from chatcache.errors import BundleError
from chatcache.interrupts import raise_interrupt, suppress

from .layout import Blobs, parsed
from .record import Record, name_of, place_of, problem_of

__all__ = ["SUFFIX", "Bundle", "Changes", "Head"]

SUFFIX = ".chatcache"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_VERSION = 1
_HEADER = b'{"chatcache": "bundle", "version": %d}\n' % _VERSION
_CONFLICT = (b"\n<<<<<<<", b"\n=======", b"\n>>>>>>>", b"\n|||||||")

Head = dict[str, Any]
"""What stands of a record before its request."""

_END_OF_HEAD = b',\n "request": '


@dataclass(frozen=True, slots=True)
class Changes:
    """How many records of a bundle were added, changed, and removed."""

    added: int = 0
    changed: int = 0
    removed: int = 0

    def __add__(self, other: "Changes") -> "Changes":
        return Changes(self.added + other.added, self.changed + other.changed, self.removed + other.removed)


class Bundle:
    """A file of records.

    Args:
        path: the file, which need not exist.

    Attributes:
        path: as above.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def read(self) -> list[Record]:
        """Return the records, in their order; none where there is no file.

        Raises:
            BundleError: it is no bundle, or a newer version wrote it, or a merge left conflicts in it.
        """
        return [self.record(text) for _, text in self.blocks()]

    def blocks(self) -> Iterator[tuple[Head, bytes]]:
        """Yield the records as they stand in the text, each with its head; the rest of it is not looked at.

        Raises:
            BundleError: as `read`.
        """
        for each in self.check():
            if isinstance(each, BundleError):
                raise each
            yield each

    def check(self) -> Iterator[tuple[Head, bytes] | BundleError]:
        """Yield the records as `blocks` does, and in the place of each that is damaged the error that it would raise.

        Raises:
            BundleError: it is no bundle, or a newer version wrote it.
        """
        try:
            data = self.path.read_bytes().replace(b"\r\n", b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            raise_interrupt(error)
            raise BundleError(f"{self.path} could not be read: {error}") from error
        header, *texts = data.split(b"\n\n")
        self._check_header(header)
        has_conflicts = _in_conflict(data)
        for number, each in enumerate(texts):
            text = each.strip()
            if not text:  # one blank line more
                continue
            head, problem = _head_of(text)
            if problem is None and not (has_conflicts and _in_conflict(text)):
                yield head, text
            else:
                before = b"\n\n".join([header, *texts[:number], each[: each.index(text)]])
                yield self._damaged(text, before.count(b"\n") + 1, problem)

    def record(self, text: bytes) -> Record:
        """Return the record of a text.

        Raises:
            BundleError: it is none, or a blob of it is missing or damaged.
        """
        said = self._parsed(text)
        try:
            return Record.of(said, self.blob if b'"$' in text else None)
        except BundleError as error:
            raise BundleError(f"{self.path}: {error}") from error

    def blob(self, digest: str) -> bytes:
        """Return the content of a blob.

        Raises:
            BundleError: it is not there, or not what it was.
        """
        file = self.folder / f"{digest}.json"
        try:
            content = file.read_bytes()
        except OSError as error:
            raise_interrupt(error)
            raise BundleError(
                f"the blob {digest} cannot be read: {error}; restore {file}, or record it anew"
            ) from error
        if sha256(content).hexdigest() != digest:
            raise BundleError(f"{file} is not what its name says: restore it, or record it anew")
        return content

    def blobs(self) -> set[str]:
        """Return the digests of the blobs that its records refer to.

        Raises:
            BundleError: as `read`.
        """
        return {digest for _, text in self.blocks() if b'"$blob"' in text for digest in _digests(self._parsed(text))}

    @property
    def folder(self) -> Path:
        """Where its blobs lie, together with those of the bundles beside it."""
        return self.path.parent / "blobs"

    def write(self, records: Iterable[Record | tuple[Head, bytes]]) -> bool:
        """Write records, in the order of the format, and in one step; return whether that changed anything.

        A bundle of no records is no file.

        Args:
            records: records, or what `blocks` gave of some, which is written as it stood there.

        Raises:
            BundleError: it could not be written; what was there is left.
        """
        blobs: Blobs = {}
        texts = [
            (each.place, each.text(blobs).encode()) if isinstance(each, Record) else (place_of(each[0]), each[1])
            for each in records
        ]
        data = b"\n".join([_HEADER, *(text.rstrip(b"\n") + b"\n" for _, text in sorted(texts))])
        try:
            if not texts:
                existed = self.path.exists()
                self.path.unlink(missing_ok=True)
                return existed
            for digest, content in blobs.items():
                _replace(self.folder / f"{digest}.json", content)
            return _replace(self.path, data)
        except OSError as error:
            raise_interrupt(error)
            raise BundleError(f"{self.path} could not be written: {error}") from error

    def revise(self, records: Iterable[Record], *, replacing: Container[str] = ()) -> Changes:
        """Write records beside those that are there; return what that changed.

        Args:
            records: the records; one takes the place of the one that has its name.
            replacing: the scopes of which nothing is to be left but these.

        Raises:
            BundleError: the bundle could not be read, or written.
        """
        new = {record.name: record for record in records}
        before = {name_of(head): (head, text) for head, text in self.blocks()}
        kept = {name: block for name, block in before.items() if name not in new and block[0]["test"] not in replacing}
        self.write([*kept.values(), *new.values()])
        changed = len(new.keys() & before.keys())
        return Changes(len(new) - changed, changed, len(before) - len(kept) - changed)

    def sweep_blobs(self) -> int:
        """Remove the blobs of the folder that no bundle in it refers to; return how many.

        Raises:
            BundleError: one of the bundles cannot be read.
        """
        used = {digest for path in self.path.parent.glob(f"*{SUFFIX}") for digest in Bundle(path).blobs()}
        gone = [blob for blob in self.folder.glob("*.json") if _DIGEST.fullmatch(blob.stem) and blob.stem not in used]
        for blob in gone:
            blob.unlink()
        return len(gone)

    def _check_header(self, header: bytes) -> None:
        try:
            said = orjson.loads(header)
            version = said["version"] if said["chatcache"] == "bundle" else None
        except (ValueError, TypeError, KeyError) as error:
            raise_interrupt(error)
            version = None
        if type(version) is not int:
            raise BundleError(
                f"{self.path} is no bundle of chatcache: its first line is not {_HEADER.decode().strip()}"
            )
        if version > _VERSION:
            raise BundleError(
                f"{self.path} was written by a newer version of chatcache (format {version}, and this one knows "
                f"{_VERSION}): upgrade chatcache"
            )

    def _parsed(self, text: bytes) -> Any:
        try:
            return parsed(text)
        except (ValueError, RecursionError) as error:
            raise_interrupt(error)
            raise BundleError(
                f"{self.path}: a record is damaged: {error}: {text[:200].decode(errors='replace')}"
            ) from error

    def _damaged(self, text: bytes, line: int, problem: str | None) -> BundleError:
        if _in_conflict(text):
            return BundleError(
                f"{self.path}: a merge left a conflict in the record at line {line}: keep one side of it, or both "
                "where they are two records, with a blank line between them"
            )
        return BundleError(f"{self.path}: the record at line {line} is damaged: {problem}: {text[:60]!r}")


def _head_of(text: bytes) -> tuple[Head, str | None]:
    """Return the head of a record by its text, and what is wrong with it, or None."""
    end = text.find(_END_OF_HEAD)
    try:
        head = orjson.loads(text[:end] + b"}") if end > 0 else parsed(text)
    except (ValueError, RecursionError) as error:
        raise_interrupt(error)
        return {}, str(error)
    return head, problem_of(head)


def _in_conflict(text: bytes) -> bool:
    """Whether git left the marks of a conflict in a text."""
    return any(mark in b"\n" + text for mark in _CONFLICT)


def _digests(value: Any) -> Iterator[str]:
    match value:
        case {"$blob": str(digest)} if len(value) == 1:
            yield digest
        case dict():
            for item in value.values():
                yield from _digests(item)
        case list():
            for item in value:
                yield from _digests(item)


def _replace(file: Path, content: bytes) -> bool:
    """Give a file this content in one step; return False where it had it before."""
    with suppress(FileNotFoundError):
        if file.read_bytes() == content:
            return False
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as temporary:
            temporary.write(content)
            temporary.flush()
            os.fsync(temporary.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return True
