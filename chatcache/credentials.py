"""The names of credentials, and how to leave credentials out of the arguments of a call.

Credentials do not change an answer, and no store may hold them. A credential is recognized by its place:

* its name, such as ``aws_session_token``, ``apiKey`` or ``authentication``;
* HTTP headers and the query of a URL, where shorter names and values such as ``Bearer ...`` are enough;
* the user info of a URL, and the fields of a connection string.

A text that holds a JSON object is read like that object.

Text for the model stays as it is: messages, prompts, the functions it may call, and JSON schemas.

How much a name proves depends on where it stands, so there are three rules over one vocabulary:

* an argument of a client is a setting, so any word such as ``secret`` in its name is enough (`without_credentials`);
* a recorded request may hold anything. The ``cookie`` of a recipe and the ``secret`` of a story are content, and two
  requests that differ in them must not share a key. So there only names of several words count, and ``password``
  (`is_credential_name`);
* in the headers of a recorded request the last words count, and in a text they only suggest that the value may be a
  credential (`may_be_credential_name`).
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

from .interrupts import raise_interrupt

__all__ = ["is_credential_name", "may_be_credential_name", "without_credentials"]

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET = frozenset(
    {
        *("apikey", "apikeys", "auth", "authentication", "authorization", "bearer", "cookie", "cookies", "cred"),
        *("credential", "credentials", "creds", "hmac", "jwt", "oauth", "passcode", "passphrase", "passwd", "password"),
        *("passwords", "pat", "pwd", "secret", "secrets", "signer"),
    }
)
_ENDS = ("apikey", "credentials", "password", "secret")  # of words written together, such as clientsecret
_ALONE = frozenset({"apikey", "apikeys", "authorization", "passphrase", "passwd", "password"})  # enough everywhere
_DESCRIBES = frozenset(  # the last word of a name that describes how a credential is used, and holds none
    {
        *("algorithm", "count", "enabled", "endpoint", "expiry", "field", "format", "host", "length", "limit"),
        *("method", "mode", "port", "region", "required", "scheme", "scope", "scopes", "ttl", "type", "uri", "url"),
        *("usage", "version"),
    }
)
_SURE_KEYS = frozenset({"access", "account", "api", "private", "secret", "subscription"})
_OF_DATA = frozenset(  # the word before "key" in the name of an argument that sorts, groups or finds something
    {
        *("", "answer", "cache", "candidate", "column", "composite", "context", "data", "dedup", "dedupe", "dict"),
        *("document", "field", "foreign", "group", "hash", "idempotency", "image", "index", "input", "item", "join"),
        *("json", "label", "lookup", "map", "memory", "message", "metadata", "object", "order", "output", "partition"),
        *("primary", "prompt", "property", "range", "response", "result", "route", "routing", "row", "shard", "sort"),
        *("tag", "template", "text", "translation", "unique"),
    }
)
_KEYS = _SURE_KEYS | {  # the word before "key" in the name of a credential, wherever it stands
    *("admin", "app", "auth", "client", "consumer", "deploy", "encryption", "function", "functions", "hmac", "jwt"),
    *("license", "master", "oci", "preshared", "provider", "service", "session", "shared", "signing", "ssh"),
    *("storage", "virtual", "webhook"),
}
_SURE_TOKENS = frozenset(
    {"access", "ad", "api", "auth", "bearer", "bot", "hf", "id", "oauth", "refresh", "security", "session"}
)
_OF_A_VOCABULARY = frozenset(  # the word before "token" in the name of a token that a model reads or writes
    {
        *("audio", "begin", "bos", "by", "cache", "cached", "cls", "completion", "continuation", "cursor", "end"),
        *("eos", "eot", "first", "image", "input", "last", "mask", "max", "min", "new", "next", "num", "output"),
        *("pad", "page", "per", "prefix", "prev", "previous", "prompt", "reasoning", "sep", "special", "start"),
        *("stop", "sub", "suffix", "sync", "text", "think", "thinking", "unk", "video", "word"),
    }
)
_NO_PASS = frozenset({"by", "com", "encom", "has", "is", "of", "out", "over", "sur", "to", "tres", "under"})
_FORMS = frozenset(
    {"base64", "data", "file", "id", "info", "json", "path", "pem", "provider", "ref", "str", "string", "value"}
)
_HINTS = (  # one of them is in each name of a credential whose last words matter
    *("auth", "bearer", "cookie", "cred", "csrf", "hmac", "jwt", "key", "pass", "pat", "pwd", "secret", "signer"),
    "token",
)
_JOINED = ("accesskey", "accesstoken", "apitoken", "authtoken", "secretkey")
_SUGGEST = (*_ENDS, *_JOINED, "csrf", "pwd", "passwd")  # ends of a word in a text

# Words that are enough in a header or a query. Those of `_SHORT` are enough as the whole name of an argument, too.
_SHORT = frozenset({"key", "keys", "otp", "pass", "pin", "session", "sig", "signature", "token"})
_IN_HEADERS = _SHORT | {
    *("access", "assertion", "basic", "cert", "certificate", "csrf", "mfa", "nonce", "principal", "pw", "sas", "sid"),
    *("vault", "xsrf"),
}
_IN_HEADERS_ENDS = ("auth", "cookie", "key", "secret", "sessionid", "token", "password")
_OF_SETTINGS = frozenset(  # further words that are enough in the name of an argument
    {"cert", "certificate", "dsn", "keytab", "mfa", "otp", "pw", "sas", "totp"}
)
# In what says how to reach a service the short names count, too.
_SERVICES = frozenset(
    {
        *("connection", "connections", "datasource", "datasources", "enhancements", "gateway", "login", "proxy"),
        *("server", "servers", "source", "sources", "vectorizer"),
    }
)
_ADDRESSES = frozenset({"address", "base", "endpoint", "host", "proxies", "proxy", "server", "uri", "url"})
_LEAST_CODE = 8  # characters of a ``code`` in a query that is a key, as Azure's functions have it

_SCHEME = re.compile(
    r"\s*(?:apikey|aws4-hmac-sha256|basic|bearer|digest|hawk|key|negotiate|oauth|sharedaccesssignature|token)\s+\S",
    re.IGNORECASE,
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_USER_INFO = re.compile(r"(?<=://)(?:[^/?#]*@|[^/?#@:]*:(?!\d*[/?#])[^?#]*@)")  # a password may have a slash in it
_USER_WITHOUT_SCHEME = re.compile(r"^(?:[^/?#@:]*:[^?#]*|[^/?#@]+)@")
_MATRIX = re.compile(r";([^;=/?#]+)=[^;/?#]*")  # parameters in the path of a URL
_PARAMETERS = re.compile(r"[?#][^?#]*")
# The signature of a link covers these, so they change with it.
_SIGNED = re.compile(
    r"x-(?:amz|goog)-.*|awsaccesskeyid|googleaccessid|expires|key-pair-id|policy|s[teprv]|sr|srt|spr|ss|sip"
    r"|sk(?:oid|tid|t|e|s|v)|saoid|suoid|scid|sdd|ses",
    re.IGNORECASE,
)
_SIGNATURES = frozenset({"sig", "signature", "x-amz-signature", "x-goog-signature"})

_READ_BY_THE_MODEL = frozenset(
    {
        *("chat_template_kwargs", "contents", "context", "documents", "file", "functions", "guided_json", "input"),
        *("inputs", "instructions", "messages", "mock_response", "prediction", "prompt", "prompt_variables", "query"),
        *("response_format", "stop", "suffix", "system", "text", "text_format", "variables"),
    }
)
_NAMES = ("name", "key", "header", "field")  # under which the name of a header stands
_QUERIES = frozenset({"default_query", "extra_query", "query_params", "query_parameters"})
_ARGUMENTS = frozenset({"extra_body", "model_kwargs"})  # hold further arguments
_SCHEMA = frozenset({"$defs", "$ref", "$schema", "properties"})
_OF_A_SERVER = frozenset({"authorization", "authorization_token", "headers", "server_url", "url"})  # that has the tool
_OF_A_FUNCTION = frozenset({"description", "function", "input_schema", "parameters"})
_KEPT = (bool, float, type(None))  # no credential has one of these types


def without_credentials(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call without credentials, for adapters.

    Nothing is changed in place; values that are neither text, mapping, list nor tuple are returned as they are.

    Args:
        arguments: the arguments of a call, or the fields of a client, by name.
    """
    return {
        name: _argument(name, value)
        for name, value in arguments.items()
        if not _is_credential(name, value) and not (_is_short(name) and isinstance(value, str))
    }


