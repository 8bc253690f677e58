"""The counts of this process as metrics of OpenTelemetry, for programs that use it.

The counters are observable ones: whoever collects them reads totals that are kept anyway, and a hit costs nothing more.
The API is never imported for its own sake, which takes longer than all of chatcache: a program that exports metrics has
imported it already, or does so later.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from chatcache._bridge import Lock, call_off_loop
from chatcache.interrupts import raise_interrupt

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

__all__ = ["Telemetry", "Totals"]

Totals = Callable[[], Mapping[str, Mapping[str, float]]]
"""Returns, by store id, what was counted; refusals stand under ``refusals.`` and their reason."""

_logger = logging.getLogger("chatcache")


class _Metric(NamedTuple):
    counted: str
    name: str
    unit: str
    description: str


_METRICS = (
    _Metric("hits", "chatcache.hits", "{call}", "Calls that were answered by a record."),
    _Metric("misses", "chatcache.misses", "{call}", "Calls that had no record."),
    _Metric("stores", "chatcache.stores", "{call}", "Calls whose answer was recorded."),
    _Metric("refusals", "chatcache.refusals", "{call}", "Calls whose answer was not worth keeping."),
    _Metric("bypasses", "chatcache.bypasses", "{call}", "Calls that proceeded without the cache."),
    _Metric("evictions", "chatcache.evictions", "{record}", "Records that were removed to make room."),
    _Metric("joins", "chatcache.joins", "{call}", "Calls that were answered by that of another, under way."),
    _Metric("bytes_stored", "chatcache.bytes.stored", "By", "Size of the answers that were recorded."),
    _Metric("bytes_served", "chatcache.bytes.served", "By", "Size of the answers that were replayed."),
    _Metric("tokens_saved", "chatcache.tokens.saved", "{token}", "Tokens of the answers that were replayed."),
    _Metric("cost_saved", "chatcache.cost.saved", "{USD}", "Cost of the calls that were replayed."),
    _Metric("seconds_saved", "chatcache.time.saved", "s", "How long the calls that were replayed took when recorded."),
)


class Telemetry:
    """Has totals collected by the meter provider of the program, from the moment on that OpenTelemetry is imported.

    Args:
        totals: is called whenever metrics are collected, in whatever thread.
    """

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._once = Lock()  # is never released

    def offer(self) -> None:
        """Make the counters, once, if the program has imported OpenTelemetry. Never raises.

        Its meter provider may read files, so a thread makes them where an event loop runs.
        """
        if "opentelemetry.metrics" not in sys.modules or not self._once.acquire(blocking=False):
            return
        call_off_loop(self._try_to_make)

    def _try_to_make(self) -> None:
        try:
            self._make()
        except Exception as error:  # noqa: BLE001 - whatever a provider raises, no call of a model is to fail of it
            raise_interrupt(error)
            _logger.warning("no metrics are given to OpenTelemetry: its meter provider raised %r", error)

    def _make(self) -> None:
        from opentelemetry.metrics import get_meter

        meter = get_meter("chatcache")
        for metric in _METRICS:
            observe = self._observing(metric.counted)
            meter.create_observable_counter(metric.name, [observe], unit=metric.unit, description=metric.description)

    def _observing(self, counted: str) -> "Callable[[CallbackOptions], Iterable[Observation]]":
        from opentelemetry.metrics import Observation

        def observe(_options: "CallbackOptions") -> Iterable[Observation]:
            for store_id, totals in self._totals().items():
                for name, total in totals.items():
                    kind, _, reason = name.partition(".")
                    if kind == counted:
                        attributes = {"chatcache.store": store_id}
                        yield Observation(total, {**attributes, "reason": reason} if reason else attributes)

        return observe
