"""Embeddings, which are recorded one by one: a call that asks for some new inputs pays for those only.

Of each the vector is kept, and its share of the tokens, so that the tokens of the same inputs add up to the same.
Floats are kept as the base64 of their 64 bits, which reads three times as quick as decimal digits, and takes half.
"""

from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from sys import byteorder
from typing import Any

from litellm.types.utils import Embedding, EmbeddingResponse, Usage

from .base import JSON, Kind, dumped

__all__ = ["EMBEDDINGS"]

_FORMAT = 2  # what LiteLLM wants an entry of its awaited calls to say


class _Embeddings(Kind):
    name = "embeddings"
    functions = ("embedding", "aembedding")
    model = EmbeddingResponse

    def inputs(self, arguments: Any) -> Sequence[Any]:
        """Return the inputs of a call: each string of a list, and each list of tokens, is one."""
        asked = arguments.get("input")
        return asked if isinstance(asked, list) and not (asked and isinstance(asked[0], int)) else [asked]

    def split(self, answer: EmbeddingResponse, count: int) -> list[JSON]:
        """Return the records of each of the inputs.

        Raises:
            ValueError: there is not one embedding for each.
        """
        embeddings = [each if isinstance(each, dict) else dumped(each) for each in self.ordered(answer.data)]
        if len(embeddings) != count:
            raise ValueError(f"there are {len(embeddings)} embeddings of {count} inputs")
        usage = dumped(answer.usage) if answer.usage is not None else {}
        shares = zip(*(_shares(usage.get(name), count) for name in ("prompt_tokens", "total_tokens")), strict=True)
        details = [*_details(usage.get("prompt_tokens_details"), count)]
        return [
            {
                **embedding,
                "embedding": _packed(embedding["embedding"]),
                "model": answer.model,
                "usage": {"prompt_tokens": prompt, "total_tokens": total, "prompt_tokens_details": detail},
            }
            for embedding, (prompt, total), detail in zip(embeddings, shares, details, strict=True)
        ]

    def ordered(self, data: Sequence[Any]) -> Sequence[Any]:
        """Return embeddings in the order of the inputs: a provider may answer in another one, and number them."""
        numbers = [each.get("index") for each in data]
        in_order = [*range(len(data))]
        if numbers == in_order or {*numbers} != {*in_order}:
            return data
        return sorted(data, key=lambda each: each["index"])

    def entry(self, record: JSON) -> JSON:
        """Return the record of one input as LiteLLM wants it where it is awaited."""
        usage = record["usage"]
        return {
            "embedding": _unpacked(record["embedding"]),
            "index": record.get("index"),
            "object": record.get("object"),
            "model": record["model"],
            "prompt_tokens": usage["prompt_tokens"],
            "prompt_tokens_details": usage["prompt_tokens_details"],
            "format_version": _FORMAT,
        }

    def joined(self, records: Sequence[JSON]) -> EmbeddingResponse:
        """Return the answer to a call of all the inputs that these are the records of."""
        data = [
            {"object": each.get("object"), "index": index, "embedding": _unpacked(each["embedding"])}
            for index, each in enumerate(records)
        ]
        usage = _sum([record["usage"] for record in records])
        return EmbeddingResponse(model=records[0]["model"], data=data, usage=usage)

    def rest(self, inputs: Sequence[Any], known: Mapping[int, JSON]) -> list[Any]:
        """Return the inputs but those in the places of which records are known."""
        return [each for place, each in enumerate(inputs) if place not in known]

    def complete(self, answer: EmbeddingResponse, known: Mapping[int, JSON]) -> None:
        """Add records of what was known to an answer to the rest of the inputs, each in its place."""
        asked = iter(self.ordered(answer.data))
        vectors = [
            _unpacked(known[place]["embedding"]) if place in known else next(asked)["embedding"]
            for place in range(len(answer.data) + len(known))
        ]
        answer.data = [Embedding(embedding=each, index=at, object="embedding") for at, each in enumerate(vectors)]
        stated = [] if answer.usage is None else [dumped(answer.usage)]
        answer.usage = _sum([*(record["usage"] for record in known.values()), *stated])


EMBEDDINGS = _Embeddings()


def _sum(usages: Sequence[JSON]) -> Usage:
    """Return the tokens of several inputs together."""
    prompt, total = (sum(each[name] or 0 for each in usages) for name in ("prompt_tokens", "total_tokens"))
    details: dict[str, Any] = {}
    for each in usages:
        for name, value in (each["prompt_tokens_details"] or {}).items():
            if value is not None:
                details[name] = value if not isinstance(value, int) else details.get(name, 0) + value
    return Usage(prompt_tokens=prompt, total_tokens=total, prompt_tokens_details=details or None)


def _shares(total: int | None, count: int) -> list[int]:
    """Return a number of tokens in equal shares; the first ones get what is left over."""
    share, rest = divmod(total or 0, count)
    return [share + (index < rest) for index in range(count)]


def _details(details: JSON, count: int) -> Iterator[JSON]:
    shares = {
        name: _shares(value, count) if type(value) is int else [value] * count
        for name, value in (details or {}).items()
        if value is not None
    }
    for index in range(count):
        yield {name: each[index] for name, each in shares.items()} or None


def _packed(embedding: Any) -> Any:
    if not isinstance(embedding, list) or not all(type(each) is float for each in embedding):
        return embedding
    numbers = array("d", embedding)
    if byteorder == "big":
        numbers.byteswap()
    return {"f64": b64encode(numbers.tobytes()).decode()}


def _unpacked(embedding: Any) -> Any:
    if not isinstance(embedding, dict):
        return embedding
    numbers = array("d", b64decode(embedding["f64"]))
    if byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
