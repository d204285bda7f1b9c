# SPDX-License-Identifier: Apache-2.0
"""memtrace lab: real kernels in QEMU, recorded."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memtrace import safe
from memtrace.commands import SETTINGS
from memtrace.commands.options import text_option, words
from memtrace.commands.say import show, tell
from memtrace.commands.steps import Steps
from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    from memtrace.lab.series import Progress, Series


@click.group(context_settings=SETTINGS)
def lab() -> None:
    """Boot kernels in QEMU (software emulation), record in each, keep the runs.

    Under emulation counts, bytes, orders and nodes are exact; durations mean
    something only against each other within one boot.
    """


@lab.command(context_settings=SETTINGS, epilog="\b\nExample:\n  memtrace lab kernels --prepare")
@click.option("--prepare", is_flag=True, help="Download or build what is missing (once; kept in the cache).")
@click.option("--update-pins", is_flag=True, help="First move each pin to the newest version of its series.")
def kernels(prepare: bool, update_pins: bool) -> None:
    """List the kernels that can be booted by name.

    Each is pinned to a version, so that an update of Debian's changes no
    result; the list says where there is a newer one.
    """
    from memtrace.lab import listing, pins, stock

    with _steps():
        if update_pins:
            for name, (old, new) in stock.update_pins().items():
                before = old[0].version if old else "none"
                tell(f"{name}: {before} -> {new[0].version}")
            tell(f"the pins in {pins.own_file()} are the newest")
        rows = list(listing.lines(prepare))
    show(listing.table(rows))
    click.echo("Any other is given by its path: a bzImage, a vmlinux, a build tree, /lib/modules/RELEASE,")
    click.echo("a kernel's .deb or .rpm (several with commas), or a folder that holds them or their files.")


def _common(function: Any) -> Any:
    """The options that `run` and `ab` share."""
    options = (
        click.option(
            "--boots",
            type=click.IntRange(1, 1000),
            default=3,
            show_default=True,
            metavar="N",
            help="Boots of each kernel.",
        ),
        click.option("--mem", default=None, metavar="SIZE,…", help="Memory per NUMA node.  [default: 2G]"),
        text_option(
            "--hotplug",
            metavar="DEVICE,…",
            multiple=True,
            help="Memory to add while recording: [virtio-mem:]SIZE[@NODE][:at=MARK].",
        ),
        text_option(
            "--unplug",
            metavar="NAME,…",
            multiple=True,
            help="What to take away again: dimm0, virtio-mem0, …, with :at=MARK.",
        ),
        click.option("--cpus", type=click.IntRange(1, 64), default=2, show_default=True, metavar="N"),
        click.option(
            "--clock",
            type=click.Choice(["host", "instructions"]),
            default="host",
            show_default=True,
            help="The guest's: instructions is 1 ns for each one executed, whatever the host's load; "
            "with --cpus above 1 they take turns, and waiting for each other is not measured.",
        ),
        text_option("-e", "--events", metavar="LIST", help="As for record."),
        click.option(
            "--stream",
            type=click.Choice(["tails", "all"]),
            default="tails",
            show_default=True,
            help="As for record.",
        ),
        click.option("-a", "--all-cpus", is_flag=True, help="The whole guest, not only the workload."),
        click.option(
            "--limit",
            type=click.FloatRange(10),
            default=180.0,
            show_default=True,
            metavar="SECONDS",
            help="For one boot.",
        ),
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path),
            default=Path("memtrace-lab"),
            show_default=True,
            metavar="FOLDER",
        ),
        click.argument("workload", nargs=-1, type=click.UNPROCESSED),
    )
    for option in reversed(options):
        function = option(function)
    return function


@lab.command(
    context_settings=SETTINGS,
    epilog="\b\nExample:\n  memtrace lab run --kernel debian-6.12 --boots 3 --mem 2G,2G -o runs\n"
    "  memtrace lab run --kernel debian-6.12 --hotplug 512M@1,virtio-mem:1G@1 -- sleep 2\n\n"
    "\b\nYour own kernel:\n"
    "  --kernel ~/linux                       a build tree, its modules too\n"
    "  --kernel arch/x86/boot/bzImage         one with all that it needs built in\n"
    "  --kernel /lib/modules/$(uname -r)      the running one\n"
    "  --kernel 'linux-*7.3.4*.deb'           packages: a quoted glob, or with commas\n"
    "  --kernel rpmbuild/RPMS/x86_64          a folder of them, or an unpacked one",
)
@click.option("--kernel", required=True, metavar="KERNEL", help="A name of `lab kernels`, or a path (below).")
@click.option("--append", default="", metavar="TEXT", help="Added to the kernel command line.")
@_common
def run(kernel: str, append: str, output: Path, **given: Any) -> None:
    """Boot one kernel N times, record WORKLOAD in each boot.

    Run files are FOLDER/runs/boot-NNN.parquet.  Stopped with Ctrl-C, the same
    command goes on where it was.  WORKLOAD defaults to counted page touches,
    4096 small and 16 huge pages on every node.  What it prints is beside its run
    as boot-NNN.out and .err, the files it puts into $RESULTS in boot-NNN.files.

    --hotplug 512M@1 adds a DIMM to node 1 before WORKLOAD starts, and names it
    dimm0; --unplug dimm0 takes it away after WORKLOAD.  With :at=MARK both wait
    until WORKLOAD calls `lab-mark MARK`.  All of it is recorded (-a is implied).
    """
    from memtrace.lab.series import Side

    _boot((Side("runs", kernel, append),), output, given)


@lab.command(
    context_settings=SETTINGS,
    epilog="\b\nExample:\n"
    "  memtrace lab ab --before debian-6.1 --after debian-6.12 --boots 5 -o ab\n"
    "  memtrace lab ab --before K --after K --append-after init_on_alloc=0 -o ab",
)
@click.option(
    "--before", required=True, metavar="KERNEL", help="A name of `lab kernels`, or a path, as for run."
)
@click.option("--after", required=True, metavar="KERNEL", help="The kernel it is compared with.")
@click.option("--append", default="", metavar="TEXT", help="Added to both kernel command lines.")
@click.option("--append-before", default="", metavar="TEXT", help="Added to BEFORE's alone.")
@click.option("--append-after", default="", metavar="TEXT", help="Added to AFTER's alone.")
@_common
def ab(
    before: str, after: str, append: str, append_before: str, append_after: str, output: Path, **given: Any
) -> None:
    """Boot two kernels N times each, interleaved A B B A, and record WORKLOAD in each.

    Run files are FOLDER/before/boot-NNN.parquet and FOLDER/after/….  Stopped
    with Ctrl-C, the same command goes on where it was.
    """
    from memtrace.lab.series import Side

    sides = (
        Side("before", before, f"{append} {append_before}".strip()),
        Side("after", after, f"{append} {append_after}".strip()),
    )
    _boot(sides, output, given)


def _boot(sides: Any, output: Path, given: dict[str, Any]) -> None:
    from memtrace.lab.series import check, run_series

    if given["workload"] and given["workload"][0].endswith((".deb", ".rpm")):
        raise click.UsageError(
            f"{given['workload'][0]} is no workload: write several packages with commas, or quote the glob"
        )
    series = _series(sides, given)
    check(series)
    total = len(sides) * series.boots
    tell(f"{total} boots into {output}; Ctrl-C stops, the same command goes on")
    if series.clock == "instructions" and series.cpus > 1:
        tell(
            f"{series.cpus} CPUs take turns on a clock of instructions: the runs say nothing of"
            " time in which one waits for another; --cpus 1 gives exact times"
        )
    undone: list[str] = []

    def shown(progress: Progress) -> None:
        for sentence in _sentences(progress):
            steps.tell(f"memtrace: {sentence}")
        undone.extend(progress.undone)

    try:
        with _steps() as steps:
            files = run_series(series, output, shown)
    except KeyboardInterrupt:
        tell(f"stopped; what is whole is kept in {output}")
        sys.exit(130)
    for file in files:
        show(safe.terminal(file))
    if undone:
        raise MemtraceError("the runs are kept, but not all that --hotplug and --unplug ask for was done")


def _steps() -> Steps:
    """What the lab's rooms log (preparing, booting, trying again), on standard error meanwhile."""
    return Steps(logging.getLogger("memtrace.lab"))


