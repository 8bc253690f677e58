"""The command line, as a person and as a program uses it."""

import gzip
import json
import sqlite3
import subprocess
import sys
import zlib
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from click.testing import CliRunner, Result

from chatcache import BundleError, Form, ResponseCache
from chatcache.cli.commands import chatcache
from chatcache.cli.output import progress
from chatcache.recording import Bundle, Policy, Record, RecordMode, recording

WORDS = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
ANSWER = {"choices": [{"message": {"content": "Air scatters blue light."}}], "usage": {"total_tokens": 17}}
CHUNKS = [{"id": "1", "delta": word} for word in ("Air", " scatters", " it.")]
KEY = "sk-proj-" + "aB3_" * 12
CHAT = "https://api.openai.com/v1/chat/completions"


def never(_request: Any) -> Any:
    raise AssertionError("nothing is to be called")


def saying(text: str) -> Callable[[Any], Any]:
    return giving({"content": text})


def giving(answer: Any) -> Callable[[Any], Any]:
    return lambda _request: answer


def run(*arguments: object) -> Result:
    return CliRunner().invoke(chatcache, [*map(str, arguments)], catch_exceptions=False)


def said(*arguments: object) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def recorded(path: Path, answers: dict[Any, Any], store: str = "app", **settings: Any) -> ResponseCache:
    """Return a cache of a store in a folder, with the answers to some requests, which are JSON texts."""
    cache = ResponseCache(store, path=path, **settings)
    for request, answer in answers.items():
        cache.call(json.loads(request), giving(answer))
    cache.close()
    return cache


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
    assert result.stdout.count("0.000000") == 3
    listed = said("ls", bundle.path.parent)
    assert [(each["test"], each["form"], each["model"], each["tokens"]) for each in listed] == [
        ("test_one", "answer", "gpt-4o", 17),
        ("test_one", "stream", "gpt-4o", 0),
        ("test_two", "answer", "gpt-4o", 17),
    ]


