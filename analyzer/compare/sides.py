# SPDX-License-Identifier: Apache-2.0
"""The sides of a comparison: which runs each has, and which of them count."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from memtrace.analyzer.compare.measure import measure
from memtrace.analyzer.compare.metrics import Measured
from memtrace.analyzer.facts import duration_ns
from memtrace.analyzer.keys import Key
from memtrace.errors import MemtraceError
from memtrace.traces.given import is_folder, is_there
from memtrace.traces.lost import events, known_losses
from memtrace.traces.reader import NothingYet, Run, open_run, run_paths

NO_EVIDENCE = 125
CUT_SHORT = "cut short, or still being recorded"
SAME_BOOT_S = 2.0
"""Runs whose boots began within so long of each other on one host are of one boot."""


@dataclass(frozen=True)
class LeftOut:
    """A file of a side that is not compared."""

    path: Path
    why: str
    """CUT_SHORT, or the sentence that says why it cannot be read."""


@dataclass(frozen=True)
class Side:
    """The runs of one kernel that are compared."""

    name: str
    runs: tuple[Run, ...]
    measured: tuple[Measured, ...]
    """Of the same runs."""
    left_out: tuple[LeftOut, ...] = ()

    @property
    def kernel(self) -> str:
        return ", ".join(dict.fromkeys(run.header.kernel_release or "unknown kernel" for run in self.runs))

    @property
    def loss_shares(self) -> tuple[float, ...]:
        """The share of its occurrences that each run is known to have lost."""
        return tuple(loss_share(r, m) for r, m in zip(self.runs, self.measured, strict=True))

    @property
    def boots(self) -> int:
        """Different boots among the runs; those without clock anchors count as one each."""
        begun: list[tuple[str, float]] = []
        unknown = 0
        for run in self.runs:
            if not run.header.anchors:
                unknown += 1
                continue
            anchor = run.header.anchors[0]
            at = (run.header.hostname, (anchor.realtime_ns - anchor.boottime_ns) / 1e9)
            if not any(at[0] == host and abs(at[1] - t) < SAME_BOOT_S for host, t in begun):
                begun.append(at)
        return len(begun) + unknown


def read(
    words: Sequence[str], by: Sequence[Key], told: Callable[[int, int], None] | None = None
) -> list[Side]:
    """The sides of the words (file, folder or pattern each), their runs measured.

    Raises MemtraceError: exit 2 for words that name no run, or the same run twice,
    125 for a side that has no evidence in it.
    """
    opened = [_open(word) for word in words]
    _refuse_twins(words, [runs for runs, _ in opened])
    names = _names(words)
    kept = [[run for run in runs if run.whole] for runs, _ in opened]
    left_out = [
        tuple(sorted(left + [LeftOut(r.path, CUT_SHORT) for r in runs if not r.whole], key=lambda o: o.path))
        for runs, left in opened
    ]
    for name, runs, left in zip(names, kept, left_out, strict=True):
        if not runs:
            raise _no_evidence(name, left)
    measured = _measure([run for runs in kept for run in runs], by, told)
    sides = []
    for name, runs, left in zip(names, kept, left_out, strict=True):
        mine, measured = tuple(measured[: len(runs)]), measured[len(runs) :]
        sides.append(Side(name, tuple(runs), mine, left))
        _refuse_all_lost(sides[-1])
    return sides


def loss_share(run: Run, measured: Measured) -> float:
    """Known losses over all occurrences that are known of."""
    lost = known_losses(run.status)
    return lost / events(run.status, measured.in_file.events, measured.in_file.imported) if lost else 0.0


def _open(word: str) -> tuple[list[Run], list[LeftOut]]:
    """The runs of a word; of a folder or pattern without the files that cannot be read."""
    runs: list[Run] = []
    left_out: list[LeftOut] = []
    several = is_folder(word) or (glob.has_magic(word) and not is_there(word))
    for path in run_paths(word):
        try:
            runs.append(open_run(path))
        except NothingYet:
            left_out.append(LeftOut(path, CUT_SHORT))
        except MemtraceError as error:
            if not several:
                raise MemtraceError(str(error), 2) from error
            left_out.append(LeftOut(path, str(error)))
    return runs, left_out


def _no_evidence(name: str, left_out: Sequence[LeftOut]) -> MemtraceError:
    unread = [one.why for one in left_out if one.why != CUT_SHORT]
    if unread:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        text = f"no run of {name} can be compared: {unread[0]}{more}"
    elif len(left_out) == 1:
        text = f"{left_out[0].path} is {CUT_SHORT}; wait, or record it again"
    else:
        text = f"all {len(left_out)} runs of {name} are {CUT_SHORT}; wait, or record them again"
    return MemtraceError(text, NO_EVIDENCE)


def _measure(
    runs: Sequence[Run], by: Sequence[Key], told: Callable[[int, int], None] | None
) -> list[Measured]:
    """All runs measured; two at a time, since DuckDB scans small files on one core."""
    found = []

    def one(run: Run) -> Measured:
        with run:
            return measure(run, by)

    with ThreadPoolExecutor(2) as pool:
        for done, measured in enumerate(pool.map(one, runs), 1):
            found.append(measured)
            if told is not None:
                told(done, len(runs))
    return found


def _refuse_twins(words: Sequence[str], opened: Sequence[Sequence[Run]]) -> None:
    """No file, and no copy of a run, may be there twice: it would count as two boots."""
    seen: dict[object, tuple[Path, str]] = {}
    for word, runs in zip(words, opened, strict=True):
        for run in runs:
            stat = run.path.stat()
            keys: list[object] = [(stat.st_dev, stat.st_ino)]
            if run.header.anchors:
                keys.append(
                    (run.header.hostname, run.header.anchors, run.status.started_ns, run.status.ended_ns)
                )
            for key in keys:
                if key in seen:
                    raise _same_run(run.path, word, *seen[key])
            seen.update(dict.fromkeys(keys, (run.path, word)))


def _same_run(path: Path, word: str, other: Path, before: str) -> MemtraceError:
    """Where a word is a folder or pattern, it is said which of its files it is."""
    this, that = (
        str(file) if file == Path(of) else f"{file} of {of}" for file, of in ((path, word), (other, before))
    )
    if path == other and this != that:
        that = f"{before} too"
    said = f"{this} is given twice" if this == that else f"{this} is the same run as {that}"
    return MemtraceError(f"{said}; give each run once", 2)


def _refuse_all_lost(side: Side) -> None:
    if any(m.in_file.events for m in side.measured):
        return
    lost = sum(known_losses(run.status) for run in side.runs)
    if lost:
        raise MemtraceError(
            f"all events of {side.name} were lost ({lost} of them); record it again, with fewer events",
            NO_EVIDENCE,
        )


def _names(words: Sequence[str]) -> list[str]:
    """Short names that differ: the last parts of the paths, as many as are needed.

    The folder "runs" that `lab run` makes names nothing.
    """
    paths = [Path(word.removesuffix("/runs")) for word in words]
    parts = [path.with_name(path.name.removesuffix(".parquet")).parts or (str(path),) for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return list(words)


def window_ns(side: Side) -> float:
    """The mean length of the side's runs."""
    return sum(duration_ns(run) for run in side.runs) / len(side.runs)
