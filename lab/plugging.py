# SPDX-License-Identifier: Apache-2.0
"""Memory that comes and goes in a guest of a series: the words of --hotplug and --unplug.

    --hotplug [dimm:|virtio-mem:]SIZE[@NODE][:at=MARK],...
    --unplug NAME[:at=MARK],...

Devices are named in the order given: dimm0, dimm1, virtio-mem0.  They come before the
workload starts and go after its end, or when it calls `lab-mark MARK`; all of that is
inside the recording.  A plain word is a DIMM, on node 0 without @NODE.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from memtrace.errors import MemtraceError
from memtrace.lab.sizes import GIB, MIB, parse_size
from memtrace.lab.spec import Action, Done, PlugDimm, ResizeVirtioMem, Step, UnplugDimm, VirtioMem

START, END = "start", "end"
"""Marks that `lab-run` (init/guest.sh) calls around the workload."""
BLOCK = 128 * MIB
"""Size of a memory block of x86-64: less cannot be added (arch/x86/mm/init_64.c)."""
_DEVICE = re.compile(r"(?:(dimm|virtio-mem):)?([^:@]*)(?:@([^:@]*))?(?::at=([^:]*))?")
_UNPLUG = re.compile(r"([^:]*)(?::at=([^:]*))?")
_MARK = re.compile(r"[\w.+-]+", re.ASCII)


@dataclass(frozen=True)
class Plugging:
    """What a guest gets besides its memory, and when."""

    virtio_mem: tuple[VirtioMem, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def append(self) -> str:
        """For the kernel command line: what is added is to be used, and to go again where it is to."""
        if not self.steps:
            return ""
        goes = any(removes(step.action) for step in self.steps)
        return "memhp_default_state=" + ("online_movable" if goes else "online")

    @property
    def around(self) -> bool:
        """Whether something is to be done before or after the workload."""
        return any(step.mark in (START, END) for step in self.steps)

    @property
    def modules(self) -> tuple[str, ...]:
        """The kernel's modules that its devices need."""
        return ("virtio_mem",) if self.virtio_mem else ()


NOTHING = Plugging()


@dataclass(frozen=True)
class _Device:
    """One word of --hotplug."""

    word: str
    name: str
    nid: int
    size: int
    mark: str
    virtual: bool

    @property
    def plug(self) -> Action:
        """How it comes."""
        return (
            ResizeVirtioMem(self.name, self.size)
            if self.virtual
            else PlugDimm(self.name, self.nid, self.size)
        )

    @property
    def unplug(self) -> Action:
        """How it goes."""
        return ResizeVirtioMem(self.name, 0) if self.virtual else UnplugDimm(self.name)


def removes(action: Action) -> bool:
    """Whether the action takes memory away."""
    return isinstance(action, UnplugDimm) or (isinstance(action, ResizeVirtioMem) and not action.size)


def parse(hotplug: Iterable[str], unplug: Iterable[str], memory: tuple[int, ...] | None) -> Plugging:
    """What the words ask for; ``memory`` is that of --mem, None where it was not given.

    Raises MemtraceError (exit 2) with what is wrong with a word.
    """
    devices: list[_Device] = []
    numbers: Counter[bool] = Counter()
    for word in _split("--hotplug", hotplug):
        device = _device(word, numbers)
        _check_node(word, device.nid, memory)
        devices.append(device)
    gone = _removals(_split("--unplug", unplug), devices)
    return Plugging(
        tuple(VirtioMem(d.name, d.nid, d.size) for d in devices if d.virtual),
        (*(Step(device.mark, device.plug) for device in devices), *gone),
    )


def with_nodes(memory: tuple[int, ...], plugging: Plugging) -> tuple[int, ...]:
    """The memory of nodes that reach to the last device's; one that is added has none."""
    plugged = [step.action.nid for step in plugging.steps if isinstance(step.action, PlugDimm)]
    last = max((*plugged, *(device.nid for device in plugging.virtio_mem)), default=0)
    return memory + (0,) * (last + 1 - len(memory))


