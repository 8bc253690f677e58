"""A local provider for the tests of the adapters."""

from collections.abc import Iterator

import pytest
from provider import Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running
