"""The proxy of the example for three keys: each pays for an answer once, whole or streamed."""

from pathlib import Path

import pytest
from openai import OpenAI

from tests.integrations.proxies import EXAMPLE, KEYS, starting, with_keys
from tests.integrations.tool_provider import ToolProvider

pytest.importorskip("fastapi", reason="the proxy of LiteLLM is not installed")


ASKED = "Why is the sky blue?"


def test_each_key_of_a_proxy_pays_for_an_answer_once(tmp_path: Path) -> None:
    with ToolProvider() as provider:
        config = with_keys(EXAMPLE.read_text().replace("http://127.0.0.1:8000/v1", provider.url), tmp_path)
        with starting(config, tmp_path) as proxy:
            proxy.wait()
            url = str(proxy.client.base_url)
            said = [answer(url, key, stream) for _ in range(2) for key in KEYS for stream in (True, False)]
        assert said == [f"You said: {ASKED}"] * 12
        assert provider.calls == 3, "a whole answer is made of the record of a stream"


def answer(url: str, key: str, stream: bool) -> str:  # noqa: FBT001 - of a list
    chat = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0).chat.completions
    if not stream:
        return (
            chat.create(model="gpt-4o", messages=[{"role": "user", "content": ASKED}]).choices[0].message.content or ""
        )
    chunks = chat.create(model="gpt-4o", messages=[{"role": "user", "content": ASKED}], stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
