"""Names of objects, and the ids that they stand for. Pure.

An id is 64 lower-case hexadecimal digits, as workerd derives it: 16 bytes of HMAC-SHA256 of the name, and 16 bytes that
prove that the id belongs to the namespace. So a file name never holds anything a caller passed.
"""

import hmac
import re
from hashlib import sha256
from secrets import token_bytes

from chatcache.errors import InvalidNameError

__all__ = ["check_namespace", "check_object_name", "is_id", "new_id", "object_id", "parse_id"]

_NAMESPACE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_ID = re.compile(r"[0-9a-fA-F]{64}")
_LONGEST_NAME = 1024  # bytes of UTF-8


def object_id(unique_key: str, name: str) -> str:
    """Return the id of the object of that name, as workerd's ``idFromName`` does for a namespace of that unique key."""
    key = _key(unique_key)
    return _proven(key, hmac.digest(key, name.encode(), "sha256")[:16])


def new_id(unique_key: str) -> str:
    """Return an id that no object of the namespace has, as ``newUniqueId`` does."""
    return _proven(_key(unique_key), token_bytes(16))


def parse_id(unique_key: str, text: str) -> str:
    """Return an id from its text, in capitals perhaps, as ``idFromString`` does.

    Raises:
        InvalidNameError: it is no id, or one of another namespace.
    """
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise InvalidNameError(f"object id {text!r:.200}: an id is 64 hexadecimal digits")
    identifier = text.lower()
    if not hmac.compare_digest(identifier, _proven(_key(unique_key), bytes.fromhex(identifier)[:16])):
        raise InvalidNameError(f"object id {identifier}: it belongs to another namespace than {unique_key!r}")
    return identifier


def is_id(text: str) -> bool:
    """Return whether a text is written as an id is."""
    return bool(_ID.fullmatch(text)) and text == text.lower()


def _key(unique_key: str) -> bytes:
    return sha256(unique_key.encode()).digest()


def _proven(key: bytes, base: bytes) -> str:
    return (base + hmac.digest(key, base, "sha256")[:16]).hex()


def check_namespace(name: str) -> str:
    """Return the name of a namespace, which is also the name of its folder.

    Raises:
        InvalidNameError: it is not 1 to 100 letters, digits, ``_``, ``-`` and ``.``, the first of them no ``.``.
    """
    if isinstance(name, str) and _NAMESPACE.fullmatch(name):
        return name
    raise InvalidNameError(
        f"namespace {name!r:.200}: use 1 to 100 letters (A-Z, a-z), digits, '_', '-' and '.', not beginning with '.'"
    )


def check_object_name(name: str) -> str:
    """Return the name of an object.

    Unlike in workerd, a name is at least one and at most 1,024 bytes long, and is refused where a person or a program
    could take it for a path out of its folder.

    Raises:
        InvalidNameError: it is no such name.
    """
    if not isinstance(name, str) or not name:
        raise InvalidNameError(f"object name {name!r:.200}: use a non-empty str")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidNameError(f"object name {name!r:.200} holds a lone surrogate: use Unicode text") from None
    if size > _LONGEST_NAME:
        raise InvalidNameError(f"object name {name!r:.60} is {size:,} bytes of UTF-8: use at most {_LONGEST_NAME:,}")
    if any(part in (".", "..") for part in re.split(r"[/\\]", name)) or not name.isprintable():
        raise InvalidNameError(
            f"object name {name!r:.200} reads as a path, or holds a control character: "
            "use a name without the parts '.' and '..', such as 'tenant/42'"
        )
    return name
