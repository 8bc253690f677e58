"""What is said of two requests that are not alike: what changed, on one screen, and nothing that a terminal obeys."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcache import ResponseCache
from chatcache.recording import (
    BundleExplanation,
    Difference,
    ExplainedMiss,
    Policy,
    Reason,
    RecordMode,
    differences,
    recording,
)
from chatcache.recording.difference import _changes

WORDS = [f"word{number % 700}" for number in range(4_500)]
CONTROL = "\x1b[31m\t\r\x7f\x9b\u200b\u202e\u2066\ufeff\ud800"
ESCAPED = r"\x1b[31m\t\r\x7f\x9b\u200b\u202e\u2066\ufeff\ud800"


def said(recorded: Any, asked: Any) -> str:
    return "\n".join(map(str, differences(recorded, asked)))


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def every_seventh(words: list[str]) -> list[str]:
    return ["changed" if at % 7 == 3 else word for at, word in enumerate(words)]


@pytest.mark.parametrize(
    ("recorded", "asked", "before", "after"),
    [
        ("to a child", "to my child", "to {-a-} child", "to {+my+} child"),
        ("the sky", "the blue sky", "the sky", "the {+blue +}sky"),
        ("the sky", "the sky is", "the sky", "the sky{+ is+}"),
        ("the sky,", "the sky.", "the sky{-,-}", "the sky{+.+}"),
        ("the sky\nis", "the sky is", "the sky{-⏎-}is", "the sky{+ +}is"),
        ("one two three four", "1 two three 4", "{-one-} two three {-four-}", "{+1+} two three {+4+}"),
        ("天空为什么是蓝色的", "天空为什么是红色的", "天空为什么是{-蓝-}色的", "天空为什么是{+红+}色的"),
        ("", "sky", "", "{+sky+}"),
    ],
)
def test_what_changed_in_a_text_stands_in_braces(recorded: str, asked: str, before: str, after: str) -> None:
    assert said(recorded, asked) == f"$\n  - {before}\n  + {after}"


def test_what_is_one_in_a_key_is_no_difference() -> None:
    assert not said({"wait": 120, "all": [1, 2.0]}, {"wait": 120.0, "all": [1.0, 2]})
    assert said({"stream": 1}, {"stream": True}) == "$.stream\n  - 1\n  + true"


def test_one_word_of_a_long_prompt_is_all_that_is_said() -> None:
    changed = [*WORDS[:2_200], "changed", *WORDS[2_201:]]
    assert said(" ".join(WORDS), " ".join(changed)) == (
        "$\n"
        "  - …96 word97 word98 word99 {-word100-} word101 word102 word103…\n"
        "  + …96 word97 word98 word99 {+changed+} word101 word102 word103…"
    )


@pytest.mark.parametrize("many", [200, 4_500])
def test_of_many_changes_in_a_text_the_first_are_shown_and_the_others_counted(many: int) -> None:
    text = said(" ".join(WORDS[:many]), " ".join(every_seventh(WORDS[:many])))
    assert (text.count("{-"), text.count("{+")) == (5, 5)
    assert text.endswith(f"\n  … and {(many + 3) // 7 - 5} more changes")
    assert len(text) < 1_000


@pytest.mark.parametrize(
    "asked",
    ["", "x" * 50_000, " ".join(reversed(WORDS)), "the " * 4_500, "天" * 9_000, "\x1b" * 9_000],
)
def test_what_is_said_of_any_two_texts_has_room_on_a_screen(asked: str) -> None:
    assert len(said(" ".join(WORDS), asked)) < 3_000


def test_what_is_inserted_in_a_long_text_is_an_insertion_and_what_follows_is_equal() -> None:
    new = [f"new{at}" for at in range(1_000)]
    text = said(" ".join(WORDS), " ".join([*WORDS[:2_000], *new, *WORDS[2_000:3_000], "changed", *WORDS[3_001:]]))
    assert (text.count("{-"), text.count("{+")) == (1, 2)
    assert "{+new0 new1" in text
    assert "{-word200-}" in text


SEQUENCE = st.lists(st.sampled_from("abc"), max_size=40)


@given(SEQUENCE, SEQUENCE, st.sampled_from([1, 100]))
def test_the_changes_make_the_one_out_of_the_other(recorded: list[str], asked: list[str], times: int) -> None:
    one, two = recorded * times, [*"xy", *asked * times, *"z"]
    made, at = [], 0
    for begin, end, first, last in _changes(one, two):
        assert begin < end or first < last
        made += [*one[at:begin], *two[first:last]]
        at = end
    assert [*made, *one[at:]] == two


def test_a_message_that_is_inserted_is_new_and_the_next_one_edited() -> None:
    told = [*differences([user("Hello there")], [user("Extra"), user("Hello there, friend")])]
    assert [(each.path, each.kind) for each in told] == [("$[0]", "added"), ("$[1].content", "changed")]
    assert (told[1].recorded, told[1].asked) == ("Hello there", "Hello there, friend")


def test_a_message_that_is_taken_out_is_gone_and_the_next_one_edited() -> None:
    told = [*differences([user("Be brief."), user("Why is the sky blue?")], [user("Why is the sky red?")])]
    assert [(each.path, each.kind) for each in told] == [("$[0]", "removed"), ("$[0].content", "changed")]


def test_items_that_have_nothing_in_common_are_compared_in_their_order() -> None:
    told = [*differences({"stop": ["a", "b"]}, {"stop": ["c", "d", "e"]})]
    assert [(each.path, each.kind) for each in told] == [
        ("$.stop[0]", "changed"),
        ("$.stop[1]", "changed"),
        ("$.stop[2]", "added"),
    ]


def test_items_in_another_order_are_said_to_have_moved() -> None:
    tools = [{"name": "search", "strict": True}, {"name": "weather"}, {"name": "orders"}]
    told = [*differences({"tools": tools}, {"tools": [tools[2], tools[0], tools[1]]})]
    assert [*map(str, told)] == ["$.tools[2]: is now at [0]"]
    assert told[0].to_dict() == {"path": "$.tools[2]", "kind": "moved", "now": 0}
    assert pickle.loads(pickle.dumps(told)) == told  # noqa: S301 - made just now


def test_a_difference_as_json_holds_both_values_as_far_as_there_are_two() -> None:
    told = [each.to_dict() for each in differences({"a": 1, "b": 2}, {"a": True, "c": None})]
    assert told == [
        {"path": "$.a", "kind": "changed", "recorded": 1, "asked": True},
        {"path": "$.b", "kind": "removed", "recorded": 2},
        {"path": "$.c", "kind": "added", "asked": None},
    ]


def test_long_lists_are_compared_item_by_item() -> None:
    told = [*differences([*range(10_000)], [*range(5_000), 7, *range(5_001, 10_000)])]
    assert told == [Difference("$[5000]", "changed", 5_000, 7)]
    messages = [user(f"message {at} of {WORDS[at]}") for at in range(1_000)]
    told = [*differences(messages, [user("Extra"), *messages[:500], user("message"), *messages[501:]])]
    assert [each.path for each in told] == ["$[0]", "$[501].content"]


@pytest.mark.parametrize(
    ("recorded", "asked"),
    [
        ("a b", f"a{CONTROL} b"),
        (f"a{CONTROL} b", ""),
        (f"{CONTROL} a b c", f"{CONTROL} a b d"),
        ({}, {"a": [CONTROL]}),
        ({CONTROL: 1}, {}),
        ([CONTROL], [2**70]),
        ([CONTROL, 1], [CONTROL, 2]),
    ],
)
def test_nothing_that_a_terminal_obeys_is_printed(recorded: Any, asked: Any) -> None:
    text = said(recorded, asked)
    assert all(line.isprintable() for line in text.split("\n"))


def test_what_cannot_be_seen_is_shown_as_python_writes_it() -> None:
    assert said("a b", f"a{CONTROL} b") == f"$\n  - a b\n  + a{{+{ESCAPED}+}} b"


def explained(**fields: Any) -> str:
    explanation = BundleExplanation(
        reason=Reason.NOTHING, scope="test", bundle="b.chatcache", recorded=0, command="c", **fields
    )
    return str(ExplainedMiss(key=None, request={"prompt": CONTROL}, store_id="app", explanation=explanation))


def test_a_miss_shows_a_request_and_placeholders_escaped() -> None:
    text = explained(placeholders={"<<own-1>>": f"{CONTROL}\nb"}, detail=f"{CONTROL}\nb")
    assert all(line.isprintable() for line in text.split("\n"))
    assert f"  request  {{'prompt': '{ESCAPED}'}}\n" in text
    assert f"  <<own-1>>  stands for {ESCAPED}⏎b\n" in text
    assert f"  {ESCAPED}⏎b\n" in text


def test_a_miss_of_a_long_prompt_has_room_on_a_screen(tmp_path: Path) -> None:
    cache = ResponseCache("app", path=tmp_path / "objects")
    request = {"messages": [user(" ".join(WORDS)), *(user(f"message {at}") for at in range(20))]}
    changed = {"messages": [user(" ".join(every_seventh(WORDS))), *(user(f"number {at}") for at in range(20))]}
    with recording(tmp_path / "b.chatcache"):
        cache.call(request, lambda _request: {"content": "yes"})
    with (
        recording(tmp_path / "b.chatcache", Policy(mode=RecordMode.REPLAY)),
        pytest.raises(ExplainedMiss) as caught,
    ):
        cache.call(changed, lambda _request: {"content": "no"})
    text = str(caught.value)
    assert "… and 638 more changes" in text
    assert "… and 13 more differences" in text
    assert (len(text) < 3_000, text.count("\n") < 40) == (True, True)
    assert json.dumps(caught.value.to_dict())
