"""The text in which records live in git: it comes back as it was, and a change in it is as large as what changed."""

import json
import re
import subprocess
import sys
from base64 import b64encode, encodebytes
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcache import BundleError, Form, InvalidInputError
from chatcache.recording import Bundle, Changes, Record, model_of, recording

LONG = "It was a bright cold day in April. The clocks were striking thirteen. Winston Smith slipped in.\nQuickly! "
CHINESE = "天空为什么是蓝色的？请用一句话向孩子解释。“空气散射短波阳光多于长波阳光；所以蓝光来自四面八方！”"  # noqa: RUF001 - Chinese
JAPANESE = (
    "空はなぜ青いのですか。子供に一文で説明してください。空気は短い波長の光を長い波長の光よりも多く散乱させます。"
)
THAI = "ท้องฟ้าเป็นสีฟ้าเพราะอากาศกระเจิงแสงสีน้ำเงินมากกว่าแสงสีแดง"
MINIFIED = ",".join(f'{{"order":{each},"state":"shipped"}}' for each in range(1_000))
PROGRAM = "for(var i=0;i<n;i++){if(a[i]>b[i]){swap(a,b,i);}}" * 500


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
    | st.integers()
    | st.sampled_from([-(2**63), -(2**63) - 1, 2**64 - 1, 2**64])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.text(st.sampled_from("天。！” \n\0a=,"), min_size=100)  # noqa: RUF001 - as above
    | st.sampled_from([LONG, LONG * 20, CHINESE * 20, THAI * 20, PROGRAM, "$text", "x" * 300, "a\nb"]),
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


@pytest.mark.parametrize("text", [CHINESE * 7, CHINESE * 200, JAPANESE * 200, THAI * 200, MINIFIED, PROGRAM])
def test_a_text_with_few_spaces_stands_on_lines_too(tmp_path: Path, text: str) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([record(request={"prompt": text})])
    assert not bundle.folder.exists()
    assert max(map(len, bundle.path.read_text().splitlines())) < 200
    assert bundle.read()[0].request == {"prompt": text}


def test_one_changed_character_of_chinese_is_one_changed_line(tmp_path: Path) -> None:
    before, after = Bundle(tmp_path / "before.chatcache"), Bundle(tmp_path / "after.chatcache")
    before.write([record(answer=CHINESE * 7)])
    after.write([record(answer=CHINESE * 3 + CHINESE.replace("一", "两") + CHINESE * 3)])
    lines = [*zip(before.path.read_text().splitlines(), after.path.read_text().splitlines(), strict=True)]
    assert sum(one != two for one, two in lines) == 1


def test_base64_is_no_text_for_people_however_it_is_wrapped(tmp_path: Path) -> None:
    data = bytes(range(256)) * 100
    texts = [b64encode(data), encodebytes(data), b"data:image/png;base64," + b64encode(data)]
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([record(answer=[*(text.decode() for text in texts), data.decode("latin-1")])])
    assert len([*bundle.folder.iterdir()]) == 4
    assert bundle.path.stat().st_size < 2_000


def test_the_bundle_of_the_examples_is_written_as_it_is(tmp_path: Path) -> None:
    examples = Path(__file__).parents[3] / "examples" / "suite" / "cassettes" / "test_app.chatcache"
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write(Bundle(examples).read())
    assert bundle.path.read_bytes() == examples.read_bytes()


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
        (lambda text: text.replace('"answer": ', '"answered": ', 1), "no record"),
        (lambda text: text.replace('"answer": {"content": "yes"}', f'"answer": {"[" * 100_000}', 1), "damaged"),
    ],
)
def test_a_text_that_is_none_is_refused_whole(tmp_path: Path, change: Any, message: str) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([numbered(1), numbered(2)])
    bundle.path.write_text(change(bundle.path.read_text()))
    with pytest.raises(BundleError, match=message):
        bundle.read()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("test", None),
        ("store", 1),
        ("key", ["ab"]),
        ("number", 0),
        ("number", "2"),
        ("number", True),
        ("form", "bogus"),
        ("form", ["answer"]),
        ("at", "2026-09-21T14:13:20.000"),
        ("at", "2026-09-21"),
        ("at", "yesterday"),
        ("at", "0001-01-01T00:00:00+01:00"),
        ("at", 1_790_000_000_000),
        ("sketch", "zz"),
        ("sketch", None),
        ("tokens", "7"),
        ("cost", [1]),
        ("versions", []),
    ],
)
def test_a_head_that_is_edited_into_none_is_an_error_that_says_what_is_wrong(
    tmp_path: Path, name: str, value: Any
) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([numbered(1, tokens=1, cost=0.5, versions={"chatcache": "0.1.0"}), numbered(2, number=2)])
    edited = re.sub(f'"{name}": .*,\n', f'"{name}": {json.dumps(value)},\n', bundle.path.read_text())
    bundle.path.write_text(edited)
    for use in (bundle.read, lambda: bundle.revise([numbered(3)]), lambda: bundle.write(bundle.blocks())):
        with pytest.raises(BundleError, match=f"line .* is damaged: '{name}' is "):
            use()
    assert bundle.path.read_text() == edited


