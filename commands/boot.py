# SPDX-License-Identifier: Apache-2.0
"""``memtrace boot``: make a kernel record its own boot, and gather what it recorded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memtrace.commands import SETTINGS
from memtrace.commands.options import run_file
from memtrace.commands.say import show, tell
from memtrace.commands.status_line import StatusLine
from memtrace.errors import MemtraceError
from memtrace.traces.given import is_folder

if TYPE_CHECKING:
    from memtrace.probes.boot.collect import Collected
    from memtrace.probes.boot.install import Removal
    from memtrace.probes.boot.prepare import Plan


@click.group(context_settings=SETTINGS)
def boot() -> None:
    """Catch the part of the boot that no BPF program can see.

    First `prepare` and a reboot, then `collect`, then `memtrace report --view boot`.
    """


@boot.command(
    context_settings=SETTINGS,
    epilog="\b\nExamples:\n  memtrace boot prepare\n  sudo memtrace boot prepare --install",
)
@click.option("--install", is_flag=True, help="Write the files, and say what is left to run.")
@click.option("--remove", is_flag=True, help="Take away what --install wrote.")
@click.option("--line", is_flag=True, help="Print only the kernel parameters, in one line.")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    show_default=True,
    metavar="DIR",
    help="The system to write to.",
)
@click.option(
    "--memtrace", "program", default="", metavar="PATH", help="memtrace on that system (default: this one)."
)
@click.option(
    "-d",
    "--duration",
    type=click.IntRange(1, 86_400),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="The unit records at most so long.",
)
def prepare(install: bool, remove: bool, line: bool, root: Path, program: str, duration: int) -> None:
    """Print what makes this kernel record its own boot, or install it.

    Prints the kernel parameters that it understands, what they cost, what stays
    unseen even so, and the files that --install would write; changes nothing.
    """
    if install + remove + line > 1:
        raise MemtraceError("--install, --remove and --line exclude each other: give one of them", 2)
    if not is_folder(root):
        raise MemtraceError(f"--root {root}: there is no such folder", 2)
    from memtrace.probes.boot import prepare as kit
    from memtrace.probes.machine import invocation

    if remove:
        show(_removed(kit.remove(root), kit.plan(root, (), duration)))
        return
    plan = kit.plan(root, (program,) if program else invocation.program(), duration)
    if line:
        show(plan.line)
    elif install:
        show(_installed(kit.install(plan, root), plan))
    else:
        show(page(plan))


def page(plan: Plan) -> str:
    """The plan as text, under 80 columns."""
    from memtrace.commands.layout import columns, command, sentences

    blocks = [f"memtrace boot prepare for Linux {plan.release or 'unknown'}"]
    if plan.parameters:
        rows = [(p.name, "; ".join(filter(None, (p.gives, p.cost)))) for p in plan.parameters]
        blocks.append("Kernel parameters\n" + command(plan.line, indent=2).replace(" \\\n", "\n"))
        blocks.append("What they give, and cost\n" + columns(rows))
    rows = [(f.name, f"{_STATES[f.state]}; {f.gives}") for f in plan.kernel.functions]
    blocks.append("Functions\n" + columns(rows, widest=28))
    blocks.append("Unseen even so\n" + "\n".join(sentences(text, first="- ") for text in plan.unseen))
    where = [sentences(plan.where, first="- ")]
    where += [sentences(text, first="- ") for text in plan.notes]
    blocks.append("Where it goes\n" + "\n".join(where))
    if plan.files:
        blocks.append("Files that --install writes\n" + "\n".join(f"  {file.path}" for file in plan.files))
    if plan.apply:
        blocks.append("Then run\n" + "\n".join(command(text, indent=2) for text in plan.apply))
    return "\n\n".join(blocks)


_STATES = {
    "traceable": "traceable",
    "init": "in init memory, freed by now",
    "notrace": "no trace site, left out",
    "absent": "not in this kernel, left out",
    "unknown": "unknown here (kallsyms or tracefs withheld)",
}


def _installed(written: tuple[str, ...], plan: Plan) -> str:
    lines = [f"wrote {path}" for path in written] or ["nothing to write here"]
    lines += [f"run: {text}" for text in plan.apply]
    return "\n".join([*lines, "then reboot, and run: memtrace boot collect -o boot.parquet"])


def _removed(done: Removal, plan: Plan) -> str:
    lines = [f"removed {path}" for path in done.removed]
    lines += [f"kept {path}: {why}" for path, why in done.kept]
    if done.removed:
        lines += [f"run: {text}" for text in plan.undo]
    return "\n".join(lines or ["nothing is installed"])


@boot.command(
    context_settings=SETTINGS,
    epilog="\b\nExamples:\n  sudo memtrace boot collect && memtrace report --view boot boot.parquet\n"
    "  sudo memtrace boot collect --save boot.d   and elsewhere: memtrace import boot.d/*",
)
@run_file("boot.parquet")
@click.option(
    "--merge",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Put this recording of the same boot into it (default: the installed unit's).",
)
@click.option(
    "--save", type=click.Path(path_type=Path), metavar="DIR", help="Keep the texts, for `memtrace import`."
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of what was found.")
def collect(output: Path, force: bool, mode: int, merge: Path | None, save: Path | None, quiet: bool) -> None:
    """Gather what this machine still holds of its boot into a run.

    The boot's trace buffer, the kernel log, ACPI FPDT, systemd's time stamps,
    the counters now and those the initramfs saved, and what was recorded since.
    What is not there is said, and is no error.
    """
    from memtrace.probes.boot.collect import Wanted
    from memtrace.probes.boot.collect import collect as gather

    with StatusLine(not quiet) as line:
        line.show("gathering...")
        done = gather(Wanted(output, force, merge, save, tuple(sys.argv), mode))
    if not quiet:
        for sentence in _collected(done, output):
            tell(sentence)


def _collected(done: Collected, output: Path) -> list[str]:
    lines = []
    for source in done.outcome.sources:
        if source.lines:
            unparsed = f", {source.unparsed} not understood" if source.unparsed else ""
            lines.append(f"{source.name}: {source.lines} lines{unparsed}, {source.rows} rows")
    if done.merged is not None:
        lines.append(f"{done.merged}: merged")
    lines += [f"not there: {name}: {why}" for name, why in done.missing]
    events = ", ".join(f"{name} {count}" for name, count in done.outcome.events)
    counted = f" ({events})" if events else ""
    lines.append(
        f"{done.outcome.rows} rows, {done.outcome.phases} phases in {output}{counted};"
        f" `memtrace report --view boot {output}` shows them"
    )
    return lines
