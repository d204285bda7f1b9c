# SPDX-License-Identifier: Apache-2.0
"""No verb writes over what it reads: refused with status 2, and every file stays as it was."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from memtrace import cli
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import write

TRACE = Path(__file__).parents[1] / "traces" / "importers" / "data" / "hotplug-kaslr-6.12.txt"
INPUT = "is also an input: give another name"
HARD, SYMBOLIC = "hard.parquet", "symbolic.parquet"
"""Other names of a.parquet."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.parquet", "b.parquet", "x.svg"):
        write(CASES["streamed"](), Path(name))
    Path("side").mkdir()
    write(CASES["streamed"](), Path("side/1.parquet"))
    shutil.copy(TRACE, "p.txt")
    Path(HARD).hardlink_to("a.parquet")
    Path(SYMBOLIC).symlink_to("a.parquet")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("report a.parquet -o a.parquet", f"-o a.parquet {INPUT}"),
        ("report a.parquet -o ./side/../a.parquet", f"-o side/../a.parquet {INPUT}"),
        (f"report a.parquet -o {HARD}", f"-o {HARD} {INPUT}"),
        (f"report {SYMBOLIC} -o a.parquet", f"-o a.parquet {INPUT}"),
        ("report a.parquet --view gmem --guest b.parquet -o b.parquet", f"-o b.parquet {INPUT}"),
        ("report x.svg --plot x.svg", f"--plot x.svg {INPUT}"),
        ("report a.parquet --plot new.svg -o new.svg", "-o new.svg is also what --plot writes: give another"),
        ("report a.parquet --plot new.svg -o ./side/../new.svg", "is also what --plot writes: give another"),
        ("compare a.parquet b.parquet -o a.parquet", f"-o a.parquet {INPUT}"),
        ("compare a.parquet b.parquet -o b.parquet", f"-o b.parquet {INPUT}"),
        ("compare a.parquet side -o side/1.parquet", f"-o side/1.parquet {INPUT}"),
        ("compare a.parquet si*/*.parquet -o side/1.parquet", f"-o side/1.parquet {INPUT}"),
        ("compare a.parquet x.svg --plot x.svg", f"--plot x.svg {INPUT}"),
        ("compare a.parquet side --plot new.svg -o new.svg", "-o new.svg is also what --plot writes: give"),
        ("compare side --plan 5% -o side/1.parquet", f"-o side/1.parquet {INPUT}"),
        ("compare --calibrate side -o side/1.parquet", f"-o side/1.parquet {INPUT}"),
        ("import p.txt -f -o p.txt", f"-o p.txt {INPUT}"),
        ("import tracefs:p.txt -f -o p.txt", f"-o p.txt {INPUT}"),
        ("import p.txt --merge a.parquet -f -o a.parquet", f"-o a.parquet {INPUT}"),
        (f"import p.txt --merge a.parquet -f -o {HARD}", f"-o {HARD} {INPUT}"),
        ("import p.txt --merge a.parquet -o a.parquet", f"-o a.parquet {INPUT}"),
        ("boot collect --merge a.parquet -f -o a.parquet", f"-o a.parquet {INPUT}"),
        (f"boot collect --merge {SYMBOLIC} -f -o a.parquet", f"-o a.parquet {INPUT}"),
    ],
)
def test_an_input_is_not_written_over(
    words: str,
    said: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = contents(folder)
    monkeypatch.setattr(sys, "argv", ["memtrace", *words.split()])
    assert cli.main() == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith("memtrace: ") and said in err
    assert contents(folder) == before


def test_the_boot_kits_recording_is_not_written_over_by_the_default_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cd /var/lib/memtrace && memtrace boot collect -f`: the default of --merge lies there."""
    from memtrace.errors import MemtraceError
    from memtrace.probes.boot import collect

    recording = folder / "a.parquet"
    monkeypatch.setattr(collect, "recorded", lambda: (recording, ""))
    before = contents(folder)
    with pytest.raises(MemtraceError, match=INPUT) as refused:
        collect.collect(collect.Wanted(Path("a.parquet"), overwrite=True))
    assert refused.value.exit_code == 2
    assert contents(folder) == before


def test_another_file_is_written_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only inputs are kept: a page of yesterday, or a copy of the run, is no input."""
    monkeypatch.setattr(sys, "argv", ["memtrace", "report", "a.parquet", "-o", "b.parquet"])
    assert cli.main() == 0
    assert Path("b.parquet").read_text().startswith("memtrace report")
