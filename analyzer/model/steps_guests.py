# SPDX-License-Identifier: Apache-2.0
"""What the header and the status of a run say of virtual machines and of the probes that saw them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model


def virtual_machines(model: Model) -> None:
    """``virtual_machines``: one row for each VM that the recorder met."""
    from memtrace.analyzer.model.plain import put

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


def sited(model: Model) -> None:
    """``sited``: events that have a site in the run; without one, the lack of rows says nothing."""
    from memtrace.analyzer.model.plain import put

    events = {site.event for site in model.run.header.manifest if site.site}
    put(model.connection, "sited", {"event": (sorted(events), "string")})


def exact(model: Model) -> None:
    """``exact``: events that were recorded with their exact time."""
    from memtrace.analyzer.model.plain import put

    header = model.run.header
    events = {site.event for site in header.manifest if site.site and site.time == "exact"}
    put(model.connection, "exact", {"event": (sorted(events & set(header.events)), "string")})


def watched(model: Model) -> None:
    """``watched``: events that were asked for and have a site: where they have no rows, there were none."""
    from memtrace.analyzer.model.plain import put

    header = model.run.header
    events = {site.event for site in header.manifest if site.site}
    put(model.connection, "watched", {"event": (sorted(events & set(header.events)), "string")})
