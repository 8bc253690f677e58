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
from .blobs import BlobReader, no_blob
from .layout import DEEPEST, Blobs, parsed
from .record import Record, name_of, place_of
from .text import MOST_VALUES, Head, head_of, is_in_conflict, paragraphs, shape_of, size_of, why_not_json

__all__ = ["SUFFIX", "Bundle", "Changes", "Head", "is_bundle"]

SUFFIX = ".chatcache"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_VERSION = 1
_HEADER = b'{"chatcache": "bundle", "version": %d}\n' % _VERSION
_UTF8_MARK = b"\xef\xbb\xbf"  # that some editors put before a text
_LEVELS = 8  # that a record nests in addition to its request and its answer
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_MOST_DAMAGED = 100  # records, after which the rest of the file is not looked at


def is_bundle(path: Path) -> bool:
    """Whether a path has the name of a bundle, by which commands and `Bundle.sweep_blobs` find it."""
    return path.suffix == SUFFIX


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

    A link is followed: the file that it leads to is read and written, under the lock of its folder and with the blobs
    there. A link that leads to anything but a bundle is refused, so that another one's link has no file overwritten.

    Args:
        path: the file, which need not exist, or a link to a bundle, which must.

    Attributes:
        path: as above.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = expanded(path)
        self._is_link = os.path.islink(self.path)  # noqa: PTH114 - raises nothing, whatever the path
        self._file = Path(os.path.realpath(self.path)) if self._is_link else self.path

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
        blobs = BlobReader(self.blob) if with_blobs else no_blob
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
        parts = paragraphs(data)
        self._check_header(next(parts, (1, b""))[1])
        has_conflicts = is_in_conflict(data)
        damaged = 0
        for line, text in parts:
            head, problem = head_of(text)
            if problem is None and not (has_conflicts and is_in_conflict(text)):
                yield head, text
                continue
            damaged += 1
            if damaged > _MOST_DAMAGED:
                raise BundleError(f"{self.path}: more than {_MOST_DAMAGED} records are damaged, up to line {line}")
            yield self._damaged(text, line, problem)

    def record(self, text: bytes, blobs: Callable[[Any], Any] | None = None) -> Record:
        """Return the record of a text.

        Args:
            text: the text, as `blocks` gives it.
            blobs: returns the value of a blob by what stands under its name; by default it is read.

        Raises:
            BundleError: it is none, or a blob of it is missing or damaged.
        """
        try:
            said = self._parsed(text)
            return Record.of(said, (blobs or BlobReader(self.blob)) if b'"$' in text else None)
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
                f"the blob {digest} cannot be read: {error}; restore {file}, or record it again"
            ) from error
        if sha256(content).hexdigest() != digest:
            raise BundleError(f"{file} is not what its name says: restore it, or record it again")
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
        return self._file.parent / files.BLOBS

    def check_record(self, record: Record) -> None:
        """Check that a record can be written, and read again.

        Raises:
            BundleError: its answer is not JSON, or it is too large or nests too deeply.
        """
        blobs: Blobs = {}
        text = self._text(record, blobs)
        self._check_sizes(text, blobs)

    def locked(self) -> AbstractContextManager[int]:
        """Return a context in which this thread alone may write the bundles of the folder: to change what is read.

        The lock ends with its process. The value of the context is how many temporary files of killed writers were
        removed.

        Raises:
            BundleError: another process or thread holds the lock for 10 seconds, or the folder cannot be written to.
        """
        return files.locked(self._file.parent)

    def write(self, records: Iterable[Record | tuple[Head, bytes]]) -> bool:
        """Write records, in the order of the format, and in one step; return whether that changed anything.

        A bundle of no records is no file.

        Args:
            records: records, or what `blocks` gave of some, which is written as it stood there.

        Raises:
            BundleError: it could not be written, or not be read again, or there are new blobs and its name does not
                end in ``.chatcache``; what was there is left.
        """
        with self.locked():
            if self._is_link:
                next(self.check(), None)
            blobs: Blobs = {}
            texts = [
                (each.place, self._text(each, blobs)) if isinstance(each, Record) else (place_of(each[0]), each[1])
                for each in records
            ]
            if blobs and not is_bundle(self._file):
                raise BundleError(
                    f"{self.path} could not be written: the name of a bundle with blobs ends in {SUFFIX}, or "
                    f"they would be swept; call it {self.path.stem}{SUFFIX}"
                )
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
            bundles = [path for path in self._file.parent.glob(f"*{SUFFIX}") if not path.is_dir()]
            used = {digest for path in bundles for digest in Bundle(path).blobs()}
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
            data = files.read(self._file).removeprefix(_UTF8_MARK)
        except FileNotFoundError:
            if self._is_link:
                raise BundleError(
                    f"{self.path} is a link to {self._file}, which is not there: remove the link"
                ) from None
            return None
        except IsADirectoryError as error:
            example = self.path / f"calls{SUFFIX}"
            raise BundleError(f"{self.path} is a folder: pass the path of a bundle, such as {example}") from error
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
            problem = size_of(text) or shape_of(text, record.request, record.answer) or ""
            if not problem:
                return text
        raise BundleError(f"{self.path}: the record {record.key[:12]} of {record.scope or 'no test'}: {problem}")

    def _check_sizes(self, data: bytes, blobs: Blobs) -> None:
        for name, content in (("it", data), *((f"its blob {digest}", content) for digest, content in blobs.items())):
            if content.startswith(b"[") and content.count(b",") > MOST_VALUES:
                raise BundleError(f"{self.path} could not be written: {name} has more than {MOST_VALUES:,} values")
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
        is_new = files.write(self._file, data)
        if is_new:
            files.sync(self._file.parent)
        return is_new

    def _remove(self) -> bool:
        existed = self._file.exists()
        self._file.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)  # a link to it
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
            raise BundleError(f"it is damaged: {why_not_json(error)}: {text[:200].decode(errors='replace')}") from error
        problem = shape_of(text, said, deepest=DEEPEST + _LEVELS)
        if problem is not None:
            raise BundleError(problem)
        head, _ = head_of(text)
        if not isinstance(said, dict) or any(said.get(name) != value for name, value in head.items()):
            raise BundleError("a name is there twice in it")
        return said

    def _damaged(self, text: bytes, line: int, problem: str | None) -> BundleError:
        if is_in_conflict(text):
            return BundleError(
                f"{self.path}: a merge left a conflict in the record at line {line}: keep one side of it, or both "
                "where they are two records, with a blank line between them"
            )
        begins = text[:60].decode(errors="replace")
        return BundleError(
            f"{self.path}: the record at line {line} is damaged: {problem}: {begins}: restore the file from git, or "
            "record it again"
        )


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
