# SPDX-License-Identifier: Apache-2.0
"""What is no trace is refused in a sentence; what is cut is read up to the cut."""

from __future__ import annotations

import gzip
import os
import random
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.tests.traces.importers.conftest import DATA, Import, Text
from memtrace.traces.importers.source import MOST_UNPACKED

TRACE = DATA / "hotplug-memmap-off-6.12.trace"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; there is nothing to import from it"),
        (b"\n\n  \n", "is empty; there is nothing to import from it"),
        (bytes(range(256)) * 20, "is not text; give what a tracer or dmesg printed"),
        (b"PERFILE2" + b"\0" * 100, "is perf's own file; give the text of `perf script -i FILE`"),
        (b"\x17\x08Dtracing6\0", "is trace-cmd's own file; give the text of `trace-cmd report -i FILE`"),
        (b"\x28\xb5\x2f\xfdxxxx", "is compressed with zstd; give it uncompressed"),
        (b"hello\nworld\n", "is in no format that is known; say which it is, e.g. tracefs:"),
    ],
    ids=["empty", "blank", "binary", "perf.data", "trace.dat", "zstd", "prose"],
)
def test_what_is_no_trace_is_refused(import_: Import, tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(MemtraceError) as refusal:
        import_(path)
    assert said in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert not (tmp_path / "run.parquet").exists()


def test_a_run_is_refused_and_sent_to_merge(import_: Import) -> None:
    run = import_(TRACE, output="first.parquet")
    with pytest.raises(MemtraceError, match="put a run into the new one with --merge"):
        import_(run.path)


@pytest.mark.parametrize(("name", "said"), [("nothing", "does not exist"), ("", "is a folder")])
def test_what_is_no_file_is_refused(import_: Import, tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(MemtraceError, match=said):
        import_(tmp_path / name)


def test_a_pipe_is_refused_and_not_waited_for(import_: Import, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MemtraceError, match="is not a regular file; save what it gives"):
        import_(tmp_path / "pipe")


def test_gzipped_text_is_read_as_it_is(import_: Import, tmp_path: Path) -> None:
    packed = tmp_path / "trace.gz"
    packed.write_bytes(gzip.compress(TRACE.read_bytes()))
    assert import_(packed).rows == import_(TRACE).rows


def test_a_cut_gzip_gives_the_lines_before_the_cut(import_: Import, tmp_path: Path) -> None:
    packed = tmp_path / "trace.gz"
    whole = gzip.compress(TRACE.read_bytes())
    packed.write_bytes(whole[: len(whole) // 2])
    run = import_(packed)
    assert 0 < len(run.rows) < 26
    examples = run.header.sources[0].examples
    assert examples[-1] == "(the compressed file ends early: the rest is missing)"


def test_a_damaged_gzip_is_refused(import_: Import, tmp_path: Path) -> None:
    packed = tmp_path / "trace.gz"
    damaged = bytearray(gzip.compress(TRACE.read_bytes()))
    damaged[15:40] = b"\xff" * 25
    packed.write_bytes(bytes(damaged))
    with pytest.raises(MemtraceError, match="cannot be read"):
        import_(packed)


@pytest.mark.parametrize("size", range(300, 18_000, 1700))
def test_a_text_cut_anywhere_is_read_up_to_the_cut(import_: Import, tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut.trace"
    path.write_bytes(TRACE.read_bytes()[:size])
    run = import_(f"tracefs:{path}")
    source = run.header.sources[0]
    assert source.unparsed <= 1
    assert source.lines == len(path.read_text().splitlines())


def test_line_ends_of_a_serial_console_do_no_harm(import_: Import, tmp_path: Path) -> None:
    path = tmp_path / "console.trace"
    path.write_bytes(TRACE.read_bytes().replace(b"\n", b"\r\n"))
    assert import_(path).rows == import_(TRACE).rows


def test_a_format_may_be_given_and_must_exist(import_: Import, text: Text) -> None:
    path = text("prose\n")
    assert import_(f"tracefs:{path}").header.sources[0].unparsed == 1
    with pytest.raises(
        MemtraceError, match="there is no format 'strace'; give one of tracefs, trace-cmd, perf"
    ):
        import_(f"strace:{path}")


def test_a_trace_without_anything_of_ours_makes_an_empty_run(import_: Import, text: Text) -> None:
    run = import_(text("  sh-7 [001] ..... 1.000000: sched_switch: prev_comm=sh prev_pid=7\n"))
    assert run.rows == []
    assert (run.header.sources[0].ignored, run.header.sources[0].unparsed) == (1, 0)


def test_a_log_of_another_kernel_than_the_run_is_refused(import_: Import) -> None:
    other = import_(TRACE, "hotplug-memmap-off-6.12.dmesg.gz", output="other.parquet")
    with pytest.raises(MemtraceError, match=r"the run is of kernel .* give files of the same boot"):
        import_("eager-boot-6.12.dmesg.gz", merge=other.path)


def test_a_number_that_cannot_be_makes_its_lines_unparsed(import_: Import, text: Text) -> None:
    line = "  sh-7 [001] ..... 1.000000: mm_page_alloc: page=0 pfn=0x{} order={} gfp_flags=GFP_KERNEL\n"
    run = import_(text(line.format("1", 0) + line.format("1" * 30, 0) + line.format("1", 900)))
    assert [r["order"] for r in run.rows] == [0]
    source = run.header.sources[0]
    assert source.unparsed == 2
    assert source.examples[1] == "mm_page_alloc: page=0 pfn=0x1 order=900 gfp_flags=GFP_KERNEL"


@pytest.mark.parametrize("seed", range(30))
def test_garbled_text_is_read_or_refused_and_nothing_else(import_: Import, tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    name = choose.choice(sorted(p.name for p in DATA.iterdir() if p.suffix in (".trace", ".txt", ".json")))
    data = bytearray((DATA / name).read_bytes()[:40_000])
    for _ in range(40):
        at = choose.randrange(len(data))
        if choose.random() < 0.4:
            del data[at : at + choose.randint(1, 80)]
        else:
            data[at] = choose.choice(b"0123456789-+:.()[]{}/*=\n <>xabc\xff")
    path = tmp_path / "garbled.txt"
    path.write_bytes(bytes(data))
    try:
        source = import_(path).header.sources[0]
    except MemtraceError:
        return
    assert source.ignored + source.unparsed <= source.lines


LINE = "  bash-1   [000] ....   {}.000000: mm_page_alloc: page=x pfn={} order={} gfp_flags=GFP_KERNEL\n"
PLAIN = "".join(LINE.format(n, n + 5, 0) for n in range(1, 5))


@pytest.mark.parametrize(
    "line",
    [
        LINE.format(9, 7, 1_000_000_000),
        LINE.format(9, 7, -1),
        LINE.format(9, 7, 64),
        LINE.format(9, 7, "9" * 5000),
        LINE.format(9, 1 << 60, 0),
        LINE.format("9" * 19, 7, 0),
        LINE.format("9" * 5000, 7, 0),
        LINE.format(9, 7, 0).replace("bash-1 ", f"bash-{1 << 40} "),
    ],
    ids=["order", "negative", "64", "digits", "pfn", "time", "times", "task"],
)
def test_a_number_that_cannot_be_is_not_understood(import_: Import, tmp_path: Path, line: str) -> None:
    (tmp_path / "trace").write_text(PLAIN + line + PLAIN)
    run = import_(tmp_path / "trace")
    source = run.header.sources[0]
    assert (len(run.rows), source.lines, source.unparsed, len(source.examples)) == (8, 9, 1, 1)


def test_a_line_without_end_is_passed_over_and_said(import_: Import, tmp_path: Path) -> None:
    (tmp_path / "trace").write_text(PLAIN + "x" * 300_000 + "\n" + PLAIN + "y" * 300_000)
    run = import_(tmp_path / "trace")
    source = run.header.sources[0]
    assert (len(run.rows), source.lines, source.unparsed) == (8, 10, 2)
    assert source.examples[0].startswith("(longer than 16384 signs) xxxx") and len(source.examples[0]) < 160


@pytest.mark.parametrize("filler", [b"\n", b"x"])
def test_a_gzip_bomb_is_refused(import_: Import, tmp_path: Path, filler: bytes) -> None:
    start = gzip.compress(PLAIN.encode())
    (tmp_path / "trace.gz").write_bytes(start + gzip.compress(filler * (MOST_UNPACKED + 1)))
    with pytest.raises(MemtraceError, match="unpacks to more than 25 times its size, as no trace"):
        import_(tmp_path / "trace.gz")
    assert not (tmp_path / "run.parquet").exists()
