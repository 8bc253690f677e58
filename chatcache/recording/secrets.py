"""Secrets, which are in no record: what looks like one is masked before it is keyed, and before it is written.

A secret is a text of the form in which a provider makes its keys, the value under a name such as ``api_key`` or
``Authorization``, the value of an environment variable of such a name, or a text of so many different characters that
nobody wrote it. Ids, signatures and images are such texts, too: what stands under their names is left.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any

__all__ = ["MASK", "scrubbed", "secrets_in"]

MASK = "<<secret>>"

_FORMS = {
    "Anthropic key": r"sk-ant-[\w-]{20,}",
    "OpenRouter key": r"sk-or-v1-[0-9a-f]{40,}",
    "OpenAI key": r"sk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{20,}",
    "Google key": r"AIza[\w-]{35}",
    "Google token": r"ya29\.[\w-]{20,}",
    "AWS key id": r"(?:AKIA|ASIA)[0-9A-Z]{16}",
    "Groq key": r"gsk_[A-Za-z0-9]{40,}",
    "Hugging Face token": r"hf_[A-Za-z0-9]{30,}",
    "xAI key": r"xai-[A-Za-z0-9]{40,}",
    "Perplexity key": r"pplx-[A-Za-z0-9]{40,}",
    "LangSmith key": r"lsv2_(?:pt|sk)_[0-9a-f_]{30,}",
    "GitHub token": r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{40,}",
    "GitLab token": r"glpat-[\w-]{20,}",
    "Slack token": r"xox[abprs]-[A-Za-z0-9-]{10,}",
    "Stripe key": r"(?:sk|rk)_live_[A-Za-z0-9]{20,}",
    "JSON Web Token": r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?",
    "credentials in a header": r"(?i:Bearer|Basic) [A-Za-z0-9+/_=.~-]{16,}",
}
_KNOWN = re.compile("|".join(rf"(?P<f{at}>(?<![A-Za-z0-9]){form})" for at, form in enumerate(_FORMS.values())))
_NAME = (
    r"(?:x-)?(?:[\w-]*(?:api|access|secret|private|subscription)[_-]?keys?(?:[_-]id)?|(?:proxy-)?authorization"
    r"|[\w-]*passw(?:or)?d|passphrase|[\w-]*secret|(?:auth|access|refresh|id|bearer|session|api)[_-]?token|cookie"
    r"|set-cookie)"
)
_NAMED = re.compile(_NAME, re.IGNORECASE)
# in JSON within a text, in a URL's query, and before its host
_QUOTED = re.compile(
    rf"""(\\?"{_NAME}\\?"\s*:\s*\\?"|[?&]{_NAME}=|://[^/\s:@?#]{{1,64}}:(?=[^/\s@"]+@))([^"\\\s&#@]+)""",
    re.IGNORECASE,
)
_LONG = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_=-]{32,}(?![A-Za-z0-9+/_=-])")
_LONGEST = 200  # characters; what is longer is data, such as an image
_SHORTEST_RANDOM = 20  # characters
_LEAST_ENTROPY = 3.8  # bits a character
_NO_SECRETS = re.compile(
    r"id|.*_id|ids|.*fingerprint|.*signature|container|.*encrypted.*|b64_json|data|url|image_url|file_data|hash|sha\d*"
    r"|etag|thought_signatures?|reasoning_details|name",
    re.IGNORECASE,
)
_SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIALS")  # ends of names of environment variables
_SECRET_BYTES = tuple(end.encode() for end in _SECRET)
_SHORTEST = 12  # characters, of a secret in the environment


def scrubbed(value: Any, *, random: bool = True) -> Any:
    """Return a JSON value with a mask in the place of each secret.

    Args:
        value: the value.
        random: whether texts that nobody wrote count as secrets. In an answer they do not: what a model says is used,
            as the argument of a tool, for example. Their masks are not alike, since they may be no secrets.
    """
    return _scrubbed(value, "", _of_the_environment(), random=random)


