"""The text in which records live in git. Pure but for `bundle` and `files`, which read and write the files."""

from .bundle import SUFFIX, Bundle, Changes, Head, is_bundle
from .files import BLOBS, is_leftover, locked
from .record import STREAMS, Record, at_of, form_of, model_of, name_of

__all__ = [
    "BLOBS",
    "STREAMS",
    "SUFFIX",
    "Bundle",
    "Changes",
    "Head",
    "Record",
    "at_of",
    "form_of",
    "is_bundle",
    "is_leftover",
    "locked",
    "model_of",
    "name_of",
]
