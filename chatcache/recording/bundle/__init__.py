"""The text in which records live in git. Pure but for `bundle`, which reads and writes the files."""

from .bundle import SUFFIX, Bundle, Changes, Head
from .record import STREAMS, Record, at_of, form_of, model_of, name_of

__all__ = ["STREAMS", "SUFFIX", "Bundle", "Changes", "Head", "Record", "at_of", "form_of", "model_of", "name_of"]
