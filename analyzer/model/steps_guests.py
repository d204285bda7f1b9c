# SPDX-License-Identifier: Apache-2.0
"""What the header and the status of a run say of virtual machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.model.plain import put

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model


def virtual_machines(model: Model) -> None:
    """``virtual_machines``: one row for each VM that the recorder met."""
    vms = model.run.status.vms
    put(
        model.connection,
        "virtual_machines",
        {
            "number": ([vm.number for vm in vms], "int32"),
            "pid": ([vm.pid for vm in vms], "int32"),
            "comm": ([vm.comm or None for vm in vms], "string"),
            "kind": ([vm.kind for vm in vms], "string"),
            "private": ([vm.private for vm in vms], "bool"),
        },
    )
