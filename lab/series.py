# SPDX-License-Identifier: Apache-2.0
"""Many boots of one or two kernels, each recorded: what `compare` reads.

Two kernels are booted in the order A B B A A B B A …, so that a machine that drifts
(heat, neighbours) favours neither.  A boot's run file appears under its final name
only when it is whole; what is there already is not booted again, which makes a
series that was stopped resumable by the same command.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.lab import harvest, kernels, plugging, programs, progress, spec
from memtrace.lab.guest import prepare, run_guest
from memtrace.lab.plugging import NOTHING, Plugging
from memtrace.lab.process import ended_by_signals
from memtrace.lab.sizes import GIB
from memtrace.lab.spec import Clock, GuestError, GuestResult, GuestSpec
from memtrace.traces.answers import write
from memtrace.traces.output import make_folder

_PLAN_FILE = "series.json"


@dataclass(frozen=True)
class Side:
    """One kernel of a series; its runs go into the folder `name`."""

    name: str
    kernel: str
    append: str = ""


@dataclass(frozen=True)
class Series:
    """What is booted, how often, and what is recorded in each boot.

    record    options for `memtrace record`, e.g. ("-e", "zero")
    workload  the command recorded; empty: counted page touches on every node; one that begins
              with a name of `programs.names()` runs that program
    plugging  memory that comes and goes
    """

    sides: tuple[Side, ...]
    boots: int
    memory: tuple[int, ...] = (2 * GIB,)
    cpus: int = 2
    record: tuple[str, ...] = ()
    workload: tuple[str, ...] = ()
    time_limit_s: float = 180.0
    clock: Clock = "host"
    plugging: Plugging = NOTHING

    @property
    def program(self) -> str | None:
        """The lab's own program that is the workload, if it is one."""
        return self.workload[0] if self.workload and self.workload[0] in programs.names() else None

    def script(self) -> str:
        """What each guest runs: the workload's $RESULTS is a folder of its own."""
        nids = [str(nid) for nid, size in enumerate(self.memory) if size]
        known = (
            f"python3 -m memtrace.probes.workloads.knownwork $LAB/{harvest.KNOWN} 4096 16 {' '.join(nids)}"
        )
        command = shlex.join(self.workload) if self.workload else known
        if self.program:
            command = f"$FILES/{command}"
        if self.plugging.around:
            command = f"lab-run {command}"
        record = f"memtrace record -q -f -o $LAB/{harvest.RUN} {shlex.join(self.record)}"
        return (
            f"export LAB=$RESULTS RESULTS=$RESULTS/{harvest.FILES}; mkdir $RESULTS\n"
            f"{record} -- {command} >$LAB/{harvest.STDOUT} 2>$LAB/{harvest.STDERR}"
        )


@dataclass(frozen=True)
class Boot:
    """One boot of a series."""

    side: Side
    number: int

    @property
    def stem(self) -> str:
        """Name of its files, without suffix, below the side's folder."""
        return f"boot-{self.number:03d}"


@dataclass(frozen=True)
class Progress:
    """After a boot: how many are done of how many, and the seconds the rest should take.

    notes    sentences about what came out otherwise than one may think
    undone   sentences about what was to be done to the guest's memory and was not
    """

    boot: Boot
    done: int
    total: int
    took_s: float
    left_s: float
    notes: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()


def order(series: Series) -> tuple[Boot, ...]:
    """All boots in the order they are made: A B B A A B B A … for two sides."""
    boots: list[Boot] = []
    for number in range(1, series.boots + 1):
        sides = series.sides if number % 2 else series.sides[::-1]
        boots += [Boot(side, number) for side in sides]
    return tuple(boots)


def check(series: Series) -> None:
    """Raise MemtraceError (exit 2) where no boot can be made of it, before one is tried."""
    for side in series.sides:
        kernels.check(side.kernel)
        spec.check(_guest(series, side))


