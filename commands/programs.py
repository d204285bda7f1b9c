# SPDX-License-Identifier: Apache-2.0
"""``memtrace programs``: the compiled BPF programs that are kept for `record`."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memtrace.commands import SETTINGS
from memtrace.commands.options import words
from memtrace.commands.say import show, tell
from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    from memtrace.probes.programs.kept import Stored

_DIGITS = 12
"""Of a digest, as many as are printed."""


@click.group(context_settings=SETTINGS)
def programs() -> None:
    """Keep compiled BPF programs, so that `record` needs no compiler.

    `record` keeps what it compiles, and takes what it has kept: on the same kernel after a
    reboot, and on each other kernel whose structures and functions are the same.
    """


@programs.command("list", context_settings=SETTINGS, epilog="\b\nExample:\n  sudo memtrace programs list")
def list_() -> None:
    """List the programs that are kept, the newest first, and what would not be loaded."""
    from memtrace.commands.layout import columns
    from memtrace.probes.programs.kept import folders, stored

    found = stored()
    if not found:
        show("nothing is kept in " + " or ".join(map(str, folders())))
        return
    rows = [("digest", "size", "kept on", "programs for")]
    show(columns([*rows, *(_row(one) for one in found)], indent=0))


def _row(one: Stored) -> tuple[str, str, str, str]:
    status = one.path.lstat()
    day = datetime.datetime.fromtimestamp(status.st_mtime).strftime("%Y-%m-%d %H:%M")
    what = f"not loaded: {one.why}" if one.compiled is None else one.compiled.made_for
    return one.path.stem[:_DIGITS], f"{status.st_size / 1024:.0f} KiB", day, what


def _as_record(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command those options of `record` that decide which programs it loads."""
    options = (
        click.option("-e", "--events", metavar="LIST", help="As for record."),
        click.option("--stream", type=click.Choice(["tails", "all"]), default="tails", show_default=True),
        click.option("--stacks", is_flag=True, help="As for record."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@programs.command(
    context_settings=SETTINGS,
    epilog="\b\nExamples:\n  sudo memtrace programs build\n"
    "  sudo memtrace programs build -e accept --stream all",
)
@_as_record
def build(events: str | None, stream: str, stacks: bool) -> None:
    """Compile and keep what `record` with these options will load on this kernel."""
    for what, was_kept in _tried(words("-e", events), stream == "all", stacks, compiling=True):
        show(f"{what}: {'kept already' if was_kept else 'compiled and kept'}")


@programs.command(
    context_settings=SETTINGS,
    epilog="\b\nExample:\n  sudo memtrace programs check -e accept && echo no compiler is needed",
)
@_as_record
def check(events: str | None, stream: str, stacks: bool) -> None:
    """Load what is kept for `record` with these options, and say what is not.

    Exit status 1 if `record` would have to compile.
    """
    found = tuple(_tried(words("-e", events), stream == "all", stacks, compiling=False))
    for what, was_kept in found:
        show(f"{what}: {'kept, and the kernel loads it' if was_kept else 'not kept'}")
    if not all(was_kept for _, was_kept in found):
        raise MemtraceError("record would compile: run `memtrace programs build` with the same options")


def _tried(
    events: tuple[str, ...], stream_all: bool, stacks: bool, compiling: bool
) -> Iterator[tuple[str, bool]]:
    """Load the programs for a COMMAND and for all processes; yields which, and whether they were kept."""
    from memtrace.probes.machine.kernel import describe_system
    from memtrace.probes.machine.privileges import require_recording
    from memtrace.probes.programs.obtain import NotKeptError
    from memtrace.probes.recorder import plan
    from memtrace.probes.sites.system import System
    from memtrace.probes.topics.events import select

    require_recording()
    shape = plan.Shape(stream_all=stream_all, stacks=stacks, compiling=compiling)
    system, selected = System.of(describe_system()), select(events)
    for what, follow in (("for a COMMAND", True), ("for all processes", False)):
        try:
            attached = plan.attach(system, selected, plan.Filters(follow=follow), shape)
        except NotKeptError:
            yield what, False
        else:
            attached.module.close()
            yield what, attached.kept


@programs.command(
    "export",
    context_settings=SETTINGS,
    epilog="\b\nExample:\n  sudo memtrace programs export -o all.programs",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE")
def export(output: Path) -> None:
    """Write all kept programs into one file, to be imported on another machine."""
    from memtrace.probes.programs.kept import bundled, stored
    from memtrace.traces.answers import write

    good = tuple(one.compiled for one in stored() if one.compiled is not None)
    if not good:
        raise MemtraceError("nothing is kept: run `memtrace programs build`")
    write(output, bundled(good))
    show(f"wrote {len(good)} into {output}")


@programs.command(
    "import", context_settings=SETTINGS, epilog="\b\nExample:\n  sudo memtrace programs import all.programs"
)
@click.argument("file", type=click.Path(path_type=Path))
def import_(file: Path) -> None:
    """Keep the programs in FILE, which `export` wrote.

    They will run in the kernel, as root: take them from nobody whom you would not give root.
    """
    from memtrace.probes.programs.kept import keep, unbundled

    kept = 0
    for compiled in unbundled(file):
        path = keep(compiled)
        if path is None:
            tell(f"{compiled.digest[:_DIGITS]} could not be kept")
        kept += path is not None
    show(f"kept {kept} from {file}")
