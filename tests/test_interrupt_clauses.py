"""Every ``except`` clause that may meet the exception of a signal handler lets that one through."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What signal handlers raise, or a class above that.
RAISED_BY_HANDLERS = {
    *("Exception", "BaseException", "RuntimeError", "OSError", "TimeoutError", "ValueError", "TypeError"),
    *("AssertionError", "AttributeError", "LookupError", "KeyError"),
    *("PydanticSerializationError", "ValidationError"),  # raised from what a callback raised
}

# They raise it.
CHECKS = {"raise_interrupt", "as_persistence_error", "explained", "_explained", "learn_from", "set_exception"}

# They run in threads of their own, and no signal handler does.
IN_THREADS = ("chatcache/_bridge/threads.py", "chatcache/storage/alarms.py")

# Programs of their own, whose only signal is Ctrl-C; and tests.
PROGRAMS = ("chatcache/cli/", "chatcache/testing/", "integrations/pytest/")

SOURCES = [
    path
    for path in sorted([*ROOT.glob("chatcache/**/*.py"), *ROOT.glob("integrations/*/*_chatcache/**/*.py")])
    if not path.relative_to(ROOT).as_posix().startswith((*PROGRAMS, *IN_THREADS))
]


def classes(caught: ast.expr | None) -> set[str]:
    if caught is None:
        return {"BaseException"}
    names = (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "") for node in ast.walk(caught))
    return set(names)


def lets_through(handler: ast.ExceptHandler) -> bool:
    raises = any(isinstance(each, ast.Raise) and each.exc is None for each in ast.walk(handler))
    returns = any(isinstance(each, ast.Return | ast.Continue | ast.Break) for each in ast.walk(handler))
    keeps = any(
        isinstance(each, ast.Assign) and isinstance(each.value, ast.Name) and each.value.id == handler.name
        for each in handler.body
    )  # to raise it where somebody waits for it
    called = [node.func for node in ast.walk(handler) if isinstance(node, ast.Call)]
    return (
        (raises and not returns)
        or keeps
        or any(getattr(each, "id", getattr(each, "attr", "")) in CHECKS for each in called)
    )


def clauses(path: Path) -> Iterator[ast.ExceptHandler]:
    for node in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.ExceptHandler) and classes(node.type) & RAISED_BY_HANDLERS:
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_an_except_clause__raise_interrupt_or_raises_what_it_caught(path: Path) -> None:
    wrong = [f"{path}:{clause.lineno}" for clause in clauses(path) if not lets_through(clause)]
    assert wrong == [], "a signal handler's exception would end here: call raise_interrupt(error)"
