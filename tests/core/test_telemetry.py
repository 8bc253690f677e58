"""Metrics: a program that uses OpenTelemetry finds what its caches counted among its own, whatever it sets up first."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import HANG

CACHES = """
import gc, json, os, sys
from chatcache import ObjectNamespace, Refusal
from chatcache.cache.statistics import Counts
thing = ObjectNamespace(sys.argv[1]).get_by_name("thing")
counts = Counts.of(thing, "store", writes=True)
"""

METRICS = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
"""

CALLS = """
counts.hit((100, 30, 0.25, 1.5))
counts.hit((100, 30, 0.25, 1.5))
counts.add(misses=1, stores=1, bytes_stored=70, bypasses=4, evictions=5, joins=6)
counts.refuse(Refusal.LENGTH)
counts.refuse(Refusal.EMPTY)
counts.refuse(Refusal.EMPTY)
"""

PRINTED = """
def collect():
    found = {}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            assert scope.scope.name == "chatcache"
            for metric in scope.metrics:
                assert metric.data.is_monotonic
                for point in metric.data.data_points:
                    labels = dict(point.attributes)
                    assert labels.pop("chatcache.store") == "store"
                    found[" ".join([metric.name, *labels.values()])] = [point.value, metric.unit]
    return found
print(json.dumps(collect()))
"""

COUNTED = {
    "chatcache.hits": [2, "{call}"],
    "chatcache.misses": [1, "{call}"],
    "chatcache.stores": [1, "{call}"],
    "chatcache.refusals length": [1, "{call}"],
    "chatcache.refusals empty": [2, "{call}"],
    "chatcache.bypasses": [4, "{call}"],
    "chatcache.evictions": [5, "{record}"],
    "chatcache.joins": [6, "{call}"],
    "chatcache.bytes.stored": [70, "By"],
    "chatcache.bytes.served": [200, "By"],
    "chatcache.tokens.saved": [60, "{token}"],
    "chatcache.cost.saved": [0.5, "{USD}"],
    "chatcache.time.saved": [3.0, "s"],
}


def run(program: str, folder: Path) -> str:
    command = [sys.executable, "-W", "error", "-c", program, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def metrics_of(program: str, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(program, folder))
    return {name: each for name, each in found.items() if each[0]}


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(METRICS + CACHES + CALLS + PRINTED, id="metrics first"),
        pytest.param(CACHES + METRICS + CALLS + PRINTED, id="cache first"),
        pytest.param(CACHES + CALLS + METRICS + "counts.stats()" + PRINTED, id="calls first"),
    ],
)
def test_what_was_counted_is_among_the_metrics_of_the_program(tmp_path: Path, program: str) -> None:
    assert metrics_of(program, tmp_path) == COUNTED


def test_metrics_are_those_of_this_process_and_never_go_back(tmp_path: Path) -> None:
    program = f"""
{METRICS}{CACHES}{CALLS}
thing.storage.put("key", 1)
counts.save()
apart = Counts.of(thing, "store", writes=False)
apart.add(misses=100)
del counts, apart
gc.collect()
again = Counts.of(thing, "store", writes=True)
again.add(misses=1000)
{PRINTED}"""
    found = metrics_of(program, tmp_path)
    assert found == {**COUNTED, "chatcache.misses": [1101, "{call}"]}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
def test_a_forked_child_begins_its_metrics_at_zero(tmp_path: Path) -> None:
    program = METRICS + CACHES + CALLS + "if os.fork(): os.wait(); os._exit(0)\ncounts.add(misses=7)" + PRINTED
    assert metrics_of(program + "sys.stdout.flush()\nos._exit(0)", tmp_path) == {"chatcache.misses": [7, "{call}"]}


def test_opentelemetry_is_not_imported_for_its_own_sake(tmp_path: Path) -> None:
    program = CACHES + CALLS + "counts.stats()\nprint([name for name in sys.modules if 'opentelemetry' in name])"
    assert run(program, tmp_path) == "[]\n"


BROKEN = """
import logging
from opentelemetry import metrics
class Broken(metrics.NoOpMeterProvider):
    def get_meter(self, *args, **options):
        raise OSError("no exporter")
metrics.set_meter_provider(Broken())
logging.basicConfig(stream=sys.stdout, format="%(name)s: %(message)s")
"""


def test_a_meter_provider_that_fails_takes_no_call_down_and_is_told_of_once(tmp_path: Path) -> None:
    assert run(CACHES + BROKEN + CALLS + "print(counts.stats().hits)", tmp_path) == (
        "chatcache: no metrics are given to OpenTelemetry: its meter provider raised OSError('no exporter')\n2\n"
    )
