"""A cache that stands in for a test, in the place of none."""

from . import embeddings_hook, hook
from .cache import DOCache

__all__ = ["StandInCache"]


class StandInCache:
    """A cache that holds nothing, so that each call is the provider's to answer.

    Args:
        path: the folder of its store, in which nothing is written.
    """

    def __init__(self, path: str) -> None:
        self._cache = DOCache("langchain", path=path, mode="off")

    def begin(self) -> None:
        """Stand in from the next call on."""
        hook.stand_in(self._cache)
        embeddings_hook.stand_in(self._cache)

    def end(self) -> None:
        """Stand in no more."""
        hook.stand_in(None)
        embeddings_hook.stand_in(None)
