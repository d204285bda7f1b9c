# SPDX-License-Identifier: Apache-2.0
"""`memtrace lab run` on a real kernel: memory that comes and goes, and what a workload leaves.  Two boots."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from memtrace.analyzer.views import view
from memtrace.lab.sizes import GIB, MIB
from memtrace.traces.reader import open_run

pytestmark = pytest.mark.vm

LEAVES = r"""
blocks() { ls -d /sys/devices/system/memory/memory[0-9]* | wc -l; }
echo at the start $(blocks)
lab-mark grow
echo after the mark $(blocks)
printf 'a complaint\n' >&2
mkdir $RESULTS/folder
echo kept > $RESULTS/folder/file
ln -s /etc/passwd $RESULTS/folder/link
"""
FAILS = r"printf 'begun\n\0\377\n'; printf '\033[2Jwrong\n' >&2; echo half > $RESULTS/half; exit 3"


def lab_run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`memtrace lab run` of one boot, of hotplug alone."""
    command = ("lab", "run", "--kernel", "accept-6.12", "--boots", "1", "--limit", "600", "-e", "hotplug")
    return subprocess.run(
        [sys.executable, "-m", "memtrace.cli", *command, "-o", str(folder), *words],
        capture_output=True,
        text=True,
        timeout=900,
        env=os.environ,
    )


def test_memory_comes_and_goes_as_asked_and_what_was_left_is_kept(tmp_path: Path) -> None:
    devices = "512M@1,virtio-mem:1G@1:at=grow,128M@0:at=never"
    done = lab_run(tmp_path, "--hotplug", devices, "--unplug", "dimm0", "--", "bash", "-c", LEAVES)
    run = tmp_path / "runs" / "boot-001.parquet"
    assert (done.returncode, done.stdout) == (1, f"{run}\n"), done.stderr
    assert "never called `lab-mark never`, so that dimm1 was not plugged; it called grow" in done.stderr
    assert "of $RESULTS only files and folders are kept, not 1 symbolic link" in done.stderr

    assert run.with_suffix(".err").read_text() == "a complaint\n"
    # 2 GiB are 16 blocks of 128 MiB; the DIMM came before the workload began.
    said = run.with_suffix(".out").read_text()
    assert said == "at the start 20\ndone virtio-mem0 1073741824\nafter the mark 28\n"
    files = run.with_suffix(".files")
    kept = sorted(str(path.relative_to(files)) for path in files.rglob("*"))
    assert kept == ["folder", "folder/file"]
    assert (files / "folder" / "file").read_text() == "kept\n"

    with open_run(run) as recorded:
        table = view(recorded, "hotplug").report.table("adds")
    assert table
    dimm, *virtual = table.rows
    assert (dimm["origin"], dimm["nid"], dimm["bytes"]) == ("ACPI DIMM", 1, 512 * MIB)
    assert dimm["result"] == "removed"
    assert {(row["origin"], row["nid"], row["result"]) for row in virtual} == {("virtio-mem", 1, "online")}
    assert sum(row["onlined_bytes"] for row in virtual) == GIB


def test_a_failing_workload_has_the_last_word(tmp_path: Path) -> None:
    # Without its driver the kernel takes a DIMM for any other device, and reports success.
    words = ("--append", "acpi_no_memhotplug", "--hotplug", "512M", "--", "bash", "-c", FAILS)
    done = lab_run(tmp_path, *words)
    beside = tmp_path / "runs" / "boot-001.parquet"
    assert (done.returncode, done.stdout) == (1, "")
    refused = "dimm0 is plugged, but the guest has added 0M of 512M"
    assert f"boot 1 of accept-6.12 ended with status 3; {refused}" in done.stderr
    assert "last words on stdout, all of it in" in done.stderr
    assert "\n  begun\n  \\x00\\xff\n" in done.stderr
    assert done.stderr.endswith("\n  \\x1b[2Jwrong\n")
    assert beside.with_suffix(".out").read_bytes() == b"begun\n\0\xff\n"
    assert (beside.with_suffix(".files") / "half").read_text() == "half\n"
    assert not beside.exists()
