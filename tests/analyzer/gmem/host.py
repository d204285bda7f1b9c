# SPDX-License-Identifier: Apache-2.0
"""Generated events of a VM's host: levels, splits and ends of coverage that no lab has."""

from __future__ import annotations

from typing import Any

from memtrace.tests.analyzer.recorded import START, Case, Row, header, status
from memtrace.traces.run import ProbeSite, VirtualMachine
from memtrace.traces.schema import Flag

EVENTS = tuple(
    f"gmem.{name}"
    for name in (
        *("fault", "get", "zero", "prepare", "assign", "split", "allocate"),
        *("punch", "free", "convert", "populate", "prefault"),
    )
)
PAGE, HUGE = 4096, 512
PRIVATE = int(Flag.PRIVATE)
MS = 10**6


class Host:
    """Rows of one VM's host, each event a millisecond after the one before."""

    def __init__(self, vm: int = 1) -> None:
        self.rows: list[Row] = []
        self.now = START
        self.vm = vm

    def event(
        self, name: str, gfn: int | None, pages: int | None, order: int | None = None, **more: Any
    ) -> int:
        """One event that ends now and took 100 us; returns its end."""
        self.now += MS
        row: Row = {
            "ts_ns": self.now, "dur_ns": 100_000, "count": 1, "total_ns": 100_000, "self_ns": 100_000,
            "event": f"gmem.{name}", "site": name, "cpu": 0, "pid": 100, "tid": 101, "comm": "qemu",
            "order": order, "bytes": None if pages is None else pages * PAGE, "flags": PRIVATE, "vm": self.vm,
            "vcpu": 0, "gfn": gfn,
        }  # fmt: skip
        self.rows.append(row | more)
        return self.now

    def fault(
        self, gfn: int, pfn: int, order: int = 0, *, prepare: bool = True, level: int | None = None
    ) -> None:
        """A private fault of 1000 us: get 600, in it zero 200 and prepare 100, in that assign 50."""
        pages = 1 << order
        self.now += MS
        end = self.now
        inner = {"pfn": pfn, "tid": 101}

        def row(name: str, at: int, dur: int, parent: str | None, of: int = order) -> None:
            times = {
                "ts_ns": end - at * 1000,
                "dur_ns": dur * 1000,
                "total_ns": dur * 1000,
                "self_ns": dur * 1000,
            }
            self.event(name, gfn, 1 << of, of, parent=parent, **inner, **times)

        if prepare:
            row("zero", 500, 200, "gmem.get")
            if level is not None:
                row("assign", 420, 50, "gmem.prepare", level)
            row("prepare", 400, 100, "gmem.get")
        row("get", 300, 600, "gmem.fault")
        row("fault", 0, 1000, None)
        self.rows[-1]["bytes"] = pages * PAGE
        self.now = end + MS

    def punch(self, gfn: int, pages: int, freed: dict[int, int]) -> None:
        """A hole; ``freed``: gfn -> pfn of the 4 KiB pages that were there."""
        for at, pfn in freed.items():
            self.event("free", at, 1, 0, pfn=pfn, parent="gmem.punch", dur_ns=10)
        self.now += MS
        begun = self.now - (len(freed) + 2) * MS
        self.event("punch", gfn, len(freed), bytes_requested=pages * PAGE, dur_ns=self.now + MS - begun)

    def convert(self, gfn: int, pages: int, private: bool, no_op: bool = False) -> None:
        flags = (PRIVATE if private else 0) | (int(Flag.NOOP) if no_op else 0)
        done = 0 if no_op else pages
        self.event("convert", gfn, done, bytes_requested=pages * PAGE, flags=flags, vcpu=None)


def case(host: Host, kind: str = "snp", **changes: Any) -> Case:
    machine = VirtualMachine(1, 100, "qemu", kind, kind != "default", START + 2 * MS)
    done = status(60, vms=(machine,), exit_status=None)
    return Case(host.rows, header(*changes.pop("events", EVENTS), **changes), done)


def seen_only(*events: str) -> dict[str, Any]:
    """A header of a run with these events."""
    manifest = tuple(ProbeSite(event, event, "fentry", event, proven=True) for event in events)
    return {"events": events, "manifest": manifest}
