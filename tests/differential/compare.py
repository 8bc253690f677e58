"""Compares what workerd gave with what our storage gave, operation for operation.

Nothing is forgiven but what a row of ``docs/storage-differences.md`` states, and each place that forgives something
names the id of its row (`FORGIVEN`).
"""

import json
import re
from typing import Any

from .scripts import Op, Script
from .values import UNDEFINED, canonical

__all__ = ["FORGIVEN", "difference", "settled"]

Result = dict[str, Any]

# The rows that the comparison of any script makes use of. The others show only where their own case looks for them.
FORGIVEN = frozenset(
    {"number", "object-order", "set-order", "errors", "undefined", "alarm-time", "flush", "ended-list"}
)

# Difference `errors`: what workerd says, and the class that we raise.
_ERRORS = [
    (r"Error: thrown by the script", "ThrownError"),
    (r"TypeError: list\(\) cannot be called with both start and startAfter values\.", "InvalidInputError"),
    (r"TypeError: List limit must be positive\.", "InvalidInputError"),
    (
        r"TypeError: Value out of range\. Must be between -2147483648 and 2147483647 \(inclusive\)\.",
        "InvalidInputError",
    ),
    (r"TypeError: setAlarm\(\) cannot be called with an alarm time <= 0", "InvalidInputError"),
    (r"TypeError: The value cannot be converted because it is not a valid Date\.", "InvalidInputError"),
    (r"TypeError: This API doesn't support dates after 2189\.", "InvalidInputError"),
    (r"DataCloneError: .* could not be cloned\.", "InvalidValueError"),
    (r"TypeError: put\(\) called with undefined value\.", "InvalidValueError"),
    (r"Error: Cannot \w+\(\) on rolled back transaction", "TransactionError"),
    (r"Error: Cannot call \w+\(\) on transaction that has already committed: did you move .*", "TransactionError"),
    (r"Error: Cannot call deleteAll\(\) within a transaction", "TransactionError"),
    (r"Error: Cannot roll back an outer transaction while a nested transaction is still running\.", "TransactionError"),
    (r"Error: To execute a transaction, please use the state\.storage\.transaction\(\) .*", "SQLError"),
    (r"Error: Expected exactly one result from SQL query, but got (no|multiple) results\.", "SQLError"),
    (r"Error: Wrong number of parameter bindings for SQL query\.", "SQLError"),
    (r"Error: SQL code did not contain a statement\.", "SQLError"),
    (
        r"Error: When executing multiple SQL statements in a single call, only the last .* can have parameters\.",
        "SQLError",
    ),
    (r"Error: .*: SQLITE_(ERROR|AUTH|TOOBIG|CONSTRAINT)( \(extended: \w+\))?", "SQLError"),
]


def difference(script: Script, theirs: list[Result], ours: list[Result], where: str = "") -> str | None:
    """Return where and how the results differ first, or None."""
    for at, op in enumerate(script):
        place = f"{where}{at}"
        if at >= len(theirs) or at >= len(ours):
            if len(theirs) == len(ours):
                return None  # the body was left by both, at the same operation
            return f"operation {place} ran only {'here' if len(ours) > len(theirs) else 'in workerd'}"
        found = difference(op.get("body", []), theirs[at].get("body", []), ours[at].get("body", []), f"{place}.")
        same = settled(op, theirs[at]) == settled(op, ours[at]) or _refused(op, theirs[at], ours[at])
        if found is None and not same:
            found = f"operation {place} {_text(op)}\n  workerd   {_text(theirs[at])}\n  chatcache {_text(ours[at])}"
        if found is not None:
            return found
    return None


def settled(op: Op, result: Result) -> str:
    """Return a result without what may differ: equal for both sides where they agree."""
    if "error" in result:
        return f"raised {_class(result['error'])}"
    value = result["ok"]
    if op["op"] in {"get", "kv_get"} and op.get("bare") and value == UNDEFINED:
        value = None  # difference `undefined`: without a default, what is not there is None
    return json.dumps(canonical(value))


def _refused(op: Op, theirs: Result, ours: Result) -> bool:
    """Return whether we refuse, within a transaction or after it, what workerd lets pass with no effect."""
    if ours.get("error", {}).get("name") != "TransactionError":
        return False
    match op["op"]:
        case "flush":  # difference `flush`
            return op.get("on") == "storage"
        case "list":  # difference `ended-list`
            return theirs.get("ok") == {"$": "map", "v": []}
        case _:
            return False


def _class(error: dict[str, str]) -> str:
    said = f"{error['name']}: {error['message']}"
    if error["name"] in {"Error", "TypeError", "RangeError", "DataCloneError"}:
        found = next((name for pattern, name in _ERRORS if re.fullmatch(pattern, said, re.DOTALL)), None)
        return found or f"what no row of the table of errors is for: {said}"
    return error["name"]


def _text(part: Any) -> str:
    return json.dumps(part, ensure_ascii=False, default=repr).encode("utf-8", "backslashreplace").decode()
