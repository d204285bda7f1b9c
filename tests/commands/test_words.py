# SPDX-License-Identifier: Apache-2.0
"""Wrong command lines: one sentence that begins with "memtrace:", status 2, whichever verb it is."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from memtrace import cli
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import write


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("foo", "No such command 'foo'; see `memtrace --help`"),
        (
            "record -d 0",
            "Invalid value for '-d' / '--duration': 0.0 is not in the range x>0; "
            "see `memtrace record --help`",
        ),
        (
            "workload anon --mib 1",
            "Invalid value for '--mib': 1 is not in the range 2<=x<=1048576; see `memtrace workload --help`",
        ),
        ("lab run", "Missing option '--kernel'; see `memtrace lab run --help`"),
        ("boot zzz", "No such command 'zzz'; see `memtrace boot --help`"),
    ],
)
def test_a_usage_error_is_one_sentence(
    words: str, sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["memtrace", *words.split()])
    assert cli.main() == 2
    assert capsys.readouterr() == ("", f"memtrace: {sentence}\n")


@pytest.mark.parametrize("verb", list(cli.VERBS))
def test_every_verb_says_it_so(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["memtrace", verb, "--nonsense"])
    assert cli.main() == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith("memtrace: No such option") and err.endswith(f"; see `memtrace {verb} --help`\n")


@pytest.mark.parametrize("words", ["", "lab", "boot"])
def test_no_words_at_all_show_the_help(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["memtrace", *words.split()])
    cli.main()
    out, err = capsys.readouterr()
    assert (out + err).startswith(f"Usage: {' '.join(('memtrace', *words.split()))} [OPTIONS]")


def test_a_bug_does_not_exit_as_an_answer_would(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 is compare's answer that a condition came true, which `git bisect run` takes for a bad commit."""

    def broken(**_: object) -> None:
        raise KeyError("of a bug")

    monkeypatch.setattr(cli.memtrace, "main", broken)
    assert cli.main() == os.EX_SOFTWARE
    assert "of a bug" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (MemoryError(), "there is not enough memory"),
        (OSError(errno.EMFILE, "Too many open files", "x"), "too many files are open"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "a disk is full (/x); free some space"),
    ],
)
def test_what_the_machine_runs_out_of_is_a_sentence_wherever_it_happens(
    raised: Exception, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def short_of_it(**_: object) -> None:
        try:
            raise raised
        except Exception as error:
            raise RuntimeError("of a library") from error

    monkeypatch.setattr(cli.memtrace, "main", short_of_it)
    assert cli.main() == os.EX_OSERR
    assert capsys.readouterr().err.startswith(f"memtrace: {said}")


@pytest.mark.parametrize("limit", [6, 8, 10])
def test_with_few_descriptors_it_works_or_says_so(limit: int, tmp_path: Path) -> None:
    write(CASES["streamed"](), tmp_path / "run.parquet")
    words = [
        sys.executable,
        "-m",
        "memtrace.cli",
        "report",
        "--format",
        "html",
        str(tmp_path / "run.parquet"),
    ]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=limited)
    if done.returncode:
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("memtrace: "), done.stderr
    else:
        assert done.stdout.endswith("</html>\n")
