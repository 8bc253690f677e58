"""Which release of LiteLLM the tests run with: in a few places they tell apart what LiteLLM itself does."""

from importlib.metadata import version

__all__ = ["LITELLM"]

LITELLM = tuple(map(int, version("litellm").split(".")[:2]))
"""Its first two numbers."""
