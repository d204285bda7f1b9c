# SPDX-License-Identifier: Apache-2.0
"""Several nodes are possible and BTF does not tell where a page has its node: unknown, and not 0 (root)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from memtrace.tests.sql import fetched
from memtrace.traces.reader import open_run

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="recording needs root"),
]

MIB = 64
# The kernel is asked for its nodes and its BTF, and answers so.
RECORD = """
import sys
from memtrace.probes.sites.btf import Btf
from memtrace.probes.sites.system import System
System.nids = 2
Btf.nodes_shift = None
sys.argv = ["memtrace", *sys.argv[1:]]
from memtrace.cli import main
sys.exit(main())
"""


def test_a_node_that_is_not_known_is_null_and_samples_go_to_no_node(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    work = (sys.executable, "-m", "memtrace.cli", "workload", "anon", "--mib", str(MIB))
    command = ("record", "-q", "-f", "-e", "alloc,zero", "--sample-hz", "9973", "-o", str(path), "--", *work)
    subprocess.run((sys.executable, "-c", RECORD, *command), check=True, timeout=120, stdout=subprocess.PIPE)
    ((pages, nodes),) = fetched(f"SELECT sum(count), count(nid) FROM '{path}' WHERE event = 'alloc'")
    assert pages >= MIB * 256
    assert nodes == 0
    with open_run(path) as run:
        samples = run.status.samples
        assert {root.nid for root in run.status.roots if root.event == "alloc"} == {None}
        assert {root.remote for root in run.status.roots if root.event == "alloc"} == {None}
    # Where allocation is timed by samples, they are counted as those that no cell has.
    if samples and samples["alloc"] > 10:
        assert samples["unsettled_alloc"] >= samples["alloc"] - len(os.sched_getaffinity(0)) * 5
        assert not fetched(f"SELECT 1 FROM '{path}' WHERE event = 'alloc' AND total_ns > 0 AND count = 0")
