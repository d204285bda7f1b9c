# SPDX-License-Identifier: Apache-2.0
"""What a reader must know about a run before its numbers: the header block."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.losses import sentence
from memtrace.traces.derived import answer
from memtrace.traces.lost import events
from memtrace.traces.run import RunHeader, to_json

if TYPE_CHECKING:
    from memtrace.analyzer.in_file import InFile
    from memtrace.traces.reader import Run

_SHOWN_FACTS = (
    "virtualized",
    "confidential",
    "accept_memory",
    "init_on_alloc",
    "init_on_free",
    "thp_enabled",
    "struct_page_init",
    "lockdown",
)
"""Facts in the header block of a page; all are in the JSON."""


_TABLES = ("manifest", "snapshots", "counters", "tasks", "roots", "cost", "rows")
"""Parts of header and status that are tables of a report."""
_STOPPED = {"command": "until the command ended", "duration": "as asked"}


def facts(run: Run) -> dict[str, Any]:
    """The run for machines: file, window, header and status, units in the names."""
    import json

    header, status = json.loads(to_json(run.header)), json.loads(to_json(run.status))
    return {
        "file": str(run.path),
        "schema": run.schema_version,
        "rows": run.rows,
        "cut_short": run.cut_short,
        "duration_ns": duration_ns(run),
        **{k: v for k, v in header.items() if k not in _TABLES},
        "status": {k: v for k, v in status.items() if k not in _TABLES},
    }


def duration_ns(run: Run) -> int:
    """From the gate's opening to the last flush."""
    return run.status.ended_ns - run.status.started_ns


def heading(run: Run, in_file: InFile) -> tuple[tuple[str, str], ...]:
    """The header block: label and text of each line."""
    header = run.header
    lines = [
        ("kernel", f"{header.kernel_release} {header.machine} {header.kernel_version}".strip() or "unknown"),
        ("machine", _machine(header)),
        ("facts", _facts(header)),
        ("workload", _workload(run)),
        (header.origin, _window(run, in_file)),
        ("from", _sources(header)),
        ("losses", sentence(run.status, in_file)),
    ]
    return tuple((label, text) for label, text in lines if text)


def page_title(run: Run, view: str = "", by: str = "") -> str:
    """What a page is of."""
    asked = (f" --view {view}" if view else "") + (f" --by {by}" if by else "")
    return f"memtrace report{asked}: {run.path.name}"


def title(run: Run) -> str:
    """Kernel and workload, for a figure."""
    return f"{run.header.kernel_release or 'unknown kernel'}: {_workload(run)}"


def fact(header: RunHeader, name: str) -> str:
    """The value of a platform fact, "unknown" where the run has none."""
    return next((f.value for f in header.facts if f.name == name), "unknown")


def init_on(header: RunHeader) -> tuple[bool | None, bool | None]:
    """Whether init_on_alloc and init_on_free were on; None where the run does not tell."""
    return answer(header.facts, "init_on_alloc"), answer(header.facts, "init_on_free")


def gib(size: int | None) -> str:
    return "size unknown" if size is None else f"{size / 2**30:.2f} GiB"


def _machine(header: RunHeader) -> str:
    sizes = ", ".join(f"{n.nid}: {gib(n.present_bytes)}" for n in header.nodes)
    several = "s" * (len(header.nodes) != 1)
    nodes = f"{len(header.nodes)} node{several} ({sizes})" if sizes else "nodes unknown"
    return ", ".join(t for t in (header.hostname, f"{header.cpus} CPUs" if header.cpus else "", nodes) if t)


def _facts(header: RunHeader) -> str:
    values = {f.name: f.value for f in header.facts}
    return ", ".join(f"{name} {values[name]}" for name in _SHOWN_FACTS if name in values)


def _workload(run: Run) -> str:
    if not run.header.workload:
        return "the running system"
    status = run.status.exit_status
    ending = f" (exit status {status})" if status else ""
    return shlex.join(run.header.workload) + ending


def _sources(header: RunHeader) -> str:
    return ", ".join(f"{s.name} ({s.format})" for s in header.sources)


def _window(run: Run, in_file: InFile) -> str:
    header = run.header
    until = "cut short"
    if run.whole:
        why = run.status.stopped_by
        until = _STOPPED.get(why, f"until {why}" if why else "")
    filters = "".join(f", {name} {value}" for name, value in header.filters.items())
    ending = f", {until}" if until else ""
    return f"{duration_ns(run) / 1e9:.3f} s{ending}; {_events(run, in_file)}{filters}"


def _events(run: Run, found: InFile) -> str:
    """How many events there were, and what of them, and from them, is in the file."""
    whole = events(run.status, found.events, found.imported)
    part = f" ({found.events} in the file)" if found.events != whole else ""
    more = f" and {found.inferred} inferred from them," if found.inferred else ""
    rows = f" in {run.rows} rows" if run.rows != found.events + found.inferred else ""
    return f"{whole} event{'s' * (whole != 1)}{part}{more}{rows}".rstrip(",")
