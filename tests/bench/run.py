"""Measure what hits and imports cost: ``run.py [WORDS...]``; see ``benchmarks/__main__.py``."""

import runpy

if __name__ == "__main__":
    runpy.run_module("benchmarks", run_name="__main__")
