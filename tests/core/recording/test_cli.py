"""The command line, as a person and as a program uses it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from chatcache import Form, ResponseCache
from chatcache.cli.commands import chatcache
from chatcache.recording import Bundle, Policy, Record, RecordMode, recording

WORDS = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
ANSWER = {"choices": [{"message": {"content": "Air scatters blue light."}}], "usage": {"total_tokens": 17}}
CHUNKS = [{"id": "1", "delta": word} for word in ("Air", " scatters", " it.")]


def never(_request: Any) -> Any:
    raise AssertionError("nothing is to be called")


def saying(text: str) -> Callable[[Any], Any]:
    return lambda _request: {"content": text}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(chatcache, [*map(str, arguments)], catch_exceptions=False)


def said(*arguments: object) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    path = tmp_path / "cassettes" / "test_a.chatcache"
    cache = ResponseCache("app", path=tmp_path / "objects")
    with recording(path, Policy(mode=RecordMode.REFRESH), scope="test_one"):
        cache.call(WORDS, lambda _request: ANSWER)
        [*cache.stream(WORDS, lambda _request: CHUNKS)]
    with recording(path, Policy(mode=RecordMode.REFRESH), scope="test_two"):
        cache.call({**WORDS, "seed": 1}, lambda _request: ANSWER)
    return Bundle(path)


def test_ls_lists_records(bundle: Bundle) -> None:
    result = run("ls", bundle.path)
    assert result.exit_code == 0
    assert "3 records" in result.stdout
    listed = said("ls", bundle.path.parent)
    assert [(each["test"], each["form"], each["model"], each["tokens"]) for each in listed] == [
        ("test_one", "answer", "gpt-4o", 17),
        ("test_one", "stream", "gpt-4o", 0),
        ("test_two", "answer", "gpt-4o", 17),
    ]


def test_show_shows_a_record_by_its_key_or_its_test(bundle: Bundle) -> None:
    record = bundle.read()[-1]
    for name in (record.key[:8], "test_two"):
        result = run("show", name, bundle.path)
        assert result.exit_code == 0
        assert '"seed": 1' in result.stdout
    assert said("show", "test_two", bundle.path)[0]["answer"] == ANSWER
    assert run("show", "nothing", bundle.path).exit_code == 1


def test_grep_finds_what_was_asked_and_answered(bundle: Bundle) -> None:
    assert "scatters" in run("grep", "scatters \\w+", bundle.path).stdout
    assert [each["in"] for each in said("grep", "sky", bundle.path)] == ["request"] * 3
    assert run("grep", "winter", bundle.path).exit_code == 1
    assert run("grep", "(", bundle.path).exit_code == 2


def test_diff_of_two_records(bundle: Bundle) -> None:
    first, _, last = bundle.read()
    assert run("diff", first.key[:12], last.key[:12], bundle.path).exit_code == 2  # a stream has the first one's key
    result = run("diff", "test_two", "test_two", bundle.path)
    assert (result.exit_code, result.stdout) == (0, "")


def test_diff_of_two_bundles(bundle: Bundle, tmp_path: Path) -> None:
    other = Bundle(tmp_path / "other.chatcache")
    one, _, two = bundle.read()
    changed = Record(**{**{name: getattr(two, name) for name in two.__dataclass_fields__}, "answer": "new"})
    other.write([one, changed])
    told = said("diff", bundle.path, other.path)
    assert sorted((each["kind"], each["test"]) for each in told) == [("changed", "test_two"), ("removed", "test_one")]
    assert run("diff", bundle.path, other.path).exit_code == 1
    assert run("diff", bundle.path, bundle.path).exit_code == 0


def test_stats_adds_up(bundle: Bundle) -> None:
    (counted,) = said("stats", bundle.path).values()
    assert (counted["records"], counted["streams"], counted["tokens"]) == (3, 1, 34)
    assert "34" in run("stats", bundle.path).stdout


def test_a_store_is_exported_and_imported_and_exported_again(tmp_path: Path) -> None:
    cache = ResponseCache("app", path=tmp_path / "one")
    cache.call(WORDS, lambda _request: ANSWER)
    [*cache.stream({**WORDS, "seed": 2}, lambda _request: CHUNKS)]
    cache.close()
    first, second = tmp_path / "first.chatcache", tmp_path / "second.chatcache"
    assert said("export", first, "--store", "app", "--path", tmp_path / "one")["exported"] == 2
    assert said("import", first, "--store", "app", "--path", tmp_path / "two")["imported"] == 2
    assert run("export", second, "--store", "app", "--path", tmp_path / "two").exit_code == 0
    assert first.read_bytes() == second.read_bytes()
    again = ResponseCache("app", path=tmp_path / "two", mode="replay")
    assert again.call(WORDS, never) == ANSWER
    assert [*again.stream({**WORDS, "seed": 2}, never)] == CHUNKS
    assert said("ls", "--store", "app", "--path", tmp_path / "two")[0]["tokens"] == 17


def test_what_is_exported_is_replayed_by_a_recording(tmp_path: Path) -> None:
    cache = ResponseCache("app", path=tmp_path / "one")
    cache.call(WORDS, lambda _request: ANSWER)
    cache.close()
    run("export", tmp_path / "b.chatcache", "--store", "app", "--path", tmp_path / "one")
    with recording(tmp_path / "b.chatcache", Policy(mode=RecordMode.REPLAY)):
        assert cache.call(WORDS, never) == ANSWER


def interaction(uri: str, answer: str, body: object = WORDS, code: int = 200) -> dict[str, Any]:
    return {
        "request": {"method": "POST", "uri": uri, "body": json.dumps(body), "headers": {}},
        "response": {"status": {"code": code, "message": ""}, "headers": {}, "body": {"string": answer}},
    }


def test_the_store_of_another_folder_is_imported(tmp_path: Path) -> None:
    there, here = tmp_path / "theirs", tmp_path / "ours"
    ResponseCache("dev", path=there).call(WORDS, saying("Air."))
    nothing = run("import", there, "--store", "app", "--path", here)
    assert (nothing.exit_code, nothing.stderr) == (1, f"Error: {there} has no records of store 'app'\n")
    assert said("import", there, "--from", "dev", "--store", "app", "--path", here)["imported"] == 1
    assert ResponseCache("app", path=here, mode="replay").call(WORDS, never) == {"content": "Air."}
    assert (
        said("import", there, "--store", "dev", "--to", tmp_path / "b.chatcache", "--test", "test_a")["imported"] == 1
    )
    assert [(each.scope, each.store) for each in Bundle(tmp_path / "b.chatcache").read()] == [("test_a", "dev")]


def test_what_is_printed_for_programs_is_nothing_but_json(tmp_path: Path) -> None:
    cache = ResponseCache("app", path=tmp_path / "objects")
    for number in range(2_001):  # so many that it shows how far it is
        cache.call({"number": number}, saying("x"))
    target = tmp_path / "b.chatcache"
    command = [
        sys.executable,
        "-m",
        "chatcache.cli",
        "export",
        target,
        "--store",
        "app",
        "--path",
        tmp_path / "objects",
    ]
    done = subprocess.run([*map(str, command), "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["exported"] == 2_001


def test_a_bundle_is_imported_into_another_one_under_the_names_of_its_tests_or_a_new_one(tmp_path: Path) -> None:
    one, other = tmp_path / "one.chatcache", tmp_path / "other.chatcache"
    for scope in ("test_one", "test_two"):
        with recording(one, Policy(mode=RecordMode.AUTO), scope=scope):
            ResponseCache("app", path=tmp_path / "own").call(WORDS, saying(scope))
    assert said("import", one, "--store", "app", "--to", other)["imported"] == 2
    assert other.read_bytes() == one.read_bytes()
    assert said("import", one, "--store", "app", "--to", other, "--test", "test_new")["imported"] == 2
    names = [(each.scope, each.number, each.answer["content"]) for each in Bundle(other).read()]
    assert names[:2] == [("test_new", 1, "test_one"), ("test_new", 2, "test_two")]
    assert len(names) == 4


def test_cassettes_of_vcrpy_are_imported(tmp_path: Path) -> None:
    events = "".join(f"data: {json.dumps(each)}\n\n" for each in CHUNKS) + "data: [DONE]\n\n"
    cassette = tmp_path / "old.yaml"
    calls = [
        interaction("https://api.openai.com/v1/chat/completions", json.dumps(ANSWER)),
        interaction("https://api.openai.com/v1/chat/completions", json.dumps({**ANSWER, "n": 2})),
        interaction("https://api.anthropic.com/v1/messages", events, {**WORDS, "stream": True}),
        interaction("https://api.openai.com/v1/chat/completions", "{}", code=500),
        interaction("https://example.com/", "{}"),
    ]
    cassette.write_text(yaml.safe_dump({"interactions": calls, "version": 1}))
    target = tmp_path / "new.chatcache"
    assert said("import", cassette, "--store", "app", "--to", target)["imported"] == 3
    assert [(each.form, each.number) for each in Bundle(target).read()] == [
        (Form.ANSWER, 1),
        (Form.ANSWER, 2),
        (Form.STREAM, 1),
    ]
    assert said("import", cassette, "--store", "app", "--path", tmp_path / "objects")["imported"] == 2
    cache = ResponseCache("app", path=tmp_path / "objects", mode="replay")
    assert cache.call(WORDS, never) == ANSWER
    assert [*cache.stream({**WORDS, "stream": True}, never)] == CHUNKS


def test_prune_removes_by_test_and_by_age_and_blobs_without_records(bundle: Bundle) -> None:
    bundle.folder.mkdir()
    (bundle.folder / "00.json").write_text("1")
    assert "would be removed" in run("prune", bundle.path, "--test", "test_one", "--dry-run").stdout
    assert len(bundle.read()) == 3
    assert sum(said("prune", bundle.path, "--test", "test_one").values()) == 3
    assert [each.scope for each in bundle.read()] == ["test_two"]
    run("prune", bundle.path, "--older-than", "1")
    assert len(bundle.read()) == 1
    run("prune", bundle.path, "--older-than", "-1")
    assert not bundle.path.exists()


def test_verify_finds_what_is_damaged_twice_or_of_no_use_to_the_sdk(bundle: Bundle) -> None:
    assert run("verify", bundle.path).exit_code == 0
    records = bundle.read()
    bad = {name: getattr(records[0], name) for name in records[0].__dataclass_fields__}
    bad |= {"request": {"client": "litellm", "asks": "chat completions"}, "answer": {"choices": 3}, "scope": "bad"}
    bundle.write([*records, records[0], Record(**bad)])
    problems = [each["problem"] for each in said("verify", bundle.path)["problems"]]
    assert len(problems) == 2
    assert "the installed litellm cannot read it" in problems[0]
    assert "it is there twice" in problems[1]
    bundle.path.write_text(bundle.path.read_text()[:-40])
    assert run("verify", bundle.path).exit_code == 1


def test_scan_finds_secrets(bundle: Bundle) -> None:
    assert run("scan", bundle.path).exit_code == 0
    records = bundle.read()
    held = {name: getattr(records[0], name) for name in records[0].__dataclass_fields__}
    bundle.write([Record(**{**held, "answer": "sk-proj-" + "aB3_" * 12})])
    assert "OpenAI key" in said("scan", bundle.path)[0]["secret"]
    assert run("scan", bundle.path).exit_code == 1


def test_migrate_writes_the_present_layout(bundle: Bundle) -> None:
    assert said("migrate", bundle.path) == []
    text = bundle.path.read_text()
    bundle.path.write_text(text.replace("\n  ", "\n    "))
    assert said("migrate", bundle.path) == [str(bundle.path)]
    assert bundle.path.read_text() == text


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    assert run("ls", tmp_path).exit_code == 2
    assert "no *.chatcache in" in run("ls", tmp_path).output
    assert "nothing is recorded in" in run("ls", "--store", "x", "--path", tmp_path).output


def test_merge_takes_what_both_sides_recorded(tmp_path: Path) -> None:
    def numbered(test: int, answer: str = "", at: int = 0) -> Record:
        return Record(
            scope=f"test_{test}",
            store="app",
            key=f"{test:064x}",
            number=1,
            form=Form.ANSWER,
            request={"q": test},
            answer=answer,
            sketch="0" * 16,
            at=at,
        )

    base, ours, theirs = (Bundle(tmp_path / name) for name in ("base", "ours", "theirs"))
    base.write([numbered(1), numbered(2), numbered(3), numbered(4)])
    ours.write([numbered(1), numbered(2, "new"), numbered(4, "ours", 5), numbered(5)])
    theirs.write([numbered(2), numbered(3), numbered(4, "theirs", 6), numbered(6)])
    assert said("merge", base.path, ours.path, theirs.path)["records"] == 4
    assert [(each.scope, each.answer) for each in ours.read()] == [
        ("test_2", "new"),
        ("test_4", "theirs"),
        ("test_5", ""),
        ("test_6", ""),
    ]
