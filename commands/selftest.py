# SPDX-License-Identifier: Apache-2.0
"""memtrace selftest."""

from __future__ import annotations

import dataclasses
import sys

import click

from memtrace import safe
from memtrace.commands import SETTINGS
from memtrace.commands.say import show


@click.command(
    context_settings=SETTINGS, epilog="\b\nExample:\n  sudo memtrace selftest --pages 4096 --huge 16"
)
@click.option(
    "--pages",
    type=click.IntRange(64, 1 << 20),
    default=4096,
    show_default=True,
    metavar="N",
    help="4 KiB pages to touch on each node.",
)
@click.option(
    "--huge",
    type=click.IntRange(1, 4096),
    default=16,
    show_default=True,
    metavar="N",
    help="Huge pages to touch on each node.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def selftest(pages: int, huge: int, as_json: bool) -> None:
    """Touch a counted number of pages on each node and check that the trace says so.

    Exits 1 if a check fails.  A check that this kernel can't answer is shown with
    its reason and does not fail.
    """
    from memtrace.probes.recorder.selftest import selftest as run_checks

    checks = run_checks(pages, huge)
    failed = [c for c in checks if c.passed is False]
    open_ = [c for c in checks if c.passed is None]
    if as_json:
        show(safe.json_text({"schema": 1, "tables": {"checks": [dataclasses.asdict(c) for c in checks]}}))
    else:
        for check in checks:
            verdict = {True: "ok  ", False: "FAIL", None: "?   "}[check.passed]
            wanted = "" if check.passed else f" (expected {check.expected})"
            show(f"{verdict} {check.name}: {check.found}{wanted}")
            if check.why and not check.passed:
                show(f"     {check.why}")
        passed = len(checks) - len(failed) - len(open_)
        click.echo(f"{passed} passed, {len(failed)} failed, {len(open_)} unknown here")
    if failed:
        sys.exit(1)