def _series(sides: Any, given: dict[str, Any]) -> Series:
    from memtrace.lab import plugging
    from memtrace.lab.series import Series
    from memtrace.lab.sizes import GIB, parse_sizes
    from memtrace.probes.topics import events

    memory = parse_sizes(given["mem"]) if given["mem"] is not None else None
    plugged = plugging.parse(given["hotplug"], given["unplug"], memory)
    record: list[str] = ["--stream", given["stream"]]
    if given["events"]:
        events.select(words("-e", given["events"]))
        record += ["-e", given["events"]]
    # Memory is added by a thread of the kernel's, not by the workload.
    if given["all_cpus"] or plugged.steps:
        record.append("-a")
    return Series(
        sides=sides,
        boots=given["boots"],
        memory=memory or (2 * GIB,),
        cpus=given["cpus"],
        record=tuple(record),
        workload=tuple(given["workload"]),
        time_limit_s=given["limit"],
        clock=given["clock"],
        plugging=plugged,
    )


def _sentences(progress: Progress) -> Iterator[str]:
    minutes, seconds = divmod(round(progress.left_s), 60)
    boot = progress.boot
    yield (
        f"boot {progress.done} of {progress.total} ({boot.side.name} {boot.number}, {boot.side.kernel}) "
        f"took {progress.took_s:.0f} s, about {minutes}:{seconds:02d} left"
    )
    for sentence in (*progress.notes, *progress.undone):
        yield f"boot {boot.number} of {boot.side.kernel}: {sentence}"
