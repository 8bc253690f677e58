"""What the caches of a store counted, kept in its object, and given to OpenTelemetry."""

from .counts import Counts, HeldCounts, Statistics, Tally

__all__ = ["Counts", "HeldCounts", "Statistics", "Tally"]
