"""What there is to know of a kind of calls."""

from collections.abc import Sequence
from typing import Any

import orjson
from pydantic import BaseModel

from chatcache import Refusal

__all__ = ["Kind", "Streamed", "dumped"]

JSON = Any


class Kind:
    """A kind of calls: how an answer becomes a record, and a record an answer again, a new one each time.

    Attributes:
        name: what it is called in keys and in what is said to users.
        functions: the functions of LiteLLM that make such calls.
        model: the class of its answers, or None where they are dictionaries.
        streams: how it is streamed, or None where it is not.
    """

    name: str
    functions: tuple[str, ...]
    model: type[BaseModel] | None = None
    streams: "Streamed | None" = None

    def record(self, answer: Any) -> JSON:
        """Return the record of an answer, which LiteLLM hands over as an object, or as the JSON text of one.

        Raises:
            ValueError: it is neither.
        """
        match answer:
            case str():
                return orjson.loads(answer)
            case BaseModel() if self.model is not None and isinstance(answer, self.model):
                return dumped(answer)
            case _:
                raise ValueError(f"LiteLLM handed over a {type(answer).__name__} to keep, which is no answer to {self}")

    def answer(self, record: JSON) -> Any:
        """Return the answer of a record.

        Raises:
            Exception: any at all, where the record is none that `record` writes.
        """
        assert self.model is not None  # noqa: S101 - else this is another method
        return self.model(**record)

    def refusal(self, record: JSON) -> Refusal | None:  # noqa: ARG002 - for those that have any
        """Return why an answer is not worth keeping, if it is not."""
        return None

    def __str__(self) -> str:
        return self.name


class Streamed:
    """How a kind of calls is streamed."""

    def chunk_record(self, chunk: Any) -> JSON:
        """Return the record of a chunk."""
        return dumped(chunk)

    def complete(self, record: JSON, chunk: Any) -> None:
        """Add to the record of the last chunk what LiteLLM adds to that chunk when the stream is over."""

    def chunk(self, record: JSON) -> Any:
        """Return the chunk of a record, a new one.

        Raises:
            Exception: any at all, where the record is none that `chunk_record` writes.
        """
        raise NotImplementedError

    def ended(self, records: Sequence[JSON]) -> bool:
        """Return whether a stream of these chunks says of itself that it came to its end."""
        raise NotImplementedError

    def whole(self, records: Sequence[JSON]) -> JSON:
        """Return the record of the answer that was streamed.

        Raises:
            Exception: any at all, where there is no telling what it is.
        """
        raise NotImplementedError

    def chunks(self, record: JSON, *, with_usage: bool) -> Sequence[Any]:
        """Return the chunks, new ones, in which an answer might have come that was not streamed.

        Args:
            record: the record of the answer.
            with_usage: whether a chunk is asked for that tells the tokens.
        """
        raise NotImplementedError

    def usage(self, records: Sequence[JSON]) -> Any:
        """Return the tokens of a stream, as the provider counted them, as far as they are known."""
        return next((usage for each in reversed(records) if (usage := _usage_in(each))), None)


def dumped(model: BaseModel) -> JSON:
    """Return the fields of a pydantic model as JSON."""
    return model.model_dump(mode="json", warnings=False)


def _usage_in(record: JSON) -> Any:
    return record.get("usage") if isinstance(record, dict) else None
