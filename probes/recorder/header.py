# SPDX-License-Identifier: Apache-2.0
"""The header of a recording: what is known before its first event."""

from __future__ import annotations

import dataclasses

from memtrace import __version__
from memtrace.probes.machine.kernel import SystemDescription
from memtrace.probes.recorder.options import Options
from memtrace.traces.run import ClockAnchor, ProbeSite, RunHeader, Snapshot


def run_header(
    options: Options,
    description: SystemDescription,
    gfp_names: dict[str, int],
    manifest: tuple[ProbeSite, ...],
    anchor: ClockAnchor,
    snapshots: tuple[Snapshot, ...],
) -> RunHeader:
    """Return the header; ``snapshots`` are those taken before and after the programs were loaded."""
    filters = {
        "pid": ",".join(map(str, options.filters.pids)),
        "cpu": ",".join(map(str, options.filters.cpus)),
        "comm": options.filters.comm or "",
        "min_order": str(options.filters.min_order or ""),
        "command_only": "yes" if options.command and options.filters.follow else "",
    }
    shape = options.shape
    return RunHeader(
        tool_version=__version__,
        command=options.argv,
        workload=options.command,
        events=options.events,
        filters={name: value for name, value in filters.items() if value},
        stream_all=shape.stream_all or shape.stacks,
        tail_ns=shape.tail_ns,
        gfp_names=gfp_names,
        manifest=manifest,
        anchors=(anchor,),
        snapshots=snapshots,
        **{f.name: getattr(description, f.name) for f in dataclasses.fields(description)},
    )
