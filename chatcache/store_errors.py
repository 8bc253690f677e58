"""What a cache does where its store fails: the call goes on without it, or fails as well."""

from collections.abc import Callable
from typing import Literal

from ._bridge import LOGGER
from .errors import InvalidInputError, PersistenceError, StorageError, printable, shown
from .interrupts import raise_interrupt

__all__ = ["OnStoreError", "StoreErrors", "as_persistence_error"]

OnStoreError = Literal["bypass", "raise"]
"""``bypass``: the call goes on without the store. ``raise``: the error is raised."""


class StoreErrors:
    """What becomes of the errors of a store.

    Args:
        store_id: the id of the store.
        policy: what is done.
        count: is called for each call that goes on without the store.

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

    def handle(self, error: Exception) -> None:
        """Raise an error, or else go on without the store.

        Raises:
            Exception: the error, if errors are raised.
        """
        if self.raised:
            raise error
        self.excuse(error)

    def excuse(self, error: Exception) -> None:
        """Count a call that goes on without the store, and say why the first time for each kind of error."""
        raise_interrupt(error)
        self._count()
        kind = _kind(error)
        if kind not in self._said:
            self._said.add(kind)
            LOGGER.warning(
                "store %r is not used for a call: %s\n"
                "Calls go on without it; this is said once for each kind of problem.",
                self._store_id,
                printable(str(error)),
            )


def _kind(error: BaseException | None) -> object:
    """Return what two errors have in common that are said once: their class, and what they were raised from."""
    if error is None:
        return None
    code = getattr(error, "sqlite_errorname", getattr(error, "errno", None))
    return type(error), code, _kind(error.__cause__)


def as_persistence_error(error: Exception) -> PersistenceError:
    """Return an error of the store as one of chatcache's own; the exception of a signal handler is raised as it is.

    What is none of ours, and none that `chatcache.storage` explains, is a fault that nobody foresaw: a caller has to
    bear that no less than a full disk.
    """
    raise_interrupt(error)
    if isinstance(error, PersistenceError):
        return error
    made = StorageError(
        f"the store failed in a way that is not foreseen ({type(error).__name__}: {error}): "
        "use another folder, and report this with its traceback"
    )
    made.__cause__ = error
    return made
