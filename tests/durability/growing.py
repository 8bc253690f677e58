"""A program that does one thing to an object until it is killed: ``growing.py FOLDER sweep|write``.

It says ``begun`` as soon as it is at it, and ``written`` after each value.
"""

import itertools
import sys
from datetime import UTC, datetime

from chatcache import Alarm, DurableObjectPersistence, ObjectNamespace, sweep_expired

LENGTH = 6_000_000
TTL = 3600.0


def main(folder: str, work: str) -> None:
    """Sweep what expired, an hour later, or write large values over each other."""
    later = ObjectNamespace(folder, alarm=sweep_expired, clock=lambda: 1_700_000_000 + 2 * TTL)
    thing = later.get_by_name("thing")
    store = DurableObjectPersistence(thing.storage).make("store")
    say("begun")
    if work == "sweep":
        sweep_expired(thing, Alarm(datetime.now(UTC), 0))
        sys.stdout.read()
    for number in itertools.count():
        letter = "abc"[number % 3]
        store.set("large", [letter * (LENGTH - number % 3 * 1_500_000)], note=[letter] * 1_000_000)
        say("written")


def say(word: str) -> None:
    """Write a line that whoever waits for it sees at once."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
