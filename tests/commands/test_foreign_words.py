# SPDX-License-Identifier: Apache-2.0
"""Hostile words and names on the command line, and lines that import does not understand."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from memtrace import cli
from memtrace.commands import say, streams
from memtrace.tests import hostile
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import write

LINE = "  bash-1   [000] ....   {}.000000: mm_page_alloc: page=x pfn={} order=0 gfp_flags=GFP_KERNEL\n"


def _can_be_given(text: str) -> bool:
    try:
        return 0 < len(os.fsencode(text)) < 200 and "\0" not in text and not text.startswith("-")
    except UnicodeEncodeError:
        return False


WORDS = tuple(filter(_can_be_given, hostile.ALL))


def said(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["memtrace", *words])
    status = cli.main()
    out, err = capsys.readouterr()
    assert status != os.EX_SOFTWARE, err
    assert not hostile.steers(out + err)
    return err


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(
    "verb", [["report"], ["import"], [], ["report", "x.parquet", "--view"]], ids=" ".join
)
def test_a_refusal_shows_a_word_escaped(
    verb: list[str], word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    err = said([*verb, word], monkeypatch, capsys)
    assert err.startswith("memtrace: ") and err.count("\n") == 1


def test_import_shows_what_it_did_not_understand_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "a\x1b[31m\ntrace"
    good = "".join(LINE.format(n, n + 5) for n in range(1, 9))
    trace.write_bytes(f"{good}\x1b]0;owned\x07\x9b2J \u202eno trace\n".encode())
    err = said(["import", str(trace), "-o", str(tmp_path / "b\x1b.parquet")], monkeypatch, capsys)
    assert "not understood: \\x1b]0;owned\\x07\\x9b2J \\u202eno trace\n" in err
    assert all(line.startswith("memtrace: ") for line in err.splitlines())


def test_a_command_of_bytes_that_are_no_text_has_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES["streamed"]()
    object.__setattr__(case.header, "workload", hostile.SURROGATES)
    object.__setattr__(case.header, "hostname", hostile.SURROGATES[0])
    write(case, tmp_path / "run.parquet")
    for name in ("text", "json", "csv", "md", "html"):
        monkeypatch.setattr(
            sys, "argv", ["memtrace", "report", str(tmp_path / "run.parquet"), "--format", name]
        )
        assert cli.main() == 0
        capsys.readouterr().out.encode()


def test_an_answer_arrives_as_it_was_made(capsys: pytest.CaptureFixture[str]) -> None:
    say.answer("a\x1b[1mb\x1b[0m\n")
    assert capsys.readouterr().out == "a\x1b[1mb\x1b[0m\n"


def test_a_sign_that_the_encoding_lacks_is_shown_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    read, written = os.pipe()
    old = io.TextIOWrapper(io.FileIO(written, "w"), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "__stdout__", old)
    monkeypatch.setattr(sys, "stdout", old)
    with streams.guarded():
        print("caf\xe9 \udcff", flush=True)
    assert os.read(read, 99) == b"caf\\xe9 \\udcff\n"
    os.close(read)
