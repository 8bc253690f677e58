"""Which release of LiteLLM the tests run with: in a few places they tell apart what LiteLLM itself does."""

from importlib.metadata import version

__all__ = ["LITELLM"]

_MAJOR, _MINOR, *_ = version("litellm").split(".")

LITELLM = int(_MAJOR), int(_MINOR)
"""Its first two numbers."""
