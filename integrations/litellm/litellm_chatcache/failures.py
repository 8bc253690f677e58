"""The errors of LiteLLM as records, so that a failure can be replayed: the same class, status and message."""

from typing import Any

import httpx
import openai
from litellm import exceptions

from chatcache import InvalidValueError, canonical_json

__all__ = ["failure_of", "record_of"]

_CLASSES: dict[str, type[Exception]] = {
    name: each
    for name, each in vars(exceptions).items()
    if isinstance(each, type) and issubclass(each, openai.OpenAIError)
}
"""The classes that a failure may be of, by name: nothing else is ever made of a record."""

_ANEW = {"request", "response"}  # objects of the connection
_OTHERS = ("litellm_response_headers", "max_retries", "num_retries", "request_id")  # that LiteLLM may ask for
_NOWHERE = "http://replayed.invalid"


def record_of(error: BaseException) -> dict[str, Any] | None:
    """Return the record of an error, or None where it is none of LiteLLM's.

    What of its attributes is not JSON is as good as None, but the error that it was made of.
    """
    name = type(error).__name__
    if _CLASSES.get(name) is not type(error):
        return None
    fields = {name: _recorded(value) for name, value in vars(error).items() if name not in _ANEW}
    return {"class": name, "fields": fields, "text": str(error.args[0]) if error.args else ""}


def failure_of(record: dict[str, Any]) -> Exception:
    """Return the error of a record, a new one. It has an HTTP response of its status, without a body.

    Raises:
        Exception: any at all, where the record is none that `record_of` writes.
    """
    kind = _CLASSES[record["class"]]
    error = kind.__new__(kind, record["text"])
    error.args = (record["text"],)
    fields = {name: _replayed(value) for name, value in record["fields"].items()}
    request = httpx.Request("POST", _NOWHERE)
    response = httpx.Response(int(fields.get("status_code") or 500), request=request)
    vars(error).update(dict.fromkeys(_OTHERS) | fields | {"request": request, "response": response})
    return error


def _recorded(value: Any) -> Any:
    if isinstance(value, Exception):
        return {"error": record_of(value)}
    try:
        canonical_json(value)
    except InvalidValueError:
        return None
    return {"value": value}


def _replayed(field: Any) -> Any:
    match field:
        case {"value": value}:
            return value
        case {"error": dict(record)}:
            return failure_of(record)
        case _:
            return None
