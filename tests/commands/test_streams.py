# SPDX-License-Identifier: Apache-2.0
"""Standard output that is full, closed or no longer read; terminals, and what they take."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memtrace.commands import streams
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import write
from memtrace.tests.commands.terminals import environment, sent_to

TRACE = Path(__file__).parents[1] / "traces" / "importers" / "data" / "hotplug-kaslr-6.12.txt"
PROGRAM = (sys.executable, "-m", "memtrace.cli")
ANSWERS = (
    "report run.parquet", "report run.parquet --format json", "--help", "record --help", "--version",
    "workload", "boot prepare", "compare side run.parquet", "lab --help",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write(CASES["streamed"](), folder / "run.parquet")
    (folder / "side").mkdir()
    write(CASES["streamed"](), folder / "side" / "1.parquet")
    return folder


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", f'memtrace() {{ {" ".join(PROGRAM)} "$@"; }}; {line}']
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def failed(words: str) -> int:
    """1; of compare it would say that there is a regression."""
    return 2 if words.startswith("compare") else 1


@pytest.mark.parametrize("words", ANSWERS)
def test_a_full_disk_behind_standard_output_is_said(words: str, folder: Path) -> None:
    done = shell(f"memtrace {words} > /dev/full", folder)
    said = "memtrace: standard output cannot be written (No space left on device)\n"
    assert (done.returncode, done.stderr) == (failed(words), said)


@pytest.mark.parametrize("words", ANSWERS)
def test_a_closed_standard_output_is_said(words: str, folder: Path) -> None:
    done = shell(f"memtrace {words} >&-", folder)
    said = "memtrace: standard output cannot be written (Bad file descriptor)\n"
    assert (done.returncode, done.stderr) == (failed(words), said)


def test_what_writes_nothing_there_does_not_need_it(folder: Path, tmp_path: Path) -> None:
    done = shell(f"memtrace import -q {TRACE} -o {tmp_path}/new.parquet >&- <&-", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "new.parquet").read_bytes().startswith(b"PAR1")


@pytest.mark.parametrize("where", ["2> /dev/full", "2>&-"])
def test_standard_error_that_cannot_be_written_stops_nothing(
    where: str, folder: Path, tmp_path: Path
) -> None:
    """What is said of the work in passing is less than the work."""
    assert shell(f"memtrace import {TRACE} -o {tmp_path}/new.parquet {where}", folder).returncode == 0
    assert (tmp_path / "new.parquet").exists()
    assert shell(f"memtrace report missing.parquet {where}", folder).returncode == 1


@pytest.mark.parametrize(
    ("words", "status"),
    [
        *((words, 0) for words in ANSWERS),
        ("compare run.parquet side/1.parquet --fail-on alloc.p50<+1%", 125),
    ],
)
def test_a_reader_who_leaves_changes_no_exit_status(words: str, status: int, folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*PROGRAM, *words.split()], cwd=folder, stdout=writing, stderr=subprocess.PIPE, timeout=120
        )
    finally:
        os.close(writing)
    assert done.returncode == status, done.stderr
    assert done.stderr == b""


def test_a_pipe_that_does_not_block_is_waited_for(folder: Path) -> None:
    """As ssh and some shells hand one on; here of one page, so that it is full at once."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    command = [*PROGRAM, "report", "run.parquet", "--format", "json"]
    with subprocess.Popen(command, cwd=folder, stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        time.sleep(1)
        with open(reading, "rb") as pipe:
            text = pipe.read()
        assert process.stderr is not None
        assert (process.wait(), process.stderr.read()) == (0, b"")
    assert len(text) > 4096 and set(json.loads(text)) == {"schema", "view", "run", "tables", "caveats"}


def on_a_terminal(words: list[str], folder: Path, **changes: str) -> bytes:
    """What a terminal is sent."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, *words], cwd=folder, stdout=theirs, stderr=theirs, env=environment(**changes)
    ):
        os.close(theirs)
        return sent_to(ours)


@pytest.mark.parametrize(
    ("environment", "bold", "erased"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, True),
        ({"TERM": "dumb"}, False, False),
        ({}, False, False),
    ],
)
def test_control_sequences_go_to_terminals_that_take_them(
    environment: dict[str, str], bold: bool, erased: bool, folder: Path, tmp_path: Path
) -> None:
    page = on_a_terminal(["report", "run.parquet"], folder, **environment)
    assert b"memtrace report" in page and (b"\033[1m" in page) == bold
    said = on_a_terminal(["import", str(TRACE), "-o", str(tmp_path / "new.parquet")], folder, **environment)
    assert b"18 rows" in said and (b"\033[K" in said) == erased
    if not bold and not erased:
        assert b"\033" not in page + said


def test_no_stream_takes_nothing() -> None:
    assert not streams.takes_controls(None) and not streams.takes_colors(None)
