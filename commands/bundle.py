# SPDX-License-Identifier: Apache-2.0
"""``memtrace bundle``: one file that records, to be copied into a guest."""

from __future__ import annotations

from pathlib import Path

import click

from memtrace.commands import SETTINGS
from memtrace.commands.say import show
from memtrace.errors import MemtraceError


@click.command(
    context_settings=SETTINGS,
    epilog="\b\nExamples:\n"
    "  sudo memtrace bundle -o memtrace-guest.pyz\n"
    "  memtrace bundle -o memtrace-guest.pyz 7.3.programs 6.12.programs\n",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Write here."
)
@click.argument("programs", nargs=-1, type=click.Path(path_type=Path), metavar="[PROGRAMS]...")
def bundle(output: Path, programs: tuple[Path, ...]) -> None:
    """Write memtrace and its compiled programs into one file: `sudo python3 FILE record …`.

    PROGRAMS are files that `memtrace programs export` wrote; without them, all that
    is kept here goes in. Where it records it needs Python 3.11, numpy and pyarrow,
    and neither BCC nor LLVM.
    """
    from memtrace.probes.programs.kept import stored, unbundled
    from memtrace.probes.programs.pyz import packed
    from memtrace.traces.answers import write

    found = {one.digest: one for path in programs for one in unbundled(path)}
    if not programs:
        found = {one.compiled.digest: one.compiled for one in stored() if one.compiled is not None}
    if not found:
        raise MemtraceError("no programs are kept: run `memtrace programs build`, or give PROGRAMS")
    data = packed(tuple(found.values()))
    write(output, data)
    show(f"wrote {output}: {len(data) / 1024:.0f} KiB with {len(found)} compiled programs")
