# SPDX-License-Identifier: Apache-2.0
"""Feeds mutated files to what reads files, and counts what becomes of each.

`make fuzz MINUTES=30` runs it for long: python -m memtrace.tests.fuzz.harness 30 [SEED].
An input is *refused* if it ends in MemtraceError, *opened* if it is read, and a *traceback*
if any other exception comes out; of those the first of each place is told, with the seed
that makes it again.
"""

from __future__ import annotations

import gzip
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from memtrace.analyzer.render import FORMATS, render
from memtrace.analyzer.report import only
from memtrace.analyzer.views import VIEWS, view
from memtrace.errors import MemtraceError
from memtrace.tests import hostile
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import write
from memtrace.tests.fuzz import mutations
from memtrace.traces.importers.assemble import Request, run_import
from memtrace.traces.reader import Run, open_run

DATA = Path(__file__).parents[1] / "traces" / "importers" / "data"
SIGNAL = "control sign in an output"


@dataclass
class Figures:
    """What became of the inputs of one kind."""

    inputs: int = 0
    refused: int = 0
    opened: int = 0
    places: Counter[str] = field(default_factory=Counter)
    """Tracebacks by the place that raised, with the first seed."""
    slowest: tuple[float, str] = (0.0, "")
    """Seconds that the slowest input took, and its seed."""
    seeds: dict[str, str] = field(default_factory=dict)

    def line(self, kind: str) -> str:
        """The figures in a line, and one for each place that raised."""
        seconds, seed = self.slowest
        told = (
            f"{kind}: {self.inputs} inputs, {self.refused} refused, {self.opened} opened, "
            f"{sum(self.places.values())} tracebacks, slowest {seconds:.1f} s (seed {seed})"
        )
        places = (f"  {n} x {place} (seed {self.seeds[place]})" for place, n in self.places.most_common())
        return "\n".join((told, *places))


class Corpus:
    """The good files that are mutated: runs of every kind of recording, and traces of every format."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: list[Path] = []
        for name, make in CASES.items():
            self.runs.append(folder / f"{name}.parquet")
            write(make(), self.runs[-1])
        texts = (path for path in sorted(DATA.iterdir()) if path.is_file() and path.suffix != ".md")
        self.traces = [
            gzip.decompress(p.read_bytes()) if p.suffix == ".gz" else p.read_bytes() for p in texts
        ]

    def open_run(self, rng: random.Random) -> None:
        """One mutated run, opened."""
        with open_run(self._mutated(rng)):
            pass

    def show_run(self, rng: random.Random) -> None:
        """One mutated run, in one view and every format, if it opens."""
        with open_run(self._mutated(rng)) as run:
            show(run, rng.choice(tuple(VIEWS)))

    def show_all(self, rng: random.Random) -> None:
        """One mutated run in every view and format; if no view shows it, the last one's refusal is raised."""
        made, refusals = self._mutated(rng), []
        for name in VIEWS:
            with open_run(made) as run:
                try:
                    show(run, name)
                except MemtraceError as error:
                    refusals.append(error)
        if len(refusals) == len(VIEWS):
            raise refusals[-1]

    def _mutated(self, rng: random.Random) -> Path:
        made = self.folder / "mutated.parquet"
        mutations.run(rng.choice(self.runs), made, rng)
        return made

    def read_trace(self, rng: random.Random) -> None:
        """One mutated trace, imported; what was made of it is opened again."""
        made, output = self.folder / "mutated", self.folder / "imported.parquet"
        mutations.trace(rng.choice(self.traces), made, rng)
        try:
            run_import(Request((str(made),), output, overwrite=True))
        except MemtraceError:
            if output.exists():
                raise AssertionError("an import that was refused left a run behind") from None
            raise
        with open_run(output):
            pass
        output.unlink()


def show(run: Run, name: str) -> None:
    """A view of a run in every format; raises AssertionError for a control sign in one."""
    report = view(run, name).report
    for form in FORMATS:
        if hostile.steers(render(report, form)):
            raise AssertionError(f"{SIGNAL}: {form}")
    for table in report.tables:
        if hostile.steers(render(only(report, table.name), "csv")):
            raise AssertionError(f"{SIGNAL}: csv")


def one(read: Callable[[random.Random], None], seed: str, figures: Figures) -> None:
    """Feeds one input, made from the seed, and counts it."""
    figures.inputs += 1
    begun = time.monotonic()
    try:
        read(random.Random(seed))
        figures.opened += 1
    except MemtraceError:
        figures.refused += 1
    except Exception as error:
        place = _place(error)
        figures.places[place] += 1
        figures.seeds.setdefault(place, seed)
    figures.slowest = max(figures.slowest, (time.monotonic() - begun, seed))


def _place(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in last if "memtrace" in frame.filename or "/tests/" in frame.filename] or last
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
    return f"{type(error).__name__} at {where}: {str(error)[:80]!a}"


def main(minutes: float, seed: int) -> int:
    """Runs for so long, a third of it for each kind; 1 if anything raised."""
    with tempfile.TemporaryDirectory(prefix="memtrace-fuzz-") as name:
        corpus = Corpus(Path(name))
        kinds = {"opened": corpus.open_run, "shown": corpus.show_all, "traces": corpus.read_trace}
        told = []
        for kind, read in kinds.items():
            figures, until = Figures(), time.monotonic() + 60 * minutes / len(kinds)
            while time.monotonic() < until:
                one(read, f"{seed}/{kind}/{figures.inputs}", figures)
            print(figures.line(kind), flush=True)
            told.append(figures)
    print(f"largest RSS {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB, seed {seed}")
    return 1 if any(figures.places for figures in told) else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
