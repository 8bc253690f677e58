"""LangChain's own suite over a cached model: once as it is recorded, and once as it is replayed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from chatcache import Mode
from langchain_chatcache import DOCache, cached
from tests.integrations.tool_provider import ToolProvider

PARAMETERS: dict[str, Any] = {"model": "gpt-4o", "api_key": "none", "stream_usage": True, "max_retries": 0}


@pytest.fixture(scope="module")
def tool_provider() -> Iterator[ToolProvider]:
    with ToolProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema")
class TestCachedModel(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return PARAMETERS

    @property
    def supports_json_mode(self) -> bool:
        return True

    @pytest.fixture(params=["recorded", "replayed"])
    def model(
        self, request: Any, monkeypatch: pytest.MonkeyPatch, tool_provider: ToolProvider, records: Path
    ) -> Iterator[BaseChatModel]:
        cache = DOCache("standard", path=records)
        calls = tool_provider.calls
        if request.param == "replayed":
            if "few_shot" in request.node.name:
                pytest.skip("it makes up the ids of tool calls, so that each run asks something else")
            cache.engine.mode = Mode.REPLAY
        monkeypatch.setenv("OPENAI_API_BASE", tool_provider.url)  # for a model that the suite makes
        yield cached(ChatOpenAI(**PARAMETERS, base_url=tool_provider.url), cache)
        assert cache.engine.stats().bypasses == 0
        if request.param == "replayed":
            assert tool_provider.calls == calls + ("stop_sequence" in request.node.name)  # by that model
