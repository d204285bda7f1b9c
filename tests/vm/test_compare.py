# SPDX-License-Identifier: Apache-2.0
"""A comparison of real boots whose differences are known, and a bisection that finds a commit.

Both tests use the one series.  How often the statistics are wrong is asked of recorded
runs, in tests/analyzer/compare.

Boots: 9.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from memtrace.traces.reader import Run, open_runs

pytestmark = pytest.mark.vm

ROOT = Path(__file__).parents[2]
BOOTS = 3
EMULATE = "unaccepted_emul=768M@1G,2G@4G unaccepted_emul_cost="
GOOD, BAD = f"{EMULATE}1000000 init_on_alloc=0", f"{EMULATE}4000000 init_on_alloc=1"
"""ns of accepting 2 MiB; what the allocator clears.

Four times as slow, and twice is the threshold: a busy host moves the fastest calls of three
boots by less than that either way.
"""
ACCEPTS, LOGGED, SMALL, HUGE = 25, 40, 65536, 16
MODULE = "memtrace.tests.vm.workloads.known_and_accepts"
WORKLOAD = ("python3", "-m", MODULE, *map(str, (LOGGED, SMALL, HUGE)))
"""256 MiB in small pages and 32 MiB in huge ones on each node, and until the kernel has accepted so often.

Only the workload is recorded, and some of the accepts are of other tasks: ACCEPTS are to be its own.
"""
HUGE_BYTES = 2 * HUGE << 21
RECORDED = ("--mem", "2G,2G", "--limit", "600", "-e", "alloc,zero,accept.call")
METRIC = ("--metric", "accept.call.p10")
"""Near the fastest of the calls: the host's own load lengthens the others, and with them the sums."""


