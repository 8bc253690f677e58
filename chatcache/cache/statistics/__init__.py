"""What the caches of a store counted, kept in its object, and given to OpenTelemetry."""

from .counts import Counts, Statistics

__all__ = ["Counts", "Statistics"]
