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

_FIELDS = ("message", "status_code", "llm_provider", "model", "code", "type", "param", "body", "litellm_debug_info")
_NOWHERE = "http://replayed.invalid"


def record_of(error: BaseException) -> dict[str, Any] | None:
    """Return the record of an error, or None where it is none of LiteLLM's."""
    name = type(error).__name__
    if _CLASSES.get(name) is not type(error):
        return None
    fields = {field: value for field in _FIELDS if _is_json(value := getattr(error, field, None))}
    return {"class": name, "fields": fields, "text": str(error.args[0]) if error.args else ""}


def failure_of(record: dict[str, Any]) -> Exception:
    """Return the error of a record, a new one. It has an HTTP response of its status, without a body.

    Raises:
        Exception: any at all, where the record is none that `record_of` writes.
    """
    error = _CLASSES[record["class"]].__new__(_CLASSES[record["class"]], record["text"])
    error.args = (record["text"],)
    vars(error).update(dict.fromkeys(("max_retries", "num_retries", "litellm_debug_info", "request_id")))
    vars(error).update(record["fields"])
    request = httpx.Request("POST", _NOWHERE)
    response = httpx.Response(int(record["fields"].get("status_code") or 500), request=request)
    vars(error).update(request=request, response=response)
    return error


def _is_json(value: Any) -> bool:
    try:
        canonical_json(value)
    except InvalidValueError:
        return False
    return True