def memtrace(*words: str, ok: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "memtrace.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500)
    assert done.returncode in ok, done.stderr
    return done


def compared(*words: str) -> dict[str, Any]:
    """The headline and parts by metric, and the findings by id."""
    document = json.loads(memtrace("compare", *words, "--format", "json").stdout)
    tables = document["tables"]
    rows = {row["metric"]: row for row in (*tables["headline"], *tables["parts"])}
    return {"changes": rows, "findings": {row["id"]: row["text"] for row in tables["comparability"]}}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three boots of either side; the second call makes those that are missing, and no other."""
    folder = tmp_path_factory.mktemp("pair")
    kernels = ("--before", "accept-6.12", "--after", "accept-6.12")
    sides = ("--append-before", GOOD, "--append-after", BAD)
    series = ("lab", "ab", *kernels, *sides, *RECORDED, "-o", str(folder))
    assert "boot 2 of 2" in memtrace(*series, "--boots", "1", "--", *WORKLOAD).stderr
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.parquet")}
    assert len(stamps) == 2
    assert len(memtrace(*series, "--boots", str(BOOTS), "--", *WORKLOAD).stdout.splitlines()) == 2 * BOOTS
    assert all(path.stat().st_mtime_ns == at for path, at in stamps.items())
    return folder


def test_what_differs_is_found_and_what_does_not_is_not(pair: Path) -> None:
    """Known: __GFP_ZERO pages are cleared on both sides, each huge page by zero.user on both, and once
    more by the allocator only with init_on_alloc=1; and accepting takes four times as long."""
    counts = {
        sum(item["huge_pages"] for item in json.loads(file.read_text()))
        for file in pair.glob("*/*.files/known.json")
    }
    assert counts == {2 * HUGE}
    sides = [str(pair / side) for side in ("before", "after")]
    for side, init in zip(sides, ("no", "yes"), strict=True):
        runs = open_runs(side)
        assert len(runs) == BOOTS
        for run in runs:
            check_boot(run, init)
    found = compared(*sides, "--confidence", "90%")
    changes = found["changes"]
    assert "no against yes" in found["findings"]["init-on-alloc"]
    assert "1000000 against 4000000" in found["findings"]["cmdline"]
    cells = [changes[f"zero.alloc.bytes[order=9,node={nid}]"] for nid in (0, 1)]
    assert sum(cell["before"] for cell in cells) == 0
    assert sum(cell["after"] for cell in cells) == HUGE_BYTES
    assert changes["zero.user.bytes"]["change"] == 0
    assert changes["zero.user.bytes"]["before"] == HUGE_BYTES
    nothing = changes["alloc.bytes[order=9,node=0]"]
    assert (nothing["change"], nothing["change_low"], nothing["change_high"]) == (0, 0, 0)

    slower = compared(*sides, *METRIC, "--confidence", "90%")["changes"]["accept.call.p10"]
    assert slower["verdict"] == "worse"
    assert 1.5 < slower["change"] < 4
    gate = ("--confidence", "90%", "--fail-on")
    memtrace("compare", *sides, *METRIC, *gate, "accept.call.p10>+100%", ok=(1,))
    memtrace("compare", *sides, *METRIC, *gate, "accept.call.p10>+1000%", ok=(0,))


def check_boot(run: Run, init: str) -> None:
    assert run.status.complete
    assert {f.name: f.value for f in run.header.facts}["init_on_alloc"] == init
    assert {s.event: s.kind for s in run.header.manifest}["alloc"] == "fentry"
    seen = {c.event: c.seen for c in run.status.counters}
    assert seen["zero.user"] == 2 * HUGE
    assert seen["accept.call"] >= ACCEPTS


def test_git_bisect_run_finds_the_commit(pair: Path, tmp_path: Path) -> None:
    """The recipe of docs/bisect.md, as it is.  Good commits are booted, a bad one was."""
    (script,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "bisect.md").read_text(), re.S)
    step = tmp_path / "bisect-step"
    step.write_text(script)
    step.chmod(0o755)
    tool = tmp_path / "bin" / "memtrace"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m memtrace.cli "$@"\n')
    tool.chmod(0o755)
    tree = tmp_path / "tree"
    commits = repository(tree, [GOOD, GOOD, GOOD, BAD, BAD])
    _, _, good, bad, _ = (
        tmp_path / "bisect" / git(tree, "rev-parse", "--short", commit).strip() for commit in commits
    )
    shutil.copytree(pair / "after", bad / "runs")
    env = os.environ | {
        "PATH": f"{tool.parent}:{os.environ['PATH']}",
        "GOOD": str(pair / "before"),
        "RUNS": str(tmp_path / "bisect"),
        "CONDITION": "accept.call.p10>+100%",
        "BUILD": "true",
        "KERNEL": "accept-6.12",
        "BOOTS": str(BOOTS),
        "APPEND_FILE": "cmdline",
        "LAB_OPTIONS": " ".join(RECORDED),
        "WORKLOAD": " ".join(WORKLOAD),
    }
    git(tree, "bisect", "start", commits[-1], commits[0])
    done = subprocess.run(
        ["git", "bisect", "run", str(step)], cwd=tree, env=env, capture_output=True, text=True, timeout=1500
    )
    print(done.stdout)
    assert f"{commits[3]} is the first bad commit" in done.stdout, done.stdout + done.stderr
    # Of three commits between, two are looked at.
    assert set((tmp_path / "bisect").iterdir()) == {good, bad}
    assert all(len(open_runs(folder / "runs")) == BOOTS for folder in (good, bad))


def repository(tree: Path, command_lines: list[str]) -> list[str]:
    """A repository with a commit for each kernel command line; their hashes, the oldest first."""
    tree.mkdir()
    git(tree, "init", "-q")
    commits = []
    for number, command_line in enumerate(command_lines):
        (tree / "cmdline").write_text(f"{command_line}\n")
        (tree / "number").write_text(f"{number}\n")
        git(tree, "add", "-A")
        git(tree, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", f"commit {number}")
        commits.append(git(tree, "rev-parse", "HEAD").strip())
    return commits


def git(tree: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=tree, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
