"""What a run says of the cassettes that it is taken over from: which it recorded from, and which can be deleted."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from .cassettes import Opened
from .results import Result
from .summary import shown_in

__all__ = ["Migration"]

_AGAIN = "run the same again, which replays the records and says which cassettes can be deleted"
_FREE = "not needed any more, you can delete them"
_PERHAPS_FREE = "not needed by the tests of this run; run all tests to know whether others need them"


class Migration:
    """What became of the requests in cassettes.

    Args:
        opened: the cassettes that the tests opened.
        results: what became of the calls of the tests.
        root: the folder that paths are relative to.
    """

    def __init__(self, opened: Iterable[Opened], results: Iterable[Result], root: Path) -> None:
        self._cassettes = _joined(opened)
        self._root = root
        self._passed: dict[str, bool] = {}
        self._made: Counter[str] = Counter()
        for result in results:
            self._passed[result.node] = self._passed.get(result.node, True) and result.passed
            self._made[result.node] += len(result.made)

    def lines(self, *, is_whole: bool) -> Iterator[str]:
        """Yield a summary, each cassette that is still needed, and those that can be deleted.

        Args:
            is_whole: whether all tests ran, so that no other one may need a cassette.
        """
        if not self._cassettes:
            yield "no test opened a cassette of vcrpy"
            return
        answered = sum(len(each.answered) for each in self._cassettes)
        yield f"{_count(len(self._cassettes), 'cassette')} opened: {_count(answered, 'request')} answered"
        yield from filter(None, map(self._problem, self._cassettes))
        if is_whole:
            yield from (f"{self._shown(path)}: keep it or not, no test opened it" for path in self._unopened())
        recorded = sum(self._is_recorded(each) for each in self._cassettes)
        if recorded:
            yield f"{_count(recorded, 'cassette')} recorded from: {_AGAIN}"
        free = [each for each in self._cassettes if self._is_free(each)]
        if free:
            yield f"{_count(len(free), 'cassette')} {_FREE if is_whole else _PERHAPS_FREE}:"
            yield from (f"  {self._shown(Path(each.path))}" for each in free)

    def _problem(self, cassette: Opened) -> str:
        """Return what of a cassette was not recorded, or why it is still needed; nothing if there is nothing."""
        failed = self._failed(cassette)
        unasked = Counter(cassette.requests) - Counter(cassette.answered)
        if failed:
            problem = f"keep it, it is not known what needs it: {failed[0]} did not pass, or is in mode off"
        elif self._is_recorded(cassette):
            problem = f"not asked for, so not recorded: {_listed(unasked)}" if unasked else ""
        elif cassette.answered:
            problem = f"keep it, it answered what no cache recorded: {_listed(Counter(cassette.answered))}"
        else:
            problem = ""
        return problem and f"{self._shown(Path(cassette.path))}: {problem}"

    def _failed(self, cassette: Opened) -> list[str]:
        return [node for node in cassette.nodes if not self._passed.get(node, False)]

    def _is_recorded(self, cassette: Opened) -> bool:
        """Whether this run recorded calls of its tests."""
        return not self._failed(cassette) and any(self._made[node] for node in cassette.nodes)

    def _is_free(self, cassette: Opened) -> bool:
        """Whether its tests passed, recorded nothing, and asked it for nothing."""
        return not (cassette.answered or self._failed(cassette) or self._is_recorded(cassette))

    def _unopened(self) -> Iterator[Path]:
        """Yield the cassettes in the folders of those that were opened, without these."""
        opened = {Path(each.path) for each in self._cassettes}
        for folder in sorted({path.parent for path in opened}):
            yield from (path for path in sorted(folder.glob("*.y*ml")) if path not in opened)

    def _shown(self, path: Path) -> str:
        return shown_in(self._root, path)


def _joined(opened: Iterable[Opened]) -> list[Opened]:
    """Return one entry for each file, by path."""
    files: dict[str, Opened] = {}
    for each in opened:
        file = files.setdefault(each.path, Opened(each.path, each.requests))
        file.answered += each.answered
        for node in each.nodes:
            file.note(node)
    return [files[path] for path in sorted(files)]


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _listed(requests: Counter[str]) -> str:
    return ", ".join(f"{request} ({number})" for request, number in requests.most_common())
