"""Tests of a program that asks models. There is nothing of chatcache in them.

They are replayed from ``cassettes/test_app.chatcache``, with no key and no network::

    CI=true pytest examples/suite --chatcache-block-network

and recorded anew where a provider is, such as the local one (``python examples/provider.py --port 8765``)::

    pytest examples/suite --chatcache=refresh
"""

import re

import pytest
from app import ask_agent, explain, explain_slowly


def test_an_explanation_is_one_sentence() -> None:
    assert explain("why the sky is blue").count(".") == 1


@pytest.mark.parametrize("subject", ["the tides", "the winter"])
def test_words_come_one_by_one(subject: str) -> None:
    words = [*explain_slowly(subject)]
    assert len(words) > 10
    assert "".join(words).endswith(".")


def test_the_agent_looks_an_order_up_and_says_its_tracking_number() -> None:
    said = ask_agent("Where is my order 1183")
    assert re.search(r"Order 1183 left the depot; its tracking number is [0-9a-f-]{36}", said)
