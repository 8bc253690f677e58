"""Any JSON value, and any value that can be stored, awkward ones first."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

AWKWARD = ["", "$", "$float", "$dict", "$set", ":", "%", "\0", "\ud800", "é", "\U0001f5fc", "nan"]
NUMBERS = [0, 0.0, -0.0, 1, 1.0, 2**63, 2**64, 1e22, 10**22]


def texts() -> st.SearchStrategy[str]:
    return st.one_of(st.sampled_from(AWKWARD), st.text(), st.text(st.characters()))


def json_scalars() -> st.SearchStrategy[Any]:
    numbers = st.one_of(st.integers(), st.floats(), st.sampled_from(NUMBERS))
    return st.one_of(st.none(), st.booleans(), numbers, texts())


def json_values() -> st.SearchStrategy[Any]:
    return st.recursive(
        json_scalars(),
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts(), inner, max_size=4)),
        max_leaves=12,
    )


def moments() -> st.SearchStrategy[datetime]:
    day = timedelta(days=1) - timedelta(microseconds=1)
    offsets = st.one_of(st.sampled_from([timedelta(microseconds=-1), timedelta(seconds=1)]), st.timedeltas(-day, day))
    return st.datetimes(timezones=st.one_of(st.just(UTC), offsets.map(timezone)))


def scalars() -> st.SearchStrategy[Any]:
    return st.one_of(json_scalars(), st.binary(max_size=20), moments())


def hashable_values() -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars(),
        lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
        max_leaves=4,
    )


def stored_values() -> st.SearchStrategy[Any]:
    hashable = hashable_values()
    return st.recursive(
        st.one_of(scalars(), st.sets(hashable, max_size=4), st.frozensets(hashable, max_size=4)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.lists(inner, max_size=4).map(tuple),
            st.dictionaries(texts(), inner, max_size=4),
            st.dictionaries(hashable, inner, max_size=4),
        ),
        max_leaves=8,
    )
