"""Records the LLM calls of a test suite once, as text in git, and replays them strictly in CI.

There is nothing to import: pytest loads the plugin, and every cache that a test uses replays and records. See
docs/pytest.md.
"""

from .ledger import Ledger
from .results import Result
from .settings import Layout, Settings

__all__ = ["Layout", "Ledger", "Result", "Settings"]
