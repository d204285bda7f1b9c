# SPDX-License-Identifier: Apache-2.0
"""`memtrace programs`: what is kept on this kernel is loaded by record without BCC."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from memtrace.probes.programs import kept
from memtrace.traces.reader import open_run

live = pytest.mark.live
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")
WITHOUT_BCC = (
    "import sys; sys.modules['bcc'] = None; from memtrace.cli import main; "
    "sys.argv[0] = 'memtrace'; sys.exit(main())"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which this test's programs are kept."""
    made = tmp_path / "programs"
    monkeypatch.setenv(kept.FOLDER, str(made))
    return made


def memtrace(*arguments: str, bcc: bool = True) -> subprocess.CompletedProcess[str]:
    start = ["-m", "memtrace.cli"] if bcc else ["-c", WITHOUT_BCC]
    return subprocess.run(
        [sys.executable, *start, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_where_nothing_is_kept_it_says_where_it_looked(folder: Path) -> None:
    done = memtrace("programs", "list")
    assert (done.returncode, done.stdout) == (0, f"nothing is kept in {kept.SYSTEM} or {folder}\n")
    done = memtrace("programs", "export", "-o", str(folder.parent / "all"))
    assert (
        done.returncode == 1 and done.stderr == "memtrace: nothing is kept: run `memtrace programs build`\n"
    )


@pytest.mark.parametrize(
    "content", [b"", b"no programs at all\n", b"12\nxxxxxxxxxxxx", b"9" * 15 + b"\nx", b"-4\nx"]
)
def test_a_file_that_holds_none_is_told_in_a_sentence(folder: Path, content: bytes) -> None:
    file = folder.parent / "strange"
    file.write_bytes(content)
    done = memtrace("programs", "import", str(file))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith(f"memtrace: {file} holds no programs that can be kept (")
    assert not folder.exists()


def test_a_file_that_is_not_there_is_told_in_a_sentence(folder: Path) -> None:
    done = memtrace("programs", "import", str(folder.parent / "none"))
    assert done.stderr == f"memtrace: {folder.parent}/none can't be read (No such file or directory)\n"


@live
@as_root
def test_what_is_built_is_what_record_loads_here_and_after_a_way_through_a_file(folder: Path) -> None:
    done = memtrace("programs", "check", "-e", "alloc,zero", bcc=False)
    assert done.returncode == 1
    assert done.stdout == "for a COMMAND: not kept\nfor all processes: not kept\n"
    refused = memtrace("record", "-e", "alloc,zero", "-o", str(folder.parent / "x"), "--", "true", bcc=False)
    assert refused.returncode == 1 and "BCC" in refused.stderr and len(refused.stderr.splitlines()) == 1

    built = memtrace("programs", "build", "-e", "alloc,zero")
    assert built.stdout == "for a COMMAND: compiled and kept\nfor all processes: compiled and kept\n"
    listed = memtrace("programs", "list").stdout.splitlines()
    assert {file.name[:12] for file in folder.iterdir()} == {
        line[:12] for line in listed[1:] if line[0] != " "
    }
    assert sum(os.uname().release in line for line in listed) == len(list(folder.iterdir()))

    exported = folder.parent / "all.programs"
    assert memtrace("programs", "export", "-o", str(exported)).returncode == 0
    for file in folder.iterdir():
        file.unlink()
    assert memtrace("programs", "import", str(exported)).returncode == 0
    done = memtrace("programs", "check", "-e", "alloc,zero", bcc=False)
    assert (done.returncode, done.stdout.count("kept, and the kernel loads it")) == (0, 2)

    run = folder.parent / "run.parquet"
    done = memtrace("record", "-e", "alloc,zero", "-o", str(run), "--", "true", bcc=False)
    assert done.returncode == 0, done.stderr
    with open_run(run) as opened:
        assert opened.status.cost is not None and opened.status.cost.programs_kept is True


@live
@as_root
def test_what_record_compiles_it_keeps_for_the_next_time(folder: Path) -> None:
    found = []
    for number in range(2):
        run = folder.parent / f"{number}.parquet"
        assert memtrace("record", "-e", "alloc", "-o", str(run), "--", "true").returncode == 0
        with open_run(run) as opened:
            assert opened.status.cost is not None
            found.append(opened.status.cost.programs_kept)
    assert found == [False, True]
