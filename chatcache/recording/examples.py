"""Tell credentials from words, examples, placeholders and program text. Pure."""

import re
from functools import lru_cache
from operator import eq

__all__ = [
    "SHORTEST",
    "is_credible",
    "is_example",
    "is_guessable",
    "is_machine_made",
    "is_random",
    "is_random_word",
    "is_real",
]

SHORTEST = 8
"""Characters of the shortest value that can be a credential."""

_LONGEST = 8_192  # characters of such a value
_SAMPLE = 96  # characters of a long text that stand for all of it
_LEAST_MIXED = 0.18  # changes between kinds of characters, for each character
_SHORTEST_MIXED = 10  # characters
_LONGEST_PART = 2.8  # characters of a word or a number, on the average, in random letters
_SHORTEST_RANDOM, _LONGEST_RANDOM = 20, 200  # characters
_LEAST_MIXED_RANDOM = 0.4  # camel case has 0.2 to 0.3, random letters and digits 0.6
_LEAST_LEFT = 8  # characters that are no part of a sequence
_RUNS = ("01234567890", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_NEXT = str.maketrans("".join(run[:-1] for run in _RUNS), "".join(run[1:] for run in _RUNS))
_WORDS = re.compile(
    r"example|placeholder|change[_-]?me|redacted|replace[_-]?(?:me|with|this)|insert[_-]|goes[_-]here|dummy|not[_-]a[_-]"
    r"|deadbeef|xxxx|\*\*\*|\.\.\.|…"
)
_WHOLE_WORDS = frozenset(
    {
        *("you", "your", "my", "demo", "fake", "sample", "mock", "test", "testing", "here", "foo", "foobar", "todo"),
        *("tbd", "hidden"),
    }
)
_TEMPLATE = re.compile(
    r"[$%#@&]?\{|\{\{|<[^<>]*>|\$\(|\$[A-Za-z_]\w*$|%[A-Za-z_]\w*%?$|%\(|<<"
    r"|(?:https?:/)?/|~/|\./|[A-Za-z_][\w.]*[(\[]|\d{4}-\d\d-\d\d"
)
_ENVIRONMENT = re.compile(r"environ|getenv|process\.env")
_IDENTIFIERS = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+|[a-z][a-z0-9]*(?:_[a-z][a-z0-9]*){2,}")
_WORDS_AND_NUMBER = re.compile(r"[^\W\d_]+(?:[-_./'][^\W\d_]+)*[-_]{0,2}\d{0,4}[-_!.?*#$]{0,2}")
_KINDS = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", b"A" * 26 + b"a" * 26 + b"0" * 10
)
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_SEPARATORS = re.compile(r"[^A-Za-z0-9]+")
_SIX = (b"AAAAAA", b"aaaaaa", b"000000")
_FIVE = b"\x01" * 5
_RUN = re.compile(rb"\x01{5,}")  # of characters each of which follows the one before, or is the same
_SPACE, _DIGIT, _LETTER = re.compile(r"\s"), re.compile(r"\d"), re.compile(r"[^\W\d_]")
_DASHES = re.compile(r"[/_=-]")
_HEX = re.compile(r"[0-9a-fA-F]{32,}")


def is_example(text: str) -> bool:
    """Whether a text only shows the form of a credential: ``sk-your-key-here``, ``1234567``."""
    head = text[:_SAMPLE]
    plain = _plain(head)
    return _is_example(head, plain, _kinds(plain))


def is_machine_made(text: str) -> bool:
    """Whether the kinds of characters of a text change too often for words and numbers."""
    plain = _plain(text[:_SAMPLE])
    return plain != "" and _changes(_kinds(plain)) >= _LEAST_MIXED * len(plain)


def is_real(text: str) -> bool:
    """Whether a text is machine made and no example."""
    head = text[:_SAMPLE]
    plain = _plain(head)
    kinds = _kinds(plain)
    return plain != "" and _changes(kinds) >= _LEAST_MIXED * len(plain) and not _is_example(head, plain, kinds)


