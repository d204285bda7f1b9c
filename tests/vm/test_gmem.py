# SPDX-License-Identifier: Apache-2.0
"""guest_memfd against the truth: gmemtest knows what it makes KVM do, to the page.

All runs of a boot share one recording: each gmemtest is a VM of its own.
"""

import re
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from memtrace.lab.programs import program
from memtrace.lab.spec import GuestResult
from memtrace.traces.reader import open_run
from memtrace.traces.schema import Flag

pytestmark = pytest.mark.vm

Guest = Callable[..., GuestResult]
SIZES = ((64, 1), (300, 20), (777, 7), (1600, 40))
HOLES = [
    (0x8000, 4 << 10, 1),
    (0x10000, 64 << 10, 16),
    (0x21000, 64 << 10, 16),
    (0x2000000, 2 << 20, 512),
    (0x2201000, 2 << 20, 511),
    (0x3C00000, 2 << 20, 0),
]
BASE = 256 << 20
FAILED, PRIVATE, NOOP, ZEROED = Flag.FAILED, Flag.PRIVATE, Flag.NOOP, Flag.ZEROED


def script(sizes: tuple[tuple[int, int], ...], events: str, options: str = "") -> str:
    runs = "".join(f"$FILES/gmemtest -n {n} -m {m} > $RESULTS/known-{n}; " for n, m in sizes)
    return f"memtrace record -q -f -e {events} {options} -o $RESULTS/run.parquet -- sh -c '{runs}'"


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
        ((found,),) = duckdb.sql(f"SELECT {value} {source}").fetchall()
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
    assert not run.status.losses.ring_full and not run.status.losses.entry_without_exit
    return [Traced(folder / "run.parquet", vm.number, vm.pid or 0) for vm in vms]


@pytest.mark.parametrize("options", ["", "--avoid fentry"], ids=["fentry", "kprobe"])
def test_every_count_is_the_program_s_own(guest: Guest, options: str) -> None:
    sizes = SIZES if not options else SIZES[1:2]
    result = guest(
        "accept-6.12", script(sizes, "gmem", options), files=(program("gmemtest"),), time_limit_s=300
    )
    assert result.status == 0
    folder = result.results
    for (n, _), vm in zip(sizes, traced(folder), strict=True):
        want = known(folder, n)
        no_op = f"flags & {int(NOOP)} = {int(NOOP)}"
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
        # Both forms of failure: on purpose, and when populating twice.
        failed = f"flags & {int(FAILED)} != 0"
        assert vm.count("gmem.allocate", failed) + vm.count("gmem.punch", failed) == 3
        assert (vm.count("gmem.populate", failed), vm.pages("gmem.populate")) == (1, 40)
        assert vm.count("gmem.fault", failed) == vm.count("gmem.get", failed) == 0
        # Shared pages are faults too, but not of private memory.
        private = f"flags & {int(PRIVATE)} != 0"
        assert vm.count("gmem.fault", private) == want["get_pfn"] - 128
        assert (vm.count("gmem.prefault"), vm.pages("gmem.prefault")) == (1, 128)
        assert vm.pages("gmem.allocate") == 1024
        assert vm.pages("gmem.punch") + vm.pages("gmem.free", "parent IS NULL") == want["free_folio"]


def test_holes_free_what_was_there(guest: Guest) -> None:
    result = guest(
        "accept-6.12", script(((300, 20),), "gmem.punch"), files=(program("gmemtest"),), time_limit_s=300
    )
    rows = duckdb.sql(
        f"SELECT (gfn << 12) - {BASE}, bytes_requested, bytes // 4096 FROM '{result.results}/run.parquet' "
        f"WHERE event = 'gmem.punch' AND flags & {int(FAILED)} = 0 ORDER BY ts_ns LIMIT 6"
    ).fetchall()
    assert rows == HOLES
    # Nothing else was asked for.
    others = duckdb.sql(f"SELECT DISTINCT event FROM '{result.results}/run.parquet'").fetchall()
    assert others == [("gmem.punch",)]


@pytest.mark.parametrize("init_on_alloc", [0, 1])
def test_clears_of_a_page_on_its_way_into_a_guest(guest: Guest, init_on_alloc: int) -> None:
    result = guest(
        "accept-6.12",
        script(((300, 20),), "gmem,alloc"),
        files=(program("gmemtest"),),
        append=f"init_on_alloc={init_on_alloc}",
        time_limit_s=300,
    )
    (vm,) = traced(result.results)
    file = result.results / "run.parquet"
    # The allocation that a page came from is the last one of its frame.
    rows = duckdb.sql(
        f"SELECT a.flags & {int(ZEROED)}, count(*) "
        f"FROM (SELECT * FROM '{file}' WHERE event = 'gmem.zero') z "
        f"ASOF JOIN (SELECT * FROM '{file}' WHERE event = 'alloc' AND parent LIKE 'gmem.%') a "
        "ON z.pfn = a.pfn AND z.ts_ns >= a.ts_ns GROUP BY ALL"
    ).fetchall()
    assert rows == [(init_on_alloc, vm.count("gmem.prepare"))]
