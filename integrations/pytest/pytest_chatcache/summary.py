"""What is said at the end of a run: a few lines on the terminal, a table in Markdown, annotations of GitHub."""

from collections.abc import Iterator
from pathlib import Path

from .ledger import Files, Ledger

__all__ = ["annotations", "lines", "markdown", "needs_attention"]

_WHAT = {
    "unused": "not used by their tests",
    "expired": "too old",
    "orphaned": "of tests that there are no more",
}


def lines(ledger: Ledger, root: Path) -> Iterator[str]:
    """Yield what became of the calls, and what is the matter with the bundles, in lines."""
    results = ledger.results.values()
    hits, made = sum(each.hits for each in results), sum(len(each.made) for each in results)
    missed = sum(len(each.misses) for each in results)
    tokens, cost, took = (sum(each.saved[at] for each in results) for at in range(3))
    if hits or made or missed:
        saved = f"; saved {tokens:,.0f} tokens, ${cost:,.4f}, {took:,.1f} s" if hits else ""
        yield f"{hits:,} calls replayed, {made:,} recorded, {missed:,} missed{saved}"
    for path, files in ledger.files().items():
        said = [f"{number} {what}" for number, what in _matters(files)]
        if said:
            yield f"{_shown(path, root)}: {', '.join(said)}"
    for path in ledger.orphans():
        yield f"{_shown(path, root)}: of no test"


def needs_attention(ledger: Ledger) -> bool:
    """Whether there are records that are unused, expired or orphaned."""
    return any(True for files in ledger.files().values() for _ in _matters(files)) or bool(ledger.orphans())


def markdown(ledger: Ledger, root: Path) -> str:
    """Return a summary for a pull request: what was replayed, and which records were added, changed and removed."""
    first, *others = [*lines(ledger, root), ""]
    said = ["### LLM calls", "", first or "No LLM calls.", ""]
    if ledger.changes:
        said += ["| bundle | added | changed | removed |", "|---|---:|---:|---:|"]
        said += [
            f"| `{_shown(path, root)}` | {each.added} | {each.changed} | {each.removed} |"
            for path, each in sorted(ledger.changes.items())
        ]
        said.append("")
    said += [f"* {line}" for line in others if line]
    misses = [(result.node, miss) for result in ledger.results.values() for miss in result.misses]
    said += [f"* `{node}` missed: {miss['reason']}" for node, miss in misses]
    return "\n".join(said) + "\n"


def annotations(ledger: Ledger) -> Iterator[str]:
    """Yield the misses as commands of GitHub's workflows."""
    for result in ledger.results.values():
        for miss in result.misses:
            file = result.node.partition("::")[0]
            message = [f"{result.node}: {miss['reason']}", *_changes(miss), f"To record it: {miss['command']}"]
            yield f"::error file={_escaped(file)},title=LLM call not recorded::{_escaped(chr(10).join(message))}"


def _changes(miss: dict[str, object]) -> Iterator[str]:
    match miss:
        case {"nearest": {"differences": [*differences]}}:
            for each in differences[:3]:
                yield f"{each['path']} {each['kind']}"


def _matters(files: Files) -> Iterator[tuple[int, str]]:
    for name, what in _WHAT.items():
        number = getattr(files, name)
        if number:
            yield number, f"{'record' if number == 1 else 'records'} {what}"


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
