"""A stream as it is recorded, chunk by chunk."""

import time
from typing import Any

from chatcache import raise_interrupt
from litellm_chatcache.call import Call
from litellm_chatcache.hook import Hook

__all__ = ["Tape"]


class Tape:
    """The chunks of a stream, each as it was when the caller got it.

    Args:
        call: what asked for the stream.
        recorder: keeps it.
    """

    def __init__(self, call: Call, recorder: Hook) -> None:
        assert call.kind is not None  # noqa: S101 - else there is no tape
        assert call.kind.streams is not None  # noqa: S101 - as above
        self._call = call
        self._recorder = recorder
        self._streams = call.kind.streams
        self._chunks: list[Any] = []
        self._hidden: Any = None
        self._offsets: list[float] = []
        self._broken = False

    def add(self, chunk: Any) -> None:
        """Take note of the next chunk."""
        try:
            self._chunks.append(self._streams.chunk_record(chunk))
        except Exception as error:  # noqa: BLE001 - whatever a provider sends, the caller gets it
            raise_interrupt(error)
            self._broken = True
        self._offsets.append(time.monotonic() - self._call.began)
        self._last = chunk

    def end(self, *, ended: bool | None = None) -> None:
        """Record the stream: it was read to its end.

        Args:
            ended: whether the provider said that it is the end; None where its chunks tell.
        """
        if self._broken or not self._chunks or self._call.over:
            self._call.end()
            return
        self._streams.complete(self._chunks[-1], self._last)
        said = not self._call.cut and (self._streams.ended(self._chunks) if ended is None else ended)
        self._recorder.keep_stream(self._call, self._chunks, self._offsets, ended=said)

    def end_briefly(self, *, ended: bool | None) -> None:
        """As `end`, on the thread of a loop, which is held up only for a moment."""
        self._recorder.briefly(self._call, lambda: self.end(ended=ended))

    def fail(self, error: Exception) -> None:
        """Take note that it broke off."""
        self._recorder.keep_failure(self._call, error, self._chunks)
