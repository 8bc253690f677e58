"""Bundles and cassettes of somebody else: each command ends with an error that says what is wrong, and where."""

import gzip
import json
import os
import re
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chatcache import BundleError, NotRecordedError, ResponseCache
from chatcache.cli.commands import chatcache
from chatcache.errors import ChatcacheError, printable
from chatcache.recording import Bundle, Policy, RecordMode, recording

HEADER = '{"chatcache": "bundle", "version": 1}\n'
HEAD = {"test": "t", "store": "s", "key": "a" * 64, "form": "answer", "at": "2026-01-01T00:00:00+00:00"}
READING = [("ls",), ("show", "t"), ("grep", "needle"), ("stats",), ("scan",), ("verify",)]
CHANGING = [("prune",), ("migrate",)]
MESSAGE = {"model": "m"}


@pytest.fixture(autouse=True)
def lower_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower two limits of a record, so that one above them is made and read quickly."""
    for module in ("text", "bundle", "blobs"):
        monkeypatch.setattr(f"chatcache.recording.bundle.{module}.MOST_VALUES", 10_000)
    monkeypatch.setattr("chatcache.recording.bundle.text._LONGEST", 1_000_000)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(chatcache, [*map(str, arguments)])
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit | ChatcacheError):
        raise result.exception
    return result


def said(result: Result) -> str:
    return f"{result.output}{result.exception}"


def text_of(request: str = '{"model": "m"}', answer: str = '{"x": 1}', **head: Any) -> str:
    lines = [f' "{name}": {json.dumps(value)}' for name, value in {**HEAD, "sketch": "0" * 16, **head}.items()]
    return "{\n" + ",\n".join([*lines, f' "request": {request}', f' "answer": {answer}']) + "\n}\n"


def bundle_of(folder: Path, *texts: str, blobs: tuple[bytes, ...] = ()) -> Bundle:
    bundle = Bundle(folder / "x.chatcache")
    bundle.path.write_text("\n".join([HEADER, *texts]), errors="surrogatepass")
    for content in blobs:
        bundle.folder.mkdir(exist_ok=True)
        (bundle.folder / f"{sha256(content).hexdigest()}.json").write_bytes(content)
    return bundle


def blob(content: bytes) -> str:
    return json.dumps({"$blob": sha256(content).hexdigest()})


LARGE = b'"' + b"A" * (4 << 20) + b'"'
NUMBERS = b"[" + b"1," * 11_000 + b"1]"
DAMAGED: dict[str, tuple[Callable[[], str], str, tuple[bytes, ...]]] = {
    "many references": (lambda: f"[{','.join([blob(LARGE)] * 400)}]", "expand to over", (LARGE,)),
    "deep lists": (lambda: "[" * 1_000 + "]" * 1_000, "nests more than 100 levels", ()),
    "deeper lists": (lambda: "[" * 100_000 + "]" * 100_000, "nests more than 100 levels", ()),
    "deep objects": (lambda: '{"a":' * 300 + "1" + "}" * 300, "nests more than 100 levels", ()),
    "blob outside": (lambda: '{"$blob": "../../../../secret"}', "is no name of a blob", ()),
    "blob of a path": (lambda: '{"$blob": "/etc/passwd"}', "is no name of a blob", ()),
    "blob of NUL": (lambda: r'{"$blob": "a\u0000b"}', "is no name of a blob", ()),
    "blob of a list": (lambda: '{"$blob": ["a"]}', "is no name of a blob", ()),
    "blob of a surrogate": (lambda: r'{"$blob": "x\ud800"}', "is no name of a blob", ()),
    "no blob": (lambda: blob(b"1"), "cannot be read", ()),
    "blob of an object": (
        lambda: blob(b'{"$blob": "x"}'),
        "neither a text nor a list of numbers",
        (b'{"$blob": "x"}',),
    ),
    "blob of no JSON": (lambda: blob(b"nope"), "is no JSON", (b"nope",)),
    "blob of many numbers": (lambda: blob(NUMBERS), "more than 10,000 values", (NUMBERS,)),
    "many values": (lambda: f"[{'[],' * 11_000}1]", "more than 10,000 values", ()),
    "text of numbers": (lambda: '{"$text": [1]}', "is no list of texts", ()),
    "large": (lambda: f'"{"x" * 1_100_000}"', "at most 1,000,000 are read", ()),
    "twice": (lambda: '1,\n "key": "b"', "a name is there twice", ()),
    "cut off": (lambda: '{"x": ', "is damaged", ()),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_every_command_says_which_record_is_damaged(tmp_path: Path, case: str) -> None:
    make, problem, blobs = DAMAGED[case]
    bundle = bundle_of(tmp_path, text_of(key="b" * 64), text_of(answer=make()), blobs=blobs)
    before = bundle.path.read_bytes()
    lightly = {("ls",), ("stats",)} if "blob" in make()[:12] else set()
    for command in (*READING, ("migrate",), ("import", bundle.path, "--to", tmp_path / "other.chatcache")):
        result = run(*command) if command[0] == "import" else run(*command, bundle.path)
        if command not in lightly:
            assert result.exit_code != 0, command
            assert re.search(rf"x\.chatcache: .*the record at line 14.*{problem}", said(result), re.DOTALL), command
    assert bundle.path.read_bytes() == before
    assert not (tmp_path / "other.chatcache").exists()


@pytest.mark.parametrize("case", DAMAGED)
def test_a_recording_of_a_damaged_bundle_misses_or_says_what_is_wrong(tmp_path: Path, case: str) -> None:
    make, _, blobs = DAMAGED[case]
    bundle = bundle_of(tmp_path, text_of(answer=make()), blobs=blobs)
    with (
        pytest.raises((BundleError, ChatcacheError), match=r"x\.chatcache"),
        recording(bundle.path, Policy(mode=RecordMode.REPLAY), scope="t"),
    ):
        ResponseCache("s", path=tmp_path / "store").call({"q": 1}, lambda _: 1)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def other_file(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize(("make", "problem"), [(pipe, "a pipe"), (device, "a device"), (Path.mkdir, "is a folder")])
def test_what_is_no_file_is_not_read(tmp_path: Path, make: Callable[[Path], None], problem: str) -> None:
    make(tmp_path / "x.chatcache")
    for command in (*READING, *CHANGING):
        result = run(*command, tmp_path)
        assert result.exit_code != 0
        if make is Path.mkdir:
            assert "no *.chatcache in" in said(result), command
        else:
            assert re.search(f"x.chatcache.*({problem})", said(result)), command
    with pytest.raises(BundleError, match=problem), recording(tmp_path / "x.chatcache"):
        pass


@pytest.mark.parametrize("make", [pipe, device, other_file])
def test_a_blob_that_is_no_file_of_its_content_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    bundle = bundle_of(tmp_path, text_of(answer=json.dumps({"$blob": "f" * 64})))
    bundle.folder.mkdir()
    make(bundle.folder / f"{'f' * 64}.json")
    result = run("show", "t", tmp_path)
    assert result.exit_code != 0
    assert "the record at line 3" in said(result)
    assert "root:" not in said(result)


def test_what_all_chunks_have_in_common_does_not_expand_without_bound(tmp_path: Path) -> None:
    chunks = {"each": {"pad": "A" * 200_000}, "chunks": [[0, {"i": each}] for each in range(3_000)]}
    bundle = bundle_of(tmp_path, text_of(form="stream", answer=json.dumps(chunks)))
    with pytest.raises(BundleError, match="line 3: its 3,000 chunks expand to more than"):
        bundle.read()


@pytest.mark.parametrize("offset", ["x", None, [1], True, 1e300])
def test_the_times_of_chunks_are_times(tmp_path: Path, offset: object) -> None:
    bundle = bundle_of(tmp_path, text_of(form="stream", answer=json.dumps({"each": {}, "chunks": [[offset, {}]]})))
    with pytest.raises(BundleError, match=r"line 3: .* is no time of a chunk"):
        bundle.read()


@pytest.mark.parametrize(
    "edit",
    [
        {"number": 10**400},
        {"tokens": float("nan")},
        {"cost": float("inf")},
        {"took": 1e300},
        {"at": "9999-12-31T23:59:59.999999+00:00"},
        {"at": "0001-01-01T00:00:00+23:59"},
        {"tokens": True},
    ],
)
def test_a_head_holds_what_can_be_calculated_with(tmp_path: Path, edit: dict[str, Any]) -> None:
    bundle = bundle_of(tmp_path, text_of(**edit))
    for command in READING:
        assert "line 3 is damaged" in said(run(*command, bundle.path))


def test_a_name_that_is_twice_in_a_head_is_told(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, text_of().replace('"test": "t"', '"test": "t", "test": "u"'))
    with pytest.raises(BundleError, match="line 3 is damaged: the name 'test' is there twice"):
        bundle.read()


def test_of_many_damaged_records_the_first_hundred_are_told(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, *["nope\n"] * 5_000)
    result = run("verify", bundle.path)
    assert result.exit_code == 1
    assert "more than 100 records are damaged, up to line 203" in result.output


def test_hundreds_of_thousands_of_blank_lines_are_read(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, "\n" * 500_000, text_of())
    assert len(bundle.read()) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (HEADER.replace("1", "-1"), "line 1 is not"),
        (HEADER.replace("1", "9" * 5_000), "line 1 is not"),
        ("", "line 1 is not"),
        ("\0" * 1_000, "line 1 is not"),
    ],
)
def test_what_is_no_bundle_is_told(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "x.chatcache").write_text(text)
    with pytest.raises(BundleError, match=problem):
        Bundle(tmp_path / "x.chatcache").read()


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(101):
        deep = [deep]
    cache = ResponseCache("s", path=tmp_path / "store")
    for request, answer in [(deep, 1), (1, deep), (1, "word " * 210_000), (1, [0.5] * 11_000)]:
        with pytest.raises(NotRecordedError, match=r"more than|at most"), recording(tmp_path / "x.chatcache"):
            cache.call(request, partial(lambda answer, _: answer, answer))
    assert [*tmp_path.glob("*.chatcache"), *tmp_path.glob("blobs/*")] == []


def cassette(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


BOMB = "\n".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 12))
YAML = {
    "aliases": (f"a0: &a0 {'x' * 100}\n{BOMB}\ninteractions: []\n", "aliases expand to more than"),
    "an alias of itself": ("interactions: &a [*a]\n", "of what holds it"),
    "merges": (
        "a0: &a0 {x: 1}\n"
        + "".join(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 20)}]\n" for n in range(1, 8))
        + "interactions: []\n",
        "aliases expand to more than",
    ),
    "deep": (f"interactions: {'[' * 5_000}{']' * 5_000}\n", "nests more than 100 levels"),
    "parts": (f"interactions: [{'1,' * 600_000}1]\n", "more than 500,000 parts"),
    "a number": (f"interactions: {'1:' * 100_000}1\n", "a number of"),
}


@pytest.mark.parametrize("case", YAML)
def test_a_cassette_expands_to_no_more_than_is_read(tmp_path: Path, case: str) -> None:
    text, problem = YAML[case]
    path = cassette(tmp_path / "c.yaml", text)
    result = run("import", path, "--store", "s", "--to", tmp_path / "x.chatcache")
    assert re.search(rf"c\.yaml is no cassette of vcrpy: line \d+: .*{problem}", said(result))


@pytest.mark.parametrize("kind", ["device", "pipe", "loop", "no text", "large"])
def test_what_is_no_file_of_text_is_no_cassette(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "folder" / "c.yaml"
    path.parent.mkdir()
    match kind:
        case "device":
            path.symlink_to("/dev/zero")
        case "pipe":
            os.mkfifo(path)
            os.mkfifo(path.with_suffix(".json"))
        case "loop":
            path.symlink_to(path)
        case "no text":
            path.write_bytes(b"interactions: [\xe9\xff]")
        case _:
            with path.open("wb") as file:
                file.truncate(1 << 40)
    result = run("import", path.parent, "--store", "s", "--to", tmp_path / "x.chatcache")
    assert re.search(r"c\.yaml:? is no cassette of vcrpy: ", said(result))


def interaction(body: bytes, **headers: str) -> dict[str, Any]:
    return {
        "request": {"uri": "https://api/v1/chat/completions", "body": '{"model": "m"}'},
        "response": {"status": {"code": 200}, "headers": headers, "body": {"string": body}},
    }


def test_the_bodies_of_a_cassette_expand_to_no_more_than_is_read(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    bomb = gzip.compress(b'"' + b"x" * (70 << 20) + b'"', 1)
    deep = ("[" * 500 + "]" * 500).encode()
    events = b"data: 1\n" * 300_000
    values = b"[" + b"1," * 600_000 + b"1]"
    calls = [interaction(each) for each in (b'"fine"', bomb, bomb, deep, events, values, values)]
    path = cassette(tmp_path / "c.yaml", yaml.safe_dump({"interactions": calls}))
    result = run("import", path, "--store", "s", "--to", tmp_path / "x.chatcache")
    assert result.exit_code == 0
    assert "1 record" in result.output
    for reason in (
        "expand to more than 67,108,864 bytes (2)",
        "nests more than 100 levels",
        "more than 200,000 events",
        "more than 1,000,000 values",
        "more than 10,000 values",
    ):
        assert reason in result.output
    result = run("import", tmp_path / "c.yaml", "--store", "s", "--path", tmp_path / "store")
    assert result.exit_code == 0


HOSTILE = (
    "\x1b]0;OWNED\x07\x1b[2J\x9b31m\u202egpj.exe\u200b\u2066\n"
    "::error file=app.py::forged\r\n##[error]forged\ud800\U000e0041"
)
MARKUP = "[red]x[/red] [link=http://evil]a[/link] [/] [bold"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    folder = tmp_path / "::error::a\x1b[31m"
    folder.mkdir()
    text = json.dumps({"model": HOSTILE, "messages": ["needle" + HOSTILE], HOSTILE: 1})
    head = {"test": "t" + HOSTILE, "store": HOSTILE, "key": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    bundle_of(
        folder,
        text_of(text, text, **head),
        text_of(json.dumps({"model": MARKUP}), test=MARKUP, store=MARKUP, key="::error::x"),
        text_of(json.dumps({"api_key": "sk-ant-api03-" + "x7Qp" * 20, "client": HOSTILE}), test=HOSTILE),
    )
    (folder / "y\x1b[31m\n::error::.chatcache").write_text("\x1b[31m\n\n::error::")
    return tmp_path


COMMANDS = [*READING, *CHANGING, ("prune", "--test", "t" + HOSTILE), ("diff", "t" + HOSTILE, MARKUP)]


def shows_only_what_is_seen(text: str) -> bool:
    lines = text.split("\n")
    return all(
        line.isprintable() and not line.lstrip().startswith("::") and not re.search(r"##\w*\[", line) for line in lines
    )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_names_and_texts_of_others_reach_no_terminal_and_no_log(hostile: Path, command: tuple[str, ...]) -> None:
    folder = next(hostile.iterdir())
    for path in (folder, folder / "x.chatcache", folder / "y\x1b[31m\n::error::.chatcache"):
        result = run(*command, path)
        error = f"Error: {result.exception}" if isinstance(result.exception, ChatcacheError) else ""
        for output in (result.stdout, result.stderr, error):
            assert shows_only_what_is_seen(output)


@pytest.mark.parametrize("command", [("ls",), ("show", MARKUP), ("grep", "red")])
def test_markup_is_printed_as_it_is(hostile: Path, command: tuple[str, ...]) -> None:
    assert "[red]x[/red]" in run(*command, next(hostile.iterdir()) / "x.chatcache").output


def test_json_is_exact_and_shows_nothing_that_cannot_be_seen(hostile: Path) -> None:
    for command in (("ls",), ("grep", "needle"), ("show", HOSTILE)):
        output = run(*command, "--json", next(hostile.iterdir()) / "x.chatcache").output
        assert all(line.isprintable() for line in output.split("\n"))
        assert "##[" not in output
        assert any(HOSTILE in str(value) for value in json.loads(output)[0].values())


def test_a_plan_escapes_what_the_tests_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_it.py").write_text(r"print('\x1b[31m\n::error::x'); raise RuntimeError")
    monkeypatch.chdir(tmp_path)
    assert shows_only_what_is_seen(run("plan", "test_it.py").output.replace("\t", ""))


def test_a_printable_text_is_left_alone() -> None:
    for text in ("", "naïve café 日本語 العربية 😀", "a::b", "## heading [x]", "C:\\path"):
        assert printable(text) == text
    assert printable("a\nb\tc", keep="\n") == "a\nb\\tc"
    assert printable("\u3164\ufeff\x7f") == r"\u3164\ufeff\x7f"
