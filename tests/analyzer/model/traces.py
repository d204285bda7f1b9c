# SPDX-License-Identifier: Apache-2.0
"""Runs made of lines of a tracefs trace of a host, and what the staged tables say of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memtrace.analyzer.model.staged import model
from memtrace.traces.importers import assemble
from memtrace.traces.reader import Run, open_run

PRIVATE, PLAIN = 0x2000500000006, 0x100000006
"""Error codes of an SNP guest's fault and of one under nested paging; the latter shows nothing of private."""


def fault(seconds: float, address: int, code: int = PLAIN, *, tid: int = 2211, vcpu: int | None = 0) -> str:
    """A line of kvm:kvm_page_fault, as newer kernels print it, or older ones that name no vCPU."""
    where = f"address {address:#018x} error_code {code:#x}"
    named = f"address {address:x} error_code {code:x}" if vcpu is None else f"vcpu {vcpu} rip 0x0 {where}"
    return f" CPU {vcpu or 0}/KVM-{tid}  [003] ..... {seconds:.6f}: kvm_page_fault: {named}"


def imported(folder: Path, lines: Sequence[str]) -> Run:
    """The run that a trace becomes."""
    text, run = folder / "host.txt", folder / "host.parquet"
    text.write_text("\n".join(("# tracer: nop", *lines)) + "\n")
    assemble.run_import(assemble.Request((str(text),), run, overwrite=True, clock="boot"))
    return open_run(run)


def told(run: Run, table: str, *columns: str) -> list[tuple[Any, ...]]:
    """Columns of a staged table, by its first ones."""
    with model(run) as staged:
        found = [tuple(row[name] for name in columns) for row in staged.rows(table)]
    return sorted(found, key=lambda row: [(value is None, value) for value in row])
