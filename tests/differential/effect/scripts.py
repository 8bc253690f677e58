"""Random scripts: stores, caches over them, and operations on both, which run here and in Effect.

The alphabets are small, so that operations meet: few keys, times to live and steps of the clock of the same sizes.
Times are milliseconds; a time to live of None is for ever.
"""

from random import Random
from typing import Any

__all__ = ["Op", "Script", "generate"]

Op = dict[str, Any]
Script = dict[str, Any]

IDS = ["s", "s:1", "s%3A1", "1"]
KEYS = ["a", "b", "c", "1:a", ""]
TTLS = [None, None, 0, -5, 0.5, 1, 10, 50, 1_000, 10_000]
STEPS = [0, 1, 9, 10, 50, 999, 1_000, 10_000]
METHODS = ["get", "get_many", "set", "set_many", "remove", "clear"]
NUMBERS = [0, 1, 2, -3, 1.5, 1e21]
TEXTS = ["", "x", "é😀", "\u2028"]
ERRORS = ["TypeError", "ValueError", "RuntimeError"]
ROWS: list[Any] = [
    {},
    {"_tag": "Nothing"},
    {"_tag": "Success", "value": 7},
    {"_tag": "Success", "value": "seven"},
    {"_tag": "Success", "value": [7]},
    {"_tag": "Failure"},
    {"_tag": "Failure", "cause": [{"_tag": "Fail", "error": {"code": 7}}]},
    {"_tag": "Failure", "cause": [{"_tag": "Fail", "error": {"code": "seven"}}]},
    {"_tag": "Failure", "cause": [{"_tag": "Die", "defect": {"name": "TypeError", "message": "no"}}]},
    {"_tag": "Failure", "cause": [{"_tag": "Sulk"}]},
]


def generate(seed: str, operations: int) -> Script:
    """Return the script of a seed."""
    return _Generator(Random(seed)).script(operations)  # noqa: S311 - chance, no secret


class _Generator:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.ids = random.sample(IDS, random.randint(1, 3))
        self.caches = [self._cache() for _ in range(random.randint(0, 3))]

    def script(self, operations: int) -> Script:
        stores = [{"id": each, "ttl": self._rule()} for each in self.ids]
        return {"stores": stores, "caches": self.caches, "ops": [self._operation() for _ in range(operations)]}

    def _cache(self) -> dict[str, Any]:
        return {
            "store": self.random.choice(self.ids),
            "ttl": self._rule(),
            "memory_ttl": self.random.choice([None, 0, 50, 10_000, 10_000]),
            "capacity": self.random.choice([0, 1, 2, 3, 1_024, 1_024, 1_024]),
        }

    def _rule(self) -> dict[str, Any]:
        """Return how long exits are kept: by how they ended, and for some keys in any case."""
        keys = {key: self.random.choice(TTLS) for key in KEYS if self.random.random() < 0.2}
        return {"success": self.random.choice(TTLS), "failure": self.random.choice(TTLS), "keys": keys}

    def _operation(self) -> Op:  # noqa: C901, PLR0911 - a case a row
        if self.caches and self.random.random() < 0.5:
            return self._of_cache()
        store, request = self.random.choice(self.ids), self._request()
        match self.random.randrange(20):
            case 0 | 1 | 2:
                return {"op": "get", "store": store, "request": request}
            case 3 | 4:
                return {"op": "get_many", "store": store, "requests": self._several()}
            case 5 | 6 | 7 | 8:
                return {"op": "set", "store": store, "request": request, "exit": self._exit(request["kind"])}
            case 9 | 10:
                entries = [[each, self._exit(each["kind"])] for each in self._several()]
                return {"op": "set_many", "store": store, "entries": entries}
            case 11:
                return {"op": "remove", "store": store, "request": request}
            case 12:
                return {"op": "clear", "store": store}
            case 13:
                return {"op": "row", "store": store, "key": request["key"]}
            case 14 | 15:
                row, ttl = self.random.choice(ROWS), self.random.choice(TTLS)
                return {"op": "set_row", "store": store, "key": request["key"], "row": row, "ttl": ttl}
            case 16:
                failing = self.random.sample(METHODS, self.random.randint(1, 3)) if self.random.random() < 0.4 else []
                return {"op": "fail", "names": failing}
            case _:
                return {"op": "advance", "by": self.random.choice(STEPS)}

    def _of_cache(self) -> Op:
        cache, request = self.random.randrange(len(self.caches)), self._request()
        op: Op = {"cache": cache, "request": request}
        match self.random.randrange(12):
            case 0:
                return {"op": "new_cache", "cache": cache}
            case 1 | 2:
                return op | {"op": "invalidate"}
            # where there is no room, Effect's memory drops values for the sake of calls that only begin
            case 3 | 4 if self.caches[cache]["capacity"] > len(KEYS) * 2:
                return op | {"op": "ask_many", "outcome": self._exit(request["kind"]), "times": 5}
            case _:
                return op | {"op": "ask", "outcome": self._outcome(request["kind"])}

    def _request(self) -> dict[str, str]:
        return {"kind": self.random.choice(["Num", "Num", "Num", "Text"]), "key": self.random.choice(KEYS)}

    def _several(self) -> list[dict[str, str]]:
        return [self._request() for _ in range(self.random.randint(0, 4))]  # some of them twice

    def _outcome(self, kind: str) -> dict[str, Any]:
        if self.random.random() < 0.1:
            return {"throws": [self.random.choice(ERRORS), "at once"]}
        return self._exit(kind)

    def _exit(self, kind: str) -> dict[str, Any]:
        wrong = self.random.random() < 0.08  # no value of its request
        chance = self.random.random()
        if chance < 0.2:
            return {"die": [self.random.choice(ERRORS), self.random.choice(["", "no", "é😀"])]}
        if chance < 0.45 and kind == "Num":
            return {"fail": "code" if wrong else self.random.choice([1, 2, 404])}
        return {"success": self.random.choice(TEXTS if (kind == "Text") != wrong else NUMBERS)}
