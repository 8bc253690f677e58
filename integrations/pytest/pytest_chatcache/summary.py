"""What is said at the end of a run: a few lines on the terminal, a table in Markdown, annotations of GitHub."""

from collections.abc import Iterator
from pathlib import Path

from chatcache.recording import Changes, printable

from .ledger import Files, Ledger, Verdict

__all__ = ["annotations", "lines", "markdown", "needs_attention", "shown_in"]


def lines(ledger: Ledger, verdict: Verdict, root: Path, *, verbose: bool) -> Iterator[str]:
    """Yield what became of the calls, and of the records of each bundle that is not simply replayed, in lines.

    Args:
        ledger: what became of them.
        verdict: what is the matter with the bundles.
        root: the folder that paths are relative to.
        verbose: whether the other bundles are told of, too.
    """
    yield from _all_calls(ledger) or _no_calls(ledger)
    yield from _unrecorded(ledger)
    yield from ledger.remarks
    for path, files in verdict.items():
        changes = ledger.changes.get(path, Changes())
        numbers = {
            "new": changes.added,
            "changed": changes.changed,
            "removed": changes.removed,
            "missed": files.missed,
        }
        said = [*(f"{number:,} {what}" for what, number in numbers.items() if number), *_matters(files)]
        if files.is_of_none:
            yield f"{shown_in(root, path)}: of no test"
        elif said or verbose:
            yield f"{shown_in(root, path)}: {', '.join([f'{files.replayed:,} replayed', *said])}"
    if any(files.unused or files.orphaned for files in verdict.values()):
        yield "--chatcache-prune removes the records that are not used, or of tests that there are no more."


def needs_attention(ledger: Ledger, verdict: Verdict) -> bool:
    """Whether there are records that are unused, expired or orphaned, or calls that cannot be replayed."""
    return any(True for files in verdict.values() for _ in _matters(files)) or any(_unrecorded(ledger))


def markdown(ledger: Ledger, verdict: Verdict, root: Path) -> str:
    """Return a summary for a pull request: what was replayed, and which records were added, changed and removed."""
    said = ["### LLM calls", "", *(_all_calls(ledger) or ["No LLM calls."]), ""]
    if ledger.changes:
        said += ["| bundle | added | changed | removed |", "|---|---:|---:|---:|"]
        said += [
            f"| {_code(shown_in(root, path))} | {each.added} | {each.changed} | {each.removed} |"
            for path, each in sorted(ledger.changes.items())
        ]
        said.append("")
    matters = {path: ", ".join(_matters(files)) for path, files in verdict.items()}
    said += [f"* {_code(shown_in(root, path))}: {what}" for path, what in matters.items() if what]
    misses = [(result.node, miss) for result in ledger.results.values() for miss in result.misses]
    said += [f"* {_code(line.strip())}" for line in _unrecorded(ledger)]
    said += [f"* {_code(node)} missed: {miss['reason']}" for node, miss in misses]
    return "\n".join(said) + "\n"


def annotations(ledger: Ledger) -> Iterator[str]:
    """Yield the misses as commands of GitHub's workflows."""
    for result in ledger.results.values():
        for miss in result.misses:
            message = [f"{result.node}: {miss['reason']}", *_changes(miss), *miss["advice"]]
            where = f"file={_escaped(result.file, _IN_A_PROPERTY)},line={result.line}"
            yield f"::error {where},title=LLM call not recorded::{_escaped(chr(10).join(map(printable, message)))}"


def _changes(miss: dict[str, object]) -> Iterator[str]:
    match miss:
        case {"nearest": {"differences": [*differences]}}:
            for each in differences[:3]:
                yield f"{each['path']} {each['kind']}"


def _unrecorded(ledger: Ledger) -> Iterator[str]:
    """Yield which calls of which tests cannot be replayed, and why."""
    told = [(result.node, why) for result in ledger.results.values() for why in result.unrecorded]
    if told:
        yield f"{len(told):,} {'call was' if len(told) == 1 else 'calls were'} made and cannot be replayed:"
    yield from (f"  {node}: {why}" for node, why in told)
    if told:
        yield "  Once that is mended, record these tests again with --chatcache=refresh."


def _no_calls(ledger: Ledger) -> list[str]:
    """Return that no calls were seen of the frameworks that were imported, if any was."""
    return [f"0 calls seen of {' and '.join(sorted(ledger.seen))}"] if ledger.seen else []


def _all_calls(ledger: Ledger) -> list[str]:
    """Return what became of all calls, in a line, if there were any."""
    results = ledger.results.values()
    hits, made = sum(each.hits for each in results), sum(len(each.made) for each in results)
    missed = sum(len(each.misses) for each in results)
    tokens, cost, took = (sum(each.saved[at] for each in results) for at in range(3))
    saved = f"; saved {tokens:,.0f} tokens, ${cost:,.4f}, {took:,.1f} s" if hits else ""
    return [f"{hits:,} calls replayed, {made:,} recorded, {missed:,} missed{saved}"] if hits or made or missed else []


def _matters(files: Files) -> Iterator[str]:
    if files.is_of_none:
        yield "of no test"
        return
    numbers = {
        "not used by their tests": len(files.unused),
        "too old": files.expired,
        "of tests that there are no more": len(files.orphaned),
    }
    for what, number in numbers.items():
        if number:
            yield f"{number:,} {'record' if number == 1 else 'records'} {what}"


def shown_in(root: Path, path: Path) -> str:
    """Return a path as it is printed: from the root of the run on, if it is in there."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _code(text: str) -> str:
    """Return a text as code in a table of Markdown."""
    return f"`{printable(text).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


_IN_A_MESSAGE = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_IN_A_PROPERTY = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A", ":": "%3A", ",": "%2C"})


def _escaped(text: str, table: dict[int, str] = _IN_A_MESSAGE) -> str:
    """Return a text as a command of GitHub's workflows has it."""
    return text.translate(table)
