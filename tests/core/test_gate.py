"""What a fork waits for."""

from collections import Counter

from chatcache._bridge.gate import Gate


class Collecting(Counter[int]):
    """A count during which objects are collected whose finalizers go through the gate: any step of Python may do so."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate, self._collects = gate, True

    def __missing__(self, thread: int) -> int:
        if self._collects:
            self._collects = False
            with self._gate:
                pass
        return super().__missing__(thread)


def test_a_finalizer_goes_through_while_its_thread_does() -> None:
    gate = Gate()
    gate._within = Collecting(gate)
    with gate, gate:
        assert sum(gate._within.values()) == 2
    assert not gate._within
    gate.close()
    gate.open()
