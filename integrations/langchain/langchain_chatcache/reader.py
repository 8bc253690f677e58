"""Whether recorded calls of LangChain can be read by the LangChain that is installed: for ``chatcache verify``."""

from chatcache import Form
from chatcache.recording import Record

from .answers import chunk_of, result_of
from .embeddings import vector_of
from .generations import from_record, same_id

__all__ = ["read"]


def read(record: Record) -> None:
    """Make of a record what a replay makes of it.

    Raises:
        Exception: any at all, where that cannot be done.
    """
    if record.form is Form.FAILURE:
        return
    if record.offsets is not None:
        for chunk in record.answer:
            chunk_of(chunk, same_id)
    elif "prompt" in record.request:  # of the hook
        from_record(record.answer, same_id)
    elif "embeddings" in record.request:
        vector_of(record.answer)
    else:
        result_of(record.answer, same_id)
