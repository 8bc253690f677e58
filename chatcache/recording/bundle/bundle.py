"""A bundle: the records of some tests in one text file, which lives in git.

A record is a block of JSON over several lines; a blank line stands between two. So git sees records as paragraphs:
one that is added, or taken away, touches no line of another, and a change in one is shown by the line. The first block
names the format. Blobs lie beside the bundles, in a folder ``blobs``, each under the SHA-256 of its content.
"""

import os
import re
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from chatcache.errors import BundleError, shown
from chatcache.interrupts import raise_interrupt
from chatcache.storage.paths import expanded

from . import files
from .layout import DEEPEST, Blobs, is_too_deep, parsed
from .record import Record, name_of, place_of, problem_of, unique

__all__ = ["SUFFIX", "Bundle", "Changes", "Head"]

SUFFIX = ".chatcache"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_VERSION = 1
_HEADER = b'{"chatcache": "bundle", "version": %d}\n' % _VERSION
_CONFLICT = (b"\n<<<<<<<", b"\n=======", b"\n>>>>>>>", b"\n|||||||")
_BLANK = re.compile(rb"\n[ \t]*\n\s*")  # between two records
_UTF8_MARK = b"\xef\xbb\xbf"  # that some editors put before a text
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_LONGEST = 16 * 1024 * 1024  # bytes of a record, without its blobs
_MOST_DAMAGED = 100  # records, after which the rest of the file is not looked at
_MOST_EXPANDED = 64 * 1024 * 1024  # bytes of the blobs that records refer to, each counted as often as it is
_MOST_TIMES = 32  # as often, in addition, they may refer to each byte of a blob

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
        self.path = expanded(path)

    def read(self) -> list[Record]:
        """Return the records, in their order; none where there is no file.

        Raises:
            BundleError: it is no bundle, or a newer version wrote it, or a merge left conflicts in it.
        """
        return [*self.records()]

    def records(self, *, with_blobs: bool = True) -> Iterator[Record]:
        """Yield the records, in their order.

        Args:
            with_blobs: whether the blobs are read; else there is None in the place of each.

        Raises:
            BundleError: as `read`.
        """
        blobs = _BlobReader(self) if with_blobs else _no_blob
        for _, text in self.blocks():
            yield self.record(text, blobs)

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
            BundleError: it is no bundle, or a newer version wrote it, or more than 100 of its records are damaged.
        """
        data = self._data()
        if data is None:
            return
        paragraphs = _paragraphs(data)
        self._check_header(next(paragraphs, (1, b""))[1])
        has_conflicts = _in_conflict(data)
        damaged = 0
        for line, text in paragraphs:
            head, problem = _head_of(text)
            if problem is None and not (has_conflicts and _in_conflict(text)):
                yield head, text
                continue
            damaged += 1
            if damaged > _MOST_DAMAGED:
                raise BundleError(f"{self.path}: more than {_MOST_DAMAGED} records are damaged, up to line {line}")
            yield self._damaged(text, line, problem)

    def record(self, text: bytes, blobs: "_Blob | None" = None) -> Record:
        """Return the record of a text.

        Args:
            text: the text, as `blocks` gives it.
            blobs: returns the value of a blob by what stands under its name; by default it is read.

        Raises:
            BundleError: it is none, or a blob of it is missing or damaged.
        """
        try:
            said = self._parsed(text)
            return Record.of(said, (blobs or _BlobReader(self)) if b'"$' in text else None)
        except BundleError as error:
            raise BundleError(f"{self.path}: the record at line {self._line_of(text)}: {error}") from error

    def blob(self, digest: Any) -> bytes:
        """Return the content of a blob.

        Raises:
            BundleError: it is not there, or not what it was.
        """
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise BundleError(f"{shown(digest)} is no name of a blob, which is the SHA-256 of its content")
        file = self.folder / f"{digest}.json"
        try:
            content = files.read(file)
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
        return {digest for _, text in self.blocks() if b'"$blob"' in text for digest in self._digests(text)}

    @property
    def folder(self) -> Path:
        """Where its blobs lie, together with those of the bundles beside it."""
        return self.path.parent / files.BLOBS

    def locked(self) -> AbstractContextManager[int]:
        """Return a context in which this thread alone may write the bundles of the folder: to change what is read.

        The lock ends with its process. The value of the context is how many temporary files of killed writers were
        removed.

        Raises:
            BundleError: another process or thread holds the lock for 10 seconds, or the folder cannot be written to.
        """
        return files.locked(self.path.parent)

    def write(self, records: Iterable[Record | tuple[Head, bytes]]) -> bool:
        """Write records, in the order of the format, and in one step; return whether that changed anything.

        A bundle of no records is no file.

        Args:
            records: records, or what `blocks` gave of some, which is written as it stood there.

        Raises:
            BundleError: it could not be written, or not be read again; what was there is left.
        """
        with self.locked():
            blobs: Blobs = {}
            texts = [
                (each.place, self._text(each, blobs)) if isinstance(each, Record) else (place_of(each[0]), each[1])
                for each in records
            ]
            data = b"\n".join([_HEADER, *(text.rstrip(b"\n") + b"\n" for _, text in sorted(texts))])
            self._check_sizes(data, blobs)
            try:
                return self._write(data, blobs) if texts else self._remove()
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
        with self.locked():
            before = {name_of(head): (head, text) for head, text in self.blocks()}
            kept = {
                name: block for name, block in before.items() if name not in new and block[0]["test"] not in replacing
            }
            self.write([*kept.values(), *new.values()])
        changed = len(new.keys() & before.keys())
        return Changes(len(new) - changed, changed, len(before) - len(kept) - changed)

    def sweep_blobs(self) -> int:
        """Remove the blobs of the folder that no bundle in it refers to; return how many.

        Raises:
            BundleError: one of the bundles cannot be read.
        """
        with self.locked():
            self._check_folder()
            used = {digest for path in self.path.parent.glob(f"*{SUFFIX}") for digest in Bundle(path).blobs()}
            blobs = [blob for blob in self.folder.glob("*.json") if _DIGEST.fullmatch(blob.stem)]
            gone = [blob for blob in blobs if blob.stem not in used]
            try:
                for blob in gone:
                    blob.unlink()
            except OSError as error:
                raise_interrupt(error)
                raise BundleError(f"a blob could not be removed: {error}") from error
        return len(gone)

    def _data(self) -> bytes | None:
        """Return the text without a mark of its encoding, and with line ends of one form; None if there is no file."""
        try:
            data = files.read(self.path).removeprefix(_UTF8_MARK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise_interrupt(error)
            raise BundleError(f"{self.path} could not be read: {error}") from error
        return data.replace(b"\r\n", b"\n") if b"\r\n" in data else data

    def _text(self, record: Record, blobs: Blobs) -> bytes:
        try:
            text = record.text(blobs).encode()
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise_interrupt(error)
            problem = f"it cannot be written: {type(error).__name__}: {error}"
        else:
            if len(text) <= _LONGEST:
                return text
            problem = f"it has {len(text):,} bytes, and at most {_LONGEST:,} are read again"
        raise BundleError(f"{self.path}: the record {record.key[:12]} of {record.scope or 'no test'}: {problem}")

    def _check_sizes(self, data: bytes, blobs: Blobs) -> None:
        for name, content in (("it", data), *((f"its blob {digest}", content) for digest, content in blobs.items())):
            if len(content) > files.LARGEST:
                raise BundleError(
                    f"{self.path} could not be written: {name} would have {len(content):,} bytes, and at most "
                    f"{files.LARGEST:,} are read again: record into several bundles"
                )

    def _check_folder(self) -> None:
        if self.folder.is_symlink():
            raise BundleError(f"{self.folder} is a link: nothing is written or removed there; make it a folder")

    def _write(self, data: bytes, blobs: Blobs) -> bool:
        if blobs:
            self._check_folder()
            new = [files.write(self.folder / f"{digest}.json", content) for digest, content in blobs.items()]
            if any(new):
                files.sync(self.folder)
        is_new = files.write(self.path, data)
        if is_new:
            files.sync(self.path.parent)
        return is_new

    def _remove(self) -> bool:
        existed = self.path.exists()
        self.path.unlink(missing_ok=True)
        return existed

    def _line_of(self, text: bytes) -> str:
        """Return the line at which a record begins, for a message."""
        data = self._data() or b""
        at = data.find(text)
        return str(data.count(b"\n", 0, at) + 1) if at >= 0 else "of another version of the file"

    def _check_header(self, header: bytes) -> None:
        try:
            said = orjson.loads(header)
            version = said["version"] if said["chatcache"] == "bundle" else None
        except (ValueError, TypeError, KeyError) as error:
            raise_interrupt(error)
            version = None
        if type(version) is not int or version < 1:
            is_utf16 = header.startswith(_UTF16_MARKS)
            raise BundleError(
                f"{self.path} is no bundle of chatcache: "
                + ("it is UTF-16: save it as UTF-8" if is_utf16 else f"line 1 is not {_HEADER.decode().strip()}")
            )
        if version > _VERSION:
            raise BundleError(
                f"{self.path} was written by a newer version of chatcache (format {version}, and this one knows "
                f"{_VERSION}): upgrade chatcache"
            )

    def _digests(self, text: bytes) -> Iterator[str]:
        try:
            return _digests(self._parsed(text))
        except BundleError as error:
            raise BundleError(f"{self.path}: the record at line {self._line_of(text)}: {error}") from error

    def _parsed(self, text: bytes) -> Any:
        """Return the value of a record's text.

        Raises:
            BundleError: it is not JSON, nests too deeply, or says two things of one call.
        """
        try:
            said = parsed(text)
        except (ValueError, RecursionError) as error:
            raise_interrupt(error)
            raise BundleError(f"it is damaged: {_why(error)}: {text[:200].decode(errors='replace')}") from error
        if text.count(b"[") + text.count(b"{") > DEEPEST and is_too_deep(said):
            raise BundleError(f"it nests more than {DEEPEST} levels")
        head, _ = _head_of(text)
        if not isinstance(said, dict) or any(said.get(name) != value for name, value in head.items()):
            raise BundleError("a name is there twice in it")
        return said

    def _damaged(self, text: bytes, line: int, problem: str | None) -> BundleError:
        if _in_conflict(text):
            return BundleError(
                f"{self.path}: a merge left a conflict in the record at line {line}: keep one side of it, or both "
                "where they are two records, with a blank line between them"
            )
        return BundleError(f"{self.path}: the record at line {line} is damaged: {problem}: {text[:60]!r}")


class _BlobReader:
    """Reads the blobs of some records, each once, and no more of them than they may expand to.

    Args:
        bundle: the bundle of the records.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._values: dict[str, tuple[Any, int]] = {}
        self._distinct = self._expanded = self._held = 0

    def __call__(self, digest: Any) -> Any:
        """Return the value of a blob.

        Raises:
            BundleError: it is damaged, or records refer to blobs so often that together they are too large.
        """
        known = self._values.get(digest) if isinstance(digest, str) else None
        value, size = known or self._read(digest)
        self._expanded += size
        if self._expanded > _MOST_EXPANDED + _MOST_TIMES * self._distinct:
            raise BundleError(f"blobs are referred to so often that they expand to over {self._expanded:,} bytes")
        return value if type(value) is str else [*value]

    def _read(self, digest: Any) -> tuple[Any, int]:
        content = self._bundle.blob(digest)
        try:
            value = parsed(content)
        except (ValueError, RecursionError) as error:
            raise_interrupt(error)
            raise BundleError(f"the blob {digest} is no JSON: {_why(error)}") from error
        if type(value) is not str and not (type(value) is list and all(type(item) in {int, float} for item in value)):
            raise BundleError(f"the blob {digest} is neither a text nor a list of numbers")
        if self._held > _MOST_EXPANDED:
            self._values, self._held = {}, 0
        self._values[digest] = value, len(content)
        self._held += len(content)
        self._distinct += len(content)
        return self._values[digest]