def _argument(name: str, value: Any) -> Any:
    if name in _READ_BY_THE_MODEL or isinstance(value, int | float):
        return value
    if name == "tools" and isinstance(value, list | tuple):
        return [_tool(each) for each in value]
    return _clean(name, value)


def _tool(tool: Any) -> Any:
    """Return a tool without credentials. If the caller runs it itself, all of it is text for the model."""
    if not isinstance(tool, Mapping):
        return tool
    if _OF_A_SERVER.isdisjoint(tool) and (
        tool.get("type") in {"function", "custom"} or "function" in tool or "input_schema" in tool
    ):
        return tool
    said = {name: item for name, item in tool.items() if name in _OF_A_FUNCTION}
    return {**_clean("tool", {name: item for name, item in tool.items() if name not in said}), **said}


def _clean(name: str, value: Any, *, is_service: bool = False) -> Any:
    """Return a value without credentials.

    Args:
        name: what it stands under.
        value: the value.
        is_service: whether it says how to reach a service.
    """
    is_service = is_service or not _SERVICES.isdisjoint(_words(name))
    match value:
        case str():
            return _text(name, value)
        case Mapping() | list() | tuple() if _holds_headers(name):
            return _headers(value)
        case Mapping() if name in _ARGUMENTS:
            return without_credentials(value)
        case Mapping() if _SCHEMA.isdisjoint(value):
            return {
                each: item if each in _READ_BY_THE_MODEL else _clean(str(each), item, is_service=is_service)
                for each, item in value.items()
                if not _is_credential(each, item)
                and not (is_service and _is_short(str(each)) and isinstance(item, str))
            }
        case list() | tuple():
            return [_clean(name, each, is_service=is_service) for each in value]
        case _:
            return value


