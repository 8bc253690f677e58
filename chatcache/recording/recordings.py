"""``recording``: a context, and a decorator, within which calls are replayed and recorded."""

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from chatcache._bridge import off_loop
from chatcache.cache.taping import Inserted, put_in, take_out
from chatcache.errors import BundleError, InvalidInputError, shown
from chatcache.interrupts import raise_interrupt

from .bundle import SUFFIX, Bundle, is_bundle
from .policy import Policy, RecordMode, mode_of_environment
from .rescue import rescue
from .session import Session
from .tape import Tape

__all__ = ["Recording", "recording"]

P = ParamSpec("P")
R = TypeVar("R")

_LATER = (inspect.iscoroutine, inspect.isgenerator, inspect.isasyncgen)


def recording(path: str | Path, policy: Policy | None = None, *, scope: str = "") -> "Recording":
    """Replay and record a bundle, as a context (``with`` or ``async with``), or as a decorator of a function.

    Every cache of the process does so for as long as the body, or the function, runs. What was recorded is written when
    it ends, unless it raises. Where several recordings run at a time, a call belongs to that of its own thread or task.

    Args:
        path: the bundle, ``*.chatcache``; it need not exist. Another name is refused, since the commands would not find
            the bundle, and `prune` would remove its blobs.
        policy: what is done with the calls. In mode ``auto``, which is the default, ``CHATCACHE_MODE`` decides if it is
            set. In mode ``off`` the caches use their own records, as if there were no recording.
        scope: whose records they are; other scopes in the same bundle are left alone.

    Raises:
        InvalidInputError: the name does not end in ``.chatcache``, the policy is not a `Policy`, or ``CHATCACHE_MODE``
            names no mode.
    """
    path = Path(path)
    if not is_bundle(path):
        raise InvalidInputError(
            f"recording({shown(str(path))}): the name of a bundle ends in {SUFFIX}, such as 'calls{SUFFIX}'"
        )
    policy = Policy() if policy is None else policy
    if not isinstance(policy, Policy):
        raise InvalidInputError(f"policy={shown(policy)}: pass a Policy, such as Policy(mode=RecordMode.REPLAY)")
    if policy.mode is RecordMode.AUTO:
        policy = replace(policy, mode=mode_of_environment() or RecordMode.AUTO)
    return Recording(path, policy, scope)


class Recording:
    """What `recording` returns: a context, blocking or awaited, and a decorator.

    A function that it decorates may be called at the same time by several threads or tasks: each call replays and
    records by itself. That of a generator does so while it runs, not while its caller does.

    Args:
        path: the bundle.
        policy: what is done with the calls.
        scope: whose records they are.
    """

    def __init__(self, path: Path, policy: Policy, scope: str) -> None:
        self._begin = partial(_Run, path, policy, scope)
        self._run: _Run | None = None

    def __enter__(self) -> Tape:
        """Begin.

        Raises:
            BundleError: the bundle cannot be read.
            InvalidInputError: it has begun already.
        """
        self._check()
        self._run = self._begin()
        return self._run.put_in()

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """End, and write what was recorded unless the body raised.

        Raises:
            BundleError: the bundle cannot be written; the message says where the records are.
            NotRecordedError: a call could not be recorded; `SecretError` if it holds a secret.
        """
        self._ended().end(error)

    async def __aenter__(self) -> Tape:
        """Awaiting twin of `__enter__`."""
        self._check()
        self._run = await off_loop(self._begin)
        return self._run.put_in()

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Awaiting twin of `__exit__`."""
        await off_loop(self._ended().end, error)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return a function that does what another one does, with its calls replayed and recorded.

        Args:
            function: a function, a generator, or an async one of either; not a class.

        Raises:
            InvalidInputError: it is none of these; and, when it is called, that it returned what has yet to run.
        """
        if isinstance(function, type) or not callable(function) or isinstance(function, staticmethod):
            raise InvalidInputError(
                f"@recording() over {shown(function)}: decorate a function or a method, below @staticmethod and "
                "@classmethod; of a class, decorate its methods"
            )
        is_plain = inspect.isroutine(function) or isinstance(function, partial)
        body = function if is_plain else type(function).__call__
        decorate = next((of_kind for is_one, of_kind in _KINDS.items() if is_one(body)), _decorated)
        decorated: Callable[P, R] = decorate(function, self._begin)
        return decorated

    def _check(self) -> None:
        if self._run is not None:
            raise InvalidInputError("this recording has begun already: call recording() again for another one")

    def _ended(self) -> "_Run":
        run, self._run = self._run, None
        assert run is not None  # noqa: S101 - it began
        run.take_out()
        return run


