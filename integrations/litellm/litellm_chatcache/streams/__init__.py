"""Streams: recorded as they are read, and replayed."""

from .replayed import ReplayedMessages, ReplayedResponses, ReplayedStream
from .tape import Tape

__all__ = ["ReplayedMessages", "ReplayedStream", "Tape", "ReplayedResponses"]
