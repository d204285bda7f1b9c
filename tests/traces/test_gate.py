# SPDX-License-Identifier: Apache-2.0
"""What a run file says has the types and ranges it must have, or the run is refused with a sentence."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from duckdb import DuckDBPyConnection

from memtrace.errors import MemtraceError
from memtrace.tests.traces.conftest import MakeRows, MakeRun, Write, refusal
from memtrace.tests.traces.documents import HEADER, STATUS, documents
from memtrace.traces import gate, names, records
from memtrace.traces.reader import open_run
from memtrace.traces.run import RunHeader, RunStatus, to_json

INSTEAD: list[Any] = [
    *(None, True, 0, -1, 1 << 63, -(1 << 63) - 1, 10**400, 3.0, 0.5),
    *("", "7", "x' OR 1; --", "\ud800", "\0"),
    *([], ["x"], [[0]], {}, {"a": []}),
]


def places(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*where, key)
        yield from places(inner, (*where, key))


def put(document: Any, where: tuple[Any, ...], value: Any) -> None:
    for key in where[:-1]:
        document = document[key]
    document[where[-1]] = value


def scanned(path: Path, connection: DuckDBPyConnection) -> None:
    """Opens a run and reads each of its columns both ways."""
    with open_run(path) as run:
        run.relation(connection).fetchall()
        list(run.batches())


def test_documents_come_back_as_they_were() -> None:
    assert gate.document(RunHeader, to_json(HEADER)) == HEADER
    assert gate.document(RunStatus, to_json(STATUS)) == STATUS


@pytest.mark.parametrize("which", ["header", "status"])
def test_any_value_anywhere_gives_a_document_that_is_written_back_or_a_refusal(which: str) -> None:
    cls: type[RunHeader | RunStatus] = RunHeader if which == "header" else RunStatus
    opened = refused = 0
    rng = random.Random(14)
    for where in places(documents()[which]):
        for value in rng.sample(INSTEAD, 3):
            document = documents()[which]
            put(document, where, value)
            try:
                built = gate.document(cls, json.dumps(document))
            except gate.Refused as error:
                assert "\n" not in str(error) and str(error).isascii()
                refused += 1
                continue
            opened += 1
            # What passed has the declared types: it is the same after another round.
            assert gate.document(cls, to_json(built)) == built
            to_json(built).encode()
            assert type(value) is not float
    assert refused > 2 * opened > 0


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("nodes", 0, "nid"), "0); COPY x", 'has "0); COPY x" for nodes[0].nid where a whole number belongs'),
        (("nodes", 1, "nid"), 1024, "has 1024 for nodes[1].nid, which is 0 to 1023"),
        (("nodes", 0, "nid"), True, "has true for nodes[0].nid where a whole number belongs"),
        (("nodes", 0, "nid"), None, "has null for nodes[0].nid where a whole number belongs"),
        (("nodes", 0, "pfn_ranges", 1), [1], "has 1 items in nodes[0].pfn_ranges[1] where 2 belong"),
        (("page_size",), 4097, "has 4097 for page_size, which is a power of two"),
        (("page_size",), 0, "has 0 for page_size, which is 4096 to 1073741824"),
        (("nodes",), {"a": 1}, "has an object for nodes where a list belongs"),
        (("nodes",), [{"nid": 0}] * 1025, "has 1,025 items in nodes, more than the 1,024 that are read"),
        (
            ("snapshots", 0, "vmstat", "nr_free_pages"),
            "x",
            'has "x" for snapshots[0].vmstat["nr_free_pages"]',
        ),
        (("hostname",), 5, "has 5 for hostname where a text belongs"),
        (("hostname",), "x" * (2 << 20), "has 2,097,152 characters in hostname"),
        (("stream_all",), 1, "has 1 for stream_all where true or false belongs"),
    ],
)
def test_a_refusal_names_file_field_and_what_belongs_there(
    write: Write, where: tuple[Any, ...], value: Any, said: str
) -> None:
    header = documents()["header"]
    put(header, where, value)
    message = refusal(write(header))
    assert message.startswith(f"FILE {said}") and message.endswith("ask for the run as it was recorded")


def test_a_field_that_must_be_there_is_missed_by_name(write: Write) -> None:
    status = documents()["status"]
    del status["vms"][0]["number"]
    assert "has no vms[0].number" in refusal(write(status=status))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_json_has_no_number_for_is_refused(write: Write, word: str) -> None:
    text = to_json(HEADER).replace('"cpus":4', f'"cpus":{word},"newer":{word}')
    assert f"has {word} for a number" in refusal(write(text))


@pytest.mark.parametrize("text", ["[" * 200_000, '{"newer":' + "[" * 5000 + "]" * 5000 + "}"])
def test_deep_json_is_refused(write: Write, text: str) -> None:
    assert "nested too deeply" in refusal(write(text))


@pytest.mark.parametrize("filler", ["[],", "1,"])
def test_millions_of_values_are_refused_before_they_are_made(write: Write, filler: str) -> None:
    text = to_json(HEADER)[:-1] + ',"newer":[' + filler * 4_100_000 + "1]}"
    assert "millions of values" in refusal(write(text))


def test_text_that_is_not_utf8_in_a_document_is_a_sentence(write: Write) -> None:
    refusal(write(to_json(HEADER).encode().replace(b"run.parquet", b"run\xff.parquet")))


def test_half_a_pair_in_a_document_is_spelled_out(write: Write) -> None:
    header = documents()["header"] | {
        "hostname": "a\ud800",
        "command": ["x\udcff"],
        "filters": {"\udc80": "é"},
    }
    found = open_run(write(header)).header
    assert (found.hostname, found.command, found.filters) == ("a\\ud800", ("x\\xff",), {"\\x80": "é"})


def test_bytes_and_what_python_makes_of_them_are_spelled_alike() -> None:
    raw = b"\xff\xfebad \xc3\xa9"
    assert names.decoded(raw) == names.escaped(raw.decode("utf-8", "surrogateescape")) == "\\xff\\xfebad é"


# Records


def with_last_meta(path: Path, meta: bytes) -> None:
    """Appends a STATUS record with this meta to a run without a footer."""
    data = path.read_bytes()
    with path.open("rb") as file:
        found = list(records.scan(file.fileno()))
    body = data[: found[-1].end]
    path.write_bytes(body + b"".join(records.pack(records.Kind.STATUS, len(found), meta)))


def cut(path: Path, make_run: MakeRun, make_rows: MakeRows) -> None:
    ends = make_run(path, [make_rows(5)])
    path.write_bytes(path.read_bytes()[: ends[-1]])


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        (b'{"stopped_by":"\xff"}', "is damaged"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"complete":false,"started_ns":"1","ended_ns":2}', 'has "1" for started_ns'),
        (b"{}", "has no complete"),
    ],
)
def test_a_record_with_a_right_checksum_and_a_wrong_meta_is_a_sentence(
    tmp_path: Path, make_run: MakeRun, make_rows: MakeRows, meta: bytes, said: str
) -> None:
    path = tmp_path / "run.parquet"
    cut(path, make_run, make_rows)
    with_last_meta(path, meta)
    assert said in refusal(path)


def test_a_record_that_inflates_without_end_is_refused_in_bounded_memory(
    tmp_path: Path, make_run: MakeRun, make_rows: MakeRows
) -> None:
    path = tmp_path / "run.parquet"
    cut(path, make_run, make_rows)
    with_last_meta(path, bytes(1 << 30))
    assert path.stat().st_size < 10 << 20
    script = (
        "import sys, resource\n"
        "from memtrace.errors import MemtraceError\n"
        "from memtrace.traces.reader import open_run\n"
        "import pyarrow.parquet\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    open_run(sys.argv[1])\n"
        "except MemtraceError as error:\n    print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    said, grown = subprocess.check_output([sys.executable, "-c", script, str(path)], text=True).splitlines()
    assert str(path) in said and "inflates to more than 64 MiB" in said
    assert int(grown) < 300_000


# Files


def test_mutated_files_open_or_give_a_sentence(
    write: Write, make_rows: MakeRows, connection: DuckDBPyConnection
) -> None:
    """Flipped, cut and doubled bytes, most of them in the footer, of files with and without checksums."""
    rng = random.Random(14)
    plain = make_rows(20)
    opened = refused = 0
    for number in range(100):
        path = write(table=plain, compression=["none", "zstd"][number % 2])
        data = bytearray(path.read_bytes())
        size = int.from_bytes(data[-8:-4], "little")
        start = len(data) - 8 - size if number % 3 else 4
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(start, len(data))
            how = rng.randrange(4)
            if how == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif how == 1:
                data[at] = rng.choice(b'\0\xff\x7f\x80"[{9')
            elif how == 2:
                data[at : at + 4] = rng.randbytes(4)
            else:
                data[at:at] = data[at : at + rng.randrange(8)]
        path.write_bytes(data)
        try:
            scanned(path, connection)
            opened += 1
        except MemtraceError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
        except duckdb.Error:
            refused += 1
    assert opened and refused > 30