class _Run:
    """One use of a recording.

    Raises:
        BundleError: the bundle cannot be read.
    """

    def __init__(self, path: Path, policy: Policy, scope: str) -> None:
        self._session = Session()
        self._replaces = {scope} if policy.mode is RecordMode.REFRESH else set[str]()
        self._inserted: Inserted | None = None  # in mode ``off`` the tape is never put in
        try:
            self._tape = self._session.tape(scope, path, policy) or self._session.idle(scope, path, policy)
        except BaseException:
            self._session.close()
            raise

    def put_in(self) -> Tape:
        """Have the calls of this context replayed and recorded from now on; return the tape."""
        if self._tape.mode is not RecordMode.OFF:
            self._inserted = put_in(self._tape, of_context=True)
        return self._tape

    def take_out(self) -> None:
        """Have them so no longer."""
        if self._inserted is not None:
            take_out(self._inserted)

    def playing(self) -> AbstractContextManager[None]:
        """Have them replayed and recorded for as long as the body runs."""
        if self._tape.mode is RecordMode.OFF:
            return nullcontext()
        return self._session.playing(self._tape, of_context=True)

    def end(self, error: BaseException | None = None) -> None:
        """Write what was recorded, unless there was an error; after that, raise for the calls that were not recorded.

        If a call was not recorded, records of earlier runs stay, for the recording is not whole.

        Raises:
            BundleError: the bundle cannot be written; the message says where the records are.
            NotRecordedError: a call could not be recorded; `SecretError` if it holds a secret.
        """
        with self._session:
            if error is None or isinstance(error, GeneratorExit):  # nobody wants more of a generator
                if self._tape.made:
                    replacing = set[str]() if self._tape.problems else self._replaces
                    self._write(self._tape.shelf.bundle, replacing)
                self._tape.raise_for_problems()

    def _write(self, bundle: Bundle, replacing: set[str]) -> None:
        try:
            bundle.revise(self._tape.made, replacing=replacing)
        except BundleError as error:
            raise BundleError(f"{error}{rescue(bundle, self._tape.made)}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.end(error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await off_loop(self.end, error)


def _decorated(function: Callable[P, R], begin: Callable[[], _Run]) -> Callable[P, R]:
    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with begin() as run, run.playing():
            result = function(*args, **kwargs)
            if any(is_one(result) for is_one in _LATER):
                if not inspect.isasyncgen(result):
                    result.close()  # type: ignore[attr-defined]  # a coroutine, or a generator
                raise InvalidInputError(
                    f"@recording() over {shown(function)}, which returned {shown(result)}: that runs after the "
                    "recording has ended; decorate the function that it comes from"
                )
            return result

    return call


def _decorated_coroutine(function: Callable[P, Any], begin: Callable[[], _Run]) -> Callable[P, Any]:
    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        async with await off_loop(begin) as run:
            with run.playing():
                return await function(*args, **kwargs)

    return call


def _decorated_generator(function: Callable[P, Any], begin: Callable[[], _Run]) -> Callable[P, Any]:
    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, Any]:
        with begin() as run:
            generator = function(*args, **kwargs)
            step: Callable[[], Any] = partial(next, generator)
            while True:
                try:
                    with run.playing():
                        item = step()
                except StopIteration as ended:
                    raise_interrupt(ended)
                    return ended.value
                try:
                    step = partial(generator.send, (yield item))
                except GeneratorExit:
                    with run.playing():
                        generator.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - the generator gets what its caller threw
                    raise_interrupt(error)
                    step = partial(generator.throw, error)

    return call


def _decorated_async_generator(function: Callable[P, Any], begin: Callable[[], _Run]) -> Callable[P, Any]:
    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
        async with await off_loop(begin) as run:
            generator = function(*args, **kwargs)
            step: Callable[[], Any] = partial(anext, generator)
            while True:
                try:
                    with run.playing():
                        item = await step()
                except StopAsyncIteration as ended:
                    raise_interrupt(ended)
                    return
                try:
                    step = partial(generator.asend, (yield item))
                except GeneratorExit:
                    with run.playing():
                        await generator.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - the generator gets what its caller threw
                    raise_interrupt(error)
                    step = partial(generator.athrow, error)

    return call


_KINDS: dict[Callable[[object], bool], Callable[[Any, Callable[[], _Run]], Any]] = {
    inspect.iscoroutinefunction: _decorated_coroutine,
    inspect.isgeneratorfunction: _decorated_generator,
    inspect.isasyncgenfunction: _decorated_async_generator,
}
