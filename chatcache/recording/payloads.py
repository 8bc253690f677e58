"""Base64 payloads in a text: images, audio, signatures. They are data, so nothing looks for secrets or ids in them.

A payload is one of these:

* at least 128 characters after ``;base64,`` in a ``data:`` URL; shorter ones are read like other text, since it would
  take longer to skip them;
* an unbroken run of at least 4,096 characters of Base64, which is too long for a credential.

Shorter ones are searched whatever their name is: a name such as ``data`` or ``signature`` says nothing about the text.

Pure.
"""

import re
from collections.abc import Iterator

__all__ = ["outside_payloads"]

_LEAST = 4_096  # characters: more than a private key of 4,096 bits in one line
_MARK = ";base64,"
_PAYLOAD = re.compile(
    rf"(?<=;base64,)[A-Za-z0-9+/_-]{{128,}}={{0,2}}"
    rf"|(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/]{{{_LEAST},}}|[A-Za-z0-9_-]{{{_LEAST},}})={{0,2}}"
)

_STEP = _LEAST // 2  # characters: a run of the least length goes on from one of these steps to the next
_RUN = re.compile(rf"[A-Za-z0-9+/_-]{{{_STEP}}}")

_recent: dict[tuple[int, int], list[tuple[int, int]]] = {}  # by length and hash, so that no text is held
_MOST_RECENT = 64


def outside_payloads(text: str) -> list[tuple[int, int]]:
    """Return the begin and the end of each part of a text outside payloads."""
    if len(text) < _LEAST and _MARK not in text:
        return [(0, len(text))] if text else []
    key = len(text), hash(text)
    found = _recent.get(key)
    if found is None:
        if len(_recent) >= _MOST_RECENT:
            _recent.clear()
        found = _recent[key] = [*_outside(text)]
    return found


def _outside(text: str) -> Iterator[tuple[int, int]]:
    begin = 0
    if _MARK not in text and not any(_RUN.match(text, at) for at in range(0, len(text), _STEP)):
        yield begin, len(text)  # without a look at each character
        return
    for match in _PAYLOAD.finditer(text):
        if match.start() > begin:
            yield begin, match.start()
        begin = match.end()
    if begin < len(text):
        yield begin, len(text)
