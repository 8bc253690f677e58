"""Explicit transactions, nested ones, and how their bodies are run."""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from chatcache._bridge import Colour, ContextVar, Loop, Turnstile, awaiting, blocking, drive, running_loop
from chatcache.errors import InvalidInputError, TransactionError

from .keyvalues import KeyValues
from .layer import Layer
from .turn import Savepoint, Turn
from .turns import Turns

__all__ = ["Transaction", "atransact", "refuse_coroutine", "transact"]

R = TypeVar("R")
Body = Callable[["Transaction"], R]
ABody = Callable[["Transaction"], Awaitable[R]]

_INNERMOST: "ContextVar[Transaction | None]" = ContextVar("chatcache_innermost_transaction", default=None)


class Transaction(KeyValues):
    """Keys and values of an object as one transaction sees and changes them.

    What it writes is seen by nobody else until it is committed, at the end of its body. Other tasks, threads and
    processes do not write meanwhile: they wait. They read what was committed before, without waiting.
    """

    loop: Loop | None = None  # a transaction within another one ends with it
    left = False

    def __init__(self, turn: Turn, longest_row: int, parent: "Transaction | None" = None) -> None:
        super().__init__(turn.turns, longest_row)
        self._turn_of_it = turn
        self._parent = parent
        self._outer = _INNERMOST.get()
        self._savepoint: Savepoint | None = None
        self._within = Turnstile()
        self._state = "open"

    def rollback(self) -> None:
        """Undo what was written in it. Its body may go on, but can use it no more.

        Raises:
            TransactionError: a transaction within it still runs, or it is over.
        """
        if self._state == "rolled back":
            return
        self._check("rollback")
        if self._within.holder is not None:
            raise TransactionError("cannot roll back an outer transaction while a nested transaction is still running")
        self._state = "rolled back"
        self._undo()

    def transaction(self, body: Body[R]) -> R:
        """Run a body in a transaction within this one, and return what it returns.

        Its writes are kept if this one is committed. Whatever the body raises undoes them, and is raised again.
        """
        self._check("transaction")
        return drive(self._nested(blocking, body, _no_body))

    async def atransaction(self, body: ABody[R]) -> R:
        """Awaiting twin of `transaction`; one that is awaited beside another one waits for its end."""
        self._check("transaction")
        return await self._nested(awaiting, _no_body, body)

    def abandon(self) -> None:
        """Nothing: it ends with the transaction that it is in."""

    def _layers(self, method: str, /) -> Sequence[Layer]:
        self._check(method)
        return self._turn_of_it.layers[::-1]

    def _write(self, method: str, body: Callable[[Turn], R], /, *, reads: bool = False) -> R:  # noqa: ARG002 - it is locked
        self._check(method)
        return body(self._turn_of_it)

    async def _aturn(self, method: str, /) -> Turn:
        self._check(method)
        return self._turn_of_it

    def _check(self, method: str) -> None:
        if self._state == "rolled back":
            raise TransactionError(f"cannot call {method}() on a transaction that was rolled back")
        self._turns.refuse_abandoned(self._turn_of_it)
        if self._turn_of_it.over:
            self._state = "over"
        if self._state != "open":
            raise TransactionError(
                f"cannot call {method}() on a transaction that is over: was it used outside of its body?"
            )
        if self._parent is not None:
            self._parent._check(method)  # noqa: SLF001

    async def _nested(self, colour: Colour, body: Body[R], abody: ABody[R]) -> R:
        parent: Transaction | None = self
        while parent is not None and parent._state != "open":  # noqa: SLF001 - rolled back, but its body goes on
            parent = parent._parent  # noqa: SLF001
        inner = Transaction(self._turn_of_it, self._longest_row, parent)
        inner.loop = running_loop() if colour is awaiting else None
        await colour(self._enter, self._aenter, inner)
        try:
            return await inner.run(colour, body, abody)
        finally:
            self._within.leave(inner)

    def _enter(self, inner: "Transaction") -> None:
        with self._turns.waiting():
            self._within.enter(inner, self._turns.timeout)

    async def _aenter(self, inner: "Transaction") -> None:
        with self._turns.waiting():
            await self._within.aenter(inner, self._turns.timeout)

    async def run(self, colour: Colour, body: Body[R], abody: ABody[R]) -> R:
        """Run the body of one colour, and keep or undo what it wrote."""
        if self._parent is not None:
            self._savepoint = self._turn_of_it.push()
        try:
            with self._current():
                result = await colour(body, abody, self)
                refuse_coroutine(result, "transaction")
        except BaseException:
            if self._state == "open":
                self._state = "rolled back"
                self._undo()
            raise
        if self._state == "open":
            self._state = "over"
            if self._savepoint is not None:
                self._savepoint.release()
        return result

    def _undo(self) -> None:
        if self._savepoint is not None:
            self._savepoint.undo()
        else:
            self._turn_of_it.rolled_back = True
            self._turns.roll_back(self._turn_of_it)

    @contextmanager
    def _current(self) -> Iterator[None]:
        token = _INNERMOST.set(self)
        try:
            yield
        finally:
            _INNERMOST.reset(token)


def transact(turns: Turns, longest_row: int, body: Body[R]) -> R:
    """Run a body in a transaction of an object, within the one that the caller is in, if any."""
    return drive(_transact(blocking, turns, longest_row, body, _no_body))


async def atransact(turns: Turns, longest_row: int, body: ABody[R]) -> R:
    """Awaiting twin of `transact`."""
    return await _transact(awaiting, turns, longest_row, _no_body, body)


async def _transact(colour: Colour, turns: Turns, longest_row: int, body: Body[R], abody: ABody[R]) -> R:
    turn = turns.transaction()
    outer = _INNERMOST.get()
    while outer is not None and (outer._turn_of_it is not turn or outer._state == "over"):  # noqa: SLF001
        outer = outer._outer  # noqa: SLF001
    if turn is not None and outer is not None:
        return await outer._nested(colour, body, abody)  # noqa: SLF001

    def run(turn: Turn) -> R:
        return drive(Transaction(turn, longest_row).run(blocking, body, _no_body))

    async def arun(turn: Turn) -> R:
        return await Transaction(turn, longest_row).run(awaiting, _no_body, abody)

    loop = running_loop() if colour is awaiting else None
    return await turns.exclusively(colour, run, arun, loop)


def refuse_coroutine(result: object, method: str) -> None:
    """Raise `InvalidInputError` where the body that was passed to a blocking method is to be awaited."""
    if inspect.iscoroutine(result):
        result.close()
        raise InvalidInputError(f"{method}() got a coroutine function: pass it to atransaction()")


def _no_body(_transaction: Transaction) -> NoReturn:
    raise AssertionError("the other colour's body is never called")
