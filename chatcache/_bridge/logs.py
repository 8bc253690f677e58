"""The log of chatcache, in which names and texts of others forge no line and no command."""

import logging

from chatcache.errors import printable

__all__ = ["LOGGER"]

_formatter = logging.Formatter()


def _escape(record: logging.LogRecord) -> bool:
    """Escape what cannot be seen in a log record; it is logged either way."""
    message = record.getMessage()
    escaped = printable(message, keep="\n")
    if escaped != message:
        record.msg, record.args = escaped, None
    if record.exc_info and not record.exc_text:
        record.exc_text = printable(_formatter.formatException(record.exc_info), keep="\n")
    return True


LOGGER = logging.getLogger("chatcache")
"""The logger of all modules; some get it by its name."""

LOGGER.addFilter(_escape)
