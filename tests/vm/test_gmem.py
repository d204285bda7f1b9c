# SPDX-License-Identifier: Apache-2.0
"""guest_memfd against the truth: gmemtest knows what it makes KVM do, to the page.

All runs of a boot share one recording: each gmemtest is a VM of its own.

Boots: 5.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from memtrace.analyzer.views import Choice, view
from memtrace.analyzer.zero.kinds import GUEST_MEMFD, kind_of
from memtrace.lab.kernels import KERNELS
from memtrace.lab.programs import program
from memtrace.lab.spec import GuestResult
from memtrace.probes.topics.gmem import EVENTS
from memtrace.tests.sql import fetched
from memtrace.tests.vm.hotplug import unfinished
from memtrace.traces.importers.assemble import Request, run_import
from memtrace.traces.reader import open_run
from memtrace.traces.schema import Flag

pytestmark = pytest.mark.vm

Guest = Callable[..., GuestResult]
GMEM = {event.name for event in EVENTS}
SIZES = ((64, 1), (300, 20), (777, 7), (1600, 40))
ONE = ((300, 20),)
HOSTS = [name for name in ("accept-6.12", "accept-7.3") if name in {entry.name for entry in KERNELS}]
"""Kernels with KVM's software-protected VMs."""
HOLES = [
    (0x8000, 4 << 10, 1),
    (0x10000, 64 << 10, 16),
    (0x21000, 64 << 10, 16),
    (0x2000000, 2 << 20, 512),
    (0x2201000, 2 << 20, 511),
    (0x3C00000, 2 << 20, 0),
]
BASE = 256 << 20
FAILED, PRIVATE, NOOP = Flag.FAILED, Flag.PRIVATE, Flag.NOOP


def script(sizes: tuple[tuple[int, int], ...], events: str, options: str = "", name: str = "run") -> str:
    runs = "".join(f"$FILES/gmemtest -n {n} -m {m} > $RESULTS/known-{n}; " for n, m in sizes)
    return f"memtrace record -q -f -e {events} {options} -o $RESULTS/{name}.parquet -- sh -c '{runs}'\n"


def known(folder: Path, n: int) -> dict[str, int]:
    """gmemtest's own counts."""
    text = (folder / f"known-{n}").read_text()
    assert "RESULT PASS" in text
    return {name: int(value) for name, value in re.findall(r"^COUNT (\w+) (\d+)$", text, re.M)}


class Traced:
    """The rows of one gmemtest in a run."""

    def __init__(self, file: Path, vm: int, pid: int) -> None:
        self._file, self._where = file, f"coalesce(vm, {vm}) = {vm} AND pid = {pid}"

    def _one(self, value: str, event: str, condition: str) -> int:
        source = f"FROM '{self._file}' WHERE event = '{event}' AND {self._where} AND {condition}"
        ((found,),) = fetched(f"SELECT {value} {source}")
        return int(found or 0)

    def count(self, event: str, condition: str = "true") -> int:
        return self._one("sum(count)", event, condition)

    def pages(self, event: str, condition: str = "true") -> int:
        return self._one("sum(bytes) // 4096", event, condition)


def traced(folder: Path) -> list[Traced]:
    """One for each VM, in the order of their beginning."""
    run = open_run(folder / "run.parquet")
    vms = run.status.vms
    assert [vm.number for vm in vms] == list(range(1, len(vms) + 1))
    assert all(vm.kind == "sw-protected" and vm.private and vm.pid for vm in vms)
    assert not run.status.losses.ring_full and not unfinished(run.status, "gmem.")
    return [Traced(folder / "run.parquet", vm.number, vm.pid or 0) for vm in vms]


