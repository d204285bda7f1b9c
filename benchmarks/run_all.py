# SPDX-License-Identifier: Apache-2.0
"""All benchmarks, one after the other, and one table of what they found."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import click

from memtrace.benchmarks import (
    compare_speed,
    disk,
    ledger,
    overhead,
    reading,
    report_speed,
    startup,
    sustained,
    zero_by,
)
from memtrace.benchmarks.findings import Finding, end_tidily, show
from memtrace.errors import MemtraceError

_Measure = Callable[[], Sequence[Finding]]


def _chosen(quick: bool) -> dict[str, _Measure]:
    if quick:
        return {
            "startup": lambda: startup.measure(repeats=1),
            "overhead": lambda: overhead.measure(repeats=1, rounds=5),
            "disk": lambda: disk.measure(repeats=1, rounds=4, builds=20),
            "sustained": lambda: sustained.measure(seconds=10),
            "reading": lambda: reading.measure(repeats=1, rounds=8),
            "ledger": lambda: ledger.measure(repeats=1),
        }
    return {
        "startup": startup.measure,
        "overhead": overhead.measure,
        "disk": disk.measure,
        "sustained": sustained.measure,
        "reading": reading.measure,
        "report_speed": report_speed.measure,
        "zero_by": zero_by.measure,
        "compare_speed": compare_speed.measure,
        # Last: a process counts the memory of the one that it was forked from as its own peak.
        "ledger": ledger.measure,
    }


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="Fewer repetitions: two minutes, and less to be relied on.")
def main(quick: bool) -> None:
    """The command line."""
    end_tidily()
    findings: list[Finding] = []
    failed = False
    for name, measure in _chosen(quick).items():
        click.echo(f"-- {name} --")
        try:
            findings += measure()
        except MemtraceError as error:
            click.echo(f"memtrace: {error}", err=True)
            failed = True
        click.echo()
    show(findings)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
