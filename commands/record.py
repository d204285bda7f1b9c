# SPDX-License-Identifier: Apache-2.0
"""memtrace record."""

from __future__ import annotations

import itertools
import math
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memtrace.commands import SETTINGS
from memtrace.commands.options import run_file, text_option, words
from memtrace.commands.say import tell
from memtrace.commands.status_line import StatusLine
from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    from memtrace.probes.recorder.outcome import Progress

NOTHING_SEEN = 3
"""Exit status where COMMAND's is 0 and nothing of it was seen."""


@click.command(
    context_settings=SETTINGS,
    epilog="\b\nExamples:\n"
    "  memtrace record -d 10                   the whole machine, ten seconds\n"
    "  memtrace record -o b.parquet -- make    one command and what it starts\n"
    "  memtrace record -e zero --min-order 9   clearing of 2 MiB and larger\n",
)
@run_file("run.parquet")
@text_option("-e", "--events", metavar="LIST", help="Events, e.g. alloc,zero (default: all).")
@click.option(
    "-d",
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop after this long.",
)
@text_option(
    "-p",
    "--pid",
    "pids",
    metavar="PID,…",
    help="Only these processes and what they fork.",
)
@text_option("-C", "--cpu", "cpus", metavar="LIST", help="Only these CPUs, e.g. 0-3,8.")
@click.option("-a", "--all-cpus", is_flag=True, help="The whole machine also when COMMAND is given.")
@text_option("--comm", metavar="NAME", help="Only threads of this command name (15 characters).")
@click.option(
    "--min-order", type=click.IntRange(0, 20), default=0, help="Only allocations of at least this order."
)
@click.option(
    "--stream",
    type=click.Choice(["tails", "all"]),
    default="tails",
    show_default=True,
    help="all: every occurrence is a row; tails: order 0 is summed in the kernel.",
)
@click.option(
    "--tail",
    "tail_us",
    type=click.IntRange(1, 10_000_000),
    default=100,
    show_default=True,
    metavar="US",
    help="Order-0 occurrences this long are rows of their own.",
)
@click.option("--stacks", is_flag=True, help="Kernel stacks (implies --stream all).")
@click.option(
    "--sample-hz",
    type=click.IntRange(0, 20_000),
    default=997,
    show_default=True,
    help="Clock samples where time is not seen otherwise; 0 for none.",
)
@text_option(
    "--avoid",
    metavar="KINDS",
    help="Site kinds not to use, to cross-check: fentry, kprobe, callsite, rawtp, sampling.",
)
@text_option(
    "--ring-size",
    metavar="SIZE",
    help="Ring per CPU, rounded up to a power of two, e.g. 8M (default: by CPUs and memory).",
)
@click.option("--as-user", is_flag=True, help="Run COMMAND as the user who called sudo, not as root.")
@click.option("-q", "--quiet", is_flag=True, help="No progress line and no summary.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def record(output: Path, force: bool, mode: int, quiet: bool, **given: Any) -> None:
    """Record what memory costs until Ctrl-C, -d SECONDS or the end of COMMAND.

    With COMMAND only it and what it starts is recorded (-a: everything), and its
    exit status is passed on (3: it was 0, but nothing of COMMAND was seen); put --
    before it. If recording ends first, COMMAND and what it started get SIGTERM,
    and SIGKILL after 3 s or at a second Ctrl-C.
    zero.alloc is counted inside alloc, so -e zero records alloc too.
    """
    # Before the imports: who is told to stop while they go on still leaves a run.
    reason: list[str] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _: reason.append(signal.Signals(n).name))
    from memtrace.probes.recorder import recording as recorder

    def hurried() -> bool:
        return len(reason) > 1

    options = _options(output, force, mode, given)
    with StatusLine(not quiet) as line, recorder.Recorder(options) as session:
        if not quiet:
            tell(f"recording to {output} {_until(options)}")
        show = _shown_on(line) if line.shows else None
        outcome = session.run(lambda: reason[0] if reason else "", show, hurried)
    if not quiet:
        _summary(output, outcome)
    if hurried():
        tell(_kept(output, outcome))
    elif outcome.still_running is not None:
        tell(_left(outcome.still_running))
    if outcome.missed is not None:
        tell(
            f"nothing of COMMAND (process {outcome.missed}) was seen, and no program runs without "
            "allocating: the run says nothing of it; see `memtrace doctor`"
        )
    status = outcome.status.exit_status or (NOTHING_SEEN if outcome.missed is not None else 0)
    if status:
        sys.exit(status)


def _until(options: Any) -> str:
    if options.duration_s is not None:
        return f"for {options.duration_s:g} s"
    return "until the command ends" if options.command else "until Ctrl-C"


def _kept(output: Path, outcome: Any) -> str:
    """What a second signal left undone, and what there is all the same."""
    left = outcome.still_running
    return (
        f"stopped at once by a second signal: all {outcome.status.rows:,} rows until the first are kept in "
        f"{output}; what the probes cost was not measured{'; ' + _left(left) if left else ''}"
    )


def _left(pid: int) -> str:
    return f"COMMAND (process {pid}) has not ended even by SIGKILL, and is left alone"