def secrets_in(value: Any, *, random: bool = True) -> list[str]:
    """Return what secrets a JSON value holds, each as its sort and where it is; for what was scrubbed that is none.

    Also looked at are names, and what the chunks of a stream say together.

    Args:
        value: the value.
        random: as in `scrubbed`.
    """
    own = _of_the_environment()
    found, said = [], dict[str, str]()
    for path, name, text in _texts(value, "$", ""):
        found += [f"{sort} at {path}" for sort in _sorts(text, name, own, random=random)]
        spot = re.sub(r"\[\d+\]", "[]", path)
        said[spot] = said.get(spot, "") + text
    if not found:
        found = [f"{sort} over several texts at {path}" for path, text in said.items() for sort in _known(text, own)]
    return found


def _scrubbed(value: Any, name: str, own: Sequence[str], *, random: bool) -> Any:
    match value:
        case str():
            return MASK if value and _is_named(name) else _masked(value, name, own, random=random)
        case dict():
            return {each: _scrubbed(item, each, own, random=random) for each, item in value.items()}
        case list() | tuple():
            return [_scrubbed(item, name, own, random=random) for item in value]
        case _:
            return value


def _masked(text: str, name: str, own: Sequence[str], *, random: bool) -> str:
    for secret in own:
        text = text.replace(secret, MASK)
    text = _QUOTED.sub(lambda match: f"{match[1]}{MASK}", _KNOWN.sub(MASK, text))
    if not random or _NO_SECRETS.fullmatch(name):
        return text
    return _LONG.sub(lambda match: _mask_of(match.group()) if _is_random(match.group()) else match.group(), text)


def _mask_of(text: str) -> str:
    """Return the mask of a text that may be no secret: another text has another one."""
    return f"<<secret-{sha256(text.encode()).hexdigest()[:8]}>>"


def _sorts(text: str, name: str, own: Sequence[str], *, random: bool) -> Iterator[str]:
    """Yield what sorts of secrets a text holds that stands under a name."""
    if text and text != MASK and _is_named(name):
        yield f"the value under {name!r}"
    yield from _known(text, own)
    if any(match[2] != MASK for match in _QUOTED.finditer(text)):
        yield "a value under the name of a secret"
    if random and not _NO_SECRETS.fullmatch(name) and any(_is_random(match.group()) for match in _LONG.finditer(text)):
        yield "a random text"


def _known(text: str, own: Sequence[str]) -> Iterator[str]:
    if any(secret in text for secret in own):
        yield "the value of an environment variable"
    sorts = [*_FORMS]
    for match in _KNOWN.finditer(text):
        yield sorts[int(str(match.lastgroup)[1:])]


@lru_cache(maxsize=1024)
def _is_named(name: str) -> bool:
    return _NAMED.fullmatch(name) is not None


def _is_random(text: str) -> bool:
    """Whether nobody wrote a text: a part of it, between slashes or dashes as in a URL, has all sorts of signs."""
    return len(text) <= _LONGEST and any(
        len(part) >= _SHORTEST_RANDOM
        and all(re.search(sort, part) for sort in (r"\d", "[a-z]", "[A-Z]"))
        and -sum(n / len(part) * math.log2(n / len(part)) for n in Counter(part).values()) >= _LEAST_ENTROPY
        for part in re.split(r"[/_=-]", text)
    )


def _of_the_environment() -> list[str]:
    """Return the secrets of this process, the longest first."""
    if os.supports_bytes_environ:
        raw = getattr(os.environb, "_data", os.environb)  # or each name would be decoded and encoded for each request
        values = {os.fsdecode(value) for name, value in raw.items() if name.endswith(_SECRET_BYTES)}
    else:
        values = {value for name, value in os.environ.items() if name.endswith(_SECRET)}
    return sorted((value for value in values if len(value) >= _SHORTEST), key=len, reverse=True)


def _texts(value: Any, path: str, name: str) -> Iterator[tuple[str, str, str]]:
    """Yield the texts of a JSON value, with their paths and the names that they stand under, and its names."""
    match value:
        case str():
            yield path, name, value
        case dict():
            for each, item in value.items():
                yield f"the name of {path}.{each}", "", each
                yield from _texts(item, f"{path}.{each}", each)
        case list() | tuple():
            for at, item in enumerate(value):
                yield from _texts(item, f"{path}[{at}]", name)
