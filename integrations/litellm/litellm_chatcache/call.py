"""One call of LiteLLM, from its lookup to what becomes of it."""

import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from typing import Any, Generic, TypeVar
from weakref import ref

from chatcache import Form, Leader, Mode

from .controls import Controls
from .kinds import FUNCTIONS, Kind

__all__ = ["BEGUN", "CURRENT", "SCOPE", "Call", "Scope"]


class Call:
    """One call of LiteLLM.

    LiteLLM makes some calls out of others: a text completion may be a chat completion within, and one with fallbacks is
    several. What the caller asked for is recorded, and what is within is not.

    Args:
        function: the function of LiteLLM that was called.
        within: the call that it is a part of, if it is.
        awaited: whether it is awaited.
        is_made: whether LiteLLM makes it, and not the program itself asks the cache.

    Attributes:
        function: as above.
        awaited: as above.
        within: as above.
        is_made: as above.
        is_provided: whether a tape answered it in the place of the provider.
        is_left_out: whether the cache does not take such calls, while a tape is in that records them all the same.
        passes_by: whether it wants nothing of what the cache holds, while a tape is in that it is to ask.
        kind: what it asks for, or None where that is not cached.
        key: the key of its request, or None as long as it was not looked up.
        request: its request.
        keyed: its key and its request, once LiteLLM asked for the key.
        mode: what the cache does with it.
        controls: what it asks of the cache.
        streamed: whether it asks for a stream.
        with_usage: whether the stream is to tell the tokens.
        several: whether it asks for several choices.
        model: the model that is asked for.
        leader: that others wait for it, if they do.
        answer: what LiteLLM is about to return, or None as long as there is none.
        items: the requests of its single inputs, by their keys, where they are cached one by one.
        inputs: the keys and requests of the inputs that the provider is asked for, once it is.
        asked: the arguments of a call for embeddings, all inputs among them, once it was looked up.
        missing: the keys of its inputs that there is no record of.
        known: the records of some of its inputs, by their places, where there are not records of all.
        ages: how old the records are that it was answered with, in seconds; None stands for an input that has none.
        cut: whether LiteLLM's own stream within its stream ended without a reason to finish.
        over: whether nothing more is to come of it.
        forget: is called when it ends, if somebody wants to know.
        began: when it was begun, by the monotonic clock.
    """

    def __init__(
        self, function: str, within: "Call | None" = None, *, awaited: bool = False, is_made: bool = True
    ) -> None:
        self.kind: Kind | None = FUNCTIONS.get(function)
        self.function = function
        self.awaited = awaited
        self.within = within
        self.is_made = is_made
        self.is_provided = False
        self.is_left_out = False
        self.passes_by = False
        self.key: str | None = None
        self.request: dict[str, Any] | None = None
        self.keyed: tuple[str, dict[str, Any]] | None = None
        self.mode = Mode.OFF
        self.controls = Controls()
        self.streamed = False
        self.with_usage = False
        self.several = False
        self.model: str | None = None
        self.leader: Leader | None = None
        self.answer: Any = None
        self.items: dict[str, dict[str, Any]] = {}
        self.inputs: list[tuple[str, dict[str, Any]]] = []
        self.asked: dict[str, Any] = {}
        self.missing: set[str] = set()
        self.known: dict[int, Any] = {}
        self.ages: list[float | None] = []
        self.cut = False
        self.over = False
        self.forget: Callable[[], None] | None = None
        self.began = time.monotonic()

    @property
    def goes_on(self) -> bool:
        """Whether it was looked up, and something is to come of it still."""
        return not self.over and (self.key is not None or bool(self.items))

    @property
    def took(self) -> float:
        """How long ago it was begun, in seconds."""
        return time.monotonic() - self.began

    @property
    def age(self) -> float | None:
        """How old the oldest record is that it was answered with, or None where it was not answered by records."""
        ages = [age for age in self.ages if age is not None]
        return max(ages) if ages and len(ages) == len(self.ages) else None

    @property
    def oldest(self) -> float:
        """How old the oldest record is that it was answered with in part."""
        return max(filter(None, self.ages), default=0.0)

    @property
    def stream_form(self) -> Form:
        """The form that its stream is recorded in."""
        return Form.STREAM_WITH_USAGE if self.with_usage else Form.STREAM

    @property
    def forms(self) -> Sequence[Form]:
        """The forms that answer it, the best one first: a stream and a whole answer can be made of each other."""
        if self.kind is None or self.kind.streams is None:
            forms = [Form.ANSWER]
        elif self.several:  # LiteLLM merges the choices where it makes one form of the other
            forms = [self.stream_form if self.streamed else Form.ANSWER]
        elif not self.streamed:
            forms = [Form.ANSWER, Form.STREAM_WITH_USAGE, Form.STREAM]
        else:
            other = Form.STREAM if self.with_usage else Form.STREAM_WITH_USAGE
            forms = [self.stream_form, Form.ANSWER, other]
        return [*forms, Form.FAILURE] if self.mode is Mode.REPLAY else forms

    def begin_lookup(self, arguments: dict[str, Any]) -> None:
        """Have nothing found for a call for embeddings, which is looked up with these arguments."""
        self.asked = arguments
        self.missing, self.known, self.ages = set(), {}, []

    def end(self) -> None:
        """Have nobody wait any more, whatever became of it."""
        self.over = True
        leader, self.leader = self.leader, None
        if leader is not None:
            leader.give_up()
        forget, self.forget = self.forget, None
        if forget is not None:
            forget()


class Scope(list[Call]):
    """The calls that were begun in a call of a function."""


T = TypeVar("T", Call, Scope)


class WeakVar(Generic[T]):
    """A context variable that keeps its value alive for nobody.

    Tasks and timers that begin during a call, such as those of a client's connections, copy its context and live on. A
    call that they kept would keep its followers waiting when its stream is dropped.
    """

    def __init__(self, name: str) -> None:
        self._var: ContextVar[ref[T] | None] = ContextVar(name, default=None)

    def get(self) -> T | None:
        """Return the value, or None if there is none any more."""
        found = self._var.get()
        return None if found is None else found()

    def set(self, value: T | None) -> "Token[ref[T] | None]":
        """Set the value, which the caller keeps."""
        return self._var.set(None if value is None else ref(value))

    def reset(self, token: "Token[ref[T] | None]") -> None:
        """Restore the value from before `set`."""
        self._var.reset(token)


BEGUN: WeakVar[Call] = WeakVar("litellm_chatcache_begun")
"""The call that LiteLLM began last."""

CURRENT: WeakVar[Call] = WeakVar("litellm_chatcache_call")
"""The call whose record LiteLLM looks up, or stores, just now."""

SCOPE: WeakVar[Scope] = WeakVar("litellm_chatcache_scope")
"""Where a call is noted when it begins, by who wants to know of it."""