def run_series(series: Series, folder: Path, report: Callable[[Progress], None]) -> tuple[Path, ...]:
    """Make the boots that are missing in `folder`; returns all run files.

    Raises MemtraceError where `folder` holds a series made otherwise, or a boot fails;
    what was recorded until then stays.
    """
    _claim(series, folder)
    boots = order(series)
    pending = [boot for boot in boots if not _run_file(folder, boot).exists()]
    done = len(boots) - len(pending)
    with ended_by_signals():
        for kernel in dict.fromkeys(boot.side.kernel for boot in pending):
            prepare(kernel)
    times: list[float] = []
    for boot in pending:
        begun = time.monotonic()
        which = f"boot {done + 1} of {len(boots)} ({boot.side.name} {boot.number}, {boot.side.kernel})"
        with progress.step(which, ends=False):
            notes, undone = _make(series, boot, folder)
        times.append(time.monotonic() - begun)
        done += 1
        left = (len(boots) - done) * sum(times) / len(times)
        report(Progress(boot, done, len(boots), times[-1], left, notes, undone))
    return tuple(_run_file(folder, boot) for boot in boots)


def _run_file(folder: Path, boot: Boot) -> Path:
    return folder / boot.side.name / f"{boot.stem}.parquet"


def _claim(series: Series, folder: Path) -> None:
    """Write down what the folder is for; where it holds runs, they must be of the same (boots may differ)."""
    plan = dataclasses.asdict(dataclasses.replace(series, boots=0))
    text = json.dumps(plan, indent=1)
    file = folder / _PLAN_FILE
    try:
        for abandoned in folder.glob(".boot-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        for side in series.sides:
            make_folder(folder / side.name)
        if not file.exists() or not any(folder.glob("*/*.parquet")):
            write(file, text.encode())
        elif json.loads(file.read_text()) != json.loads(text):
            raise MemtraceError(
                f"{folder} holds a series with other kernels, memory or workload: give another folder with -o"
            )
    except OSError as error:
        raise MemtraceError(
            f"{error.filename or folder}: {error.strerror}: give another folder with -o"
        ) from error
    except ValueError as error:
        raise MemtraceError(f"{file} is not a series of memtrace: give another folder with -o") from error


def _guest(series: Series, side: Side) -> GuestSpec:
    return GuestSpec(
        kernel=side.kernel,
        script=series.script(),
        memory=plugging.with_nodes(series.memory, series.plugging),
        cpus=series.cpus,
        append=f"{series.plugging.append} {side.append}".strip(),
        modules=series.plugging.modules,
        virtio_mem=series.plugging.virtio_mem,
        steps=series.plugging.steps,
        time_limit_s=series.time_limit_s,
        clock=series.clock,
    )


def _make(series: Series, boot: Boot, folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Make one boot and keep what it leaves; returns the notes and what was not done."""
    guest = _guest(series, boot.side)
    if series.program:
        guest = dataclasses.replace(guest, files=(programs.program(series.program),))
    final = _run_file(folder, boot)
    which = f"boot {boot.number} of {boot.side.kernel}"
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".boot-") as scratch:
            result = _run(guest, Path(scratch), final, which)
            kept = harvest.keep(Path(scratch), final)
            undone = tuple(plugging.undone(guest.steps, result.done, result.marks))
            if result.status:
                how = harvest.how_it_ended(result.status)
                words = harvest.last_words(kept, result.output)
                also = "".join(f"{sentence}; " for sentence in undone)
                raise MemtraceError(f"{which} ended with {how}; {also}{words}", lines=True)
            harvest.take_run(Path(scratch), final)
    except OSError as error:
        raise MemtraceError(
            f"cannot keep what {which} left: {error.filename or folder}: {error.strerror or error}"
        ) from error
    return ((kept.note,) if kept.note else ()), undone


def _run(guest: GuestSpec, scratch: Path, final: Path, which: str) -> GuestResult:
    """Run the guest; its console is kept, and of one that comes to no end its words too."""
    try:
        result = run_guest(guest, scratch)
    except GuestError as error:
        write(final.with_suffix(".console"), error.console.encode())
        words = harvest.last_words(harvest.keep(scratch, final), "")
        raise MemtraceError(f"{which}: {error}\nof the workload: {words}") from error
    write(final.with_suffix(".console"), result.console.encode())
    return result
