"""Calls that are abandoned may be collected in the middle of any line, also of one that is run with a lock held."""

import subprocess
import sys
from pathlib import Path

from tests.waiting import HANG


def test_whatever_is_collected_while_a_lock_is_held_does_not_wait_for_it(tmp_path: Path) -> None:
    program = Path(__file__).with_name("collecting.py")
    command = [sys.executable, "-W", "ignore", str(program), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=HANG)
    *faults, visited = ended.stdout.splitlines()
    assert faults == []
    assert int(visited) > 300
