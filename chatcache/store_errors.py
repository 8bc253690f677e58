"""The policy for store failures: bypass the cache, or raise."""

from collections.abc import Callable
from typing import Literal

from ._bridge import LOGGER
from .errors import InvalidInputError, PersistenceError, StorageError, printable, shown
from .interrupts import raise_interrupt

__all__ = ["OnStoreError", "StoreErrors", "as_persistence_error"]

OnStoreError = Literal["bypass", "raise"]
"""``bypass``: the call proceeds without the store. ``raise``: the error is raised."""


class StoreErrors:
    """The errors of a store: each kind is logged once, and each call that meets one is counted; or they are raised.

    Args:
        store_id: the id of the store.
        policy: what to do with an error.
        count: is called for each call that proceeds without the store.

    Attributes:
        raised: whether errors are raised.

    Raises:
        InvalidInputError: there is no such policy.
    """

    def __init__(self, store_id: str, policy: OnStoreError, count: Callable[[], object]) -> None:
        if policy not in {"bypass", "raise"}:
            raise InvalidInputError(f"on_store_error={shown(policy)}: pass 'bypass' or 'raise'")
        self.raised = policy == "raise"
        self._store_id = store_id
        self._count = count
        self._said: set[object] = set()

    def handle(self, error: Exception, *, counts: bool = True) -> None:
        """Raise an error, or else let the call proceed without the store.

        Args:
            error: the error.
            counts: whether it is the first one that the call meets.

        Raises:
            Exception: the error, if errors are raised.
        """
        if self.raised:
            raise error
        self.excuse(error, counts=counts)

    def excuse(self, error: Exception, *, counts: bool = True) -> None:
        """Let the call proceed without the store, as `handle` does if it does not raise."""
        raise_interrupt(error)
        if counts:
            self._count()
        kind = _kind(error)
        if kind not in self._said:
            self._said.add(kind)
            proceeds = "" if self.raised else "Calls proceed without the cache. "
            LOGGER.warning(
                "store %r is not used for a call: %s\n%sLater failures of this kind are counted by call, not logged.",
                self._store_id,
                printable(str(error)),
                proceeds,
            )


def _kind(error: BaseException | None) -> object:
    """Return the kind of an error, so that each kind is logged once: its class, its subject and its cause's kind.

    The subject, which an adapter may set as an attribute, is what the error is about.
    """
    if error is None:
        return None
    code = getattr(error, "sqlite_errorname", getattr(error, "errno", None))
    return type(error), code, getattr(error, "subject", None), _kind(error.__cause__)


def as_persistence_error(error: Exception) -> PersistenceError:
    """Return an error of the store as one of chatcache's own; the exception of a signal handler is raised as it is.

    Unexpected exceptions are wrapped too: they must not fail a call any more than a full disk does.
    """
    raise_interrupt(error)
    if isinstance(error, PersistenceError):
        return error
    made = StorageError(
        f"the store failed unexpectedly ({type(error).__name__}: {error}): "
        "use another folder, and report this with its traceback"
    )
    made.__cause__ = error
    return made
