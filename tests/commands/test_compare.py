# SPDX-License-Identifier: Apache-2.0
"""The command line of compare: exit statuses, output, and one sentence for whatever is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memtrace.tests.analyzer.compare.generated import write_side


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_side(folder / "base", 6, seed=1, events=1_500, noise=0.01)
    write_side(folder / "same", 6, seed=2, events=1_500, noise=0.01, first=20)
    write_side(folder / "slow", 6, seed=3, events=1_500, noise=0.01, factor=1.3, first=40)
    (folder / "text").write_text("not a run\n")
    pq.write_table(pa.table({"of": ["another program"]}), folder / "other.parquet")
    return folder


def compare(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "memtrace.cli", "compare", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("base", "slow"), 0),
        (("base", "slow", "--fail-on", "alloc.p50>+5%"), 1),
        (("base", "same", "--fail-on", "alloc.p50>+50%"), 0),
        (("base", "same", "--fail-on", "alloc.p50>+0%"), 125),
        (("base", "slow", "--fail-on", "alloc.p50>+50%", "--fail-on", "alloc.bytes>+1%"), 0),
        (("base", "slow", "--fail-on", "alloc.bytes>+1%", "--fail-on", "alloc.p50>+5%"), 1),
        (("base/boot-000.parquet", "slow/boot-000.parquet"), 0),
        (("base/boot-000.parquet", "slow/boot-000.parquet", "--fail-on", "alloc.p50>+5%"), 125),
        (("base", "base"), 2),
        (("base",), 2),
        (("base", "slow", "--fail-on", "nonsense"), 2),
        (("base", "nothing"), 2),
        (("base", ""), 2),
        (("base", "slow", "--metric", ""), 2),
        (("base", "slow", "--fail-on", ""), 2),
        (("base", "text", "--fail-on", "alloc.p50>+5%"), 2),
        (("base", "other.parquet", "--fail-on", "alloc.p50>+5%"), 2),
        (("base", "slow", "--fail-on", "alloc.p50>+5%", "-o", "nowhere/page"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_the_exit_status_says_what_was_found(runs: Path, words: tuple[str, ...], status: int) -> None:
    done = compare(runs, *words)
    assert done.returncode == status, done.stderr
    if status == 2:
        assert done.stdout == ""
        assert done.stderr.startswith("memtrace: ") and len(done.stderr.splitlines()) == 1
    else:
        assert done.stderr == "", "progress is for terminals"
        assert "Headline" in done.stdout


def test_the_conditions_say_why(runs: Path) -> None:
    page = compare(runs, "base", "slow", "--fail-on", "alloc.p50>+5%").stdout
    assert "regression" in page[page.index("Conditions") : page.index("Headline")]


def test_output_goes_into_a_file(runs: Path, tmp_path: Path) -> None:
    done = compare(runs, "base", "slow", "--format", "html", "-o", str(tmp_path / "page.html"))
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "page.html").read_text().endswith("</html>\n")
