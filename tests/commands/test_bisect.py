# SPDX-License-Identifier: Apache-2.0
"""The script of docs/bisect.md: what git is told of each outcome.  Its boots are generated runs here;
tests/vm/test_compare.py makes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from memtrace.tests.analyzer.compare.generated import write_side

DOCS = Path(__file__).parents[2] / "docs" / "bisect.md"
LAB = """#!/bin/sh
# `lab run` hands out the runs named by the commit, everything else is memtrace.
if [ "$1" != lab ]; then exec {python} -m memtrace.cli "$@"; fi
while [ $# -gt 0 ]; do
    case $1 in --append) from=$2 ;; -o) into=$2 ;; esac
    shift
done
[ -d "{runs}/$from" ] && cp -r "{runs}/$from" "$into/runs"
"""


@pytest.fixture
def step(tmp_path: Path) -> Path:
    """The script, beside runs of a good, a slow and an indistinct kernel."""
    (text,) = re.findall(r"```sh\n(.*?)```", DOCS.read_text(), re.S)
    path = tmp_path / "bisect-step"
    path.write_text(text)
    tool = tmp_path / "bin" / "memtrace"
    tool.parent.mkdir()
    tool.write_text(LAB.format(python=sys.executable, runs=tmp_path))
    for file in (path, tool):
        file.chmod(0o755)
    for seed, (name, factor) in enumerate({"good": 1.0, "same": 1.0, "slow": 1.5, "near": 1.1}.items()):
        write_side(tmp_path / name, 4, seed=seed, factor=factor, events=1_000, noise=0.01, first=20 * seed)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "boot-001.parquet").write_bytes(
        (tmp_path / "good" / "boot-000.parquet").read_bytes()[:8]
    )
    (tmp_path / "tree").mkdir()
    subprocess.run(["git", "init", "-q"], cwd=tmp_path / "tree", check=True)
    commit = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--allow-empty", "-m", "x"]
    subprocess.run(commit, cwd=tmp_path / "tree", check=True)
    return path


@pytest.mark.parametrize(
    ("kernel", "changes", "status"),
    [
        ("same", {}, 0),
        ("slow", {}, 1),
        ("near", {}, 125),
        ("same", {"BUILD": "false"}, 125),
        ("none that boots", {}, 125),
        ("begun", {}, 125),
        ("same", {"CONDITION": "nonsense"}, 255),
    ],
)
def test_a_step_says_good_bad_skip_or_stop(
    step: Path, kernel: str, changes: dict[str, str], status: int
) -> None:
    folder = step.parent
    (folder / "tree" / "append").write_text(kernel)
    env = os.environ | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "GOOD": str(folder / "good"),
        "RUNS": str(folder / "steps"),
        "CONDITION": "alloc.p50>+10%",
        "BUILD": "true",
        "APPEND_FILE": "append",
    }
    done = subprocess.run(
        [str(step)], cwd=folder / "tree", env=env | changes, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == status, done.stdout + done.stderr
