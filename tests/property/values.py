"""Any JSON value, awkward ones first."""

from typing import Any

from hypothesis import strategies as st

AWKWARD = ["", "$", "$float", "$dict", ":", "%", "\0", "\ud800", "é", "\U0001f5fc", "nan"]


def texts() -> st.SearchStrategy[str]:
    return st.one_of(st.sampled_from(AWKWARD), st.text(), st.text(st.characters()))


def json_values() -> st.SearchStrategy[Any]:
    numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([0, 0.0, -0.0, 1, 1.0, 2**63, 2**64, 1e22, 10**22]))
    scalars = st.one_of(st.none(), st.booleans(), numbers, texts())
    return st.recursive(
        scalars,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts(), inner, max_size=4)),
        max_leaves=12,
    )
