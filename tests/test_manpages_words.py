# SPDX-License-Identifier: Apache-2.0
"""The man pages explain each word that the code has: events, reasons, tables, columns, marks."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from memtrace.tests.manpages import described, items, section, words_of


def test_the_overview_explains_every_event() -> None:
    from memtrace.probes.topics.events import NAMES

    assert [item.head for item in items(section("", "EVENTS"))] == list(NAMES)


def test_record_names_every_event_and_loss() -> None:
    from memtrace.probes.topics.events import NAMES, select
    from memtrace.traces.totals import Losses

    named = described("record")["-e"].bold
    assert set(select(tuple(sorted(named)))) == set(NAMES) <= named
    causes = {field.name for field in dataclasses.fields(Losses)}
    assert {item.head for item in items(section("record", "OUTPUT"))} == causes


def test_import_explains_every_format_and_clock() -> None:
    from memtrace.traces.importers.clocks import CLOCKS
    from memtrace.traces.importers.formats import FORMATS

    assert [item.head for item in items(section("import", "DESCRIPTION"))] == list(FORMATS)
    assert all(clock in described("import")["--clock"].text for clock in CLOCKS)


def test_probes_explains_every_reason() -> None:
    from memtrace.probes.recorder.diagnosis import REASONS

    assert set(REASONS) <= {item.head for item in items(section("probes", "OUTPUT"))}


def test_doctor_explains_every_part_of_its_page() -> None:
    from memtrace.commands.doctor import page
    from memtrace.probes.recorder.diagnosis import examine

    parts = re.findall(r"^[A-Z].*", page(examine(survey=lambda: ())), re.M)
    assert set(parts) <= {item.head for item in items(section("doctor", "OUTPUT"))}


def test_report_explains_every_word_it_takes() -> None:
    from memtrace.analyzer.keys import KEYS
    from memtrace.analyzer.render import FORMATS
    from memtrace.analyzer.report import PLOTS
    from memtrace.analyzer.views import VIEWS

    page = described("report")
    keys = {item.head for item in items(section("report", "OPTIONS")) if not item.head.startswith("-")}
    assert keys == set(KEYS)
    assert page["--format"].bold == set(FORMATS)
    assert page["--view"].bold == set(VIEWS)
    assert all(suffix in page["--plot"].text for suffix in PLOTS)


def test_report_explains_every_table_column_and_mark(tmp_path: Path) -> None:
    from memtrace.analyzer.tables import MARKS
    from memtrace.analyzer.views import view
    from memtrace.traces.reader import open_run

    report = view(open_run(small_run(tmp_path / "run.parquet"))).report
    columns = {c.heading for t in report.tables if t.name in ("events", "main") for c in t.columns[t.keys :]}
    explained = [item.head for item in items(section("report", "OUTPUT"))]
    assert {table.name for table in report.tables} | columns == set(explained)
    signs = {text for line in section("report", "OUTPUT") for text, bold in words_of(line) if bold}
    assert set(MARKS) <= signs


def test_compare_explains_every_table_verdict_format_and_metric(tmp_path: Path) -> None:
    from memtrace.analyzer.compare import metrics, request
    from memtrace.analyzer.compare.changes import VERDICTS
    from memtrace.analyzer.render import FORMATS

    explained = [item.head for item in items(section("compare", "OUTPUT"))]
    before, after = (small_run(tmp_path / f"{name}.parquet") for name in ("before", "after"))
    asked = request.Request((str(before), str(after)), fail_on=("alloc.bytes>5%",), format="json")
    tables = json.loads(request.make(asked).text)["tables"]
    assert {*tables, "calibration"} <= set(explained)
    bold = {text for line in section("compare", "OUTPUT") for text, is_bold in words_of(line) if is_bold}
    assert set(VERDICTS) <= bold
    assert described("compare")["--format"].bold == set(FORMATS)
    named = " ".join(explained)
    assert all(f".{measure}" in named for measure in metrics.TIMES)


def test_report_explains_every_table_and_column_of_acceptance(tmp_path: Path) -> None:
    from memtrace.analyzer.views import Choice, view
    from memtrace.tests.analyzer.accept.cases import CASES
    from memtrace.tests.analyzer.recorded import write
    from memtrace.traces.reader import open_run

    explained = {item.head: item.bold for item in items(section("report", "VIEW ACCEPT"))}
    shown: dict[str, set[str]] = {}
    for name, case in CASES.items():
        write(case(), path := tmp_path / f"{name}.parquet")
        with open_run(path) as run:
            for table in view(run, "accept", Choice(what_if=True)).report.tables:
                words = {word for column in table.columns for word in column.heading.split()}
                shown[table.name] = shown.get(table.name, set()) | words
    assert shown.keys() == explained.keys()
    assert not {name: words - explained[name] for name, words in shown.items() if words - explained[name]}


def test_report_explains_every_table_of_the_gmem_view(tmp_path: Path) -> None:
    from memtrace.analyzer.views import Choice, view
    from memtrace.tests.analyzer.gmem.host import Host, case
    from memtrace.tests.analyzer.recorded import write
    from memtrace.traces.reader import open_run

    host = Host()
    host.fault(0, 1)
    write(case(host), tmp_path / "run.parquet")
    found = view(open_run(tmp_path / "run.parquet"), "gmem", Choice(what_if=True))
    tables = {table.name for table in found.report.tables}
    assert tables <= {line.split()[1] for line in section("report", "OUTPUT") if line.startswith(".IP ")}


def test_report_explains_every_table_of_the_zero_view(tmp_path: Path) -> None:
    from memtrace.analyzer.views import GROUPINGS, Choice, view
    from memtrace.traces.reader import open_run

    named = {line.split()[1] for line in section("report", "OUTPUT") if line.startswith(".IP ")}
    run = open_run(small_run(tmp_path / "run.parquet"))
    choices = (Choice(what_if=True), *(Choice(grouping=word) for word in GROUPINGS["zero"]))
    reports = [view(run, "zero", choice).report for choice in choices]
    assert {table.name for report in reports for table in report.tables} <= named
    assert set(GROUPINGS["zero"]) <= described("report")["--by"].bold


def test_workload_explains_every_workload() -> None:
    from memtrace.probes.workloads import KINDS

    heads = {item.head for item in items(section("workload", "DESCRIPTION"))}
    assert heads == set(KINDS)


def test_report_explains_every_table_and_column_of_the_boot() -> None:
    from memtrace.analyzer.views import view
    from memtrace.traces.reader import open_run

    recorded = Path(__file__).parent / "analyzer" / "boot" / "data" / "lazy-6.12.parquet"
    with open_run(recorded) as run:
        tables = view(run, "boot").report.tables
    explained = {item.head: item.bold for item in items(section("report", "VIEW BOOT"))}
    shown = {t.name: {word for c in t.columns for word in c.heading.split()} for t in tables}
    assert shown.keys() == explained.keys()
    assert not {name: words - explained[name] for name, words in shown.items() if words - explained[name]}


def small_run(path: Path) -> Path:
    """A run of one allocation with its stack, the least that has every table."""
    import pyarrow as pa

    from memtrace.traces.run import RunHeader, RunStatus
    from memtrace.traces.schema import arrow_schema
    from memtrace.traces.writer import RunWriter

    row: dict[str, object] = {"event": "alloc", "order": 0, "bytes": 4096, "count": 1, "flags": 0}
    row |= {"ts_ns": 2, "dur_ns": 1, "total_ns": 1, "self_ns": 1, "stack": "entry;do_anonymous_page"}
    with RunWriter(path, RunHeader("0", ())) as writer:
        writer.write(pa.Table.from_pylist([row], schema=arrow_schema()))
        writer.close(RunStatus(complete=True, started_ns=1, ended_ns=3))
    return path
