"""Records as cassettes: what a test calls is recorded into a text file in git, and replayed strictly.

``bundle`` is that file; ``shelf`` is one that is read; ``tape`` is what one test replays and records of it, in the
place of the stores of all caches; ``session`` puts tapes in and out for a run, and ``recordings`` for a body or a
function. ``volatile`` and ``secrets`` say what is replaced before a request is keyed, and written, and ``replaced``
does so; ``sketch``, ``difference`` and ``miss`` find out why there is nothing to replay.
The plugin for pytest is a distribution of its own, ``pytest-chatcache``.
"""

from chatcache.errors import printable

from .bundle import SUFFIX, Bundle, Changes, Head, Record, model_of, name_of
from .difference import Difference, differences
from .edited import Edits, rekeyed
from .miss import BundleExplanation, ExplainedMiss, Explanation, Nearest, Reason, StoreExplanation, nearest
from .policy import (
    Exhausted,
    Fault,
    Policy,
    RecordMode,
    mode_of_environment,
    parse_exhausted,
    parse_ignore,
    parse_not_secret,
    parse_record_mode,
)
from .recordings import Recording, recording
from .rescue import rescue
from .secrets import MASK, scrubbed, secrets_in, secrets_of
from .session import Session
from .shelf import Entry, Shelf, Shelves
from .sketch import sketch_of
from .skipped import Skipped, reasons_of
from .stores import from_store, from_vcr, into_store
from .tape import Advice, Tape, sample
from .vcr import recorded_at, request_line
from .vcr_tests import CassetteTest
from .volatile import BUILT_IN, Volatile

__all__ = [
    "BUILT_IN",
    "MASK",
    "SUFFIX",
    "Advice",
    "Bundle",
    "BundleExplanation",
    "CassetteTest",
    "Changes",
    "Difference",
    "Edits",
    "Entry",
    "Exhausted",
    "ExplainedMiss",
    "Explanation",
    "Fault",
    "Head",
    "Nearest",
    "Policy",
    "Reason",
    "Record",
    "RecordMode",
    "Recording",
    "Session",
    "Shelf",
    "Shelves",
    "Skipped",
    "StoreExplanation",
    "Tape",
    "Volatile",
    "differences",
    "from_store",
    "from_vcr",
    "into_store",
    "mode_of_environment",
    "model_of",
    "name_of",
    "nearest",
    "parse_exhausted",
    "parse_ignore",
    "parse_not_secret",
    "parse_record_mode",
    "printable",
    "recorded_at",
    "recording",
    "reasons_of",
    "rekeyed",
    "request_line",
    "rescue",
    "sample",
    "scrubbed",
    "secrets_in",
    "secrets_of",
    "sketch_of",
]
