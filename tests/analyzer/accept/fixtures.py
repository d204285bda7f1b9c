# SPDX-License-Identifier: Apache-2.0
"""Every run with acceptance that the tests have: made, imported, collected at boot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from memtrace.tests.analyzer.accept.cases import CASES
from memtrace.tests.analyzer.recorded import write
from memtrace.traces.importers import assemble

TESTS = Path(__file__).parents[2]
TEXTS = TESTS / "traces" / "importers" / "data"
BOOT = TESTS / "analyzer" / "boot" / "data" / "lazy-6.12.parquet"


def _imported(*names: str, clock: str | None = None) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        files = [file for name in names for file in sorted(TEXTS.glob(name))]
        asked = assemble.Request(tuple(map(str, files)), path, clock=clock)
        assemble.run_import(asked)

    return make


def _boot(path: Path) -> None:
    path.write_bytes(BOOT.read_bytes())


def _made(name: str) -> Callable[[Path], None]:
    return lambda path: write(CASES[name](), path)


RUNS: dict[str, Callable[[Path], None]] = {
    **{name: _made(name) for name in CASES},
    "boot": _boot,
    "collected-eager": _imported("collected-eager-6.12/*"),
    "eager-boot": _imported("eager-boot-6.12.trace.gz", "eager-boot-6.12.dmesg.gz"),
    "lazy-accept": _imported("lazy-accept-6.12.trace", clock="boot"),
    "lazy-graph": _imported("lazy-graph-6.12.trace.gz", "lazy-graph-6.12.dmesg.gz"),
}
"""What writes each run to a file."""
