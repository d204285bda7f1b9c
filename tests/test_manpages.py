# SPDX-License-Identifier: Apache-2.0
"""The man pages and the code say the same: options, words, examples; and the pages are good troff."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from memtrace import __version__, cli

FOLDER = Path(__file__).parents[1] / "docs" / "man"
SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "OUTPUT", "EXIT STATUS", "EXAMPLES", "OVERHEAD"]
SECTIONS += ["CAVEATS", "SEE ALSO"]
ESCAPES = {r"\-": "-", r"\&": "", r"\e": "\\", r"\(aq": "'", r"\(ti": "~", r"\(bu": "*"}
OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
WIDTH = 80

PAGES = ("", *cli.VERBS)
"""A page's verb; "" for memtrace.1."""
every_page = pytest.mark.parametrize("verb", PAGES, ids=[verb or "memtrace" for verb in PAGES])


@dataclass(frozen=True)
class Item:
    """A .TP paragraph: the text of its head, its own text, and the words that are bold in it."""

    head: str
    text: str
    bold: frozenset[str]


def path_of(verb: str) -> Path:
    return FOLDER / (f"memtrace-{verb}.1" if verb else "memtrace.1")


def section(verb: str, name: str) -> list[str]:
    """The source lines under a .SH."""
    found = re.search(rf"^\.SH {name}\n(.*?)(?=^\.SH |\Z)", path_of(verb).read_text(), re.M | re.S)
    return found[1].splitlines() if found else []


