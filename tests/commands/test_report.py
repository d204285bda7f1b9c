# SPDX-License-Identifier: Apache-2.0
"""``memtrace report`` as it is called: its words, its output, its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from memtrace import cli
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import write

Printed = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture
def run(tmp_path: Path, monkeypatch: Patch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(CASES["streamed"](), Path("run.parquet"))
    return Path("run.parquet")


def report(*words: str | Path, monkeypatch: Patch) -> int:
    monkeypatch.setattr(sys, "argv", ["memtrace", "report", *map(str, words)])
    return cli.main()


def test_the_page_goes_to_standard_output(run: Path, capsys: Printed, monkeypatch: Patch) -> None:
    assert report(run, monkeypatch=monkeypatch) == 0
    out, err = capsys.readouterr()
    assert out.startswith("memtrace report: run.parquet\n") and err == ""
    assert "file and kernel agree: 126 events" in out


def test_or_into_a_file(run: Path, capsys: Printed, monkeypatch: Patch) -> None:
    assert report(run, "--format", "json", "-o", "out.json", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr() == ("", "")
    assert set(json.loads(Path("out.json").read_text())) == {"schema", "view", "run", "tables", "caveats"}


def test_one_table_of_it(run: Path, capsys: Printed, monkeypatch: Patch) -> None:
    assert report(run, "--format", "json", "--table", "sites", monkeypatch=monkeypatch) == 0
    assert list(json.loads(capsys.readouterr().out)["tables"]) == ["sites"]


def test_a_figure_beside_it(run: Path, capsys: Printed, monkeypatch: Patch) -> None:
    assert report(run, "--plot", "figure.svg", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out.startswith("memtrace report")
    assert "<svg" in Path("figure.svg").read_text()


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        ((), 2, "give the run to report on"),
        (("a.parquet", "b.parquet"), 2, "one run file at a time"),
        (("folder",), 2, "one run file at a time"),
        (("run.parquet", "--by", "color"), 2, "--by knows no 'color'; it takes any of event, order, node"),
        (("run.parquet", "--format", "pdf"), 2, "--format knows no 'pdf'; it takes text, json, csv, md"),
        (("run.parquet", "--view", "weather"), 2, "--view knows no 'weather'; it takes summary"),
        (("run.parquet", "--table", "x"), 2, "no table 'x'; it has events, main, tasks, losses"),
        (("run.parquet", "--plot", "x.pdf"), 2, "--plot writes .png or .svg, not 'x.pdf'"),
        (
            ("run.parquet", "--plot", "no/such/x.png"),
            1,
            "no/such does not exist; make it, or give another output with --plot",
        ),
        (
            ("run.parquet", "-o", "no/such/x"),
            1,
            "no/such does not exist; make it, or give another output with -o",
        ),
        (("run.parquet", "--window", "5"), 2, "--window takes A..B in seconds since boot, or +a..+b"),
        (("run.parquet", "--view", "accept", "--window", "+9..+10"), 2, "--window lies outside the run"),
        (("run.parquet", "--window", "+1..+2"), 2, "the summary view is of a whole run: --window goes with"),
        (("run.parquet", "--view", "boot", "--by", "comm"), 2, "the boot view has its own tables"),
        (("run.parquet", "--view", "zero", "--by", "comm"), 2, "it takes one of tree, task, cgroup, stack"),
        (("run.parquet", "--guest", "g.parquet"), 2, "--guest goes with --view gmem"),
        (("run.parquet", "--by", ""), 2, "--by is empty: give KEYS, or leave --by out"),
        (("run.parquet", "--plot", ""), 2, "--plot is empty: give FILE, or leave --plot out"),
        (("run.parquet", "-o", ""), 2, "-o is empty: give FILE, or leave -o out"),
        (("run.parquet", "--nonsense"), 2, "No such option"),
        (("missing.parquet",), 1, "missing.parquet does not exist"),
        (("text.parquet",), 1, "text.parquet is not a run"),
        (("empty.parquet",), 1, "empty.parquet is empty"),
        (("pipe",), 1, "pipe is not a regular file"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    words: tuple[str, ...],
    status: int,
    sentence: str,
    run: Path,
    capsys: Printed,
    monkeypatch: Patch,
) -> None:
    Path("folder").mkdir()
    Path("text.parquet").write_text("ftrace text\n")
    Path("empty.parquet").touch()
    os.mkfifo("pipe")
    assert report(*words, monkeypatch=monkeypatch) == status
    out, err = capsys.readouterr()
    assert out == "" and sentence in err and "Traceback" not in err
    assert err.startswith("memtrace: ") and len(err.splitlines()) == 1


@pytest.mark.parametrize("words", ["report run.parquet", "compare run.parquet other.parquet"])
def test_a_figure_needs_no_home(run: Path, words: str) -> None:
    write(CASES["streamed"](), Path("other.parquet"))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "MPL"))}
    done = subprocess.run(
        [sys.executable, "-m", "memtrace.cli", *words.split(), "--plot", "x.svg", "-o", "x.txt"],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"HOME": "/proc/none"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "<svg" in Path("x.svg").read_text()


def test_a_run_cut_short_is_reported_and_said_to_be(
    tmp_path: Path, capsys: Printed, monkeypatch: Patch
) -> None:
    write(CASES["cut_short"](), tmp_path / "cut.parquet")
    assert report(tmp_path / "cut.parquet", monkeypatch=monkeypatch) == 0
    assert "the recorder was cut short" in capsys.readouterr().out


def test_a_closed_pager_is_no_error(run: Path) -> None:
    command = f"{sys.executable} -m memtrace.cli report run.parquet --format json | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


def test_the_command_is_imported_without_what_it_may_need() -> None:
    heavy = "('pandas', 'numpy', 'pyarrow', 'duckdb', 'matplotlib')"
    check = f"import sys, memtrace.commands.report; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_page_needs_neither_pandas_nor_matplotlib(run: Path) -> None:
    check = (
        "import sys; sys.argv = ['memtrace', 'report', 'run.parquet', '-o', 'out'];"
        "from memtrace import cli; cli.main();"
        "print([m for m in ('pandas', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("no_color", "colored"), [(None, True), ("1", False), ("", True)])
def test_color_is_for_terminals_that_want_it(no_color: str | None, colored: bool, run: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    environment |= {"TERM": "xterm"} | ({} if no_color is None else {"NO_COLOR": no_color})
    command = ["script", "-qec", f"{sys.executable} -m memtrace.cli report run.parquet", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert ("\x1b[1m" in done.stdout) == colored
