"""Streams: recorded as they are read, and replayed."""

from .replayed import ReplayedMessages, ReplayedStream, replayed_responses
from .tape import Tape

__all__ = ["ReplayedMessages", "ReplayedStream", "Tape", "replayed_responses"]
