# SPDX-License-Identifier: Apache-2.0
"""``memtrace doctor``: what this kernel lets us see, what not, why, and the command that helps."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from memtrace import safe
from memtrace.commands import SETTINGS
from memtrace.commands.probes import SCHEMA, TRYING, here, refused_rows, site_rows
from memtrace.commands.say import show
from memtrace.commands.status_line import StatusLine

if TYPE_CHECKING:
    from memtrace.probes.machine.privileges import Need
    from memtrace.probes.recorder.diagnosis import Diagnosis
    from memtrace.traces.run import Fact

_SECTIONS = {
    "Platform": (
        "virtualized",
        "confidential",
        "tdx_guest",
        "sev_guest",
        "sev_snp_guest",
        "cca_guest",
        "hyperv_paravisor",
        "lazy_accept",
    ),
    "What changes the meaning of numbers": (
        "init_on_alloc",
        "init_on_free",
        "accept_memory",
        "struct_page_init",
        "thp_enabled",
        "thp_defrag",
        "thp_shmem",
        "mthp",
        "hugetlb_pools",
        "cpu_erms",
        "cpu_fsrm",
        "cpu_rep_good",
        "clocksource",
        "preempt_rt",
    ),
    "What tracing has to work with": (
        "bcc",
        "btf",
        "kprobes",
        "ftrace",
        "bpf_jit",
        "tracefs",
        "lockdown",
        "config",
        "kptr_restrict",
        "perf_event_paranoid",
        "unprivileged_bpf",
        "pid_namespace",
        "seccomp",
        "kcore",
    ),
}


@click.command(context_settings=SETTINGS)
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def doctor(as_json: bool) -> None:
    """Say what this kernel lets us see, what not, why, and what helps.

    Changes nothing.  Without privileges it says what it could not see.  Exit
    status 1 if nothing can be recorded here.
    """
    from memtrace.probes.recorder.diagnosis import examine

    with StatusLine() as line:
        line.show(TRYING)
        found = examine()
    show(safe.json_text(document(found), indent=2) if as_json else page(found))
    if found.recordable is False:
        raise SystemExit(1)


def page(d: Diagnosis) -> str:
    """The diagnosis as text, under 80 columns, the verdict last."""
    from memtrace.commands.layout import columns, sentences

    by_name = {fact.name: fact for fact in d.facts}
    blocks = [_machine(d)]
    for title, names in _SECTIONS.items():
        rows = [(f.name, f.value, _shortened(f)) for f in (by_name[n] for n in names if n in by_name)]
        blocks.append(f"{title}\n{columns(rows)}")
    privileges = [
        (" or ".join(need.any_of), _standing(d, need, met), need.gives) for need, met in d.capabilities
    ]
    blocks.append(f"Privileges\n{columns(privileges, widest=40)}")
    blocks.append(f"Events\n{_events(d)}")
    blocks += filter(None, (_remarks(d, "means", "This means"), _remarks(d, "cure", "What would help")))
    blocks.append(sentences(d.verdict, indent=0))
    return "\n\n".join(blocks)


def _remarks(d: Diagnosis, kind: str, title: str) -> str:
    """The remarks of one kind, each text and each command once.

    Those that share a text have their commands below it, those that share their commands
    stand together above them.
    """
    from memtrace.commands.layout import command, sentences

    commands: dict[str, list[str]] = {}
    for remark in d.remarks:
        if remark.kind == kind:
            commands.setdefault(remark.text, []).extend([remark.command] if remark.command else [])
    texts: dict[tuple[str, ...], list[str]] = {}
    for text, lines in commands.items():
        texts.setdefault(tuple(dict.fromkeys(lines)) or ("", text), []).append(text)
    items = [
        "\n".join([*(sentences(text, first="- ") for text in same), *(command(c) for c in lines if lines[0])])
        for lines, same in texts.items()
    ]
    return "\n".join([title, *items]) if items else ""


def _machine(d: Diagnosis) -> str:
    from memtrace.commands.layout import columns

    s = d.system
    present = [n.present_bytes for n in s.nodes if n.present_bytes is not None]
    memory = f"{sum(present) / 2**30:.1f} GiB" if len(present) == len(s.nodes) else "memory unknown"
    cpus = _some(s.cpus, "CPU") if s.cpus else "CPUs unknown"
    nodes = _some(len(s.nodes), "NUMA node") if present else "nodes unknown"
    rows = [
        ("kernel", f"{s.kernel_release} {s.kernel_version}".strip() or "unknown"),
        ("build id", s.build_id or "unknown"),
        ("machine", f"{s.machine or 'unknown'}, {cpus}, {nodes}, {memory}"),
        ("command line", s.kernel_cmdline or "unknown"),
    ]
    return f"memtrace doctor on {s.hostname or 'this machine'}\n{columns(rows)}"


def _standing(d: Diagnosis, need: Need, met: bool) -> str:
    """held, missing, or "no use": held, but a setting (kptr_restrict=2) or a user namespace annuls it."""
    if met:
        return "held"
    return "no use" if d.held.effective & set(need.any_of) else "missing"


def _some(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _shortened(fact: Fact) -> str:
    """Evidence for the page; the JSON has all of it."""
    return re.sub(
        r"/\S+(/[^/\s]+/[^/\s]+)", lambda m: m[0] if len(m[0]) <= 26 else f"...{m[1]}", fact.evidence
    )


def _events(d: Diagnosis) -> str:
    from memtrace.commands.layout import columns, sentences
    from memtrace.probes.recorder.diagnosis import REASONS

    if d.sites is None:
        return sentences(f"not tried, {d.why_no_sites}")
    lines = []
    for site in d.sites:
        quality = f"time {site.time}, count {site.count}" if site.site else ""
        lines.append((site.event, f"{here(site)}; {quality}".removesuffix("; ")))
        lines += [("", f"not {r.candidate}: {r.reason}") for r in site.refused]
    given = {r.reason for site in d.sites for r in site.refused}
    legend = [(f"{reason}:", text) for reason, text in REASONS.items() if reason in given]
    return "\n".join(filter(None, (columns(lines), columns(legend))))


def document(d: Diagnosis) -> dict[str, Any]:
    """The JSON document of ``memtrace doctor``; ``sites`` is null where they could not be tried."""
    s = d.system
    return {
        "schema": SCHEMA,
        "run": {
            "hostname": s.hostname,
            "kernel_release": s.kernel_release,
            "kernel_version": s.kernel_version,
            "kernel_cmdline": s.kernel_cmdline,
            "machine": s.machine,
            "build_id": s.build_id,
            "page_size": s.page_size,
            "cpus": s.cpus,
            "nodes": [
                {"nid": n.nid, "cpus": list(n.cpus), "present_bytes": n.present_bytes} for n in s.nodes
            ],
            "sysctls": s.sysctls,
            "recordable": d.recordable,
            "verdict": d.verdict,
        },
        "tables": {
            "facts": [{"name": f.name, "value": f.value, "evidence": f.evidence} for f in d.facts],
            "sites": None if d.sites is None else site_rows(d.sites),
            "refused": None if d.sites is None else refused_rows(d.sites),
            "capabilities": [
                {
                    "need": n.name,
                    "any_of": list(n.any_of),
                    "held": met,
                    "required": n.required,
                    "gives": n.gives,
                }
                for n, met in d.capabilities
            ],
            "config": [{"option": name, "value": value} for name, value in s.config.items()],
        },
        "caveats": [
            {"id": r.id, "text": f"{r.text} Run: {r.command}" if r.command else r.text} for r in d.remarks
        ],
    }
