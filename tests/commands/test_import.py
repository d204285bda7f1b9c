# SPDX-License-Identifier: Apache-2.0
"""``memtrace import``: what it says, and what it refuses."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "traces" / "importers" / "data"
HOTPLUG = DATA / "hotplug-kaslr-6.12.txt"
LOG = DATA / "boot-6.12.dmesg.gz"


def memtrace(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "memtrace.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60)


def test_it_says_what_became_of_each_file(tmp_path: Path) -> None:
    done = memtrace("import", HOTPLUG, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    name = "memtrace: hotplug-kaslr-6.12.txt"
    assert done.stderr.splitlines() == [
        f"{name} (tracefs): 211 lines, 18 rows, 8 ignored, 39 unparsed",
        f"{name}: not understood: @@ 6.12.117+deb12-cloud-amd64 console=ttyS0 panic=-1 quiet loglevel=3",
        f"{name}: not understood: @@SNAP before",
        f"{name}: not understood: nr_memmap_pages 0",
        f"{name}: clock local (guessed: trace_clock's default; say --clock if it was another): "
        "not aligned, because nothing in the files relates it to CLOCK_BOOTTIME",
        "memtrace: 18 rows in run.parquet (hot.add 1, hot.memmap 4, hot.online 4, hot.request 1, "
        "hot.section 4, hot.zone 4)",
    ]


def test_a_log_alone_makes_a_run_of_phases(tmp_path: Path) -> None:
    done = memtrace("import", DATA / "boot-6.12.dmesg.gz", cwd=tmp_path)
    clock, last = done.stderr.splitlines()[1:]
    assert "clock printk (stamps of the kernel log): dmesg: sched_clock: Marking stable" in clock
    assert clock.endswith("offset -0.025929 s within 0.010 ms")
    assert last == "memtrace: 0 rows in run.parquet, 7 phases"


def test_the_run_opens_in_report_with_its_caveats(tmp_path: Path) -> None:
    memtrace("import", "-q", HOTPLUG, cwd=tmp_path)
    page = memtrace("report", "run.parquet", cwd=tmp_path)
    assert page.returncode == 0, page.stderr
    assert "hot.memmap       4  8.00Mi" in page.stdout
    said = " ".join(page.stdout.split())
    assert "no kernel counters: the run was imported" in said
    assert "lines that were not understood: hotplug-kaslr-6.12.txt 39 of 211" in said
    assert "times are on the clock of the file, not CLOCK_BOOTTIME, in hotplug-kaslr-6.12.txt" in said


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["import"], 2, "give the files to import, e.g. `memtrace import trace.txt dmesg.txt`"),
        (["import", "none.txt"], 1, "none.txt does not exist; give a file that a tracer or dmesg printed"),
        (["import", "--clock", "x", HOTPLUG], 2, "--clock x: give one of local, "),
        (["import", "--clock", "", HOTPLUG], 2, "--clock is empty: give CLOCK, or leave --clock out"),
        (["import", "--clock", "mono", LOG], 2, "--clock goes with a trace, and none is among the files"),
        (["import", "--boot", "1", HOTPLUG], 2, "--boot goes with a kernel log, and none is among the files"),
        (["import", HOTPLUG, HOTPLUG], 2, f"{HOTPLUG} is given twice; give each file once"),
        (["import", HOTPLUG, f"tracefs:{HOTPLUG}"], 2, f"{HOTPLUG} is given twice; give each file once"),
        (["import", HOTPLUG, "link.txt"], 2, f"link.txt is the same text as {HOTPLUG}; give it once"),
        (["import", HOTPLUG, LOG, "copy.txt"], 2, f"copy.txt is the same text as {HOTPLUG}; give it once"),
        (["import", "copy.gz", HOTPLUG], 2, f"{HOTPLUG} is the same text as copy.gz; give it once"),
        (
            ["import", "--merge", "no.parquet", DATA / "hotplug-kaslr-6.12.txt"],
            1,
            "no.parquet does not exist",
        ),
    ],
)
def test_bad_words_are_refused_in_a_sentence(
    tmp_path: Path, words: list[str | Path], status: int, said: str
) -> None:
    (tmp_path / "link.txt").symlink_to(HOTPLUG)
    shutil.copy(HOTPLUG, tmp_path / "copy.txt")
    (tmp_path / "copy.gz").write_bytes(gzip.compress(HOTPLUG.read_bytes()))
    done = memtrace(*words, cwd=tmp_path)
    assert done.returncode == status
    assert done.stderr.startswith(f"memtrace: {said}")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run.parquet").exists()


def test_two_traces_of_headers_alone_are_no_text_twice(tmp_path: Path) -> None:
    """Two instances that saw nothing: the same bytes, and not the same trace."""
    for name in ("one", "other"):
        (tmp_path / name).write_text("# tracer: nop\n#\n# entries-in-buffer/entries-written: 0/0   #P:2\n#\n")
    done = memtrace("import", "tracefs:one", "tracefs:other", cwd=tmp_path)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "memtrace: 0 rows in run.parquet")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("/proc/x", "no file can be made in /proc; give another output with -o"),
        ("/no/such/x", "/no/such does not exist; make it, or give another output with -o"),
    ],
)
def test_an_output_that_cannot_be_made_is_told_with_its_reason(
    tmp_path: Path, output: str, said: str
) -> None:
    done = memtrace("import", HOTPLUG, "-o", output, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, f"memtrace: {said}\n")


def test_an_existing_output_is_kept_unless_told(tmp_path: Path) -> None:
    (tmp_path / "run.parquet").write_text("precious")
    done = memtrace("import", HOTPLUG, cwd=tmp_path)
    assert done.returncode == 1
    assert "run.parquet exists; add -f to overwrite it" in done.stderr
    assert (tmp_path / "run.parquet").read_text() == "precious"
    assert memtrace("import", "-f", HOTPLUG, cwd=tmp_path).returncode == 0