def test_blank_lines_more_do_not_matter(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([numbered(1, answer=LONG), numbered(2), numbered(3)])
    text, read = bundle.path.read_text(), bundle.read()
    for blank in ("\n\n\n", "\n\n\n\n", "\n\n\n\n\n"):
        bundle.path.write_text(text.replace("\n\n", blank) + blank)
        assert bundle.read() == read
        assert bundle.write(bundle.blocks())
        assert bundle.path.read_text() == text
    bundle.path.write_text(text.replace("\n\n", "\n\n\n").replace("test_003", "test_003\t"))
    with pytest.raises(BundleError, match=f"line {text[: text.index('test_003')].count(chr(10)) + 3} is damaged"):
        bundle.read()


def test_what_is_damaged_is_told_of_each_record_and_the_others_are_there(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([numbered(each) for each in range(5)])
    text = bundle.path.read_text().replace('"key": "0000', '"kay": "0000', 1)
    bundle.path.write_text(text.replace(' "test": "test_003"', '<<<<<<< HEAD\n "test": "test_003"'))
    told = [str(each) if isinstance(each, BundleError) else each[0]["test"] for each in bundle.check()]
    assert told[1:3] + told[4:] == ["test_001", "test_002", "test_004"]
    assert "line 3 is damaged: key is missing" in told[0]
    assert "a merge left a conflict in the record at line 36" in told[3]
    with pytest.raises(BundleError, match="line 3 is damaged: key is missing"):
        bundle.read()


def test_blobs_are_swept_only_where_every_record_can_be_read(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([record(answer="x" * 100_000)])
    bundle.path.write_text(bundle.path.read_text().removesuffix("}\n"))
    with pytest.raises(BundleError, match="damaged"):
        bundle.sweep_blobs()
    assert len([*bundle.folder.iterdir()]) == 1


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


@pytest.mark.parametrize("name", ["tape.txt", "tape", "x.CHATCACHE", "x.chatcache.bak", ".chatcache", "xchatcache"])
def test_a_bundle_that_a_sweep_would_not_find_is_never_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"the name of a bundle ends in \.chatcache"):
        recording(tmp_path / name)
    with pytest.raises(BundleError, match=r"the name of a bundle with blobs ends in \.chatcache"):
        Bundle(tmp_path / name).write([record(answer="A1b2" * 6_000)])
    assert not (tmp_path / name).exists()


def test_a_sweep_keeps_the_blobs_of_every_bundle_of_the_folder(tmp_path: Path) -> None:
    bundles = [Bundle(tmp_path / f"{name}.chatcache") for name in ("x", ".hidden", "a b", "x.chatcache", "ü")]
    for at, bundle in enumerate(bundles):
        bundle.write([record(answer={"image": f"A1b{at}" * 6_000})])
    assert bundles[0].sweep_blobs() == 0
    assert [bundle.read()[0].answer["image"][:4] for bundle in bundles] == ["A1b0", "A1b1", "A1b2", "A1b3", "A1b4"]


def test_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([numbered(1, answer=LONG), numbered(2)])
    read = bundle.read()
    bundle.path.write_bytes(bundle.path.read_bytes().replace(b"\n", b"\r\n"))
    assert bundle.read() == read


@pytest.mark.parametrize("end", ["", "\n", "\n\n\n \t\n"])
@pytest.mark.parametrize("line_ends", ["\n", "\r\n"])
def test_what_editors_add_or_leave_out_does_not_matter(tmp_path: Path, line_ends: str, end: str) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([numbered(1, answer=LONG), numbered(2)])
    read, text = bundle.read(), bundle.path.read_text()
    edited = "\ufeff" + (text.rstrip() + end).replace("\n", line_ends)
    bundle.path.write_bytes(edited.encode())
    assert bundle.read() == read
    assert bundle.write(bundle.blocks())
    assert bundle.path.read_text() == text


@pytest.mark.parametrize(
    ("encoding", "problem"), [("utf-16", "it is UTF-16: save it as UTF-8"), ("latin-1", "line 3.* it is not UTF-8")]
)
def test_an_encoding_that_is_not_utf_8_is_told(tmp_path: Path, encoding: str, problem: str) -> None:
    bundle = Bundle(tmp_path / "b.chatcache")
    bundle.write([numbered(1, answer="déjà vu")])
    bundle.path.write_bytes(bundle.path.read_text().encode(encoding))
    with pytest.raises(BundleError, match=problem):
        bundle.read()


def test_a_lone_surrogate_in_any_text_is_read_again(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "b\udcff.chatcache")
    written = record(
        scope="a\ud800",
        store="b\ud800",
        key="c\ud800",
        request="d\ud800",
        answer={"e\ud800": 1},
        versions={"f": "\ud800"},
    )
    bundle.write([written])
    assert bundle.read() == [written]
    assert bundle.revise([record()]) == Changes(added=1)
    assert len(bundle.read()) == 2


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


def test_many_empty_lines_are_one_piece_of_a_text(tmp_path: Path) -> None:
    text = "a" + "\n" * 1_000 + "b\n\nc. " * 30
    bundle = Bundle(tmp_path / "one.chatcache")
    bundle.write([record(answer={"content": text})])
    assert bundle.read()[0].answer == {"content": text}
    assert bundle.path.read_text().count("\n") < 150


@pytest.mark.parametrize(
    "request_",
    [
        {"model": "m"},
        {"client": "litellm", "arguments": {"model": "m"}},
        {"client": "litellm", "arguments": {"model": {"group": "m"}}},
        {"client": "langchain", "fields": {"model_name": "m"}},
        {"client": "langchain", "embeddings": {"fields": {"model": "m"}}, "input": "a"},
    ],
    ids=str,
)
def test_the_model_that_a_request_asks_is_told(request_: dict[str, Any]) -> None:
    assert model_of(request_) == "m"
