"""What records go through before they are written elsewhere: they hold no secret, and take no other one's place."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import click

from chatcache.recording import Bundle, Record, Skipped, reasons_of, secrets_of

from .source import called, records_of

__all__ = ["as_data", "beside", "checked", "told"]

_MOST_NAMED = 100  # calls, each in a line


def checked(records: Iterable[Record]) -> list[Record]:
    """Return records that hold no secrets.

    Raises:
        click.ClickException: one of them holds a secret.
    """
    made = []
    for record in records:
        problems = secrets_of(record.request, record.answer)
        if problems:
            raise click.ClickException(
                f"the record {called(record.key, record.number)} of {record.scope or 'no test'} holds a secret that is "
                f"not masked: {problems[0]}; nothing was written: remove it there, or record it anew without it"
            )
        made.append(record)
    return made


def beside(bundle: Bundle, records: Iterable[Record]) -> list[Record]:
    """Return the records that a bundle does not hold yet, with numbers that are free in it.

    A record that says what one that is there says, of the same request of the same test, is that one: each of those
    stands for one record.
    """
    there: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    taken: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for record in records_of(bundle):
        there[record.name[:3]].append(record)
        taken[record.name[:3]].add(record.number)
    new = []
    for record in records:
        name = record.name[:3]
        same = next((each for each in there[name] if each.says(record)), None)
        if same is not None:
            there[name].remove(same)
            continue
        number = max(taken[name]) + 1 if record.number in taken[name] else record.number
        taken[name].add(number)
        new.append(replace(record, number=number))
    return new


def as_data(skipped: Sequence[Skipped]) -> dict[str, Any]:
    """Return which calls were left out, and why, for programs."""
    calls = [asdict(each) for each in skipped]
    return {"left_out": len(skipped), "reasons": reasons_of(skipped), "left_out_calls": calls}


def told(skipped: Sequence[Skipped], number: int) -> str:
    """Return what is to be said of calls that were left out, of so many; nothing if there are none.

    The first 100 are named, a line each.
    """
    if not skipped:
        return ""
    why = ", ".join(f"{reason} ({times})" for reason, times in reasons_of(skipped).items())
    lines = [f"; {len(skipped):,} of {number:,} calls {'was' if len(skipped) == 1 else 'were'} left out: {why}"]
    lines += [f"  {each}" for each in skipped[:_MOST_NAMED]]
    if len(skipped) > _MOST_NAMED:
        lines.append(f"  ... and {len(skipped) - _MOST_NAMED:,} more, which --json lists")
    return "\n".join(lines)
