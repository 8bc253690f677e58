"""The settings of models of one class, which are not read again for as long as they are unchanged."""

from collections.abc import Collection
from dataclasses import dataclass
from math import isfinite
from typing import Any

import orjson
from langchain_core.language_models import BaseChatModel

from chatcache import canonical_json, raise_interrupt

from .clients import address_of, sent_by_clients
from .closures import closed_over
from .data import names_of, settings_of, to_data
from .noise import UnkeyableError

__all__ = ["Settings", "SettingsReader", "member_of"]

_MODELS = 64  # whose settings are remembered, of one class
_UNKNOWN = "an object of which it is not known what it holds"
_OPTION = orjson.OPT_PASSTHROUGH_DATACLASS  # or two of one content, and of two classes, would be written the same


@dataclass(frozen=True, slots=True)
class Settings:
    """What is set of a model that may change its answers.

    Attributes:
        parts: the parts of a request that say so, as JSON has them.
        members: each part as a member of the canonical JSON of the request.
    """

    parts: dict[str, Any]
    members: dict[str, bytes]


class SettingsReader:
    """Reads the settings of the models of one class.

    Writing them in canonical form takes much longer than seeing that they equal those of a model that was read before.
    So each call compares all that the model holds with what the last models held.

    Args:
        kind: the class.
        ignore: the names of fields that are left out.
    """

    def __init__(self, kind: type[BaseChatModel], ignore: Collection[str] = ()) -> None:
        self._kind = kind
        self._ignore = ignore
        self._names = [name for name in names_of(kind) if name not in ignore]
        self._known: dict[bytes, Settings] = {}

    def read(self, model: BaseChatModel) -> Settings:
        """Return the settings of a model.

        Raises:
            UnkeyableError: see `settings_of`.
            InvalidValueError: they have no canonical form.
        """
        looks = self._looks_of(model)
        known = None if looks is None else self._known.get(looks)
        if known is not None:
            return known
        parts = {"client": "langchain", **settings_of(model, self._kind, self._ignore)}
        settings = Settings(parts, {name: member_of(name, value) for name, value in parts.items()})
        if looks is not None:
            if len(self._known) >= _MODELS:
                self._known.clear()
            self._known[looks] = settings
        return settings

    def _looks_of(self, model: BaseChatModel) -> bytes | None:
        """Return what tells the settings of a model from any others, or None if nothing does that is quickly made."""
        fields = vars(model)
        held = [
            {name: fields[name] for name in self._names if fields.get(name) is not None},
            model.__pydantic_private__ or {},
            model.__pydantic_extra__ or {},
            closed_over(self._kind),
            sent_by_clients(fields),
        ]
        try:
            looks = orjson.dumps(held, default=_look_of, option=_OPTION)
        except orjson.JSONEncodeError as error:
            raise_interrupt(error)
            return None
        # orjson writes null for a number that is not finite
        return looks if b"null" not in looks or _is_finite(held) else None


def member_of(name: str, value: Any) -> bytes:
    """Return a part of a request as a member of its canonical JSON.

    Raises:
        InvalidValueError: it has no canonical form.
    """
    return b'"%s":%s' % (name.encode(), canonical_json(value))


def _look_of(value: Any) -> Any:
    address = address_of(value)
    if address is not None:
        return address
    try:
        data = to_data(value, "")
    except UnkeyableError:
        return _UNKNOWN
    return "" if data is None else data


def _is_finite(value: Any) -> bool:
    match value:
        case float():
            return isfinite(value)
        case dict():
            return all(map(_is_finite, value.values()))
        case list() | tuple():
            return all(map(_is_finite, value))
        case _:
            return True