def words_of(line: str) -> list[tuple[str, bool]]:
    """What a source line prints, in pieces, and whether each is bold."""
    macro, _, rest = line.partition(" ")
    given = [plain or quoted for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', rest)]
    if macro in (".B", ".I", ".SS"):
        pieces = [(" ".join(given), macro == ".B")]
    elif re.fullmatch(r"\.[BIR]{2}", macro):
        pieces = [(word, macro[1 + i % 2] == "B") for i, word in enumerate(given)]
    elif line.startswith((".", "'")):
        pieces = []
    else:
        pieces = [(part[1:], part[0] == "B") for part in f"R{line}".split(r"\f")]
    return [(unescaped(text), bold) for text, bold in pieces]


def unescaped(text: str) -> str:
    for escape, sign in ESCAPES.items():
        text = text.replace(escape, sign)
    return text


def text_of(line: str) -> str:
    return "".join(text for text, _ in words_of(line))


def items(lines: list[str]) -> list[Item]:
    """The .TP paragraphs; a .TQ makes one of its own, with the text that follows."""
    found: list[Item] = []
    for part in re.split(r"^\.TP.*\n", "\n".join(lines), flags=re.M)[1:]:
        *joined, last = re.split(r"\n\.TQ\n", part)
        head, *body = re.split(r"^\.(?:SS|PP|IP|RS|RE)\b.*", last, flags=re.M)[0].splitlines()
        pieces = [piece for line in body for piece in words_of(line)]
        bold = frozenset(word for words, is_bold in pieces if is_bold for word in words.split())
        text = " ".join(map(text_of, body))
        found += [Item(text_of(one), text, bold) for one in (*joined, head)]
    return found


def described(verb: str) -> dict[str, Item]:
    """The items of OPTIONS that head an option, by the first of its spellings."""
    found: dict[str, Item] = {}
    for item in items(section(verb, "OPTIONS")):
        if item.head.startswith("-"):
            found.setdefault(item.head.split(" ")[0].rstrip(","), item)
    return found


def commands(verb: str) -> Iterator[click.Context]:
    """The command of a verb, or those of its group; for "" the top."""
    context = click.Context(cli.memtrace, info_name="memtrace", **cli.memtrace.context_settings)
    command = cli.memtrace.get_command(context, verb) if verb else None
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield click.Context(below, parent=context, info_name=name)
    else:
        yield click.Context(command, parent=context, info_name=verb) if command else context


def offered(verb: str) -> list[click.Option]:
    """The options of a verb; of a group, those of all its commands."""
    return [
        option
        for context in commands(verb)
        for option in context.command.get_params(context)
        if isinstance(option, click.Option)
    ]


def spellings(verb: str) -> set[str]:
    return {word for option in offered(verb) for word in (*option.opts, *option.secondary_opts)}


def test_each_verb_has_a_page_and_each_page_a_verb() -> None:
    assert sorted(FOLDER.iterdir()) == sorted(map(path_of, PAGES))


def test_the_overview_lists_the_verbs() -> None:
    heads = [item.head for item in items(section("", "VERBS"))]
    assert heads == [f"memtrace {verb}, see memtrace-{verb}(1)" for verb in cli.VERBS]


@every_page
def test_a_page_is_whole(verb: str) -> None:
    name, text = path_of(verb).stem, unescaped(path_of(verb).read_text())
    assert [found for found in re.findall(r"^\.SH (.*)", text, re.M) if found in SECTIONS] == SECTIONS
    assert re.search(rf'^\.TH {name.upper()} 1 \d{{4}}-\d\d-\d\d "memtrace {__version__}"', text, re.M)
    assert text_of(section(verb, "NAME")[0]).startswith(f"{name} - ")


@every_page
def test_references_lead_to_pages(verb: str) -> None:
    text = "\n".join(map(text_of, path_of(verb).read_text().splitlines()))
    named = set(re.findall(r"\bmemtrace[\w-]*(?=\(1\))", text))
    assert named <= {path_of(other).stem for other in PAGES}


@every_page
def test_every_option_is_described_and_no_other(verb: str) -> None:
    heads = {" ".join(OPTION.findall(item.head)) for item in described(verb).values()}
    assert heads == {" ".join((*option.opts, *option.secondary_opts)) for option in offered(verb)}


@every_page
def test_an_option_is_described_with_its_argument_default_range_and_choices(verb: str) -> None:
    page = described(verb)
    wrong = {o.opts[-1]: found for o in offered(verb) if (found := unsaid(o, page[o.opts[0]]))}
    assert not wrong


def unsaid(option: click.Option, item: Item) -> list[str]:
    """What an item lacks of what its option has."""
    argument = OPTION.sub("", item.head).strip(" ,")
    if option.is_flag or not option.expose_value:
        return [f"takes no {argument}"] if argument else []
    choices = "|".join(option.type.choices) if isinstance(option.type, click.Choice) else None
    wanted = choices or (option.metavar or argument or "an argument").replace("…", "...")
    needed = ["Required." if option.required else "Default:"]
    default = option.default
    if isinstance(default, (str, int, float, Path)) and default != "":
        needed.append(f"Default: {number(default)}")
    if isinstance(option.type, (click.IntRange, click.FloatRange)):
        needed += [number(edge) for edge in (option.type.min, option.type.max) if edge is not None]
    missing = [text for text in needed if not re.search(rf"(?<!\w){re.escape(text)}(?!\w)", item.text)]
    return missing + ([] if argument == wanted else [f"takes {wanted}, not {argument}"])


def number(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


@every_page
def test_no_option_is_named_that_does_not_exist(verb: str) -> None:
    """An option is one of the page's verb, or of the last verb named before it on its line."""
    known = {other: spellings(other) for other in PAGES}
    text = re.sub(r"^\.EX\n.*?^\.EE\n", "", path_of(verb).read_text(), flags=re.M | re.S)
    for line in map(text_of, text.splitlines()):
        for found in OPTION.finditer(line):
            named = [word for word in re.findall(r"memtrace (\w+)", line[: found.start()]) if word in known]
            assert found[0] in known[named[-1] if named else verb], line


@every_page
def test_examples_are_commands(verb: str) -> None:
    contexts = [parsed(words) for words in examples(verb)]
    if verb:
        assert any(verb in context.command_path.split() for context in contexts)
    assert contexts


def examples(verb: str) -> Iterator[list[str]]:
    """The memtrace commands in EXAMPLES, in words, without sudo."""
    shown = re.findall(r"^\.EX\n(.*?)^\.EE$", "\n".join(section(verb, "EXAMPLES")), re.M | re.S)
    for block in shown:
        command = ""
        for line in "\n".join(map(text_of, block.splitlines())).replace("\\\n", "").splitlines():
            command += line + "\n"
            try:
                words = list(shlex.shlex(command, posix=True, punctuation_chars=True))
            except ValueError:
                # A quotation goes on in the next line.
                continue
            command = ""
            yield from simple_commands(words)
        assert not command, f"ends within a quotation: {command}"


def simple_commands(words: list[str]) -> Iterator[list[str]]:
    """Those of ``memtrace`` in a pipeline or list of commands."""
    part: list[str] = []
    for word in (*words, ";"):
        if set(word) <= set("|&;<>"):
            part = part[1:] if part[:1] == ["sudo"] else part
            if part[:1] == ["memtrace"]:
                yield part[1:]
            part = []
        else:
            part.append(word)


def parsed(words: list[str]) -> click.Context:
    """The context that click makes of a command line, which is not run; raises what the user would see."""
    command: click.Command = cli.memtrace
    context = click.Context(command, info_name="memtrace", **command.context_settings)
    while isinstance(command, click.Group):
        name, below, words = command.resolve_command(context, words)
        assert name is not None and below is not None
        command, outer = below, context
        context = click.Context(command, parent=outer, info_name=name)
    return command.make_context(context.info_name, words, parent=outer)


def test_examples_name_what_there_is() -> None:
    from memtrace.analyzer.render import FORMATS
    from memtrace.analyzer.views import choice_by
    from memtrace.probes.topics.events import select

    for given in (parsed(words).params for verb in PAGES for words in examples(verb)):
        select(tuple(filter(None, (given.get("events") or "").split(","))))
        choice_by(given.get("view", "summary"), given.get("by"))
        assert given.get("format_", "text") in FORMATS


def test_the_overview_explains_every_event() -> None:
    from memtrace.probes.topics.events import NAMES

    assert [item.head for item in items(section("", "EVENTS"))] == list(NAMES)


def test_record_names_every_event_and_loss() -> None:
    from memtrace.probes.topics.events import NAMES, select
    from memtrace.traces.run import Losses

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
    from memtrace.analyzer.views import view
    from memtrace.tests.analyzer.accept.cases import CASES
    from memtrace.tests.analyzer.cases import write
    from memtrace.traces.reader import open_run

    explained = {item.head: item.bold for item in items(section("report", "VIEW ACCEPT"))}
    shown: dict[str, set[str]] = {}
    for name, case in CASES.items():
        write(case(), path := tmp_path / f"{name}.parquet")
        with open_run(path) as run:
            for table in view(run, "accept").report.tables:
                words = {word for column in table.columns for word in column.heading.split()}
                shown[table.name] = shown.get(table.name, set()) | words
    assert shown.keys() == explained.keys()
    assert not {name: words - explained[name] for name, words in shown.items() if words - explained[name]}


def test_report_explains_every_table_of_the_gmem_view(tmp_path: Path) -> None:
    from memtrace.analyzer.views import view
    from memtrace.tests.analyzer.cases import write
    from memtrace.tests.analyzer.gmem.test_gmem_view import Host, case
    from memtrace.traces.reader import open_run

    host = Host()
    host.fault(0, 1)
    write(case(host), tmp_path / "run.parquet")
    tables = {table.name for table in view(open_run(tmp_path / "run.parquet"), "gmem").report.tables}
    assert tables <= {line.split()[1] for line in section("report", "OUTPUT") if line.startswith(".IP ")}


def test_report_explains_every_table_of_the_zero_view(tmp_path: Path) -> None:
    from memtrace.analyzer.views import GROUPINGS, Choice, view
    from memtrace.traces.reader import open_run

    named = {line.split()[1] for line in section("report", "OUTPUT") if line.startswith(".IP ")}
    run = open_run(small_run(tmp_path / "run.parquet"))
    choices = (Choice(), *(Choice(grouping=word) for word in GROUPINGS["zero"]))
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


def typeset(*command: str, verb: str) -> subprocess.CompletedProcess[str]:
    """Run a typesetter on a page; skips the test where it is not installed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    env = {**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": str(WIDTH)}
    return subprocess.run([*command, str(path_of(verb))], capture_output=True, text=True, env=env, timeout=60)


@every_page
@pytest.mark.parametrize(
    "command",
    ["man --warnings -E UTF-8 -l -Tutf8 -Z", "groff -ww -man -Tutf8 -z", "mandoc -Tlint -W warning"],
    ids=["man", "groff", "mandoc"],
)
def test_typesetters_have_nothing_to_say(command: str, verb: str) -> None:
    done = typeset(*command.split(), verb=verb)
    said = done.stderr + (done.stdout if command.startswith("mandoc") else "")
    assert (done.returncode, said) == (0, "")


@every_page
def test_a_page_fits_the_terminal(verb: str) -> None:
    done = typeset("groff", "-man", "-Tutf8", "-P-c", "-P-b", "-P-u", f"-rLL={WIDTH}n", verb=verb)
    assert [line for line in done.stdout.splitlines() if len(line) > WIDTH] == []
