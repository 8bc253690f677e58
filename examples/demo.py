"""One program, run twice: the first run asks a provider and is recorded, the second is replayed with no provider there.

::

    python examples/demo.py

It needs neither a key nor a network. Its records are in ``.chatcache-demo``, which is emptied when it begins.
"""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from provider import Provider
from rich import box
from rich.console import Console
from rich.table import Table

from chatcache import ResponseCache

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / ".chatcache-demo"
DELAY = 0.3  # seconds that the provider thinks
NOT_OURS = ("CHATCACHE_", "LANGCHAIN_", "LANGSMITH_", "LITELLM_", "OPENAI_")

console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Report:
    """What the program says of one of its calls; the cost is in dollars."""

    call: str
    prompt: str
    answer: str
    seconds: float
    tokens: int
    cost: float


@dataclass(frozen=True, slots=True)
class Row:
    """One call in both runs, and how often each run asked the provider for it."""

    first: Report
    second: Report
    asked_first: int
    asked_second: int

    @property
    def is_equal(self) -> bool:
        """Whether both runs got the same answer."""
        return self.first.answer == self.second.answer

    @property
    def saved_tokens(self) -> int:
        """How many tokens the first run paid for and the second did not."""
        return self.first.tokens * (self.asked_first - self.asked_second)

    @property
    def saved_cost(self) -> float:
        """How many dollars they cost."""
        return self.first.cost * (self.asked_first - self.asked_second)


def main() -> None:
    """Record, stop the provider, replay, and compare."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    with Provider(delay=DELAY) as provider:
        console.print(
            f"First run: a provider is at {provider.url} and takes {DELAY:g} s for an answer.", soft_wrap=True
        )
        first = run("first", provider)
        asked_first = list(provider.prompts)
    check_stopped(provider)
    console.print("Second run: the provider is stopped, its port refuses connections.\n", soft_wrap=True)
    second = run("second", provider)
    asked_second = provider.prompts[len(asked_first) :]
    rows = [
        Row(before, after, asked_first.count(before.prompt), asked_second.count(after.prompt))
        for before, after in zip(first, second, strict=True)
    ]
    console.print(table_of(rows))
    console.print("\nIn both runs, first calls also load what LiteLLM and LangChain load late.")
    console.print(where_it_is(), soft_wrap=True)
    check(rows)
    console.print(summary_of(rows), soft_wrap=True)


def run(which: str, provider: Provider) -> list[Report]:
    """Run the program in a process of its own, and return what it reports."""
    command = [sys.executable, str(HERE / "program.py"), provider.url, str(FOLDER)]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"The {which} run ended with {done.returncode}; why is said above. It was: {shlex.join(command)}")
    return [Report(**json.loads(line)) for line in done.stdout.splitlines()]


def environment() -> dict[str, str]:
    """Return the environment, without settings that lead the program elsewhere, and with LiteLLM's prices from disk."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(NOT_OURS) and not name.lower().endswith("_proxy")
    }
    return {**kept, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def check_stopped(provider: Provider) -> None:
    """Exit if the provider can still be reached."""
    at = urlsplit(provider.url)
    with socket.socket() as probe:
        if probe.connect_ex((at.hostname, at.port)) == 0:
            sys.exit(f"The provider was stopped, but {at.netloc} still accepts connections.")


def table_of(rows: list[Row]) -> Table:
    """Return the calls with a row of totals as a table, which is at most 80 characters wide."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("call", no_wrap=True)
    for name in ("ms", "upstream"):
        table.add_column(f"first\n{name}", justify="right", no_wrap=True)
        table.add_column(f"second\n{name}", justify="right", no_wrap=True)
    for name in ("tokens\nsaved", "cost\nsaved", "same\nanswer"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row.first.call, *cells([row]))
    table.add_section()
    table.add_row(f"{len(rows)} calls", *cells(rows), style="bold")
    return table


def cells(rows: list[Row]) -> list[str]:
    """Return the sums over some rows, as they stand in the table."""
    return [
        f"{sum(row.first.seconds for row in rows) * 1000:.0f}",
        f"{sum(row.second.seconds for row in rows) * 1000:.0f}",
        f"{sum(row.asked_first for row in rows)}",
        f"{sum(row.asked_second for row in rows)}",
        f"{sum(row.saved_tokens for row in rows)}",
        f"${sum(row.saved_cost for row in rows):.5f}",
        "yes" if all(row.is_equal for row in rows) else "no",
    ]


def where_it_is() -> str:
    """Say in which file the records are, and how to look into it."""
    location = ResponseCache("demo", path=FOLDER).location  # the engine of both DOCaches
    look = shlex.join(near(path) for path in (Path(sys.executable), HERE / "look.py", FOLDER))
    return (
        f"\nThe records are in one file, which DOCache(...).engine.location names:\n  {near(location)}\n"
        f"To see what is in it:\n  {look}\n"
    )


def near(path: Path) -> str:
    """Return a path as it is seen from the working directory, where it is below it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def check(rows: list[Row]) -> None:
    """Exit if the second run was not what it has to be: the first one, replayed."""
    problems = []
    for row in rows:
        if row.asked_first != 1:
            problems.append(f"{row.first.call}: the first run asked the provider {row.asked_first} times, not once.")
        if row.asked_second:
            problems.append(f"{row.first.call}: the second run asked the provider.")
        if not row.is_equal:
            problems.append(f"{row.first.call}: first {row.first.answer!r}, then {row.second.answer!r}.")
    if problems:
        sys.exit("\n".join(problems))


def summary_of(rows: list[Row]) -> str:
    """Say in one line what the second run saved."""
    calls = sum(row.asked_first - row.asked_second for row in rows)
    seconds = sum(row.first.seconds - row.second.seconds for row in rows)
    cost = sum(row.saved_cost for row in rows)
    return f"The second run made none of the {calls} calls to the provider: {seconds:.1f} s and ${cost:.5f} saved."


if __name__ == "__main__":
    main()
