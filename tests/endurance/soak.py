# SPDX-License-Identifier: Apache-2.0
"""Two recorders for long, one streaming all and one as by default: their memory must stay flat.

`make soak MINUTES=30` (root): python -m memtrace.tests.endurance.soak 30.  The load starts new
processes all the time, under ever new names.  Printed are the resident memory of both for each
minute, and its slope once the first five minutes are over.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from memtrace.traces.reader import open_run

SETTLES_S = 300
"""How long memory may grow: caches fill, and the allocator finds its size."""
FLAT_MB_PER_MINUTE = 0.1
_SAMPLE_S = 5
_LOAD = """i=0
while :; do
  i=$((i + 1))
  (exec -a "task$i" %s -c 'bytearray(8 << 20)')
  sleep .05
done"""


@dataclass
class Recorder:
    """One recorder, and what its memory was."""

    name: str
    output: Path
    process: subprocess.Popen[bytes]
    samples: list[tuple[float, float]] = field(default_factory=list)
    """Seconds from the start, resident MB."""

    @classmethod
    def started(cls, name: str, folder: Path, *options: str) -> Recorder:
        """Starts to record."""
        output = folder / f"{name}.parquet"
        command = [sys.executable, "-m", "memtrace.cli", "record", "-q", "-o", str(output), *options]
        return cls(name, output, subprocess.Popen(command))

    def sample(self, now: float) -> None:
        """Takes its memory down.  Raises OSError if it has ended."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        self.samples.append((now, pages * os.sysconf("SC_PAGE_SIZE") / 1e6))

    def slope(self) -> float | None:
        """MB a minute after the first five minutes, by least squares; None of too few samples."""
        late = np.array([(now, mb) for now, mb in self.samples if now >= SETTLES_S])
        return float(np.polyfit(late[:, 0] / 60, late[:, 1], 1)[0]) if len(late) > 2 else None

    def curve(self) -> str:
        """Its memory, a number for each minute."""
        minutes = {int(now // 60): mb for now, mb in reversed(self.samples)}
        return " ".join(f"{minutes[m]:.0f}" for m in sorted(minutes))

    def ended(self) -> str:
        """Ends it, and says what is in its run."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(120)
        with open_run(self.output) as run:
            seen = sum(c.seen for c in run.status.counters)
            full = run.status.losses.ring_full
            size = self.output.stat().st_size / 1e6
            return (
                f"status {status}, {seen} events, {full} lost to full rings, {run.rows} rows, {size:.0f} MB"
            )


def main(minutes: float) -> int:
    """Records for so long; 1 if memory grew by more than 0.1 MB a minute in the end."""
    with tempfile.TemporaryDirectory(prefix="memtrace-soak-") as name:
        load = subprocess.Popen(["bash", "-c", _LOAD % sys.executable], start_new_session=True)
        recorders = [
            Recorder.started("all", Path(name), "--stream", "all"),
            Recorder.started("default", Path(name)),
        ]
        try:
            _watch(recorders, minutes * 60)
            for one in recorders:
                print(f"{one.name}: {one.ended()}\n  MB at each minute: {one.curve()}")
        finally:
            os.killpg(load.pid, signal.SIGKILL)
            load.wait()
            for one in recorders:
                one.process.kill()
                one.process.wait()
    slopes = {one.name: one.slope() for one in recorders}
    for name, slope in slopes.items():
        print(f"{name}: " + ("too short to tell" if slope is None else f"{slope:+.3f} MB a minute"))
    return 1 if any(slope is not None and slope > FLAT_MB_PER_MINUTE for slope in slopes.values()) else 0


def _watch(recorders: list[Recorder], seconds: float) -> None:
    start = time.monotonic()
    said = 0
    while (now := time.monotonic() - start) < seconds:
        for one in recorders:
            one.sample(now)
        if now // 60 > said:
            said = int(now // 60)
            memory = ", ".join(f"{one.name} {one.samples[-1][1]:.0f} MB" for one in recorders)
            print(f"minute {said}: {memory}", flush=True)
        time.sleep(_SAMPLE_S)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
