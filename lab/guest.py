# SPDX-License-Identifier: Apache-2.0
"""Booting a guest, running a script in it, bringing its results out.

    result = run_guest(GuestSpec("debian-6.12", "memtrace record …"), Path("out"))

Also a command for trying things:
`python -m memtrace.lab.guest --kernel debian-6.12 --mem 2G -- SCRIPT`.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import get_args

from memtrace import safe
from memtrace.errors import MemtraceError
from memtrace.lab import image, initramfs, kernels
from memtrace.lab.boot import BootFailure, Limits, Parts, boot_once
from memtrace.lab.kernels import Kernel
from memtrace.lab.needs import For, require
from memtrace.lab.process import ended_by_signals
from memtrace.lab.requirements import missing_options, read_config
from memtrace.lab.sizes import MIB, parse_size, parse_sizes
from memtrace.lab.spec import Clock, GuestResult, GuestSpec, PlugDimm, Step, check
from memtrace.lab.watch import Echo

LEAST_FREE = 64 * MIB
LOG = logging.getLogger(__name__)


def run_guest(spec: GuestSpec, results: Path, echo: Echo | None = None) -> GuestResult:
    """Boot a guest, run its script, and return once QEMU is gone.

    `results` is the folder (made where missing) that the script sees as $RESULTS; `echo`
    is called with what the script prints, while it runs.  A boot that dies before user
    space, or has not reached it in half its time, is tried once more.  Raises
    MemtraceError for bad input and GuestError for a guest that panics, hangs, runs out
    of memory or ends before its script; then too only `results` is left.
    """
    check(spec)
    with ended_by_signals():
        parts = prepare(spec.kernel)
        try:
            results.mkdir(parents=True, exist_ok=True)
            _check_space(results)
            _check_space(Path(tempfile.gettempdir()))
            result = _with_a_retry(spec, parts, results, echo)
            if result.status:
                _check_space(results)
            return result
        except OSError as error:
            where = error.filename or results
            raise MemtraceError(f"cannot run a guest: {where}: {error.strerror or error}") from error


def prepare(name: str) -> Parts:
    """All that a guest of this kernel boots from, out of the cache or made now."""
    kernels.check(name)
    require(For.BOOT)
    kernel = kernels.prepare(name)
    check_kernel(kernel)
    return Parts(kernel, initramfs.prepare(kernel), image.prepare())


def _with_a_retry(spec: GuestSpec, parts: Parts, results: Path, echo: Echo | None) -> GuestResult:
    start = time.monotonic()
    deadline = start + spec.time_limit_s
    try:
        early = Limits(start + spec.time_limit_s / 2, deadline, spec.time_limit_s)
        return boot_once(spec, parts, results, early, echo)
    except BootFailure as failure:
        LOG.info("%s; trying once more", str(failure).splitlines()[0])
        late = Limits(deadline, deadline, spec.time_limit_s)
        return dataclasses.replace(boot_once(spec, parts, results, late, echo), tries=2)


def check_kernel(kernel: Kernel) -> None:
    """Raise MemtraceError where the kernel's configuration, if known, says that it cannot be a guest."""
    if kernel.config is None:
        return
    lacking = missing_options(read_config(kernel.config), kernel.modules_dir is not None)
    if lacking:
        raise MemtraceError(
            f"the kernel {kernel.name} ({kernel.release}) cannot be a guest: build it with "
            + ", ".join(lacking)
        )


def _check_space(folder: Path) -> None:
    if shutil.disk_usage(folder).free < LEAST_FREE:
        raise MemtraceError(f"the disk of {folder} is full: free {LEAST_FREE // MIB} MiB or more")


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="memtrace.lab.guest", description=__doc__.split("\n")[0])
    parser.add_argument("--kernel", default="debian-6.12", help="name, file or folder")
    parser.add_argument("--mem", default="2G", help="per NUMA node: 2G or 2G,1G")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--clock", choices=get_args(Clock), default="host", help="of the guest")
    parser.add_argument("--append", default="", help="added to the kernel command line")
    parser.add_argument("--file", action="append", default=[], help="brought in as $FILES/NAME")
    parser.add_argument("--dimm", action="append", default=[], help="MARK:NID:SIZE, plugged at lab-mark MARK")
    parser.add_argument("--results", help="folder for what the script puts in $RESULTS")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds")
    parser.add_argument("--console", action="store_true", help="print the console afterwards")
    parser.add_argument("script", nargs="+")
    return parser.parse_args(argv)


def _dimm(text: str) -> Step:
    mark, nid, size = text.split(":")
    return Step(mark, PlugDimm(f"dimm-{mark}", int(nid), parse_size(size)))


def main(argv: list[str]) -> int:
    """The command for developers; the script's exit status, or 1 with one sentence."""
    arguments = _arguments(argv)
    spec = GuestSpec(
        kernel=arguments.kernel,
        script=" ".join(arguments.script),
        memory=parse_sizes(arguments.mem),
        cpus=arguments.cpus,
        append=arguments.append,
        files=tuple(map(Path, arguments.file)),
        steps=tuple(map(_dimm, arguments.dimm)),
        time_limit_s=arguments.limit,
        clock=arguments.clock,
    )

    shown = logging.StreamHandler()
    shown.addFilter(lambda record: not getattr(record, "ongoing", False))
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[shown])

    def echo(text: str) -> None:
        print(safe.page(text.replace("\r\n", "\n").expandtabs()), end="", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        results = Path(arguments.results or scratch)
        result = run_guest(spec, results, echo)
    if arguments.console:
        print(safe.page(result.console.replace("\r\n", "\n").expandtabs()), file=sys.stderr)
    times = f"up after {result.boot_s:.1f} s, {result.wall_s:.1f} s in all, tries {result.tries}"
    print(f"[{spec.kernel}: exit {result.status}, {times}]", file=sys.stderr)
    return 0 if result.status is None else result.status


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MemtraceError as refusal:
        sys.exit(f"memtrace: {safe.page(refusal)}")
