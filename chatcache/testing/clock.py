"""A clock for tests."""

__all__ = ["ManualClock"]


class ManualClock:
    """Seconds since the epoch, as long as nobody moves them.

    Args:
        now: where it stands.
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return where it stands."""
        return self.now
