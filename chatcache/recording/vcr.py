"""Cassettes of vcrpy and pytest-recording: the calls of a model in them.

A cassette is read as anybody's file. Its size, its depth and what its aliases expand to are checked before its YAML
becomes objects, and what its bodies expand to is checked while they are decompressed.
"""

import json
import re
import zlib
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chatcache.clock import real_time
from chatcache.errors import BundleError, MissingPackageError, shortened, shown
from chatcache.interrupts import raise_interrupt

from .bundle.files import read
from .bundle.layout import DEEPEST, is_too_deep
from .skipped import Skipped

__all__ = ["CassetteCall", "calls_in", "recorded_at", "request_line"]


@dataclass(frozen=True, slots=True)
class CassetteCall:
    """A call of a model in a cassette.

    Attributes:
        request: the body that was sent.
        answer: the body that came back; of a stream the list of its events.
        is_stream: whether it is a stream.
        at: when it was made, in milliseconds since the epoch.
    """

    request: Any
    answer: Any
    is_stream: bool
    at: int


_PATHS = ("/chat/completions", "/completions", "/embeddings", "/responses", "/messages")
_END = "[DONE]"
_STREAM = ("event:", "data:", "id:", "retry:", ":")  # how server-sent events begin
_FAILED = {"error", "response.failed"}  # the types of events that say so
_OLDEST = datetime(2000, 1, 1, tzinfo=UTC)  # of times that are believed
_LEAST_ERROR = 400  # of the statuses of HTTP
_GZIP = b"\x1f\x8b"  # how what is compressed so begins
_ZLIB = b"\x78"  # the same, of deflate with a header
_LINE_ENDS = re.compile(r"\r\n|\n|\r")  # of events; JSON may hold the others
_LARGEST = 32 * 1024 * 1024  # bytes of a cassette
_MOST_EXPANDED = 64 * 1024 * 1024  # bytes of all its bodies, decompressed; and of its values, with aliases resolved
_MOST_PARTS = 500_000  # of its YAML
_MOST_EVENTS = 200_000  # of all its streams
_MOST_VALUES = 1_000_000  # of the JSON of all its bodies, by their commas
_LONGEST_NUMBER = 1_000  # characters
_NUMBER = re.compile(r"[-+\d._:]+")


def calls_in(path: Path) -> Iterator[CassetteCall | Skipped]:
    """Yield each interaction of a cassette, in order: a call of a model, or why it cannot be imported.

    A call's time is that of its interaction, by ``recorded_at`` or the header ``Date`` of its response. Without either
    it is that of the last one before it, or else that of the file.

    Raises:
        BundleError: it is no cassette.
        MissingPackageError: PyYAML is not installed.
    """
    bodies = _Bodies()
    interactions = _interactions(path)
    last = next(filter(None, map(recorded_at, interactions)), min(max(path.stat().st_mtime, 0), real_time()))
    for number, interaction in enumerate(interactions, 1):
        match interaction:
            case {"request": {"uri": str(uri)}, "response": dict()}:
                pass
            case _:
                raise BundleError(
                    f"{path} is no cassette of vcrpy: its interaction {number} is no request with a uri, and a "
                    f"response: {shown(interaction)}"
                )
        last = recorded_at(interaction) or last
        method = interaction["request"].get("method") or "POST"
        try:
            _check_address(uri, method)
            yield _call_of(interaction, bodies, at=round(last * 1000))
        except _UnreadableError as error:
            raise_interrupt(error)
            yield Skipped(f"{path}, interaction {number}, {request_line(method, uri)}", str(error))


def request_line(method: object, uri: str) -> str:
    """Return the method, the host and the path of a request, and nothing of it that may be a credential."""
    try:
        parts = urlsplit(uri)
        address = f"{parts.hostname or ''}{parts.path}"
    except ValueError as error:
        raise_interrupt(error)
        address = "an address that cannot be read"
    return shortened(f"{method} {address}", 200)


def recorded_at(interaction: Any) -> float | None:
    """Return when an interaction was recorded, in seconds since the epoch, or None if it does not say."""
    match interaction:
        case {"recorded_at": said} if (time := _time(said)) is not None:
            return time
        case {"response": {"headers": Mapping() as headers}}:
            return _time(next(iter(_values(headers, "date")), None))
    return None


