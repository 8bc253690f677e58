"""What the tests of the adapters share: a local provider, and an end for the clients that LiteLLM leaves open."""

import gc
import inspect
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import litellm
import pytest
import pytest_asyncio
from litellm.llms.custom_httpx.async_client_cleanup import close_litellm_async_clients
from provider import Provider


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Allow for sockets that nobody closed: LiteLLM leaves its clients to the collector."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def close_clients() -> AsyncIterator[None]:
    """Close the clients of LiteLLM, and collect those it has lost, before tests that allow for none of this."""
    yield
    await close_litellm_async_clients()
    clients: Any = litellm.in_memory_llm_clients_cache
    for client in clients.cache_dict.values():
        closed = client.close()
        if inspect.isawaitable(closed):
            await closed
    clients.flush_cache()
    gc.collect()


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running