def _is_credential(name: Any, value: Any) -> bool:
    return not isinstance(value, _KEPT) and _names_credential(str(name))


def _words(name: str) -> tuple[str, ...]:
    return tuple([word.lower() for word in _WORD.findall(name)])


@lru_cache(maxsize=4096)
def _last_words(name: str) -> tuple[str, str]:
    """Return the last two words of a name, without the form of its value; none if it only describes a credential."""
    lower = name.lower()
    if not any(map(lower.__contains__, _HINTS)):  # most names, and it takes longer to divide them into words
        return "", ""
    words = _words(name)
    if words and words[-1] in _DESCRIBES:
        return "", ""
    while words and (words[-1] in _FORMS or words[-1].isdecimal()):
        words = words[:-1]
    before, last = ("", "", *words)[-2:]
    return before, last


@lru_cache(maxsize=4096)
def is_credential_name(name: str) -> bool:
    """Return whether the value of a name is a credential in any request, whatever the value looks like."""
    before, last = _last_words(name)
    if last in {"key", "keys"}:
        return before in _SURE_KEYS
    if last == "token":
        return before in _SURE_TOKENS
    return last in _ALONE or ((before != "" or last not in _SECRET) and last.endswith((*_ENDS, *_JOINED)))


@lru_cache(maxsize=4096)
def may_be_credential_name(name: str) -> bool:
    """Return whether the value of a name is a credential in a header, and in a text if it looks like one."""
    before, last = _last_words(name)
    if last in {"key", "keys"}:
        return before in _KEYS
    if name.endswith(("id", "ID", "Id")):  # ``token_id`` is no token, but an ``access_key_id`` is a part of a key
        return False
    for end, others in (("token", _OF_A_VOCABULARY), ("pass", _NO_PASS)):
        if last.endswith(end):
            return (last.removesuffix(end) or before) not in others
    return last in _SECRET or last.endswith(_SUGGEST)


@lru_cache(maxsize=4096)
def _names_credential(name: str) -> bool:
    """Return whether the argument of a client holds a credential."""
    words = _words(name)
    if "webhook" in words or "webhooks" in words:  # its address is a credential
        return True
    if not words or words[-1] in _DESCRIBES:
        return False
    if any(word in _SECRET or word in _OF_SETTINGS or word.endswith(_ENDS) for word in words):
        return True
    if not {("service", "account"), ("public", "key"), ("public", "keys")}.isdisjoint(pairwise(words)):
        return True
    before, last = _last_words(name)
    if last in {"key", "keys"}:
        return before not in _OF_DATA
    return last.endswith(_JOINED) or (last == "token" and before not in _OF_A_VOCABULARY)