def _time(said: object) -> float | None:
    """Return a time in seconds since the epoch; None for what is not a time, or is before 2000 or in the future."""
    try:
        match said:
            case datetime():
                time = said
            case str() if said[:4].isdecimal():
                time = datetime.fromisoformat(said)
            case str():
                time = parsedate_to_datetime(said)
            case _:
                return None
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        latest = datetime.fromtimestamp(real_time(), UTC) + timedelta(days=1)  # whose clock is not ours
        return time.timestamp() if _OLDEST <= time <= latest else None
    except (ValueError, OverflowError, TypeError) as error:
        raise_interrupt(error)
        return None


def _check_address(uri: str, method: object) -> None:
    """Raise `_UnreadableError` if a request is not a call of a model, or of an API that is not imported."""
    if method != "POST":
        raise _UnreadableError("it is no call of a model, which is a POST")
    if not uri.partition("#")[0].partition("?")[0].endswith(_PATHS):
        raise _UnreadableError(f"its address ends in none of {', '.join(_PATHS)}")


class _UnreadableError(Exception):
    """A call of a cassette cannot be taken over."""


def _interactions(path: Path) -> list[Any]:
    try:
        import yaml  # an extra, that only this needs
    except ImportError as error:
        raise_interrupt(error)
        raise MissingPackageError("cassettes of vcrpy are YAML: pip install pyyaml") from error
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # both are safe
    try:
        data = read(path, _LARGEST)
        _check(yaml, yaml.parse(data, Loader=loader))
        said = yaml.load(data, Loader=loader)  # noqa: S506 - it is safe
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        raise_interrupt(error)
        raise BundleError(f"{path} is no cassette of vcrpy: {error or type(error).__name__}") from error
    interactions = said.get("interactions") if isinstance(said, dict) else None
    if not isinstance(interactions, list):
        raise BundleError(f"{path} is no cassette of vcrpy: there is no list under 'interactions'")
    return interactions


def _check(yaml: Any, events: Iterator[Any]) -> None:
    """Raise `ValueError` if a YAML text has more parts, nests deeper, or is larger with its aliases, than is read."""
    sizes = _Sizes()
    for event in events:
        try:
            match event:
                case yaml.CollectionStartEvent():
                    sizes.begin(event.anchor)
                case yaml.CollectionEndEvent():
                    sizes.end()
                case yaml.AliasEvent():
                    sizes.add_alias(event.anchor)
                case yaml.ScalarEvent():
                    sizes.add_text(event.value, event.anchor, is_plain=not event.style)
        except ValueError as error:
            raise_interrupt(error)
            raise ValueError(f"line {event.start_mark.line + 1}: {error}") from None


class _Sizes:
    """How large the parts of a YAML text are when its aliases are resolved.

    Each method raises `ValueError` where they are too large, or refer to what is not there.
    """

    def __init__(self) -> None:
        self._of_anchors: dict[str, int] = {}
        self._open: list[tuple[str | None, int]] = [(None, 0)]  # the lists and objects that hold what comes next
        self._parts = 0

    def begin(self, anchor: str | None) -> None:
        """Begin a list or an object."""
        self._open.append((anchor, 1))
        if len(self._open) > DEEPEST:
            raise ValueError(f"it nests more than {DEEPEST} levels")

    def end(self) -> None:
        """End it."""
        anchor, size = self._open.pop()
        self._add(size, anchor)

    def add_alias(self, anchor: str) -> None:
        """Add what an alias is of."""
        if anchor not in self._of_anchors:
            raise ValueError(f"the alias {anchor!r} is of nothing, or of what holds it")
        self._add(self._of_anchors[anchor], None)

    def add_text(self, text: str, anchor: str | None, *, is_plain: bool) -> None:
        """Add a text, which YAML may take for a number if it is plain."""
        if is_plain and len(text) > _LONGEST_NUMBER and _NUMBER.fullmatch(text):
            raise ValueError(f"it has a number of {len(text):,} digits")
        self._add(len(text) + 1, anchor)

    def _add(self, size: int, anchor: str | None) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise ValueError(f"it has more than {_MOST_PARTS:,} parts")
        if anchor is not None:
            self._of_anchors[anchor] = size
        holder, before = self._open[-1]
        self._open[-1] = holder, before + size
        if before + size > _MOST_EXPANDED:
            raise ValueError(f"its aliases expand to more than {_MOST_EXPANDED:,} bytes")


