# SPDX-License-Identifier: Apache-2.0
"""memtrace workload."""

from __future__ import annotations

import dataclasses

import click

from memtrace import safe
from memtrace.commands import SETTINGS
from memtrace.commands.say import show


@click.command(
    context_settings=SETTINGS,
    epilog="\b\nExamples:\n"
    "  memtrace workload thp --mib 64\n"
    "  memtrace record -e alloc,zero,root -- memtrace workload mlock --node 0\n",
)
@click.argument("name", required=False, metavar="NAME")
@click.option(
    "--mib", type=click.IntRange(2, 1 << 20), default=64, show_default=True, metavar="N", help="MiB to take."
)
@click.option("--node", type=click.IntRange(0, 1023), metavar="NID", help="Node to take it from.")
def workload(name: str | None, mib: int, node: int | None) -> None:
    """Touch, lock, pin or copy a known number of pages, and say how many.

    Without NAME lists the workloads. Changes no setting of the machine; where it
    lacks what a workload needs, says what.
    """
    from memtrace.probes.workloads import KINDS, Size, run

    if name is None:
        for word, kind in KINDS.items():
            click.echo(f"{word:12}{kind.doc}")
        return
    done = run(name, Size(mib << 20, node))
    said = {"workload": name, "nid": node, **dataclasses.asdict(done)}
    show(safe.json_text({"schema": 1, "tables": {"workload": [said]}}))