@lru_cache(maxsize=4096)
def _is_short(name: str) -> bool:
    return name.lower() in _SHORT


@lru_cache(maxsize=4096)
def _names_header(name: str) -> bool:
    """Return whether a credential stands under the name of a header, or of a parameter in a query."""
    words = _words(name)
    if words and words[-1] in _DESCRIBES:
        return False
    return any(word in _IN_HEADERS or word in _SECRET or word.endswith((*_IN_HEADERS_ENDS, *_ENDS)) for word in words)


@lru_cache(maxsize=4096)
def _holds_headers(name: str) -> bool:
    return name in _QUERIES or _words(name)[-1:] in {("headers",), ("header",)}


def _headers(value: Any) -> Any:
    """Return headers, or the parameters of a query: a mapping, pairs, or mappings of either."""
    match value:
        case {"value": _} if any(isinstance(value.get(each), str) and _names_header(value[each]) for each in _NAMES):
            return {}
        case Mapping():
            return {name: _headers(item) for name, item in value.items() if not _is_header(str(name), item)}
        case list() | tuple():
            return [_headers(each) for each in value if not _is_pair(each)]
        case str():
            return _text("headers", value)
        case _:
            return value


def _is_pair(value: Any) -> bool:
    match value:
        case (str(name), item):
            return _is_header(name, item)
        case _:
            return False


def _is_header(name: str, value: Any) -> bool:
    return _names_header(name) or (
        isinstance(value, str) and (_SCHEME.match(value) is not None or _is_code(name, value))
    )


def _is_code(name: str, value: str) -> bool:
    return name.lower() == "code" and len(value) >= _LEAST_CODE


def _text(name: str, text: str) -> str:
    """Return a URL, a query, a connection string or JSON without credentials, and any other text as it is."""
    stripped = text.strip()
    words = _words(name)
    if stripped[:1] in {"{", "["}:
        return _json(name, text)
    if _URL.fullmatch(stripped) or (" " not in stripped and words and words[-1] in _ADDRESSES):
        user = _USER_INFO if "://" in stripped else _USER_WITHOUT_SCHEME
        return _PARAMETERS.sub(_parameters, _MATRIX.sub(_matrix, user.sub("", stripped)))
    if name in _QUERIES:
        return _parameters_of(stripped)
    if _holds_headers(name):
        lines = [line for line in text.splitlines() if not _is_header(*_header(line))]
        return "\n".join(_USER_INFO.sub("", line) for line in lines)
    if ";" in text and "=" in text and "connection" in words:
        return ";".join(part for part in text.split(";") if not _names_header(part.partition("=")[0]))
    return text


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    return (name, value) if colon and " " not in name else ("", line)


def _json(name: str, text: str) -> str:
    try:
        value = json.loads(text)
        left = _clean(name, value)
    except (ValueError, RecursionError) as error:
        raise_interrupt(error)
        return text
    return text if left == value else json.dumps(left)


def _matrix(match: re.Match[str]) -> str:
    return "" if _names_header(match[1]) else match.group()


def _parameters(match: re.Match[str]) -> str:
    """Return the query or the fragment of a URL without the parameters that hold a credential, or are signed by one."""
    left = _parameters_of(match.group()[1:])
    return match.group()[0] + left if left else ""


def _parameters_of(query: str) -> str:
    pairs = query.split("&")
    names = [pair.partition("=")[0] for pair in pairs]
    signed = not _SIGNATURES.isdisjoint(name.lower() for name in names)
    return "&".join(
        pair for name, pair in zip(names, pairs, strict=True) if not _is_parameter(name, pair, signed=signed)
    )


def _is_parameter(name: str, pair: str, *, signed: bool) -> bool:
    return "=" in pair and (
        _names_header(name)
        or _is_code(name, pair.partition("=")[2])
        or (signed and _SIGNED.fullmatch(name) is not None)
    )
