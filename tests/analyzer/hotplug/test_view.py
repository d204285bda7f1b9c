# SPDX-License-Identifier: Apache-2.0
"""The hotplug view as a whole, of runs made of rows and of saved traces of real hot-adds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from memtrace.analyzer.report import Request, make
from memtrace.analyzer.tables import Report
from memtrace.analyzer.views import Choice, view
from memtrace.tests.analyzer.goldens import as_it_was, fits_mail
from memtrace.tests.analyzer.hotplug.recorded import (
    ACPI,
    BLOCK,
    EVENTS,
    FIRST,
    MIB,
    MS,
    accepted,
    added,
    case,
    gone,
    hot,
    onlined,
    taken,
)
from memtrace.tests.analyzer.hotplug.tables import RunOf, report_of, rows_of
from memtrace.tests.analyzer.recorded import START, Case, header, status, streamed
from memtrace.traces.schema import Flag

SAVED = Path(__file__).parents[2] / "traces" / "importers" / "data"
GOLDEN = Path(__file__).parent / "golden"


def test_a_page_with_all_that_can_be_said_of_a_hot_add_fits_a_mail(run_of: RunOf) -> None:
    rows = [*added(0, blocks=4), *onlined(20, FIRST), hot("offline", 30, 31, BLOCK, tid=9)]
    rows += [*onlined(40, FIRST), gone(62, 0), accepted(43, 1, MS)]
    text = make(Request((str(run_of(case(rows, events=(*EVENTS, "accept.call"))).path),), view="hotplug"))
    assert "ACPI DIMM" in text and "partly removed" in text
    assert max(map(len, text.splitlines())) < 80


def test_a_window_shows_whole_hot_adds_that_reach_into_it(run_of: RunOf) -> None:
    second = FIRST + 2 * BLOCK // 4096
    rows = [*added(0), *onlined(20, FIRST), *onlined(30, FIRST + BLOCK // 4096)]
    rows += [*added(100, second, 1), *onlined(120, second)]
    run = run_of(case(rows))

    def between(low: float, high: float) -> Report:
        window = (START + round(low * MS), START + round(high * MS))
        return view(run, "hotplug", Choice(window=window)).report

    shown = rows_of(between(0, 5), "adds", "add", "bytes", "blocks", "onlined_bytes", "result")
    assert shown == [(1, 2 * BLOCK, 2, 2 * BLOCK, "online")]
    assert [row for (row,) in rows_of(between(31, 101), "adds", "add")] == [1, 2]
    report = between(50, 60)
    assert rows_of(report, "adds", "add") == []
    (table,) = report.tables
    assert table.notes == ("No memory was added, brought online or removed in this window.",)
    assert dict(report.heading)["window"].startswith(f"{START / 1e9 + 0.05:.3f} to ")


def test_a_failed_add_and_a_refused_removal(run_of: RunOf) -> None:
    failed = {"flags": int(Flag.FAILED), "bytes": 0, "bytes_requested": BLOCK}
    rows = [
        hot("request", 0, 10, stack=ACPI, error=12, **failed),
        hot("add", 1, 9, error=12, **failed),
        hot("memmap", 2, 3, 2 * MIB),
        hot("memmap", 4, 8, **failed),
        hot("offline", 20, 30, error=16, **failed),
    ]
    report = report_of(run_of, case(rows))
    assert report.table("adds") is None
    assert rows_of(report, "refusals", "what", "errno", "cause", "bytes", "memmap_bytes") == [
        ("failed add", "ENOMEM", "hot.memmap", BLOCK, 2 * MIB),
        ("refused offlining", "EBUSY", "hot.offline", BLOCK, None),
    ]


@pytest.mark.parametrize(
    ("events", "sentence"),
    [(("alloc",), "Hotplug was not recorded"), (EVENTS, "No memory was added, brought online or removed")],
)
def test_a_run_without_hotplug_is_told_in_a_sentence(
    run_of: RunOf, events: Sequence[str], sentence: str
) -> None:
    run = run_of(Case([streamed("alloc", 0, 100)], header(*events), status()))
    assert sentence in make(Request((str(run.path),), view="hotplug"))


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture(run_of: RunOf, tmp_path: Path, suffix: str) -> None:
    rows = [*added(0), *onlined(2000, FIRST), *onlined(2030, FIRST + BLOCK // 4096)]
    for made in (rows, [hot("offline", 1, 2, BLOCK)]):
        view(run_of(case(made)), "hotplug").draw(tmp_path / f"figure.{suffix}")
    assert (tmp_path / f"figure.{suffix}").stat().st_size > 2000


@pytest.mark.parametrize("mode", ["off", "on"])
def test_the_report_of_a_saved_trace_is_as_it_was(mode: str, folder: Path) -> None:
    from click.testing import CliRunner

    from memtrace.commands.import_ import import_

    files = [str(SAVED / f"hotplug-memmap-{mode}-6.12.{kind}") for kind in ("trace", "dmesg.gz")]
    result = CliRunner().invoke(import_, ["-q", "--clock", "boot", *files])
    assert result.exit_code == 0, result.output
    text = make(Request(("run.parquet",), view="hotplug"))
    golden = GOLDEN / f"memmap-{mode}.txt"
    as_it_was(golden, text)
    fits_mail(golden)


def test_the_manual_explains_every_table_and_column(run_of: RunOf) -> None:
    page = (Path(__file__).parents[3] / "docs" / "man" / "memtrace-report.1").read_text()
    section = page.split(".SH VIEW HOTPLUG", 1)[1].split(".SH ", 1)[0].replace("\\", "")
    words = " ".join(section.split())
    rows = [*added(0), *onlined(20, FIRST), hot("remove", 50, 60, 2 * BLOCK)]
    rows.append(hot("offline", 70, 71, bytes_requested=BLOCK, flags=int(Flag.FAILED)))
    report = report_of(run_of, case(rows, taken(-1, 100), taken(90, 100)))
    for table in report.tables:
        assert f".B {table.name}\n" in section, table.name
        for column in table.columns[table.keys :]:
            assert column.heading in words, (table.name, column.heading)