def is_random_word(text: str) -> bool:
    """Whether a word after a prefix that is a word itself, such as ``test_``, is too mixed for a name in a program."""
    return any(map(str.isdigit, text)) and (_mixed(text) >= _LEAST_MIXED_RANDOM or _HEX.fullmatch(text) is not None)


def is_random(text: str) -> bool:
    """Whether a text of letters, digits and ``/_=+-`` is random: one part mixes all kinds of characters."""
    return len(text) <= _LONGEST_RANDOM and any(map(_is_random_part, _DASHES.split(text)))


def _is_random_part(part: str) -> bool:
    return (
        len(part) >= _SHORTEST_RANDOM
        and _DIGIT.search(part) is not None
        and not (part.islower() or part.isupper())
        and _mixed(part) >= _LEAST_MIXED_RANDOM
    )


def is_guessable(text: str) -> bool:
    """Whether a person may have made up a text, so that it can be guessed from its hash."""
    return len(text) < _SHORTEST_RANDOM or not (is_random(text) or (_HEX.fullmatch(text) and is_machine_made(text)))


def is_credible(value: str) -> bool:
    """Whether the value of a name such as ``password`` is one, and no word, example, placeholder or program text."""
    if not SHORTEST <= len(value) <= _LONGEST:
        return False
    return _is_credible(value) if len(value) <= _SAMPLE else _is_credible.__wrapped__(value)


@lru_cache(maxsize=1024)
def _is_credible(value: str) -> bool:
    if _SPACE.search(value):
        return False
    if _WORDS_AND_NUMBER.fullmatch(value):
        if len(value) < _SHORTEST_MIXED or len(value) > _LONGEST_PART * len(_PARTS.findall(value)):
            return False
    elif not (_DIGIT.search(value) and _LETTER.search(value)):
        return False
    if not value.isalnum() and (
        _TEMPLATE.match(value)
        or ("env" in value and _ENVIRONMENT.search(value))
        or (_IDENTIFIERS.fullmatch(value) and _mixed(value) < _LEAST_MIXED_RANDOM)
    ):
        return False
    return not is_example(value)


def _is_example(text: str, plain: str, kinds: bytes) -> bool:
    """Whether a text is an example.

    Args:
        text: the text, of at most `_SAMPLE` characters.
        plain: its letters and digits.
        kinds: their kinds.
    """
    lower = text.lower()
    if _WORDS.search(lower):
        return True
    if lower in _WHOLE_WORDS if plain is text else not _WHOLE_WORDS.isdisjoint(_SEPARATORS.split(lower)):
        return True
    if not any(map(kinds.__contains__, _SIX)):  # a sequence is of one kind
        return False
    steps = bytes(map(eq, plain.translate(_NEXT), plain[1:])), bytes(map(eq, plain, plain[1:]))
    in_order = sum(len(run) for each in steps if _FIVE in each for run in _RUN.findall(each))
    return len(plain) - in_order < _LEAST_LEFT and 2 * in_order > len(plain)


def _mixed(text: str) -> float:
    plain = _plain(text[:_SAMPLE])
    return _changes(_kinds(plain)) / len(plain) if plain else 0.0


def _plain(text: str) -> str:
    """Return the letters and digits of a text."""
    return text if text.isascii() and text.isalnum() else _SEPARATORS.sub("", text)


def _kinds(plain: str) -> bytes:
    """Return ``A``, ``a`` or ``0`` for each of the letters and digits of a text."""
    return plain.encode().translate(_KINDS)


def _changes(kinds: bytes) -> int:
    """Return how often letters and digits change between capitals, small letters and digits."""
    count = kinds.count
    return count(b"Aa") + count(b"aA") + count(b"A0") + count(b"0A") + count(b"a0") + count(b"0a")
