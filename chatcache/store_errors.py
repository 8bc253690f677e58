"""What a cache does where its store fails: the call goes on without it, or fails as well."""

from collections.abc import Callable
from typing import Literal

from ._bridge import LOGGER
from .errors import InvalidInputError, printable, shown

__all__ = ["OnStoreError", "StoreErrors"]

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
        self._said: set[type[Exception]] = set()

    def handle(self, error: Exception) -> None:
        """Raise an error, or else go on without the store."""
        if self.raised:
            raise error
        self.excuse(error)

    def excuse(self, error: Exception) -> None:
        """Count a call that goes on without the store, and say why the first time for each kind of error."""
        self._count()
        if type(error) not in self._said:
            self._said.add(type(error))
            LOGGER.warning(
                "store %r is not used for a call: %s\n"
                "Calls go on without it; this is said once for each kind of problem.",
                self._store_id,
                printable(str(error)),
            )