_Blob = Callable[[Any], Any]


def _no_blob(_digest: Any) -> None:
    """Stand for the value of every blob."""


def _paragraphs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the parts of a text between blank lines, each with the number of its first line."""
    line, begin = 1, 0
    while begin < len(data):
        blank = _BLANK.search(data, begin)
        end, after = (len(data), len(data)) if blank is None else blank.span()
        text = data[begin:end].strip()
        if text:
            at = data.index(text[:1], begin)
            yield line + data.count(b"\n", begin, at), text
        line += data.count(b"\n", begin, after)
        begin = after


def _head_of(text: bytes) -> tuple[Head, str | None]:
    """Return the head of a record by its text, and what is wrong with it, or None."""
    if len(text) > _LONGEST:
        return {}, f"it has {len(text):,} bytes, and at most {_LONGEST:,} are read"
    end = text.find(_END_OF_HEAD)
    try:
        head = _loaded(text[:end] + b"}") if end > 0 else parsed(text)
        if isinstance(head, dict) and text.count(b'\n "', 0, max(end, 0)) != len(head):  # edited
            head = unique(text[:end] + b"}" if end > 0 else text)
    except (ValueError, RecursionError) as error:
        raise_interrupt(error)
        return {}, _why(error)
    return head, problem_of(head)


def _loaded(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise_interrupt(error)
        return parsed(text)


def _why(error: Exception) -> str:
    """Return in a few words why a text is no JSON that is read here."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return f"it nests more than {DEEPEST} levels" if isinstance(error, RecursionError) else str(error)


def _in_conflict(text: bytes) -> bool:
    """Whether git left the marks of a conflict in a text."""
    return any(mark in text or text.startswith(mark[1:]) for mark in _CONFLICT)


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
