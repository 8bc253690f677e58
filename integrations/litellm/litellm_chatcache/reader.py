"""Whether recorded calls of LiteLLM can be read by the LiteLLM that is installed: for ``chatcache verify``."""

from chatcache import Form
from chatcache.recording import Record

from .failures import failure_of
from .kinds import KINDS

__all__ = ["read"]


def read(record: Record) -> None:
    """Make of a record what a replay makes of it.

    Raises:
        Exception: any at all, where that cannot be done.
    """
    kind = next(kind for kind in KINDS if kind.name == record.request["asks"])
    if record.form is Form.FAILURE:
        failure_of(record.answer)
    elif record.offsets is None:
        kind.answer(record.answer)
    else:
        streams = kind.streams
        assert streams is not None  # noqa: S101 - it was streamed
        for chunk in record.answer:
            streams.chunk(chunk)
