"""The keys of the rows of a conversation in an object's storage. Pure.

================================  ===========================================  ======================================
``head:{conversation}``           what is known of it                          ``{"id", "store", "next", "expires"}``
``said:{conversation}:{n}:{i}``   piece `i` of the JSON of message `n`         text
``due:{expires}:{conversation}``  that it is to be looked at then              null
================================  ===========================================  ======================================

Times are in milliseconds since the epoch; ``expires`` may be null. ``{conversation}`` is a digest of the ids of the
store and of the conversation, since a key takes 2,048 bytes, and an id may have any characters.
"""

from hashlib import sha256

from chatcache.keys import canonical_json

__all__ = ["DUE", "conversation_of", "due_row", "end_of_due", "head_row", "number_of", "piece_row", "said_rows"]

DUE = "due:"

_LATEST = 10**13 - 1  # in the year 2286


def conversation_of(store_id: str, chat_id: str) -> str:
    """Return what stands for a conversation in the keys of its rows."""
    return sha256(canonical_json([store_id, chat_id])).hexdigest()[:40]


def head_row(conversation: str) -> str:
    """Return the key of the row that says what is known of it."""
    return f"head:{conversation}"


def said_rows(conversation: str) -> str:
    """Return what the keys of all its messages begin with."""
    return f"said:{conversation}:"


def piece_row(conversation: str, number: int, piece: int) -> str:
    """Return the key of a piece of a message; they are in order."""
    return f"{said_rows(conversation)}{number:012}:{piece:06}"


def number_of(piece: str) -> int:
    """Return the number of the message that a piece is of, from its key."""
    return int(piece.split(":")[2])


def due_row(expires: int, conversation: str) -> str:
    """Return the key of the row that says when a conversation is to be looked at; they are in order of time."""
    return f"{DUE}{min(max(expires, 0), _LATEST):013}:{conversation}"


def end_of_due(now: int) -> str:
    """Return the key before which those stand that are to be looked at now."""
    return f"{DUE}{now + 1:013}"
