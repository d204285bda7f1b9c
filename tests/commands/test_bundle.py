# SPDX-License-Identifier: Apache-2.0
"""`memtrace bundle`: one file records with another Python, without BCC and without memtrace installed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from memtrace.probes.programs import kept
from memtrace.traces.reader import open_run

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="recording needs root")
PYTHON = os.path.realpath(sys.executable)


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command that knows nothing of this test's memtrace but what is given."""
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        command, cwd=cwd, env=plain | environment, capture_output=True, text=True, timeout=120, check=False
    )


def memtrace(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    given = {kept.FOLDER: str(cwd / "kept"), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return run(sys.executable, "-m", "memtrace.cli", *arguments, cwd=cwd, **given)


def beside(bundle: Path) -> None:
    """Give a bundle numpy and pyarrow, and nothing else."""
    folder = bundle.with_suffix(".d")
    folder.mkdir()
    for module in (np, pa):
        package = Path(str(module.__file__)).parent
        for found in package.parent.glob(f"{package.name}*"):
            (folder / found.name).symlink_to(found)


def test_without_programs_there_is_no_bundle(tmp_path: Path) -> None:
    done = memtrace("bundle", "-o", "x.pyz", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "memtrace: no programs are kept: run `memtrace programs build`, or give PROGRAMS\n"
    )
    assert not (tmp_path / "x.pyz").exists()


@pytest.mark.live
@as_root
def test_a_bundle_records_and_says_what_it_has_not(tmp_path: Path) -> None:
    assert memtrace("programs", "build", "-e", "alloc", cwd=tmp_path).returncode == 0
    assert memtrace("programs", "export", "-o", "all.programs", cwd=tmp_path).returncode == 0
    for name in ("x.pyz", "again.pyz"):
        done = memtrace("bundle", "-o", name, "all.programs", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    bundle = tmp_path / "x.pyz"
    assert bundle.read_bytes() == (tmp_path / "again.pyz").read_bytes()
    names = zipfile.ZipFile(bundle).namelist()
    assert "click/core.py" in names and not [
        n for n in names if n.startswith(("memtrace/tests", "memtrace/lab"))
    ]

    here = {kept.FOLDER: str(tmp_path / "nothing")}
    done = run(PYTHON, "-S", "x.pyz", "record", "-d", "1", cwd=tmp_path, **here)
    assert done.returncode == 1 and "numpy" in done.stderr and len(done.stderr.splitlines()) == 1

    beside(bundle)
    done = run(
        PYTHON, "-S", "x.pyz", "record", "-q", "-e", "alloc", "-o", "run", "--", "true", cwd=tmp_path, **here
    )
    assert (done.returncode, done.stderr) == (0, "")
    with open_run(tmp_path / "run") as opened:
        assert opened.status.cost is not None and opened.status.cost.programs_kept is True
    done = run(PYTHON, "-S", "x.pyz", "record", "-e", "zero", "-o", "no", "--", "true", cwd=tmp_path, **here)
    assert done.returncode == 1 and done.stderr.startswith("memtrace: this bundle has no programs")
    done = run(PYTHON, "-S", "x.pyz", "report", "run", cwd=tmp_path, **here)
    assert done.returncode == 1 and "duckdb" in done.stderr and len(done.stderr.splitlines()) == 1
    done = run(PYTHON, "-S", "x.pyz", "lab", "kernels", cwd=tmp_path, **here)
    assert done.stderr == "memtrace: memtrace.lab is not in a bundle; install memtrace\n"


@pytest.mark.live
@as_root
def test_a_bundle_that_others_can_write_has_no_programs(tmp_path: Path) -> None:
    assert memtrace("programs", "build", "-e", "alloc", cwd=tmp_path).returncode == 0
    assert memtrace("bundle", "-o", "x.pyz", cwd=tmp_path).returncode == 0
    bundle = tmp_path / "x.pyz"
    beside(bundle)
    bundle.chmod(0o666)
    here = {kept.FOLDER: str(tmp_path / "nothing")}
    done = run(PYTHON, "-S", "x.pyz", "record", "-e", "alloc", "-o", "no", "--", "true", cwd=tmp_path, **here)
    assert done.returncode == 1 and done.stderr.startswith("memtrace: this bundle has no programs")
