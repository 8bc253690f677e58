"""What is written over a file shows as if it had been written into it, and a listing takes no more than it needs."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from chatcache.storage.layer import UNKNOWN, Layer, find, overlaid
from chatcache.storage.ranges import KeyRange, key_range, prefix_range

KEYS = st.text("ab\0é\U0001f5fc", max_size=3)
ROWS = st.dictionaries(KEYS, st.binary(max_size=1))
BOUNDS = st.builds(
    lambda start, end: key_range(prefix="", start=start, start_after=None, end=end), KEYS, st.none() | KEYS
)
WRITES = st.lists(
    st.dictionaries(KEYS, st.none() | st.binary(max_size=1), max_size=40)
    | KEYS.map(prefix_range)
    | BOUNDS.filter(lambda bounds: bounds.end is None or bounds.start < bounds.end),
    max_size=12,
)


def write(layer: Layer, rows: dict[str, bytes], writes: Sequence[KeyRange | dict[str, bytes | None]]) -> None:
    """Write to a layer, and to the rows as they are to be then."""
    for each in writes:
        if isinstance(each, KeyRange):
            layer.clear(each)
            gone = [key for key in rows if key in each]
        else:
            layer.put(each)
            gone = [key for key, value in each.items() if value is None]
            rows |= {key: value for key, value in each.items() if value is not None}
        layer.within(each if isinstance(each, KeyRange) else prefix_range(""))  # a listing in between changes nothing
        for key in gone:
            rows.pop(key, None)


@given(
    file=ROWS,
    earlier=WRITES,
    later=WRITES,
    bounds=BOUNDS,
    most=st.none() | st.integers(1, 5),
    reverse=st.booleans(),
)
def test_layers_over_rows_are_what_was_written(
    *,
    file: dict[str, bytes],
    earlier: Sequence[KeyRange | dict[str, bytes | None]],
    later: Sequence[KeyRange | dict[str, bytes | None]],
    bounds: KeyRange,
    most: int | None,
    reverse: bool,
) -> None:
    rows = dict(file)
    layers = [Layer(), Layer()]
    write(layers[1], rows, earlier)
    write(layers[0], rows, later)
    copies = []
    for layer in layers:
        copied, bounds = layer.within(bounds, most, reverse=reverse)
        assert most is None or len(copied.rows) <= most
        copies.append(copied)
    inside = [(key, value) for key, value in file.items() if key in bounds]
    assert overlaid(copies, inside, bounds) == {key: value for key, value in rows.items() if key in bounds}
    absorbed = Layer()
    for layer in reversed(layers):
        absorbed.absorb(layer)
    for key in {*file, *rows, "a", "ab", "absent"}:
        for found in (find(layers, key), absorbed.find(key)):
            assert (file.get(key) if found is UNKNOWN else found) == rows.get(key)
    for layer in (*layers, absorbed):
        assert all(one.end is not None and one.end < other.start for one, other in pairwise(layer.cleared))


@given(st.lists(KEYS, min_size=1))
def test_a_range_that_is_cleared_takes_up_those_within_it(prefixes: list[str]) -> None:
    layer = Layer()
    for prefix in prefixes:
        layer.clear(prefix_range(prefix))
    layer.clear(prefix_range(""))
    assert list(layer.cleared) == [prefix_range("")]


@given(file=ROWS, first=WRITES, prefixes=st.lists(KEYS, max_size=5))
def test_ranges_that_are_cleared_together_are_as_if_each_were(
    file: dict[str, bytes], first: Sequence[KeyRange | dict[str, bytes | None]], prefixes: list[str]
) -> None:
    together, apart = Layer(), Layer()
    for layer in (together, apart):
        write(layer, dict(file), first)
    together.clear(*map(prefix_range, prefixes))
    for prefix in prefixes:
        apart.clear(prefix_range(prefix))
    assert (together.cleared, together.rows) == (apart.cleared, apart.rows)


def test_a_listing_of_a_few_rows_copies_a_few() -> None:
    layer = Layer()
    layer.put({f"{number:04}": b"" for number in range(1000)})
    layer.clear(prefix_range("cleared"))
    assert list(layer.within(prefix_range("07"))[0].rows) == [f"{number:04}" for number in range(700, 800)]
    assert list(layer.within(prefix_range(""), 2)[0].rows) == ["0000", "0001"]
    assert list(layer.within(prefix_range(""), 2, reverse=True)[0].rows) == ["0998", "0999"]
    assert not layer.within(prefix_range("x"))[0]
