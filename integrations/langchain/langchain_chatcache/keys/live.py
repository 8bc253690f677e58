"""What a model is asked, from what it holds at the moment of the call."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage

from chatcache import key_of

from .data import written
from .messages import meaning
from .noise import left_out
from .settings import SettingsReader, member_of

__all__ = ["asks_for_several", "keyed_request", "left_out_of"]

_SEVERAL = ("n", "candidate_count")


def keyed_request(  # noqa: PLR0913, PLR0917 - what a model is called with, and what it is
    settings: SettingsReader,
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    stop: Sequence[str] | None,
    arguments: Mapping[str, Any],
    ignore: Collection[str] = (),
) -> tuple[str, dict[str, Any]]:
    """Return the key of a request, and the request as JSON has it.

    Args:
        settings: reads the settings of models of this class.
        model: the model.
        messages: what it is asked.
        stop: where it is to stop.
        arguments: what else it is called with.
        ignore: the names of arguments that are left out, beside those that are noise.

    Raises:
        UnkeyableError: the model, or an argument, holds an object of which it is not known what it holds.
        InvalidValueError: the request has no canonical form.
    """
    held = settings.read(model)
    asked: dict[str, Any] = {"messages": [*map(meaning, messages)]}
    if arguments and (given := _written(arguments, ignore)):
        asked["arguments"] = given
    if stop:
        asked["stop"] = list(stop)
    if previous := _previous(model, messages):
        asked["previous"] = previous
    members = held.members | {name: member_of(name, value) for name, value in asked.items()}
    canonical = b"{%s}" % b",".join(members[name] for name in sorted(members))
    return key_of(canonical), held.parts | asked


def left_out_of(model: BaseChatModel, arguments: Mapping[str, Any], ignore: Collection[str] = ()) -> list[str]:
    """Return the names of what is set of a model, and of the arguments of a call, that do not count."""
    fields = {name: getattr(model, name, None) for name in model.model_fields_set}
    ignored = [name for name in ignore if name in fields or name in arguments]
    return sorted({*left_out([*fields.items(), *arguments.items()]), *ignored})


def asks_for_several(request: Mapping[str, Any]) -> bool:
    """Return whether a request asks for several choices, which in a stream LangChain takes for one."""
    asked = {**request.get("fields", {}), **request.get("arguments", {})}
    return any(asked.get(name, 1) != 1 for name in _SEVERAL)


def _written(arguments: Mapping[str, Any], ignore: Collection[str]) -> dict[str, Any]:
    return written({name: value for name, value in arguments.items() if name not in ignore}, "the argument")


def _previous(model: BaseChatModel, messages: Sequence[BaseMessage]) -> str | None:
    """Return the id of the answer that a model refers to instead of sending the messages before it."""
    if not getattr(model, "use_previous_response_id", False):
        return None
    ids = (message.response_metadata.get("id") for message in reversed(messages) if isinstance(message, AIMessage))
    return next((str(found) for found in ids if found), None)
