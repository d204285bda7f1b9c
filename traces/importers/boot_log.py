# SPDX-License-Identifier: Apache-2.0
"""What the lines of one boot's log say: kernel, machine, settings, phases, and how clocks relate.

Lines and where the kernel prints them: "Linux version", "Command line" (init/main.c,
arch/x86/kernel/setup.c); "mem auto-init:", "SLUB: HWalign", "node N deferred pages
initialised in N ms", "Early memory node ranges" (mm/mm_init.c, mm/slub.c);
"sched_clock: Marking stable" (kernel/sched/clock.c); "RME: Using RSI version"
(arch/arm64/kernel/rsi.c); "Freeing unused kernel image", "Run … as init process"
(init/main.c); "devtmpfs: initialized" is the first line of do_basic_setup().
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from memtrace.traces.derived import preemption
from memtrace.traces.importers.parsed import BootFacts, Moment, Parsed, Relation
from memtrace.traces.run import Fact, Node, Phase

PAGE = 4096
_SHIFT = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_HZ_1000_IDLE_NS = 1911260446275000
"""max_idle_ns of the jiffies clocksource at HZ=1000; it goes with the length of a jiffy."""
_LONGEST_JIFFY_NS = 10_000_000


@dataclass(frozen=True)
class Line:
    """A line of the log; ``ns`` None where its stamp says nothing (0.000000, or none)."""

    ns: int | None
    text: str
    raw: str


class _Reader:
    """Collects from line after line."""

    def __init__(self, parsed: Parsed, resolution_ns: int) -> None:
        self.parsed = parsed
        self.resolution_ns = resolution_ns
        self.jiffy_ns = _LONGEST_JIFFY_NS
        self.boot = BootFacts()
        self.ranges: dict[int, list[tuple[int, int]]] = {}
        self.facts: dict[str, Fact] = {}
        self.at: dict[str, Line] = {}
        self.deferred: list[tuple[int, int, Line]] = []
        self.left: list[tuple[int, int]] = []
        self.emulated = False

    def banner(self, match: re.Match[str], line: Line) -> None:
        version = match[2].rpartition(") ")[2] if ") " in match[2] else match[2]
        told = version[version.find("#") :].strip()
        self.boot = replace(self.boot, release=match[1], version=told)
        self.facts["preempt_rt"] = preemption(told, {})

    def cmdline(self, match: re.Match[str], line: Line) -> None:
        self.boot = replace(self.boot, cmdline=match[1].strip())

    def x86(self, match: re.Match[str], line: Line) -> None:
        self.boot = replace(self.boot, machine="x86_64")

    def cpus(self, match: re.Match[str], line: Line) -> None:
        self.boot = replace(self.boot, cpus=int(match[1]))

    def node_range(self, match: re.Match[str], line: Line) -> None:
        start, last = int(match[2], 16), int(match[3], 16)
        self.ranges.setdefault(int(match[1]), []).append((start // PAGE, (last + 1) // PAGE))

    def unaccepted(self, match: re.Match[str], line: Line) -> None:
        self.facts["unaccepted_table"] = Fact("unaccepted_table", "yes", f"dmesg: {line.text.strip()}")

    def firmware_range(self, match: re.Match[str], line: Line) -> None:
        self.left.append((int(match[1], 16), int(match[2], 16) + 1))

    def realm(self, match: re.Match[str], line: Line) -> None:
        self.facts["confidential"] = Fact("confidential", "CCA", f"dmesg: {line.text.strip()}")

    def emulation(self, match: re.Match[str], line: Line) -> None:
        self.unaccepted(match, line)
        self.emulated = True

    def auto_init(self, match: re.Match[str], line: Line) -> None:
        self.at["auto_init"] = line
        for name, value in (("init_on_alloc", match[1]), ("init_on_free", match[2])):
            self.facts[name] = Fact(name, "yes" if value == "on" else "no", f"dmesg: {line.text}")

    def jiffies(self, match: re.Match[str], line: Line) -> None:
        self.jiffy_ns = round(int(match[1]) / _HZ_1000_IDLE_NS * 1_000_000)

    def deferred_node(self, match: re.Match[str], line: Line) -> None:
        self.deferred.append((int(match[1]), int(match[2]), line))
        self.facts["struct_page_init"] = Fact("struct_page_init", "deferred", f"dmesg: {line.text}")

    def stable(self, match: re.Match[str], line: Line) -> None:
        """tick_gtod is CLOCK_MONOTONIC at the last tick, tick_raw sched_clock(), both offsets are added."""
        monotonic, printk_less, raw, _ = (int(match[i]) for i in range(1, 5))
        where = f"dmesg: {line.text}"
        for clock, at in (("printk", monotonic + printk_less), ("local", raw)):
            self.parsed.relations.append(Relation(clock, at, monotonic, 10_000, where))

    def mark(self, name: str) -> Callable[[re.Match[str], Line], None]:
        def keep(match: re.Match[str], line: Line) -> None:
            self.at.setdefault(name, line)

        return keep

    def last_mark(self, name: str) -> Callable[[re.Match[str], Line], None]:
        def keep(match: re.Match[str], line: Line) -> None:
            self.at[name] = line

        return keep

    def rules(self) -> tuple[tuple[re.Pattern[str], Callable[[re.Match[str], Line], None]], ...]:
        rules = (
            (r"Linux version (\S+)(.*)", self.banner),
            (r"(?:Kernel c|C)ommand line: (.*)", self.cmdline),
            (r"BIOS-e820: ", self.x86),
            (r"smp: Brought up \d+ nodes?, (\d+) CPUs?", self.cpus),
            (r"\s+node +(\d+): \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]", self.node_range),
            (r"efi: .*\bUnaccepted=0x", self.unaccepted),
            (r"efi: mem\d+: \[Unaccepted.*\] range=\[0x([0-9a-f]+)-0x([0-9a-f]+)\]", self.firmware_range),
            (r"unaccepted_emul: ", self.emulation),
            (r"RME: Using RSI version ", self.realm),
            (r"mem auto-init: .*heap alloc:(on|off), heap free:(on|off)", self.auto_init),
            (r"SLUB: HWalign", self.mark("slub")),
            (r"clocksource: (?:refined-)?jiffies: .*max_idle_ns: (\d+)", self.jiffies),
            (r"node (\d+) deferred pages initialised in (\d+)ms", self.deferred_node),
            (r"devtmpfs: initialized", self.mark("basic_setup")),
            (r"sched_clock: Marking stable \((\d+), (-?\d+)\)->\((\d+), (-?\d+)\)", self.stable),
            (r"Freeing unused kernel (?:image|memory)", self.mark("free_initmem")),
            (r"Run (\S+) as init process", self.mark("run_init")),
            (r"systemd\[1\]: Switching root", self.mark("switch_root")),
            (r"systemd\[1\]: (?:systemd )?.*running in system mode", self.last_mark("systemd")),
            (r"systemd\[1\]: Startup finished in", self.mark("startup_finished")),
        )
        return tuple((re.compile(pattern), action) for pattern, action in rules)


def read(lines: list[Line], parsed: Parsed, resolution_ns: int) -> int:
    """Puts what one boot's lines say into ``parsed``; how many lines said something."""
    reader = _Reader(parsed, resolution_ns)
    rules = reader.rules()
    used = 0
    parsed.log = [(line.ns, line.text.strip()) for line in lines if line.ns is not None]
    for line in lines:
        for pattern, action in rules:
            if match := pattern.match(line.text):
                action(match, line)
                used += 1
                break
    parsed.boot = replace(
        reader.boot,
        nodes=tuple(_node(nid, ranges) for nid, ranges in sorted(reader.ranges.items())),
        facts=(*reader.facts.values(), *_accept_memory(reader)),
        # A log that lost its start may have lost some of the ranges.
        unaccepted=(tuple(reader.left) if reader.boot.release else ()) or _emulated(reader),
    )
    parsed.phases = phases(reader)
    for nid, _, line in reader.deferred:
        _moment(parsed, f"deferred done on node {nid}", line, resolution_ns)
    if "run_init" in reader.at:
        _moment(parsed, "init runs", reader.at["run_init"], resolution_ns)
    return used


