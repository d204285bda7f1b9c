# SPDX-License-Identifier: Apache-2.0
"""`lab ab` for real: boots, run files per side, going on where it stopped."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from memtrace.traces.reader import open_run

pytestmark = pytest.mark.vm


def ab(folder: Path, boots: int) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "memtrace.cli",
        "lab",
        "ab",
        "--before",
        "accept-6.12",
        "--after",
        "accept-6.12",
        "--append-after",
        "init_on_alloc=1",
        "--boots",
        str(boots),
        "--mem",
        "1G,1G",
        "-o",
        str(folder),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_both_sides_are_recorded_and_a_second_call_goes_on(tmp_path: Path) -> None:
    first = ab(tmp_path, 1)
    assert first.returncode == 0, first.stderr
    assert "boot 2 of 2" in first.stderr
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.parquet")}
    assert len(stamps) == 2

    second = ab(tmp_path, 2)
    assert second.returncode == 0, second.stderr
    assert all(path.stat().st_mtime_ns == at for path, at in stamps.items()), "whole boots are not made again"
    assert len(second.stdout.splitlines()) == 4

    for side, init in (("before", "no"), ("after", "yes")):
        run = open_run(tmp_path / side / "boot-002.parquet")
        assert run.status.complete
        assert {f.name: f.value for f in run.header.facts}["init_on_alloc"] == init
        assert {s.event: s.kind for s in run.header.manifest}["alloc"] == "fentry"
        known = json.loads((tmp_path / side / "boot-002.known.json").read_text())
        huge = sum(item["huge_pages"] for item in known)
        counters = {c.event: c for c in run.status.counters}
        assert counters["zero.user"].seen == huge == 32
