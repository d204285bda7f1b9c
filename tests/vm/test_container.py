# SPDX-License-Identifier: Apache-2.0
"""Recorded from a container, on kernels whose functions can be hooked: known answers, and what is missing.

Boots: 2.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memtrace.lab.sizes import GIB
from memtrace.probes.machine.container import CAPABILITIES
from memtrace.tests.sql import fetched
from memtrace.tests.vm.conftest import Guest
from memtrace.traces.reader import open_run

pytestmark = pytest.mark.vm

MIB = 16
GIVEN = ",".join(f"+{name.lower()}" for name in CAPABILITIES)
WORK = f"memtrace workload anon --mib {MIB}"
RECORD = "memtrace record -q -f -e alloc,zero,root.fault --stream all"
# As a runtime makes it, without a user namespace; Debian allows kprobes without CAP_SYS_ADMIN only
# where perf_event_paranoid is less than 3.
SCRIPT = f"""
container() {{ unshare --pid --mount --cgroup --uts --ipc --fork --kill-child --mount-proc "$@"; }}
sysctl -q kernel.perf_event_paranoid=2
container memtrace selftest --pages 4096 --huge 4 --json > $RESULTS/selftest.json
memtrace probes --json > $RESULTS/outside.json
container memtrace probes --json > $RESULTS/inside.json
container setpriv --bounding-set=-all,{GIVEN} {RECORD} -o $RESULTS/given.parquet -- {WORK} > $RESULTS/given
container sh -c 'mount --bind /dev/null /proc/kcore
    exec setpriv --bounding-set=-all,+bpf,+perfmon memtrace doctor --json' > $RESULTS/doctor.json
{RECORD} -o $RESULTS/followed.parquet -- unshare --user --map-root-user --pid --mount --cgroup --fork \\
    --kill-child --mount-proc {WORK} > $RESULTS/followed
"""


def tables(path: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = json.loads(path.read_text())["tables"]
    return found


def movable(folder: Path, name: str) -> list[tuple[int | None, int]]:
    """(tid, pages) of the single pages of user memory that a run has while its workload went on."""
    (work,) = tables(folder / name)["workload"]
    return fetched(
        f"SELECT tid, count(*) FROM '{folder / name}.parquet' WHERE event = 'alloc' AND \"order\" = 0"
        f" AND (gfp & 8) > 0 AND ts_ns BETWEEN {work['begin_ns']} AND {work['end_ns']} GROUP BY ALL"
    )


@pytest.mark.parametrize("kernel", ["debian-6.1", "debian-7.3"])
def test_a_container_records_what_its_host_would(kernel: str, guest: Guest) -> None:
    result = guest(kernel, SCRIPT, memory=(GIB, GIB), append="init_on_alloc=0")
    assert result.status == 0, result.output
    folder = result.results
    checks = tables(folder / "selftest.json")["checks"]
    # An interrupt inside a program of ours makes losses unknown; that is chance.
    assert [c for c in checks if c["passed"] is not True and c["name"] != "losses"] == []
    (losses,) = (c for c in checks if c["name"] == "losses")
    assert losses["passed"] is not False, losses
    assert tables(folder / "inside.json") == tables(folder / "outside.json")

    # In its own numbers, and with no more than what doctor says that it needs.
    (work,) = tables(folder / "given")["workload"]
    assert movable(folder, "given") == [(work["tid"], MIB * 256)]
    with open_run(folder / "given.parquet") as run:
        assert {s.event for s in run.header.manifest if s.site} >= {"alloc", "zero.alloc", "root.fault"}
        assert run.status.losses.no_room == 0
        # From 6.7 on the kernel counts the kprobe programs that it skips.
        assert (run.status.losses.recursion is None) == (kernel == "debian-6.1")
        assert any(fact.name == "pid_namespace" and fact.value == "own" for fact in run.header.facts)
    # A container that is COMMAND has the numbers of who records it.
    (work,) = tables(folder / "followed")["workload"]
    ((tid, pages),) = movable(folder, "followed")
    assert (work["tid"], pages) == (1, MIB * 256)
    assert tid is not None and tid > 1

    told = {
        remark["id"]: remark["text"] for remark in json.loads((folder / "doctor.json").read_text())["caveats"]
    }
    assert "CAP_SYSLOG, CAP_DAC_READ_SEARCH, CAP_SYS_RAWIO" in told["container"]
    assert "--cap-add=SYSLOG" in told["container"]
    assert "systempaths=unconfined" in told["kcore-hidden"]
    assert "seccomp" not in told
    assert not [text for text in told.values() if "sudo" in text]