def _node(nid: int, ranges: list[tuple[int, int]]) -> Node:
    return Node(nid, pfn_ranges=tuple(ranges), present_bytes=sum(e - s for s, e in ranges) * PAGE)


def _emulated(reader: _Reader) -> tuple[tuple[int, int], ...]:
    """The ranges of unaccepted_emul=SIZE@START,…, which lab/accept/ adds to a kernel."""
    asked = re.search(r"\bunaccepted_emul=(\S+)", reader.boot.cmdline) if reader.emulated else None
    found = re.findall(r"(\d+)([KMGT]?)@(\d+)([KMGT]?)", asked[1]) if asked else []
    scaled = [(int(n) << _SHIFT[unit], int(at) << _SHIFT[of]) for n, unit, at, of in found]
    return tuple((start, start + size) for size, start in scaled)


def _accept_memory(reader: _Reader) -> tuple[Fact, ...]:
    """Lazy is the default (mm/page_alloc.c), where there is memory to accept at all."""
    asked = re.search(r"\baccept_memory=(lazy|eager)\b", reader.boot.cmdline)
    if asked:
        return (Fact("accept_memory", asked[1], f"dmesg: command line: {asked[0]}"),)
    if "unaccepted_table" in reader.facts:
        return (Fact("accept_memory", "lazy", "not on the command line, lazy is the default"),)
    return ()


def _moment(parsed: Parsed, name: str, line: Line, resolution_ns: int) -> None:
    if line.ns is not None:
        parsed.moments[name] = Moment(line.ns, line.ns + resolution_ns, line.text.strip())


def phases(reader: _Reader) -> list[Phase]:
    """The phases whose edges the log has; an edge it has not is unknown."""
    at, resolution = reader.at, reader.resolution_ns
    found: list[Phase] = []

    def add(name: str, start: Line | None, end: Line | None, note: str = "") -> None:
        if start is None and end is None:
            return
        edges = "; ".join(line.text.strip() for line in (start, end) if line)
        found.append(
            Phase(
                name,
                start.ns if start else None,
                end.ns if end else None,
                "dmesg",
                resolution,
                detail=f"{edges}{note}",
            )
        )

    add("early", None, at.get("auto_init"))
    add("memory", at.get("auto_init"), at.get("slub"), "; holds memblock_free_all()")
    add("core", at.get("slub"), at.get("basic_setup"), "; holds the deferred init")
    jiffy = max(reader.jiffy_ns, resolution)
    for nid, ms, line in reader.deferred:
        start = None if line.ns is None else line.ns - ms * 1_000_000
        found.append(Phase("deferred", start, line.ns, "dmesg", jiffy, nid=nid, detail=line.text.strip()))
    add("initcalls", at.get("basic_setup"), at.get("free_initmem"))
    run, root = at.get("run_init"), at.get("switch_root")
    init_in_initramfs = run is not None and " /init " in f"{run.text} "
    if run is not None and init_in_initramfs:
        add("initramfs", run, root)
    if root is not None or (run is not None and not init_in_initramfs):
        add("userspace", root or run, at.get("startup_finished"))
    return found