@pytest.fixture
def project(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bundle, and with the default folder of stores, where two objects have three stores."""
    monkeypatch.delenv("CHATCACHE_DIR", raising=False)
    monkeypatch.chdir(bundle.path.parent)
    for store_id, name in (("app", "default"), ("a:b", "default"), ("app", "eu")):
        with ResponseCache(store_id, object=name) as cache:
            cache.call(WORDS, lambda _request: ANSWER)
    bundle.sweep_blobs()
    return bundle.path.parent


STORES = ["a:b in .chatcache", "app in .chatcache", "app in object eu of .chatcache"]


def test_without_arguments_a_command_takes_what_it_finds(project: Path) -> None:
    assert {each["where"] for each in said("ls")} == {"test_a.chatcache", *STORES}
    assert {each["where"] for each in said("grep", "sky")} == {"test_a.chatcache", *STORES}
    assert {where: of["records"] for where, of in said("stats").items()} == {
        "test_a.chatcache": 3,
        **dict.fromkeys(STORES, 1),
    }
    assert all(where in run("ls").stdout for where in STORES)
    assert run("verify").stdout == "6 records, 0 problems\n"
    assert run("scan").stdout == "0 secrets\n"
    assert len(said("show", "test_one")) == 2
    assert run("migrate").stdout == "0 bundles changed\n"
    assert run("diff", said("ls", "test_a.chatcache")[0]["record"], said("ls", ".chatcache")[0]["record"]).exit_code


def test_a_folder_stands_for_the_bundles_and_the_stores_in_it(project: Path) -> None:
    assert {each["where"] for each in said("ls", ".chatcache")} == set(STORES)
    assert len(said("ls", project.parent)) == 3
    assert len(said("ls", project)) == 6
    assert [each["where"] for each in said("ls", "--object", "eu")] == STORES[2:]
    assert [each["where"] for each in said("ls", "--store", "a:b")] == STORES[:1]
    assert [each["where"] for each in said("ls", "test_a.chatcache")] == ["test_a.chatcache"] * 3


def test_without_bundles_a_command_takes_the_stores(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "test_a.chatcache").unlink()
    assert {each["where"] for each in said("ls")} == set(STORES)
    monkeypatch.setenv("CHATCACHE_DIR", str(project / "elsewhere"))
    told = run("ls").output
    assert f"no *.chatcache in {project}, and no store in {project / 'elsewhere'}" in told
    assert not (project / "elsewhere").exists()


def test_prune_removes_old_records_of_bundles_and_stores(project: Path) -> None:
    assert said("prune", "--older-than", "1") == {"records": {}, "blobs": 0}
    assert said("prune", "--older-than", "0", "--dry-run") == {
        "records": {"test_a.chatcache": 3, **dict.fromkeys(STORES, 1)}
    }
    assert said("prune", "--test", "test_one")["records"] == {"test_a.chatcache": 2}
    assert said("prune", "--older-than", "0", ".chatcache")["records"] == dict.fromkeys(STORES, 1)
    assert said("ls", "test_a.chatcache") == said("ls")


def test_verify_tells_which_records_of_a_store_are_damaged(project: Path) -> None:
    file = ResponseCache("app", object="eu").location
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE _cf_KV SET value = value || x'00' WHERE key LIKE 'app:%'")
    told = run("verify")
    assert told.exit_code == 1
    assert "app in object eu of .chatcache: key 'app:" in told.stdout
    assert "checksum does not match" in told.stdout
    assert "6 records, 1 problem\n" in told.stdout


def test_ls_says_which_bundle_a_record_is_in_where_there_are_several(bundle: Bundle) -> None:
    assert "where" not in run("ls", bundle.path.parent).stdout
    Bundle(bundle.path.with_name("b.chatcache")).write(bundle.read()[:1])
    result = run("ls", bundle.path.parent).stdout
    assert "where" in result
    assert "b.chatcache" in result


def test_what_is_not_found_is_said_with_what_to_check(bundle: Bundle, tmp_path: Path) -> None:
    result = run("ls", "--store", "app", "--path", tmp_path / "nowhere")
    assert "there is no store there: check --path and --object" in result.output
    assert "no record 'abc': `chatcache ls` lists them" in run("show", "abc", bundle.path).output
    with pytest.raises(BundleError, match=r"is a folder: pass the path of a bundle, such as .*/calls\.chatcache"):
        Bundle(bundle.path.parent).read()


def test_a_damaged_line_is_shown_as_text_with_what_to_do(bundle: Bundle) -> None:
    with bundle.path.open("a") as file:
        file.write('\n{"tést": kaputt\n')
    told = run("verify", bundle.path).output
    assert '{"tést": kaputt: restore the file from git, or record it again' in told
    assert "3 records, 1 problem\n" in told.replace("4 records", "3 records")


def test_ls_of_a_store_without_records_finds_nothing(tmp_path: Path) -> None:
    recorded(tmp_path, {"1": "one"})
    assert run("ls", "--store", "app", "--path", tmp_path).exit_code == 0
    result = run("ls", "--store", "other", "--path", tmp_path)
    assert (result.exit_code, result.stderr) == (1, "there are no records\n")


def test_ls_lists_the_records_of_a_store_whose_requests_are_not_known(tmp_path: Path) -> None:
    recorded(tmp_path, {json.dumps(WORDS): ANSWER}, store_requests="digest")
    assert [each["tokens"] for each in said("ls", "--store", "app", "--path", tmp_path)] == [17]


def test_show_shows_a_record_by_its_key_or_its_test(bundle: Bundle) -> None:
    record = bundle.read()[-1]
    for name in (record.key[:8], "test_two"):
        result = run("show", name, bundle.path)
        assert result.exit_code == 0
        assert '"seed": 1' in result.stdout
    assert said("show", "test_two", bundle.path)[0]["answer"] == ANSWER
    assert run("show", "nothing", bundle.path).exit_code == 1


def test_a_record_has_the_name_that_ls_prints(bundle: Bundle) -> None:
    first, second = (each["record"] for each in said("ls", bundle.path)[:2])
    assert second == f"{first}#2"
    assert [each["number"] for each in said("show", first, bundle.path)] == [1]
    assert [each["number"] for each in said("show", second, bundle.path)] == [2]
    assert [each["number"] for each in said("show", first[:11], bundle.path)] == [1, 2]
    assert [each["path"] for each in said("diff", first, second, bundle.path)] == ["$answer"]


def test_show_prints_a_path_as_it_is(bundle: Bundle) -> None:
    path = bundle.path.rename(bundle.path.with_name("a[red].chatcache"))
    assert "a[red].chatcache" in run("show", "test_two", path).stdout


def test_a_lone_surrogate_is_printed_as_json_has_it(bundle: Bundle) -> None:
    bundle.write([replace(bundle.read()[-1], answer={"content": "half \ud83d of it"})])
    assert said("show", "test_two", bundle.path)[0]["answer"] == {"content": "half \ud83d of it"}
    assert "half \\ud83d of it" in run("show", "test_two", bundle.path).stdout
    assert "half \\ud83d of it" in run("grep", "half", bundle.path).stdout
    assert said("grep", "half", bundle.path)[0]["text"] == "half \ud83d of it"


def test_show_masks_the_secrets_of_a_store(tmp_path: Path) -> None:
    recorded(tmp_path, {json.dumps({"api_key": KEY}): f"It is {KEY}."})
    result = run("show", "", "--store", "app", "--path", tmp_path).stdout
    assert "It is <<secret>>." in result
    assert KEY not in result


def test_grep_finds_what_was_asked_and_answered(bundle: Bundle) -> None:
    assert "scatters" in run("grep", "scatters \\w+", bundle.path).stdout
    assert [each["in"] for each in said("grep", "sky", bundle.path)] == ["request"] * 3
    assert run("grep", "winter", bundle.path).exit_code == 1
    assert run("grep", "(", bundle.path).exit_code == 2


def test_grep_searches_the_texts_themselves_and_what_chunks_say_together(bundle: Bundle) -> None:
    answer = {"content": 'He said "hi",\nand left.'}
    bundle.write([*bundle.read(), replace(bundle.read()[-1], scope="test_three", answer=answer)])
    assert [each["test"] for each in said("grep", 'said "hi"', bundle.path)] == ["test_three"]
    assert [each["test"] for each in said("grep", r'hi",\sand', bundle.path)] == ["test_three"]
    assert [each["form"] for each in said("grep", "^Air scatters it", bundle.path)] == ["stream"]


def test_diff_of_two_records(bundle: Bundle) -> None:
    first, _, last = bundle.read()
    assert run("diff", first.key[:11], last.key[:12], bundle.path).exit_code == 2  # a stream has the first one's key
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


def test_the_export_of_a_store_leaves_what_is_there_of_another_one(tmp_path: Path) -> None:
    target = tmp_path / "b.chatcache"
    for store, answer in (("one", "1"), ("two", "2"), ("two", "3")):
        recorded(tmp_path / answer, {json.dumps({"asks": answer}): answer}, store)
        assert run("export", target, "--store", store, "--path", tmp_path / answer, "--test", "test_a").exit_code == 0
    assert [(each.store, each.answer) for each in Bundle(target).read()] == [("one", "1"), ("two", "3")]


def test_the_export_of_a_store_without_records_fails_and_changes_nothing(bundle: Bundle, tmp_path: Path) -> None:
    recorded(tmp_path / "objects", {"1": "one"})
    before = bundle.path.read_bytes()
    result = run("export", bundle.path, "--store", "none", "--path", tmp_path / "objects", "--test", "test_one")
    assert result.exit_code == 1
    assert "store 'none' in" in result.stderr
    assert "has no records to export" in result.stderr
    assert bundle.path.read_bytes() == before


def test_requests_that_differ_only_by_an_id_are_all_exported_and_replayed_with_another_one(tmp_path: Path) -> None:
    ids = [str(uuid4()) for _ in range(3)]
    cache = ResponseCache("app", path=tmp_path / "one")
    for each in ids[:2]:
        cache.call({"id": each}, saying(f"You are {each}."))
        [*cache.stream({"id": each, "n": 1}, giving([{"text": each[:9]}, {"text": each[9:]}]))]
    target = tmp_path / "b.chatcache"
    assert said("export", target, "--store", "app", "--path", tmp_path / "one")["exported"] == 4
    assert ids[0] not in target.read_text()
    with recording(target, Policy(mode=RecordMode.REPLAY)):
        for _ in range(2):
            assert cache.call({"id": ids[2]}, never) == {"content": f"You are {ids[2]}."}
            assert "".join(each["text"] for each in cache.stream({"id": ids[2], "n": 1}, never)) == ids[2]


def test_a_store_that_is_imported_into_another_one_answers_the_same_requests(tmp_path: Path) -> None:
    asked = {"id": str(uuid4())}
    recorded(tmp_path / "theirs", {json.dumps(asked): f"You are {asked['id']}."})
    run("import", tmp_path / "theirs", "--store", "app", "--path", tmp_path / "ours")
    assert ResponseCache("app", path=tmp_path / "ours", mode="replay").call(asked, never) == f"You are {asked['id']}."


@pytest.mark.parametrize("kept", ["redacted", "digest"])
def test_records_whose_requests_are_not_known_are_not_exported_which_is_said(tmp_path: Path, kept: str) -> None:
    folder, target = tmp_path / "objects", tmp_path / "b.chatcache"
    recorded(folder, {json.dumps(WORDS): ANSWER}, store_requests=kept)
    result = run("export", target, "--store", "app", "--path", folder)
    assert result.exit_code == 1
    assert "1 of 1 calls was left out: its request is not stored in full, see store_requests (1)" in result.stderr
    assert not target.exists()
    recorded(folder, {json.dumps({**WORDS, "seed": 1}): ANSWER})
    counted = said("export", target, "--store", "app", "--path", folder)
    assert (counted["exported"], counted["left_out"]) == (1, 1)
    assert "; 1 of 2 calls was left out: " in run("export", target, "--store", "app", "--path", folder).stdout


def test_what_is_exported_is_what_a_test_would_have_recorded(tmp_path: Path) -> None:
    cache = ResponseCache("app", path=tmp_path)
    cache.call({"q": 1, "api_key": "test"}, saying("this is a test of it"))
    keys = {"password": "hunter2pass", "api_key": "abcdef123456"}
    [*cache.stream({"q": 2, **keys}, lambda _request: iter(["hunter2p", "ass, abc", "def123456"]))]
    target = tmp_path / "b.chatcache"
    assert said("export", target, "--store", "app", "--path", tmp_path)["exported"] == 2
    assert "this is a test of it" in target.read_text()
    assert not [each for each in ("hunter2", "abcdef", "123456") if each in target.read_text()]


def test_a_secret_that_runs_over_chunks_is_exported_masked(tmp_path: Path) -> None:
    cache = ResponseCache("app", path=tmp_path)
    [*cache.stream(WORDS, lambda _request: [{"text": KEY[:12]}, {"text": KEY[12:]}])]
    target = tmp_path / "b.chatcache"
    said("export", target, "--store", "app", "--path", tmp_path)
    assert Bundle(target).read()[0].answer == [{"text": "<<secret>>"}, {"text": ""}]


def test_what_holds_a_secret_after_all_is_not_imported(bundle: Bundle, tmp_path: Path) -> None:
    target = tmp_path / "b.chatcache"
    record = replace(bundle.read()[-1], answer=KEY)
    bundle.write([record])
    for command in (
        ("import", bundle.path, "--to", target),
        ("import", bundle.path, "--store", "app", "--path", tmp_path / "two"),
    ):
        result = run(*command)
        assert result.exit_code == 1
        assert "holds a secret that is not masked: OpenAI key" in result.stderr
        assert "nothing was written" in result.stderr
    assert f"the record {record.key[:12]} of test_two" in result.stderr
    assert not target.exists()
    assert not (tmp_path / "two").exists()


def interaction(
    uri: str, answer: object, body: object = WORDS, code: int = 200, encoding: str | None = None
) -> dict[str, Any]:
    headers = {} if encoding is None else {"Content-Encoding": [encoding]}
    return {
        "request": {"method": "POST", "uri": uri, "body": json.dumps(body), "headers": {}},
        "response": {"status": {"code": code, "message": ""}, "headers": headers, "body": {"string": answer}},
    }


def cassette(path: Path, interactions: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({"interactions": interactions, "version": 1}))
    return path


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
    assert said("scan", target) == []
    assert len(said("ls", "--store", "app", "--path", tmp_path / "objects")) == 2_001


def test_what_is_shown_of_progress_leaves_nothing_out(capsys: pytest.CaptureFixture[str]) -> None:
    for number in (0, 1, 2_000, 2_001):
        assert [*progress(range(number), "a[red]")] == [*progress(iter(range(number)), "b[/]")] == [*range(number)]
    assert capsys.readouterr().out == ""


def test_a_bundle_is_imported_into_another_one_under_the_names_of_its_tests_or_a_new_one(tmp_path: Path) -> None:
    one, other = tmp_path / "one.chatcache", tmp_path / "other.chatcache"
    for scope in ("test_one", "test_two"):
        with recording(one, Policy(mode=RecordMode.AUTO), scope=scope):
            ResponseCache("app", path=tmp_path / "own").call(WORDS, saying(scope))
    assert said("import", one, "--to", other)["imported"] == 2
    assert other.read_bytes() == one.read_bytes()
    again = said("import", one, "--to", other)
    assert (again["imported"], again["already_there"]) == (0, 2)
    assert said("import", one, "--to", other, "--test", "test_new")["imported"] == 2
    names = [(each.scope, each.number, each.answer["content"]) for each in Bundle(other).read()]
    assert names[:2] == [("test_new", 1, "test_one"), ("test_new", 2, "test_two")]
    assert len(names) == 4


def test_what_is_imported_into_a_bundle_has_the_store_id_that_is_asked_for_or_keeps_its_own(
    bundle: Bundle, tmp_path: Path
) -> None:
    recorded(tmp_path / "objects", {"1": "one"}, "dev", object="other")
    target = tmp_path / "b.chatcache"

    def stores(*options: object) -> set[str]:
        target.unlink(missing_ok=True)
        assert run("import", *options, "--to", target).exit_code == 0
        return {each.store for each in Bundle(target).read()}

    assert stores(bundle.path) == {"app"}
    assert stores(bundle.path, "--store", "new") == {"new"}
    assert stores(tmp_path / "objects", "--from", "dev", "--object", "other") == {"dev"}
    assert stores(tmp_path / "objects", "--from", "dev", "--object", "other", "--store", "new") == {"new"}


def test_options_that_are_missing_or_have_nothing_to_do_are_an_error_of_usage(bundle: Bundle, tmp_path: Path) -> None:
    target, calls = tmp_path / "b.chatcache", cassette(tmp_path / "old.yaml", [interaction(CHAT, "{}")])
    recorded(tmp_path / "objects", {"1": "one"})
    wrong: dict[str, list[object]] = {
        "pass --store, the store to import into, or --to": [bundle.path],
        "pass --store, the store id that the calls in": [calls, "--to", target],
        "pass --from, the store in": [tmp_path / "objects", "--to", target],
        "--from is the store in a folder of stores": [bundle.path, "--to", target, "--from", "app"],
        "--test is for a bundle": [bundle.path, "--store", "app", "--test", "test_a"],
        "--path is for a store": [bundle.path, "--to", target, "--path", tmp_path],
        "--object is for a store": [bundle.path, "--to", target, "--object", "default"],
    }
    for problem, options in wrong.items():
        result = run("import", *options)
        assert result.exit_code == 2
        assert problem in result.stderr
    assert not target.exists()


def test_cassettes_of_vcrpy_are_imported(tmp_path: Path) -> None:
    events = "".join(f"data: {json.dumps(each)}\n\n" for each in CHUNKS) + "data: [DONE]\n\n"
    calls = [
        interaction(CHAT, json.dumps(ANSWER)),
        interaction(CHAT, json.dumps({**ANSWER, "n": 2})),
        interaction("https://api.anthropic.com/v1/messages", events, {**WORDS, "stream": True}),
        interaction(CHAT, "{}", code=500),
        interaction("https://example.com/", "{}"),
    ]
    path = cassette(tmp_path / "old.yaml", calls)
    target = tmp_path / "new.chatcache"
    assert said("import", path, "--store", "app", "--to", target)["imported"] == 3
    assert [(each.form, each.number) for each in Bundle(target).read()] == [
        (Form.ANSWER, 1),
        (Form.ANSWER, 2),
        (Form.STREAM, 1),
    ]
    assert said("import", path, "--store", "app", "--path", tmp_path / "objects")["imported"] == 2
    cache = ResponseCache("app", path=tmp_path / "objects", mode="replay")
    assert cache.call(WORDS, never) == ANSWER
    assert [*cache.stream({**WORDS, "stream": True}, never)] == CHUNKS


def test_the_bodies_of_a_cassette_are_decompressed_and_decoded(tmp_path: Path) -> None:
    said_in_json = json.dumps(ANSWER).encode()
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    calls = [
        interaction(CHAT, gzip.compress(said_in_json), {"n": 0}, encoding="gzip"),
        interaction(CHAT, gzip.compress(said_in_json), {"n": 1}),
        interaction(CHAT, zlib.compress(said_in_json), {"n": 2}, encoding="deflate"),
        interaction(CHAT, raw.compress(said_in_json) + raw.flush(), {"n": 3}, encoding="deflate"),
        interaction(CHAT, said_in_json, {"n": 4}),
        interaction(CHAT, "", {"n": 5}),
    ]
    calls[5]["response"]["body"] = {"base64_string": b64encode(gzip.compress(said_in_json)).decode()}
    target = tmp_path / "b.chatcache"
    run("import", cassette(tmp_path / "old.yaml", calls), "--store", "app", "--to", target)
    assert [(each.request, each.answer) for each in Bundle(target).read()] == [({"n": n}, ANSWER) for n in range(6)]


def test_calls_of_a_cassette_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    calls = [
        interaction(CHAT, json.dumps(ANSWER)),
        interaction(CHAT, b"\x8f\x03", encoding="br"),
        interaction(CHAT, gzip.compress(b"{}" * 99)[:-9], encoding="gzip"),
        interaction(CHAT, "<html>"),
        interaction(CHAT, "{}", body=[]),
        interaction(CHAT, "{}", code=429),
        interaction(CHAT, "{}", code=429),
        interaction("https://me:pass@example.com/v1/models/gemini:generateContent?key=secret", "<html>"),
    ]
    path, target = cassette(tmp_path / "old.yaml", calls), tmp_path / "b.chatcache"
    told = run("import", path, "--store", "app", "--to", target).stdout
    assert "1 record in" in told
    assert "; 7 of 8 calls were left out: it failed with status 429 (2), " in told
    assert told.count("\n  ") == 7
    assert f"\n  {path}, interaction 4, POST api.openai.com/v1/chat/completions: its answer is no JSON\n" in told
    counted = said("import", path, "--store", "app", "--to", target)
    assert (counted["imported"], counted["already_there"], counted["left_out"]) == (0, 1, 7)
    assert [reason for reason in counted["reasons"] if "compressed by br" in reason]
    last = counted["left_out_calls"][-1]
    assert last["call"] == f"{path}, interaction 8, POST example.com/v1/models/gemini:generateContent"
    assert last["reason"].startswith("its address ends in none of /chat/completions, ")
    assert "pass" not in str(counted)
    assert "secret" not in str(counted)
    none = run("import", cassette(tmp_path / "none.yaml", calls[1:]), "--store", "app", "--to", target)
    assert none.exit_code == 1
    assert "has no records; 7 of 7 calls were left out" in none.stderr


def test_no_interaction_of_a_cassette_vanishes(tmp_path: Path) -> None:
    """Whatever it is: it is imported, or named."""
    stream = {**WORDS, "stream": True}
    error = json.dumps({"error": {"message": "overloaded"}})
    calls = [
        interaction(CHAT, json.dumps(ANSWER)),
        interaction(CHAT, json.dumps(ANSWER)),  # the same again
        interaction(CHAT, error),
        interaction(CHAT, f"data: {error}\n\n", stream),
        interaction(CHAT, 'event: error\ndata: {"type": "error"}\n\n', stream),
        interaction(CHAT, "data: [DONE]\n\n", stream),
        interaction(CHAT, "id: 1\ndata: {\ndata: }\n\n", stream),
        interaction(CHAT, b"\xff\xfb\x90", {"input": "say it"}),
        interaction(CHAT, "", code=302),
        {**interaction(CHAT, "{}"), "response": {}},
        *({**interaction(CHAT, "{}"), "request": {"method": method, "uri": CHAT}} for method in ("GET", "DELETE")),
        *(interaction(f"https://example.com/{path}", "{}") for path in ("v2/rerank", "model/x/invoke", "api/chat")),
        interaction("https://[::1", "{}"),
    ]
    path, target = cassette(tmp_path / "old.yaml", calls), tmp_path / "b.chatcache"
    counted = said("import", path, "--store", "app", "--to", target)
    assert (counted["imported"], counted["left_out"]) == (2, len(calls) - 2)
    named = [each["call"].split(", ")[1] for each in counted["left_out_calls"]]
    assert named == [f"interaction {number}" for number in range(3, len(calls) + 1)]
    in_store = said("import", path, "--store", "app", "--path", tmp_path / "objects")
    assert (in_store["imported"], in_store["left_out"]) == (1, len(calls) - 1)
    assert in_store["reasons"]["a store has one answer for each request, and took another one"] == 1


def test_the_records_of_a_cassette_are_of_the_test_and_the_time_that_it_names(tmp_path: Path) -> None:
    dated = interaction(CHAT, '"dated"', {"n": 1})
    dated["response"]["headers"] = {"date": ["Tue, 05 Mar 2024 10:11:12 GMT"]}
    calls = [
        interaction(CHAT, '"first"', {"n": 0}),
        dated,
        interaction(CHAT, '"next"', {"n": 2}),
        {**interaction(CHAT, '"stamped"', {"n": 3}), "recorded_at": "2025-06-07T08:09:10+02:00"},
        {**interaction(CHAT, '"wrong"', {"n": 4}), "recorded_at": "0001-01-01T00:00:00Z"},
    ]
    folder = tmp_path / "tests" / "cassettes"
    (folder / "test_a").mkdir(parents=True)
    cassette(folder / "test_a" / "test_one.yaml", calls)
    cassette(folder / "test_a" / "TestMore.test_two[x.y-z].yml", calls[:1])
    cassette(folder / "test_b" / "test_one.yaml", calls[:1])
    shown = run("import", folder, "--store", "app", "--to", folder).stdout
    assert shown.startswith(f"7 records in {folder}\n")
    records = Bundle(folder / "test_a.chatcache").read()
    assert {each.scope for each in records} == {"test_one", "TestMore::test_two[x.y-z]"}
    times = [datetime.fromtimestamp(each.at // 1000, UTC) for each in records if each.scope == "test_one"]
    of_date, of_stamp = datetime(2024, 3, 5, 10, 11, 12, tzinfo=UTC), datetime(2025, 6, 7, 6, 9, 10, tzinfo=UTC)
    assert times == [of_date, of_date, of_date, of_stamp, of_stamp]
    assert [each.scope for each in Bundle(folder / "test_b.chatcache").read()] == ["test_one"]
    suite = tmp_path / "cassettes" / "suite.chatcache"
    assert said("import", folder, "--store", "app", "--to", suite)["imported"] == 7
    names = {"tests/test_a.py::test_one", "tests/test_a.py::TestMore::test_two[x.y-z]", "tests/test_b.py::test_one"}
    assert {each.scope for each in Bundle(suite).read()} == names


def test_cassettes_of_pytest_vcr_and_others_need_a_bundle(tmp_path: Path) -> None:
    folder, target = tmp_path / "cassettes", tmp_path / "cassettes" / "test_a.chatcache"
    for name in ("test_one", "Test.test_two", "other"):
        cassette(folder / f"{name}.yaml", [interaction(CHAT, json.dumps(name))])
    (folder / "test_three.json").write_text(json.dumps({"version": 1, "interactions": [interaction(CHAT, "3")]}))
    (folder / "settings.json").write_text("{}")
    none = run("import", folder, "--store", "app", "--to", folder)
    assert none.exit_code == 1
    assert "4 of 4 calls were left out: its path names no file of tests" in none.stderr
    shown = run("import", folder, "--store", "app", "--to", target).stdout
    assert "\n1 record of no test: the path of the cassette names none; --test names one\n" in shown
    assert {each.scope for each in Bundle(target).read()} == {"", "Test::test_two", "test_one", "test_three"}


@pytest.mark.parametrize("interactions", [None, [{"request": {"uri": 1}, "response": {}}], [3], "text"])
def test_what_is_no_cassette_is_told(tmp_path: Path, interactions: object) -> None:
    path = cassette(tmp_path / "old.yaml", interactions)
    with pytest.raises(BundleError, match=r"old.yaml is no cassette of vcrpy: "):
        run("import", path, "--store", "app", "--to", tmp_path / "b.chatcache")


def test_what_is_no_cassette_keeps_no_other_one_of_its_folder_out(tmp_path: Path) -> None:
    folder = tmp_path / "cassettes"
    cassette(folder / "good.yaml", [interaction(CHAT, json.dumps(ANSWER))])
    (folder / "bad.yaml").write_text("- [")
    (folder / "settings.yml").write_text("debug: true")
    (folder / "zz.yaml").write_bytes(b"\xff\xfe\x00")
    counted = said("import", folder, "--store", "app", "--to", tmp_path / "b.chatcache")
    assert (counted["imported"], counted["left_out"]) == (1, 3)
    assert [Path(each["call"]).name for each in counted["left_out_calls"]] == ["bad.yaml", "settings.yml", "zz.yaml"]
    assert all("is no cassette of vcrpy" in each["reason"] for each in counted["left_out_calls"])


def test_a_folder_of_cassettes_is_imported(tmp_path: Path) -> None:
    for name in ("one", "two"):
        cassette(tmp_path / "cassettes" / f"{name}.yaml", [interaction(CHAT, json.dumps(name))])
    target = tmp_path / "b.chatcache"
    assert said("import", tmp_path / "cassettes", "--store", "app", "--to", target)["imported"] == 2
    assert [(each.number, each.answer) for each in Bundle(target).read()] == [(1, "one"), (2, "two")]


def test_a_cassette_overwrites_nothing_and_what_is_there_is_not_there_twice(tmp_path: Path) -> None:
    one, other = ([interaction(CHAT, json.dumps(name))] for name in ("one", "other"))
    target = tmp_path / "b.chatcache"
    for calls, imported, there in ((one * 2, 2, 0), (one * 2, 0, 2), (one + other, 1, 1), (one * 3, 1, 2)):
        path = cassette(tmp_path / "old.yaml", calls)
        counted = said("import", path, "--store", "app", "--to", target, "--test", "test_a")
        assert (counted["imported"], counted["already_there"]) == (imported, there)
    assert sorted((each.number, each.answer) for each in Bundle(target).read()) == [
        (1, "one"),
        (2, "one"),
        (3, "other"),
        (4, "one"),
    ]


def test_calls_of_a_cassette_that_differ_only_by_an_id_are_all_imported(tmp_path: Path) -> None:
    ids = [str(uuid4()) for _ in range(3)]
    calls = [interaction(CHAT, json.dumps(f"You are {each}."), {"id": each}) for each in ids[:2]]
    path, target = cassette(tmp_path / "old.yaml", calls), tmp_path / "b.chatcache"
    run("import", path, "--store", "app", "--to", target)
    assert [each.number for each in Bundle(target).read()] == [1, 2]
    with recording(target, Policy(mode=RecordMode.REPLAY)):
        cache = ResponseCache("app", path=tmp_path / "own")
        assert cache.call({"id": ids[2]}, never) == f"You are {ids[2]}."
    run("import", path, "--store", "app", "--path", tmp_path / "objects")
    cache = ResponseCache("app", path=tmp_path / "objects", mode="replay")
    assert cache.call({"id": ids[1]}, never) == f"You are {ids[1]}."


def test_prune_removes_by_test_and_by_age_and_blobs_without_records(bundle: Bundle) -> None:
    bundle.folder.mkdir()
    (bundle.folder / f"{'0' * 64}.json").write_text("1")
    (bundle.folder / "mine.json").write_text("1")
    assert "would be removed" in run("prune", bundle.path, "--test", "test_one", "--dry-run").stdout
    assert len(bundle.read()) == 3
    assert said("prune", bundle.path, "--test", "test_one", "--dry-run") == {"records": {str(bundle.path): 2}}
    assert said("prune", bundle.path, "--test", "test_one") == {"records": {str(bundle.path): 2}, "blobs": 1}
    assert [each.scope for each in bundle.read()] == ["test_two"]
    assert [each.name for each in bundle.folder.iterdir()] == ["mine.json"]
    for age in ("1", "1d", "23h"):
        run("prune", bundle.path, "--older-than", age)
    assert len(bundle.read()) == 1
    for age in ("nan", "inf", "-1", "1y", "-1d"):
        result = run("prune", bundle.path, "--older-than", age)
        assert result.exit_code == 2
        assert "is no age: pass a number of days" in result.stderr
    assert len(bundle.read()) == 1
    assert run("prune", bundle.path, "--older-than", "0s").exit_code == 0
    assert not bundle.path.exists()


def test_prune_of_a_test_without_records_finds_nothing(bundle: Bundle) -> None:
    result = run("prune", bundle.path, "--test", "nope")
    assert result.exit_code == 1
    assert "there are no records of a test 'nope'" in result.stderr
    assert len(bundle.read()) == 3


def test_verify_finds_what_is_damaged_twice_or_of_no_use_to_the_sdk(bundle: Bundle) -> None:
    assert run("verify", bundle.path).exit_code == 0
    records = bundle.read()
    bad = {name: getattr(records[0], name) for name in records[0].__dataclass_fields__}
    bad |= {"request": {"client": "litellm", "asks": "chat completions"}, "answer": {"choices": 3}, "scope": "bad"}
    bundle.write([*records, records[0], Record(**bad)])
    problems = [each["problem"] for each in said("verify", bundle.path)["problems"]]
    assert len(problems) == 3
    assert "the installed litellm cannot read it" in problems[0]
    assert "its request was edited" in problems[1]
    assert "it is there twice" in problems[2]
    bundle.path.write_text(bundle.path.read_text()[:-40])
    assert run("verify", bundle.path).exit_code == 1


def test_scan_finds_secrets(bundle: Bundle) -> None:
    assert run("scan", bundle.path).exit_code == 0
    records = bundle.read()
    held = {name: getattr(records[0], name) for name in records[0].__dataclass_fields__}
    bundle.write([Record(**{**held, "answer": KEY})])
    assert "OpenAI key" in said("scan", bundle.path)[0]["secret"]
    assert run("scan", bundle.path).exit_code == 1


def test_scan_finds_the_secrets_of_a_store_as_they_are_in_there(tmp_path: Path) -> None:
    cache = recorded(tmp_path, {json.dumps({"text": f"My key is {KEY}."}): {"api_key": "q7f2k9m4z"}})
    [*cache.stream(WORDS, lambda _request: [{"text": KEY[:12]}, {"text": KEY[12:]}])]
    found = [each["secret"] for each in said("scan", "--store", "app", "--path", tmp_path)]
    assert sorted(found) == [
        "OpenAI key at $.text",
        "OpenAI key over several texts at $[].text",
        "a value under the name of a secret at $.api_key",
    ]
    assert run("scan", "--store", "app", "--path", tmp_path).exit_code == 1


@pytest.mark.parametrize(
    ("code", "text"), [(2, "import nothing_of_that_name"), (5, "x = 1"), (4, None)], ids=["broken", "none", "missing"]
)
def test_a_plan_of_tests_that_did_not_run_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, text: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    if text is not None:
        (tmp_path / "test_it.py").write_text(text)
    result = run("plan", "-p", "pytest_chatcache.plugin", "test_it.py")
    assert result.exit_code == 2
    assert f"ended with {code}" in result.stderr
    assert {2: "nothing_of_that_name", 4: "not found: test_it.py", 5: "no tests ran"}[code] in result.stderr
    assert result.stdout == ""


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
    base.path.write_bytes(b"")  # as git passes it where both sides made the file
    ours.write([numbered(1)])
    theirs.write([numbered(2)])
    assert said("merge", base.path, ours.path, theirs.path)["records"] == 2
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


def test_a_tilde_in_an_option_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    cache = ResponseCache("app", path="~/store")
    cache.call({"q": 1}, lambda _: "said")
    cache.close()
    assert run("export", "~/b.chatcache", "--store=app", "--path=~/store").exit_code == 0
    assert run("ls", "~/b.chatcache").exit_code == 0
    with recording("~/c.chatcache"):
        ResponseCache("app", path="~/store", mode="refresh").call({"q": 1}, lambda _: "said")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.chatcache", "c.chatcache", "store"]