def _call_of(interaction: Any, bodies: "_Bodies", *, at: int) -> CassetteCall:
    """Return a call of a model.

    Raises:
        _UnreadableError: the call failed, or cannot be read.
    """
    request, response = interaction["request"], interaction["response"]
    match response.get("status"):
        case {"code": int(code)} if code < _LEAST_ERROR:
            pass
        case {"code": int(code)}:
            raise _UnreadableError(f"it failed with status {code}")
        case _:
            raise _UnreadableError("it has no status")
    asked = bodies.parsed(bodies.text(request, "its request"), "its request")
    if not isinstance(asked, dict):
        raise _UnreadableError("its request is no JSON object")
    text = bodies.text(response, "its answer")
    if not text.lstrip().startswith(_STREAM):
        answer = bodies.parsed(text, "its answer")
        if _is_error(answer):
            raise _UnreadableError("its answer is an error")
        return CassetteCall(asked, answer, is_stream=False, at=at)
    said = [line.removeprefix("data:").strip() for line in _LINE_ENDS.split(text) if line.startswith("data:")]
    bodies.count_events(len(said))
    chunks = [bodies.parsed(each, "an event of its answer") for each in said if each and each != _END]
    if not chunks:
        raise _UnreadableError("its stream is empty")
    if any(map(_is_error, chunks)):
        raise _UnreadableError("its stream holds an error")
    return CassetteCall(asked, chunks, is_stream=True, at=at)


def _is_error(said: Any) -> bool:
    """Whether an answer, or an event of one, says that the call failed."""
    return isinstance(said, dict) and (said.get("error") is not None or said.get("type") in _FAILED)


class _Bodies:
    """Reads the bodies of one cassette, as far as they are not too large all together."""

    def __init__(self) -> None:
        self._bytes, self._events, self._values = _MOST_EXPANDED, _MOST_EVENTS, _MOST_VALUES

    def count_events(self, number: int) -> None:
        """Note that a stream has so many events.

        Raises:
            _UnreadableError: with those of the others they are too many.
        """
        self._events -= number
        if self._events < 0:
            raise _UnreadableError(f"the streams of the cassette have more than {_MOST_EVENTS:,} events")

    def parsed(self, text: str, what: str) -> Any:
        """Return the JSON value of a text.

        Raises:
            _UnreadableError: it is not JSON, nests too deep, or the bodies have too many values in all.
        """
        self._values -= text.count(",")
        if self._values < 0:
            raise _UnreadableError(f"the bodies of the cassette have more than {_MOST_VALUES:,} values")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise_interrupt(error)
            raise _UnreadableError(f"{what} is no JSON") from None
        if is_too_deep(value):
            raise _UnreadableError(f"{what} nests more than {DEEPEST} levels")
        return value

    def text(self, side: Any, what: str) -> str:
        """Return the body of a request or a response, in whichever way the tool wrote it.

        Raises:
            _UnreadableError: it is no text.
        """
        try:
            if "parsed_body" in side:
                return json.dumps(side["parsed_body"])
            body = side.get("body")
            match body:
                case {"base64_string": str() | bytes() as encoded}:
                    body = b64decode(encoded)
                case {"string": said}:
                    body = said
            if isinstance(body, bytes):
                body = self._decompressed(body, _encoding_of(side)).decode()
            return body if isinstance(body, str) else json.dumps(body)
        except (ValueError, TypeError, zlib.error) as error:
            raise_interrupt(error)
            raise _UnreadableError(f"{what} cannot be read: {error}") from error

    def _decompressed(self, data: bytes, encoding: str) -> bytes:
        if data.startswith(_GZIP):
            return self._inflated(data, zlib.MAX_WBITS | 16)
        if encoding == "deflate":
            return self._inflated(data, zlib.MAX_WBITS if data.startswith(_ZLIB) else -zlib.MAX_WBITS)
        if encoding in {"br", "zstd"}:
            raise ValueError(
                f"it is compressed by {encoding}; vcrpy's decode_compressed_response writes what can be read"
            )
        return data

    def _inflated(self, data: bytes, form: int) -> bytes:
        inflating = zlib.decompressobj(form)
        content = inflating.decompress(data, self._bytes + 1)
        self._bytes -= min(len(content), self._bytes)
        if self._bytes == 0:
            raise ValueError(f"the bodies of the cassette expand to more than {_MOST_EXPANDED:,} bytes")
        if not inflating.eof:
            raise ValueError("what it holds is cut off")
        return content


def _encoding_of(side: Any) -> str:
    """Return how a body is compressed, by its headers."""
    headers = side.get("headers")
    return ", ".join(_values(headers, "content-encoding") if isinstance(headers, dict) else ()).lower()


def _values(headers: Mapping[Any, Any], name: str) -> list[str]:
    """Return the values of a header, whichever way the tool wrote them."""
    found = [value for each, value in headers.items() if str(each).lower() == name]
    return [str(each) for value in found for each in (value if isinstance(value, list) else [value])]
