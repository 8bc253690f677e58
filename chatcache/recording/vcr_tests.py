"""Which test a cassette is of, by its path.

pytest-recording writes ``cassettes/<module>/<test>.yaml`` beside the module, and pytest-vcr ``cassettes/<test>.yaml``.
The test of a class is ``<class>.<test>`` in both. In a name, pytest-recording writes a ``-`` for each character that
some file system refuses, such as the ``/`` of ``test_it[openai/gpt-4o]``.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["CassetteTest"]

_FOLDER = "cassettes"
_NAME = re.compile(r"(?:(?P<kind>\w+)\.)?(?P<name>test\w*(?:\[.*\])?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class CassetteTest:
    """The test that a cassette is of.

    Attributes:
        module: its file, or None if the path of the cassette does not tell it.
        name: its name within its file, as in the bundle of that file.
    """

    module: Path | None
    name: str

    @classmethod
    def of(cls, cassette: Path) -> Self | None:
        """Return the test of a cassette, or None if its path is not that of a test's."""
        match = _NAME.fullmatch(cassette.stem)
        if match is None:
            return None
        name = f"{match['kind']}::{match['name']}" if match["kind"] else match["name"]
        folder = cassette.absolute().parent
        of_module = folder.parent.name == _FOLDER or (folder.parent.parent / f"{folder.name}.py").exists()
        is_module = of_module and folder.name != _FOLDER
        return cls(folder.parent.parent / f"{folder.name}.py" if is_module else None, name)

    def scope_in(self, bundle: Path) -> str:
        """Return what the test is called in a bundle: in that of several files, its file stands before it."""
        if self.module is None or self.module.stem == bundle.stem:
            return self.name
        folder = bundle.absolute().parent
        tests = folder if self.module.is_relative_to(folder) else folder.parent
        return f"{Path(os.path.relpath(self.module, tests)).as_posix()}::{self.name}"
