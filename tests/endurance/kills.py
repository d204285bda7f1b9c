# SPDX-License-Identifier: Apache-2.0
"""Kills recorders at the moments that hurt most, and says what their runs are still worth.

`make kills TIMES=200` (root): python -m memtrace.tests.endurance.kills 200 [SEED].  A third of
the recorders dies while it starts, a third while it writes a checkpoint, a third while the
finished run is rewritten.  Each run must open, or hold nothing yet; file and kernel must not
differ; how much time is missing at its end is told.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.traces.compact import ABOVE_GROUPS
from memtrace.traces.reader import NothingYet, open_run

_STARTS_S = 2.0
_REWRITES_S = 1.0
_CHECKPOINT_S = 1.0
_AT_ONCE = 12
"""Recorders that wait together until there is enough to rewrite."""
_PATIENCE_S = 60.0
LOAD = "import time\nwhile True:\n bytearray(1 << 21)\n time.sleep(.002)"


@dataclass(frozen=True)
class Left:
    """What one killed recorder left behind."""

    moment: str
    state: str
    """"cut short", "finished", "nothing yet", "no file", or what was refused."""
    missing_s: float | None = None
    """From the last checkpoint to the kill."""
    differs: tuple[str, ...] = ()
    meanwhile: float = 0.0
    """The largest share of an event that came while the last rows were taken."""
    rewriting: bool = False
    """Whether the run was being rewritten."""

    @property
    def good(self) -> bool:
        """Whether all that was promised is there."""
        return self.state in ("cut short", "finished", "nothing yet", "no file") and not self.differs


def while_starting(folder: Path, rng: random.Random) -> Left:
    """Kills a recorder at any time until it is armed, or just when it has made its file."""
    output = folder / "run.parquet"
    recorder = _recorder(output)
    if rng.random() < 0.5:
        _until(output.exists)
        time.sleep(rng.uniform(0, _STARTS_S / 4))
    else:
        time.sleep(rng.uniform(0, _STARTS_S))
    return _killed(recorder, output, "start")


def at_a_checkpoint(folder: Path, rng: random.Random) -> Left:
    """Kills a recorder as soon as its file is seen to grow."""
    output = folder / "run.parquet"
    recorder = _recorder(output)
    for _ in range(rng.randint(2, 4)):
        size = _size(output)
        _until(lambda before=size: _size(output) > before)  # type: ignore[misc]
    time.sleep(rng.choice((0, rng.uniform(0, 0.01))))
    return _killed(recorder, output, "checkpoint")


def while_rewriting(folder: Path, rng: random.Random) -> Left:
    """Kills a recorder that was told to end when its run has so many row groups that it is rewritten."""
    output = folder / "run.parquet"
    recorder = _recorder(output)
    time.sleep(_STARTS_S + (ABOVE_GROUPS + 5) * _CHECKPOINT_S)
    recorder.send_signal(signal.SIGINT)
    if rng.random() < 0.5:
        _until(lambda: any(folder.glob(".memtrace-*")) or recorder.poll() is not None)
        time.sleep(rng.uniform(0, 0.1))
    else:
        time.sleep(rng.uniform(0, _REWRITES_S))
    left = _killed(recorder, output, "rewrite")
    return replace(left, rewriting=any(folder.glob(".memtrace-*")))


def _recorder(output: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "memtrace.cli", "record", "-q", "--stream", "all", "-o", str(output)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def _killed(recorder: subprocess.Popen[bytes], output: Path, moment: str) -> Left:
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    recorder.kill()
    recorder.wait()
    if not output.exists():
        return Left(moment, "no file")
    try:
        with open_run(output) as run:
            state, ended = "cut short" if run.cut_short else "finished", run.status.ended_ns
            counters = run.status.counters
    except NothingYet:
        return Left(moment, "nothing yet")
    except MemtraceError as error:
        return Left(moment, f"refused: {error}")
    shares = [(c.seen - c.seen_before) / c.seen for c in counters if c.seen_before is not None and c.seen]
    missing = max(now - ended, 0) / 1e9 if state == "cut short" else None
    return Left(moment, state, missing, _differences(output), max(shares, default=0.0))


def _differences(output: Path) -> tuple[str, ...]:
    """What `memtrace report` finds to differ between file and kernel."""
    command = [sys.executable, "-m", "memtrace.cli", "report", str(output), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return (f"report ended with {done.returncode}: {done.stderr.strip()}",)
    rows = json.loads(done.stdout)["tables"]["integrity"]
    return tuple(f"{row['event']} {row['verdict']}" for row in rows if row["verdict"] != "agree")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not true() and time.monotonic() < deadline:
        time.sleep(0.0005)


@contextmanager
def load() -> Iterator[None]:
    """Something allocates while this lasts."""
    process = subprocess.Popen([sys.executable, "-c", LOAD])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def trial(kill: Callable[[Path, random.Random], Left], seed: str) -> Left:
    """One kill in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="memtrace-kills-") as name:
        return kill(Path(name), random.Random(seed))


def table(left: list[Left]) -> str:
    """A line for each moment: what the runs were, the worst of them, and each that broke a promise."""
    lines = []
    for moment in dict.fromkeys(one.moment for one in left):
        ours = [one for one in left if one.moment == moment]
        states = {s: sum(one.state == s for one in ours) for s in dict.fromkeys(one.state for one in ours)}
        missing = max((one.missing_s for one in ours if one.missing_s is not None), default=0.0)
        lines.append(
            f"{moment:11} {len(ours):4} kills: "
            + ", ".join(f"{n} {state}" for state, n in states.items())
            + f"; at most {missing:.2f} s missing; {sum(bool(one.differs) for one in ours)} differ"
            + f"; at most {max(one.meanwhile for one in ours):.2%} came meanwhile"
            + (f"; {n} in the rewriting itself" if (n := sum(one.rewriting for one in ours)) else "")
        )
    lines += [f"  {one.moment}: {one.state} {'; '.join(one.differs)}" for one in left if not one.good]
    return "\n".join(lines)


def main(times: int, seed: int) -> int:
    """Kills so many recorders; 1 if a promise was broken."""
    third = -(-times // 3)
    left: list[Left] = []
    with load():
        for kill in (while_starting, at_a_checkpoint):
            left += [trial(kill, f"{seed}/{kill.__name__}/{i}") for i in range(third)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            seeds = [f"{seed}/rewriting/{i}" for i in range(times - 2 * third)]
            left += pool.map(lambda s: trial(while_rewriting, s), seeds)
    print(table(left))
    return 0 if all(one.good for one in left) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