def undone(steps: Iterable[Step], done: Iterable[Done], marks: Iterable[str]) -> list[str]:
    """A sentence for each step that was not done: refused, or its mark never came."""
    tried = {one.step: one.answer for one in done}
    called = [mark for mark in dict.fromkeys(marks) if mark not in (START, END)]
    found = []
    for step in steps:
        what = "unplugged" if removes(step.action) else "plugged"
        if step not in tried:
            other = f"; it called {', '.join(called)}" if called else ""
            name = getattr(step.action, "name", "")
            found.append(
                f"the workload never called `lab-mark {step.mark}`, so that {name} was not {what}{other}"
            )
        elif not tried[step].startswith("done"):
            found.append(f"{tried[step].removeprefix('failed ')}: not {what} at {step.mark}")
    return found


def _device(word: str, numbers: Counter[bool]) -> _Device:
    found = _DEVICE.fullmatch(word)
    if not found:
        raise MemtraceError(f"--hotplug {word}: write it like 512M@1, virtio-mem:1G@1 or 512M@1:at=MARK", 2)
    kind, size, node, mark = found.groups()
    virtual = kind == "virtio-mem"
    bytes_ = parse_size(size)
    if not bytes_ or bytes_ % BLOCK:
        raise MemtraceError(f"--hotplug {word}: the size must be a multiple of 128M (a memory block)", 2)
    if node is not None and not (node.isascii() and node.isdigit() and len(node) < 5):
        raise MemtraceError(f"--hotplug {word}: '{node}' is not the number of a node", 2)
    nid = int(node or 0)
    name = f"{'virtio-mem' if virtual else 'dimm'}{numbers[virtual]}"
    numbers[virtual] += 1
    return _Device(word, name, nid, bytes_, _mark("--hotplug", word, mark, START), virtual)


def _check_node(word: str, nid: int, memory: tuple[int, ...] | None) -> None:
    """Raise MemtraceError where the guest's kernel would not know the node by this number.

    Of nodes without memory QEMU's tables (SRAT) tell the last one alone, as the place
    for all memory that may be added.
    """
    sizes = memory or (2 * GIB, 0)
    if nid >= len(sizes):
        cure = (
            "0 as the last size of --mem makes one without memory" if memory else "give --mem for each node"
        )
        raise MemtraceError(f"--hotplug {word}: there is no node {nid}; {cure}", 2)
    without = next((node for node, size in enumerate(sizes[: len(sizes) - 1]) if not size), len(sizes))
    if without <= nid:
        raise MemtraceError(
            f"--hotplug {word}: the guest does not know node {without}: only the last can be without memory",
            2,
        )


def _removals(words: Iterable[str], devices: list[_Device]) -> list[Step]:
    steps: dict[str, Step] = {}
    known = {device.name: device for device in devices}
    for word in words:
        found = _UNPLUG.fullmatch(word)
        name, mark = found.groups() if found else (word, None)
        if name not in known:
            there = ", ".join(known) or "none"
            raise MemtraceError(f"--unplug {word}: no device is named so; --hotplug makes {there}", 2)
        if name in steps:
            raise MemtraceError(f"--unplug {word}: {name} is unplugged twice", 2)
        device = known[name]
        at = _mark("--unplug", word, mark, END)
        if at == START != device.mark or device.mark == END != at:
            raise MemtraceError(f"--unplug {word}: {name} comes later, at {device.mark}", 2)
        steps[name] = Step(at, device.unplug)
    return list(steps.values())


def _mark(option: str, word: str, mark: str | None, default: str) -> str:
    if mark is None:
        return default
    if not _MARK.fullmatch(mark):
        raise MemtraceError(f"{option} {word}: a mark is a word of letters, digits, '_', '.', '+' and '-'", 2)
    return mark


def _split(option: str, given: Iterable[str]) -> list[str]:
    words = [word.strip() for text in given for word in text.split(",")]
    if "" in words:
        raise MemtraceError(f"{option}: there is nothing between two commas: leave one out", 2)
    return words
