# SPDX-License-Identifier: Apache-2.0
"""Whole comparisons, compared letter by letter.

``MEMTRACE_RENEW_GOLDEN=1 pytest tests/analyzer/compare/test_golden.py`` writes them
anew; read the difference before you commit it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.compare.request import Request, make
from memtrace.tests.analyzer.compare.generated import rows_of, write_run, write_side
from memtrace.tests.analyzer.goldens import as_it_was, fits_mail, none_left_over
from memtrace.traces.run import Fact

GOLDEN = Path(__file__).parent / "golden"
SLOW = {"kernel_release": "6.12.0-patched", "kernel_cmdline": "quiet init_on_alloc=1"}

WANTED: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "worse.txt": (("base", "slow"), {"fail_on": ("alloc.p50>+5%", "alloc.*>+1%")}),
    "worse.md": (("base", "slow"), {}),
    "worse.csv": (("base", "slow"), {"format": "csv"}),
    "several.txt": (("base", "same", "slow"), {"metric": ("alloc.p", "alloc.bytes")}),
    "one-run.txt": (("base/boot-000.parquet", "slow/boot-000.parquet"), {"plan": "10%"}),
    "three-runs.txt": (("base/boot-00[012].parquet", "slow/boot-00[012].parquet"), {}),
    "withheld.txt": (("base", "other"), {}),
    "plan.txt": (("base",), {"plan": "5%"}),
    "calibration.txt": ((), {"calibrate": "base"}),
}
"""The golden files: which sides, and what is asked of them."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    plain: dict[str, Any] = {
        "facts": (Fact("init_on_alloc", "no"), Fact("virtualized", "no")),
        "kernel_cmdline": "quiet",
    }
    write_side(folder / "base", 8, seed=1, **plain)
    write_side(folder / "same", 8, seed=2, first=20, **plain)
    write_side(folder / "slow", 8, seed=3, factor=1.3, first=40, **(plain | SLOW))
    sampled = [{**row, "flags": 4} for row in rows_of([500.0] * 50)]
    for i in range(4):
        write_run(
            folder / "other" / f"{i}.parquet", sampled, 60 + i, workload=("make",), filters={"pid": "7"}
        )
    return folder


@pytest.mark.parametrize("name", WANTED)
def test_the_comparison_is_as_it_was(name: str, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    sides, asked = WANTED[name]
    kind = name.rpartition(".")[2].replace("txt", "text")
    text = make(Request(sides, **({"format": kind} | asked))).text
    as_it_was(GOLDEN / name, text)


def test_no_golden_file_is_left_over() -> None:
    none_left_over(GOLDEN, WANTED)


@pytest.mark.parametrize("name", [name for name in WANTED if name.endswith(".txt")])
def test_a_page_can_be_pasted_into_mail(name: str) -> None:
    fits_mail(GOLDEN / name)
