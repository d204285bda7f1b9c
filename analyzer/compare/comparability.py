# SPDX-License-Identifier: Apache-2.0
"""What differs between two sides beside the kernel, named before any number.

A *finding* says what differs and may withhold metrics: those that mean something
else on the other side.  Compared are the sets of what each side's runs say: a side
whose runs differ among themselves is found too.  Whether a difference is what the
comparison is about (init_on_alloc=0 against 1) the user knows; it is named, and
only what would be a wrong number is withheld.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from memtrace.analyzer.clock import by_instructions, takes_turns, turns_text
from memtrace.analyzer.compare import sites
from memtrace.analyzer.compare.metrics import Metric
from memtrace.analyzer.compare.sides import CUT_SHORT, Side, window_ns
from memtrace.analyzer.facts import fact, gib
from memtrace.analyzer.render.units import written
from memtrace.traces.lost import CAUSES
from memtrace.traces.reader import Run

Withholds = Callable[[Metric], bool]


@dataclass(frozen=True)
class Finding:
    """One difference."""

    id: str
    text: str
    withholds: Withholds | None = None
    """Which metrics it makes meaningless."""
    because: str = ""
    """The short reason beside a metric withheld."""


_TOOLING = ("config", "kprobes", "btf", "bpf_jit", "ftrace")
"""Facts about how one can trace, not about what memory costs."""
_MEANING = {
    "init_on_alloc": "the allocator clears all pages or only __GFP_ZERO ones",
    "init_on_free": "pages are cleared when they are freed, or when allocated",
    "thp_enabled": "faults take huge pages on one side, small ones on the other",
    "clocksource": "times were read from different clocks",
    "virtualized": "the machines are of different kinds",
    "confidential": "the platform accepts, shares and clears memory otherwise",
    "struct_page_init": "memmap is initialised in another phase of the boot",
    "host_backing": "first touches wait for the host's pages, or find them there",
    "cpu_erms": "pages are cleared by other instructions",
    "cpu_fsrm": "pages are cleared by other instructions",
}
_BOOT_WORDS = ("BOOT_IMAGE", "root", "initrd", "tsc_early_khz")
"""Words of the kernel command line that change from boot to boot."""
_WINDOW_TOLERANCE = 0.1
_MEMORY_TOLERANCE = 0.01
_MUCH_LOST = 0.05


def findings(before: Side, after: Side, margin: float) -> list[Finding]:
    """All differences of two sides, the weightiest first."""
    both = (before, after)
    return [
        *_losses(before, after, margin),
        *_left_out(both),
        *_boots(both),
        *_workload(before, after),
        *_recording(before, after),
        *(Finding(*found) for found in sites.differences(before, after)),
        *_machine(before, after),
        *_facts(before, after),
        *_settings(before, after),
    ]


def _losses(before: Side, after: Side, margin: float) -> Iterator[Finding]:
    shares = [sum(s.loss_shares) / len(s.runs) for s in (before, after)]
    if any(shares):
        said = (
            f"lost of all events: {_share(shares[0])} in {before.name}, {_share(shares[1])} in {after.name}"
        )
        if max(shares) > _MUCH_LOST or abs(shares[0] - shares[1]) > margin:
            yield Finding("losses", f"{said}: no metric of events is compared", _of_events, "uneven losses")
        else:
            yield Finding("losses", f"{said}: totals are short by as much, worst and p99 perhaps by more")
    for name, words in CAUSES.items():
        unknown = [
            s.name for s in (before, after) if any(getattr(r.status.losses, name) is None for r in s.runs)
        ]
        if len(unknown) == 1:
            yield Finding(
                "losses-unknown", f"only {unknown[0]}'s kernel does not tell what was lost: {words}"
            )


def _left_out(sides: Iterable[Side]) -> Iterator[Finding]:
    for side in sides:
        cut = [one.path.name for one in side.left_out if one.why == CUT_SHORT]
        if cut:
            names = ", ".join(cut[:3]) + (f" and {len(cut) - 3} more" if len(cut) > 3 else "")
            yield Finding("cut-short", f"{side.name} is compared without {names}, {CUT_SHORT}")
        unread = [one.why for one in side.left_out if one.why != CUT_SHORT]
        if unread:
            more = f" (and {len(unread) - 1} more files)" if len(unread) > 1 else ""
            yield Finding("unreadable", f"{side.name} is compared without a file: {unread[0]}{more}")
        failed = sum(bool(run.status.exit_status) for run in side.runs)
        if failed:
            yield Finding("failed", f"the command failed in {failed} of {len(side.runs)} runs of {side.name}")


def _boots(sides: Iterable[Side]) -> Iterator[Finding]:
    for side in sides:
        kernels = {(run.header.kernel_release, run.header.kernel_version) for run in side.runs}
        if len(kernels) > 1:
            yield Finding("mixed", f"{side.name} holds runs of {len(kernels)} kernels: {side.kernel}")
        if side.boots < len(side.runs):
            yield Finding(
                "one-boot",
                f"the {len(side.runs)} runs of {side.name} are of {_boots_text(side.boots)}: intervals are"
                " about runs in these boots, not about other boots",
            )


def _boots_text(boots: int) -> str:
    return "one boot" if boots == 1 else f"{boots} boots"


def _workload(before: Side, after: Side) -> Iterator[Finding]:
    if said := _differs(before, after, lambda r: " ".join(r.header.workload) or "the running system"):
        programs = _differs(before, after, lambda r: " ".join(r.header.workload[:1]).rpartition("/")[2])
        yield Finding("workload", f"workload: {said}", _of_sums if programs else None, "other workload")
    lengths = [window_ns(side) for side in (before, after)]
    alone = not any(run.header.workload for side in (before, after) for run in side.runs)
    if alone and max(lengths) > (1 + _WINDOW_TOLERANCE) * min(lengths):
        texts = " against ".join(written(n, "ns") for n in lengths)
        yield Finding("window", f"windows of {texts}: totals are not compared", _of_sums, "other window")


def _recording(before: Side, after: Side) -> Iterator[Finding]:
    if said := _differs(before, after, lambda r: r.header.origin):
        yield Finding("origin", f"runs are {said}: other tracers have other overhead, clocks and resolution")
    yield from _clocks(before, after)
    filters = lambda r: ", ".join(f"{k} {v}" for k, v in sorted(r.header.filters.items())) or "none"  # noqa: E731
    if said := _differs(before, after, filters):
        yield Finding(
            "filters", f"filters: {said}: no metric of events is compared", _of_events, "other filters"
        )
    if said := _differs(before, after, _streaming):
        yield Finding(
            "streaming",
            f"rows of their own: {said}; percentiles and worst of what was summed are known between bounds,"
            " which the intervals contain",
        )
    for attribute, word in (("tool_version", "memtrace"),):
        if said := _differs(before, after, lambda r, a=attribute: str(getattr(r.header, a))):  # type: ignore[misc]
            yield Finding("tool", f"recorded by {word} {said}")
    if said := _differs(before, after, lambda r: str(r.schema_version)):
        yield Finding("schema", f"file schema: {said}; what the older one lacks is unknown there")
    told = {
        id(run): ", ".join(measured.phase_sources)
        for side in (before, after)
        for run, measured in zip(side.runs, side.measured, strict=True)
    }
    if all(told.values()) and (said := _differs(before, after, lambda run: told[id(run)])):
        yield Finding("phases", f"boot phases are from {said}: these begin and end elsewhere")


def _clocks(before: Side, after: Side) -> Iterator[Finding]:
    runs = (*before.runs, *after.runs)
    if said := _differs(before, after, lambda r: "instructions" if by_instructions(r.header) else "time"):
        yield Finding("clock", f"clock of the guest: {said}: no times are compared", _of_times, "other clock")
    if shared := next((run.header for run in runs if takes_turns(run.header)), None):
        yield Finding("clock-shared", turns_text(shared))


def _streaming(run: Run) -> str:
    if run.header.stream_all:
        return "every event"
    tail = run.header.tail_ns
    return "all but order 0" + ("" if tail is None else f" below {written(tail, 'ns')}")


def _machine(before: Side, after: Side) -> Iterator[Finding]:
    if said := _differs(before, after, lambda r: r.header.machine):
        yield Finding("machine", f"architecture: {said}")
    if said := _differs(before, after, lambda r: str(r.header.page_size)):
        yield Finding(
            "page-size", f"page size: {said}: an order is another size", _by_word("order"), "other page size"
        )
    nodes = lambda r: ", ".join(str(n.nid) for n in r.header.nodes) or "unknown"  # noqa: E731
    if said := _differs(before, after, nodes):
        yield Finding("nodes", f"NUMA nodes: {said}: nodes are not compared", _by_word("node"), "other nodes")
    if said := _differs(before, after, lambda r: str(r.header.cpus)):
        yield Finding("cpus", f"CPUs: {said}")
    sizes = [sum(n.present_bytes or 0 for n in side.runs[0].header.nodes) for side in (before, after)]
    if max(sizes) > (1 + _MEMORY_TOLERANCE) * min(sizes):
        yield Finding("memory", f"memory: {gib(sizes[0] or None)} against {gib(sizes[1] or None)}")
    if said := _differs(before, after, lambda r: r.header.hostname):
        yield Finding("host", f"hosts: {said}")


def _facts(before: Side, after: Side) -> Iterator[Finding]:
    runs = [run for side in (before, after) for run in side.runs]
    names = dict.fromkeys(f.name for run in runs for f in run.header.facts if f.name not in _TOOLING)
    modes = {"accept_memory", "lazy_accept"}
    for name in names:
        if said := _differs(before, after, lambda r, n=name: fact(r.header, n)):  # type: ignore[misc]
            unknown = any(fact(r.header, name) == "unknown" for r in runs)
            why = f": {_MEANING[name]}" if name in _MEANING and not unknown else ""
            eager = name in modes and any(fact(r.header, "accept_memory") == "eager" for r in runs)
            if eager and name == "accept_memory":
                text = (
                    f"accept_memory: {said}: what is accepted in the boot no probe sees; compare boot phases"
                )
                yield Finding("accept-memory", text, lambda m: m.family == "accept", "other accept mode")
            else:
                yield Finding(name.replace("_", "-"), f"{name}: {said}{why}")
    guests = [run for run in runs if fact(run.header, "virtualized") not in ("no", "unknown")]
    if guests and "host_backing" not in names:
        yield Finding("host-backing", "what backs the guests' memory on the host is not in the runs")


def _settings(before: Side, after: Side) -> Iterator[Finding]:
    config = _changed(before, after, lambda r: r.header.config)
    if config:
        yield Finding("config", f"kernel config: {_first(config)}")
    if any(not r.header.config for s in (before, after) for r in s.runs):
        yield Finding(
            "config-unknown", "a kernel's configuration is unknown: what it changes was not checked"
        )
    if words := _changed(before, after, _command_line):
        yield Finding("cmdline", f"kernel command line: {_first(words)}")
    if sysctls := _changed(before, after, lambda r: r.header.sysctls):
        yield Finding("sysctls", f"sysctls: {_first(sysctls)}")


def _command_line(run: Run) -> dict[str, str]:
    pairs = (word.partition("=") for word in run.header.kernel_cmdline.split())
    return {name: value or "set" for name, _, value in pairs if name not in _BOOT_WORDS}


def _changed(before: Side, after: Side, of: Callable[[Run], dict[str, str]]) -> list[str]:
    """Settings whose values differ, where both sides know settings of the kind."""
    if not all(of(run) for side in (before, after) for run in side.runs):
        return []
    names = dict.fromkeys(name for side in (before, after) for run in side.runs for name in of(run))
    return [
        f"{name} {said}"
        for name in names
        if (said := _differs(before, after, lambda r, n=name: of(r).get(n, "not there")))  # type: ignore[misc]
    ]


def _first(texts: list[str], most: int = 8) -> str:
    more = f"; and {len(texts) - most} more" if len(texts) > most else ""
    return "; ".join(texts[:most]) + more


def _differs(before: Side, after: Side, of: Callable[[Run], str]) -> str:
    """ "X against Y" where the sides' runs do not all say the same; empty where they do."""
    old, new = (sorted({of(run) for run in side.runs}) for side in (before, after))
    if old == new and len(old) == 1:
        return ""
    return f"{_some(old)} against {_some(new)}" if old != new else f"{_some(old)} on both sides"


def _some(texts: list[str]) -> str:
    short = [text if len(text) <= 60 else f"{text[:58]}.." for text in texts]
    return _first(short, 3).replace("; ", " or ")


def _share(value: float) -> str:
    return written(value, "share")


def _of_events(metric: Metric) -> bool:
    return metric.scope != "boot"


def _of_times(metric: Metric) -> bool:
    return metric.timed


def _of_sums(metric: Metric) -> bool:
    return metric.scope != "boot" and metric.measure in ("count", "bytes", "total", "worst")


def _by_word(word: str) -> Withholds:
    return lambda metric: f",{word}=" in f",{metric.cell}"
