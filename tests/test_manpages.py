# SPDX-License-Identifier: Apache-2.0
"""The man pages are whole and good troff; their options and examples are those of the code."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from memtrace import __version__, cli
from memtrace.tests.manpages import (
    FOLDER,
    PAGES,
    Item,
    described,
    items,
    path_of,
    section,
    text_of,
    unescaped,
)

SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "OUTPUT", "EXIT STATUS", "EXAMPLES", "OVERHEAD"]
SECTIONS += ["CAVEATS", "SEE ALSO"]
OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
WIDTH = 80
every_page = pytest.mark.parametrize("verb", PAGES, ids=[verb or "memtrace" for verb in PAGES])


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