def _options(output: Path, force: bool, mode: int, given: dict[str, Any]) -> Any:
    from memtrace.probes.recorder import child, options, plan
    from memtrace.probes.topics import events

    command = tuple(given["command"])
    if given["as_user"] and not command:
        raise MemtraceError("--as-user is for a COMMAND, and there is none: leave it out", 2)
    if given["duration"] is not None and not math.isfinite(given["duration"]):
        raise MemtraceError(f"-d {given['duration']}: give a number of seconds", 2)
    pids = () if given["pids"] is None else _pids(given["pids"])
    follow = bool(pids) or bool(command and not given["all_cpus"])
    return options.Options(
        output=output,
        events=events.select(words("-e", given["events"])),
        overwrite=force,
        mode=mode,
        duration_s=given["duration"],
        command=command,
        command_user=child.user_of_sudo() if given["as_user"] else None,
        filters=plan.Filters(
            pids=pids,
            follow=follow,
            cpus=() if given["cpus"] is None else _cpus(given["cpus"]),
            comm=given["comm"],
            min_order=given["min_order"],
        ),
        shape=plan.Shape(
            stream_all=given["stream"] == "all",
            stacks=given["stacks"],
            tail_ns=given["tail_us"] * 1000,
            sample_hz=given["sample_hz"],
            avoid=_kinds(given["avoid"]),
        ),
        ring_bytes=_size(given["ring_size"]),
        argv=tuple(sys.argv),
    )


def _kinds(text: str | None) -> tuple[str, ...]:
    known = ("fentry", "kprobe", "callsite", "rawtp", "sampling")
    chosen = words("--avoid", text)
    for word in chosen:
        if word not in known:
            raise MemtraceError(f"--avoid {word}: give kinds out of {', '.join(known)}", 2)
    return chosen


def _pids(text: str) -> tuple[int, ...]:
    from memtrace.probes.machine.pidns import proc_is_ours

    if not proc_is_ours():
        raise MemtraceError(
            "-p: /proc shows another PID namespace's numbers here: "
            "mount this one's first, with mount -t proc proc /proc"
        )

    def running(pid: int) -> bool:
        return Path(f"/proc/{pid}").exists()

    return _expanded(
        _ranges("-p", text),
        running,
        lambda pid: MemtraceError(f"no process {pid}: give the PID of a running process with -p"),
    )


def _cpus(text: str) -> tuple[int, ...]:
    from memtrace.probes.machine.topology import online_cpus

    return _expanded(
        _ranges("-C", text),
        set(online_cpus()).__contains__,
        lambda cpu: MemtraceError(f"-C {text}: CPU {cpu} is not online here", 2),
    )


def _ranges(option: str, text: str) -> tuple[range, ...]:
    """ "0-3,8" as ranges; how long they are is up to the user."""
    found: list[range] = []
    try:
        for part in text.split(","):
            low, _, high = part.partition("-")
            found.append(range(int(low), int(high or low) + 1))
    except ValueError:
        raise MemtraceError(f"{option} {text}: give numbers and ranges such as 0-3,8", 2) from None
    if not all(found):
        raise MemtraceError(f"{option} {text}: an empty range", 2)
    return tuple(found)


def _expanded(
    ranges: Sequence[range], exists: Callable[[int], bool], absent: Callable[[int], MemtraceError]
) -> tuple[int, ...]:
    """The numbers, each once; ends at the first that does not exist, so there are never more than do."""
    found: dict[int, None] = {}
    for number in itertools.chain.from_iterable(ranges):
        if not exists(number):
            raise absent(number)
        found[number] = None
    return tuple(found)


def _size(text: str | None) -> int | None:
    if text is None:
        return None
    unit = {"K": 10, "M": 20, "G": 30}.get(text[-1].upper(), 0)
    digits = text[:-1] if unit else text
    if not digits.isdigit():
        raise MemtraceError(f"--ring-size {text}: give a size such as 512K or 4M", 2)
    size = int(digits) << unit
    if size < 4096 or size > 1 << 30:
        raise MemtraceError(f"--ring-size {text}: between 4K and 1G", 2)
    return 1 << (size - 1).bit_length()


def _shown_on(line: StatusLine) -> Callable[[Progress], None]:
    before = [0, 0.0]

    def show(now: Progress) -> None:
        seconds = now.seconds - before[1]
        rate = (now.events - before[0]) / seconds if seconds > 0 else 0.0
        before[:] = [now.events, now.seconds]
        line.show(
            f"{now.seconds:6.1f} s  {now.events:,} events  {rate:,.0f}/s  "
            f"{now.lost:,} lost  {now.bytes / 1e6:.1f} MB"
        )

    return show


def _summary(output: Path, outcome: Any) -> None:
    from memtrace.traces.lost import known_losses, recorded

    status = outcome.status
    seconds = (status.ended_ns - status.started_ns) / 1e9
    if status.gone:
        tell(
            f"a kernel module was unloaded while recording; after that nothing was seen of "
            f"{', '.join(status.gone)}"
        )
    tell(
        f"{recorded(status):,} events in {seconds:.1f} s, {known_losses(status):,} lost, "
        f"{status.rows:,} rows in {output} (stopped by {status.stopped_by}); "
        f"`memtrace report {output}` shows them"
    )