def holds(folder: Path, sizes: tuple[tuple[int, int], ...], init_on_alloc: int) -> None:
    """The run has what gmemtest counted, to the page, and each page's clears."""
    for (n, _), vm in zip(sizes, traced(folder), strict=True):
        want = known(folder, n)
        no_op = f"flags & {int(NOOP)} != 0"
        got = {
            "get_pfn": vm.count("gmem.get"),
            "prepare": vm.count("gmem.prepare"),
            "fallocate": vm.count("gmem.allocate") + vm.count("gmem.punch"),
            "free_folio": vm.pages("gmem.free"),
            "set_attr": vm.count("gmem.convert"),
            "attr_pre": vm.count("gmem.convert", f"NOT {no_op}"),
            "populate": vm.count("gmem.populate"),
            "faults": vm.count("gmem.fault"),
        }
        assert got == {name: want[name] for name in got}
        # What was cleared for its first use was prepared at once, and nothing else was.
        assert vm.count("gmem.zero") == want["prepare"] == vm.pages("gmem.prepare")
        # Three calls of fallocate fail on purpose, and where the kernel refuses it populating twice.
        failed = f"flags & {int(FAILED)} != 0"
        assert vm.count("gmem.allocate", failed) + vm.count("gmem.punch", failed) == 3
        assert vm.count("gmem.populate", failed) == want["populate_refused"]
        assert vm.pages("gmem.populate") == want["populated_pages"]
        assert vm.count("gmem.fault", failed) == vm.count("gmem.get", failed) == 0
        # Shared pages are faults too, but not of private memory.
        assert vm.count("gmem.fault", f"flags & {int(PRIVATE)} != 0") == want["get_pfn"] - 128
        assert (vm.count("gmem.prefault"), vm.pages("gmem.prefault")) == (1, 128)
        assert vm.pages("gmem.allocate") == 1024
        assert vm.pages("gmem.punch") + vm.pages("gmem.free", "parent IS NULL") == want["free_folio"]
    report = view(open_run(folder / "run.parquet"), "gmem", Choice(what_if=True)).report
    table = report.table("clears")
    assert table is not None
    assert [row["per_page"] for row in table.rows] == [1 + init_on_alloc] * len(sizes)
    assert not any(row["is_expected"] for row in table.rows)
    # Whose the pages were that came back is told by pfn, which other VMs have again; nothing is left.
    machines, timeline, again = (report.table(name) for name in ("vms", "timeline", "again"))
    assert machines is not None and timeline is not None and again is not None
    numbered = dict(enumerate((known(folder, n) for n, _ in sizes), 1))
    told = {row["vm"]: row for row in machines.rows if row["vm"]}
    for number, want in numbered.items():
        assert told[number]["prepared_bytes"] == want["prepare"] * 4096
        assert told[number]["populated_bytes"] == want["populated_pages"] * 4096
    # Only a hole makes a page one that has to be prepared again.
    assert [row["redundant"] for row in again.rows] == [0] * len(sizes)
    freed = {vm: row["freed_bytes"] // 4096 for vm, row in told.items()}
    assert freed == {vm: want["free_folio"] for vm, want in numbered.items()}
    assert {row["vm"]: row["prepared_bytes"] for row in timeline.rows} == dict.fromkeys(freed, 0)


MAPPED = (
    "memtrace record -q -f -e gmem.map,gmem.zero,alloc --stream all -o $RESULTS/mapped.parquet -- "
    "memtrace workload guest-memfd --mib 8 > $RESULTS/mapped.json\n"
)


def maps_and_touches(folder: Path) -> None:
    """Each page of a mapped guest_memfd is one fault, one allocation and one clear inside of it."""
    (row,) = json.loads((folder / "mapped.json").read_text())["tables"]["workload"]
    file = folder / "mapped.parquet"
    events = f"SELECT event, count(*), sum(bytes) // 4096, count(DISTINCT pfn), min(dur_ns) > 0 FROM '{file}'"
    found = fetched(f"{events} WHERE event LIKE 'gmem.%' GROUP BY event ORDER BY event")
    pages = row["pages"]
    assert pages == 2048
    assert found == [("gmem.map", pages, pages, pages, True), ("gmem.zero", pages, pages, pages, True)]
    inside = (
        f"SELECT event, count(*) FROM '{file}' WHERE parent = 'gmem.map' AND event IN ('alloc', 'gmem.zero')"
    )
    nested = dict(fetched(f"{inside} GROUP BY event"))
    assert nested["gmem.zero"] == pages and nested["alloc"] >= pages
    both = f"SELECT pfn FROM '{file}' WHERE event = 'gmem.map' INTERSECT SELECT pfn FROM '{file}' "
    assert len(fetched(f"{both} WHERE event = 'gmem.zero'")) == pages
    assert open_run(file).status.losses.ring_full == 0


@pytest.mark.parametrize("host", HOSTS)
def test_every_count_is_the_program_s_own(guest: Guest, host: str) -> None:
    result = guest(
        host,
        # And with nothing else asked for; and with other events that begin where these do.
        script(SIZES, "gmem,alloc")
        + script(ONE, "gmem.punch", name="holes")
        + script(ONE, "gmem.prepare,root", name="prepared")
        + (MAPPED if host == "accept-7.3" else ""),
        files=(program("gmemtest"),),
        append="init_on_alloc=1",
        time_limit_s=600,
    )
    assert result.status == 0
    holds(result.results, SIZES, 1)
    file = result.results / "holes.parquet"
    rows = fetched(
        f"SELECT (gfn << 12) - {BASE}, bytes_requested, bytes // 4096 FROM '{file}' "
        f"WHERE event = 'gmem.punch' AND flags & {int(FAILED)} = 0 ORDER BY ts_ns LIMIT 6"
    )
    assert rows == HOLES
    assert fetched(f"SELECT DISTINCT event FROM '{file}'") == [("gmem.punch",)]
    file = result.results / "prepared.parquet"
    prepared = fetched(f"SELECT sum(count)::INT, count(gfn) FROM '{file}' WHERE event = 'gmem.prepare'")
    assert prepared == [(known(result.results, ONE[0][0])["prepare"],) * 2]
    if host == "accept-7.3":
        maps_and_touches(result.results)


@pytest.mark.parametrize("host", HOSTS)
def test_kprobes_see_the_same(guest: Guest, host: str) -> None:
    result = guest(
        host,
        script(ONE, "gmem,alloc", "--avoid fentry") + script(ONE, "root,alloc,zero", name="roots"),
        files=(program("gmemtest"),),
        append="init_on_alloc=0",
        time_limit_s=600,
    )
    assert result.status == 0
    holds(result.results, ONE, 0)
    kinds = {
        s.kind
        for s in open_run(result.results / "run.parquet").header.manifest
        if s.event in GMEM - {"gmem.map"}
    }
    assert kinds == {"kprobe"}
    roots = open_run(result.results / "roots.parquet").status.roots
    want = known(result.results, ONE[0][0])
    calls = sum(total.count for total in roots if total.event == GUEST_MEMFD)
    assert calls == want["get_pfn"] + want["fallocate"] + want["populate"]
    # Every page that comes back had come, and no other allocation of these calls is the guest's.
    mine = [total for total in roots if total.event == "alloc" and kind_of(total) == "guest_memfd"]
    assert sum(total.bytes for total in mine) == want["free_folio"] * 4096


SAVED = r"""
cd /sys/kernel/tracing
echo boot > trace_clock
echo 8192 > buffer_size_kb
echo 1 > options/record-tgid
echo 1 > events/kvm/kvm_page_fault/enable
if [ -e $FILES/perf ]; then
  export LD_LIBRARY_PATH=$FILES
  perf="$FILES/perf record -q -e kvm:kvm_page_fault -a -k mono -o /tmp/perf.data --"
fi
memtrace record -q -f -e gmem -o $RESULTS/run.parquet -- env LD_LIBRARY_PATH=$LD_LIBRARY_PATH $perf sh -c '
  $FILES/gmemtest -n 64 -m 1 > $RESULTS/known-64; $FILES/gmemtest -n 300 -m 20 > $RESULTS/known-300'
echo 0 > tracing_on
cat trace > $RESULTS/tracefs.txt
fields=comm,pid,tid,cpu,time,event,trace
[ -z "$perf" ] || $FILES/perf script --ns -F $fields -i /tmp/perf.data > $RESULTS/perf.txt
"""


def perf_files() -> tuple[Path, ...]:
    """perf of this machine and the libraries it needs; none if there is no perf."""
    perf = shutil.which("perf")
    if perf is None:
        return ()
    needs = subprocess.run(("ldd", perf), capture_output=True, text=True, check=True).stdout
    libraries = [Path(path) for path in re.findall(r"=> (/\S+)", needs)]
    # The loader and the C library stay the guest's own.
    return (Path(perf), *(path for path in libraries if not re.match(r"(libc|libm|ld-)\b", path.name)))


def test_saved_text_tells_what_the_recorder_tells(guest: Guest, tmp_path: Path) -> None:
    """kvm:kvm_page_fault by tracefs and, where this machine has it, by perf: the same faults, to the gfn."""
    perf = perf_files()
    result = guest("accept-6.12", SAVED, files=(program("gmemtest"), *perf), time_limit_s=600)
    folder = result.results
    want = [known(folder, n)["faults"] for n in (64, 300)]
    live = faults_by_process(folder / "run.parquet")
    assert [len(faults) for faults in live] == want
    # The kernel gives tracepoints no CLOCK_BOOTTIME in perf.
    clocks = {"tracefs": "boot"} | ({"perf": "mono"} if perf else {})
    for name, clock in clocks.items():
        run = tmp_path / f"{name}.parquet"
        run_import(Request((str(folder / f"{name}.txt"),), run, clock=clock))
        assert faults_by_process(run) == live
        source = open_run(run).header.sources[0]
        assert (source.rows, source.unparsed) == (sum(want), 0)
        table = view(open_run(run), "gmem").report.table("vms")
        assert table is not None
        assert [(row["vm"], row["comm"], row["faults"]) for row in table.rows] == [
            (None, "gmemtest", count) for count in want
        ]
        assert all(
            row["private_faults"] is row["failed"] is row["prepared_bytes"] is None for row in table.rows
        )


def faults_by_process(file: Path) -> list[list[tuple[int, int]]]:
    """(gfn, vCPU) of the faults of each process, in their order."""
    rows = fetched(f"SELECT pid, gfn, vcpu FROM '{file}' WHERE event = 'gmem.fault' ORDER BY ts_ns")
    pids = list(dict.fromkeys(pid for pid, _, _ in rows))
    return [[(gfn, vcpu) for by, gfn, vcpu in rows if by == pid] for pid in pids]
