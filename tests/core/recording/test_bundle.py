"""The text in which records live in git: it comes back as it was, and a change in it is as large as what changed."""

import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcache import BundleError, Form
from chatcache.recording import Bundle, Changes, Record

LONG = "It was a bright cold day in April. The clocks were striking thirteen. Winston Smith slipped in.\nQuickly! "


def record(**fields: Any) -> Record:
    known: dict[str, Any] = {
        "scope": "test_one",
        "store": "app",
        "key": "ab" * 32,
        "number": 1,
        "form": Form.ANSWER,
        "request": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
        "answer": {"content": "yes"},
        "sketch": "0" * 16,
        "at": 1_790_000_000_000,
    }
    return Record(**{**known, **fields})


def numbered(test: int, **fields: Any) -> Record:
    return record(**{"scope": f"test_{test:03}", "key": f"{test:064x}", **fields})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from([LONG, LONG * 20, "$text", "x" * 300, "a\nb"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from(["$text", "$blob", "$$text", "$ref"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, request: Any, answer: Any) -> None:
    bundle = Bundle(tmp_path_factory.mktemp("bundle") / "b.chatcache")
    bundle.write([record(request=request, answer=answer)])
    (read,) = bundle.read()
    assert repr(sorted_names(read.request)) == repr(sorted_names(request))
    assert repr(sorted_names(read.answer)) == repr(sorted_names(answer))


def sorted_names(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: sorted_names(item) for name, item in sorted(value.items())}
    return [sorted_names(item) for item in value] if isinstance(value, list) else value


@given(st.lists(JSON, max_size=5), st.booleans())
def test_a_stream_is_read_again_chunk_by_chunk(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[Any], alike: Any
) -> None:
    bundle = Bundle(tmp_path_factory.mktemp("bundle") / "b.chatcache")
    chunks = [{"id": "1", "n": True, "each": each} for each in chunks] if alike else chunks
    offsets = [at / 8 for at in range(len(chunks))]
    bundle.write([record(form=Form.STREAM, answer=chunks, offsets=offsets)])
    (read,) = bundle.read()
    assert repr(sorted_names(read.answer)) == repr(sorted_names(chunks))
    assert (read.form, read.offsets) == (Form.STREAM, offsets)


def test_writing_what_was_read_changes_nothing(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    assert bundle.write([numbered(2), numbered(1, answer=LONG), numbered(1, number=2)])
    text = bundle.path.read_bytes()
    assert not bundle.write(reversed(bundle.read()))
    assert not bundle.write(bundle.blocks())
    assert bundle.path.read_bytes() == text
    assert bundle.path.stat().st_mode & 0o777 == 0o644


def test_one_changed_word_is_one_changed_line(tmp_path: Path) -> None:
    before = Bundle(tmp_path / "before.chatcache")
    before.write([numbered(each, answer={"content": LONG * 3, "id": "x"}) for each in range(5)])
    after = Bundle(tmp_path / "after.chatcache")
    changed = [
        replace(each, answer={**each.answer, "content": each.answer["content"].replace("thirteen", "twelve", 1)})
        if each.scope == "test_002"
        else each
        for each in before.read()
    ]
    after.write(changed)
    lines = [*zip(before.path.read_text().splitlines(), after.path.read_text().splitlines(), strict=True)]
    assert [(one, two) for one, two in lines if one != two] == [
        (
            '    "It was a bright cold day in April. The clocks were striking thirteen. ",',
            '    "It was a bright cold day in April. The clocks were striking twelve. ",',
        )
    ]


def test_one_changed_chunk_is_one_changed_line(tmp_path: Path) -> None:
    chunks = [{"id": "1", "model": "m", "delta": {"content": word}} for word in ("The", " sky", " is", " blue")]
    before, after = Bundle(tmp_path / "before.chatcache"), Bundle(tmp_path / "after.chatcache")
    before.write([record(form=Form.STREAM, answer=chunks, offsets=[0.0] * 4)])
    after.write(
        [record(form=Form.STREAM, answer=[*chunks[:3], {**chunks[3], "delta": {"content": " red"}}], offsets=[0.0] * 4)]
    )
    lines = [*zip(before.path.read_text().splitlines(), after.path.read_text().splitlines(), strict=True)]
    assert sum(one != two for one, two in lines) == 1


def test_what_is_large_lies_beside_it_and_is_there_once(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    image = "iVBORw0KGgo" * 3_000
    vector = [each / 7 for each in range(3_000)]
    bundle.write([numbered(1, request={"image": image, "input": vector}), numbered(2, request={"image": image})])
    assert bundle.path.stat().st_size < 3_000
    assert len([*bundle.folder.iterdir()]) == 2
    assert [each.request for each in bundle.read()] == [{"image": image, "input": vector}, {"image": image}]


def test_a_long_text_for_people_is_no_blob(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([record(answer=LONG * 1_000)])
    assert not bundle.folder.exists()


def test_a_blob_that_is_damaged_or_gone_is_an_error(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([record(answer="x" * 100_000)])
    (blob,) = bundle.folder.iterdir()
    blob.write_text('"y"')
    with pytest.raises(BundleError, match="not what its name says"):
        bundle.read()
    blob.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        bundle.read()


def test_a_bundle_of_no_records_is_no_file(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    assert bundle.read() == []
    bundle.write([record()])
    assert bundle.write([])
    assert not bundle.path.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "hello", "is no bundle"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "newer version"),
        (lambda text: text[:-30], "damaged"),
        (lambda text: text.replace('"key": "', '"kay": "'), "key is missing"),
        (lambda text: text.replace(' "store"', '<<<<<<< HEAD\n "store"'), "line 3: keep one side"),
        (lambda text: f"<<<<<<< HEAD\n{text}", "is no bundle"),
        (lambda text: text.replace(' "answer"', '<<<<<<< HEAD\n "answer"'), "line 3: keep one side"),
        (lambda text: text.replace('"answer"', '"form"', 1), "no record"),
    ],
)
def test_a_text_that_is_none_is_refused_whole(tmp_path: Path, change: Any, message: str) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([numbered(1), numbered(2)])
    bundle.path.write_text(change(bundle.path.read_text()))
    with pytest.raises(BundleError, match=message):
        bundle.read()


@given(data=st.data())
def test_no_text_makes_anything_but_a_record_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    bundle = Bundle(tmp_path_factory.mktemp("bundle") / "b.chatcache")
    bundle.write([record(answer=LONG)])
    text = bytearray(bundle.path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    bundle.path.write_bytes(bytes(text))
    with suppress(BundleError):
        assert all(isinstance(each, Record) for each in bundle.read())


def test_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([numbered(1, answer=LONG), numbered(2)])
    read = bundle.read()
    bundle.path.write_bytes(bundle.path.read_bytes().replace(b"\n", b"\r\n"))
    assert bundle.read() == read


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([record()])
    text = bundle.path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BundleError, match="No space left"):
        bundle.write([record(answer="new")])
    assert bundle.path.read_bytes() == text
    assert [each.name for each in tmp_path.iterdir()] == ["b.chatcache"]


def test_revising_a_scope_leaves_the_others_byte_by_byte(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([numbered(each, answer=LONG) for each in range(3)])
    paragraphs = bundle.path.read_text().split("\n\n")
    changes = bundle.revise([numbered(1, answer="new", at=1_790_000_009_000)], replacing={"test_001"})
    assert changes == Changes(changed=1)
    after = bundle.path.read_text().split("\n\n")
    assert (after[1], after[3]) == (paragraphs[1], paragraphs[3])
    assert bundle.read()[1].answer == "new"


def git(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    name = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *name, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_git_merges_what_two_branches_added(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([numbered(each) for each in (10, 20, 30)])
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "1")
    git(tmp_path, "checkout", "-qb", "other")
    bundle.write([*bundle.read(), numbered(15)])
    git(tmp_path, "commit", "-qam", "2")
    git(tmp_path, "checkout", "-q", "main")
    bundle.write([*bundle.read(), numbered(25)])
    git(tmp_path, "commit", "-qam", "3")
    assert git(tmp_path, "merge", "-q", "other", "-m", "4").returncode == 0
    assert [each.scope for each in bundle.read()] == ["test_010", "test_015", "test_020", "test_025", "test_030"]


def test_git_merges_what_two_branches_added_at_one_place_by_the_driver(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([numbered(10)])
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "merge.chatcache.driver", f"{sys.executable} -m chatcache.cli merge %O %A %B")
    (tmp_path / ".gitattributes").write_text("*.chatcache merge=chatcache\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "1")
    git(tmp_path, "checkout", "-qb", "other")
    bundle.write([*bundle.read(), numbered(20)])
    git(tmp_path, "commit", "-qam", "2")
    git(tmp_path, "checkout", "-q", "main")
    bundle.write([*bundle.read(), numbered(30)])
    git(tmp_path, "commit", "-qam", "3")
    merged = git(tmp_path, "merge", "-q", "other", "-m", "4")
    assert merged.returncode == 0, merged.stdout + merged.stderr
    assert [each.scope for each in bundle.read()] == ["test_010", "test_020", "test_030"]
