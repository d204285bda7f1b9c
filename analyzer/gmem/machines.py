# SPDX-License-Identifier: Apache-2.0
"""The virtual machines of a run (vms.sql), and what is not known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.tables import Caveat, Table

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model
    from memtrace.traces.reader import Run

PACKAGE = "memtrace.analyzer.gmem"
REAL = ("snp", "tdx")
"""Kinds of VMs whose pages are prepared in hardware."""


def machines(model: Model) -> Table:
    """One row for each VM."""
    found = model.page(PACKAGE, "vms")
    return Table("vms", "Virtual machines", found.names, found.rows, found.shown)


def untold(table: Table) -> list[Caveat]:
    """What cannot be told of the VMs' faults and conversions."""
    return [*_plain(table), *_memory(table), *_places(table), *_changes(table)]


def _plain(table: Table) -> list[Caveat]:
    """VMs that cannot have private memory; a recorder that knows them leaves their faults out."""
    plain = [row for row in table.rows if row["private"] is False]
    found = []
    for kept, text in (
        (False, "without private memory, and left out: {}"),
        (True, "without private memory, so that these faults are ordinary ones: {}"),
    ):
        which = [str(row["vm"]) for row in plain if bool(row["faults"]) is kept]
        if which:
            found.append(Caveat("vm-without-private", text.format(f"VM {', '.join(which)}")))
    return found


def _memory(table: Table) -> list[Caveat]:
    unknown = sum(row["unknown_faults"] or 0 for row in table.rows)
    if not unknown:
        return []
    faults = sum(row["faults"] or 0 for row in table.rows)
    text = (
        f"of {unknown} of {faults} faults it is not known whether they were of private memory: those of a VM "
        "that cannot have any look like them here"
    )
    return [Caveat("memory-untold", text)]


def _places(table: Table) -> list[Caveat]:
    unplaced = sum(row["unplaced_faults"] or 0 for row in table.rows)
    if not unplaced:
        return []
    text = (
        f"{unplaced} faults have no place in guest memory: what was printed is an address of the guest's own "
        "(shadow paging), or none"
    )
    return [Caveat("faults-unplaced", text)]


def _changes(table: Table) -> list[Caveat]:
    """Whether conversions that changed nothing could not be told from the others."""
    which = [str(row["vm"]) for row in table.rows if row["no_op"] is None and row["to_private"] is not None]
    if not which:
        return []
    text = f"conversions of VM {', '.join(which)} that changed nothing count as changes: they look alike here"
    return [Caveat("changes-untold", text)]


def no_ops(run: Run) -> list[int]:
    """Numbers of the VMs for which preparation has nothing to do in hardware."""
    return [vm.number for vm in run.status.vms if vm.private and vm.kind not in REAL]
