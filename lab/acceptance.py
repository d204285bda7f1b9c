# SPDX-License-Identifier: Apache-2.0
"""Building the kernel with emulated acceptance from Debian's own source package.

The patches and the configuration of each series are in `accept/SERIES/`.  The acceptance path itself is the
stock code; only what the platform does at its end is replaced by a wait of known length,
which the guest logs in /sys/kernel/debug/unaccepted_emul.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.lab import debian, progress, stock
from memtrace.lab.run import run_tool

FOLDER = Path(__file__).resolve().parent / "accept"
LOG = logging.getLogger(__name__)
CONFIG = "memtrace-test.config"

# The same input gives the same kernel, whoever builds it.
FIXED = {
    "KBUILD_BUILD_USER": "memtrace",
    "KBUILD_BUILD_HOST": "lab",
    "KBUILD_BUILD_TIMESTAMP": "1970-01-01",
}


def inputs(series: str) -> tuple[Path, ...]:
    """The project's own files that decide what is built, in the order of use."""
    return (*_patches(series), FOLDER / series / CONFIG)


def _patches(series: str) -> list[Path]:
    return sorted((FOLDER / series).glob("*.patch"))


def build(series: str, source: debian.Package, boot: Path) -> None:
    """Build into the folder `boot`: vmlinuz and config. About 12 CPU minutes, 4 GB."""
    LOG.info("building %s with emulated acceptance: about 12 CPU minutes, once", source.version)
    work = boot.parent / "work"
    work.mkdir()
    stock.fetch((source,), work)
    tarballs = list(work.glob("usr/src/linux-source-*.tar.xz"))
    if len(tarballs) != 1:
        raise MemtraceError(f"{source.name} {source.version} holds no source tarball")
    with progress.step("unpacking the kernel's source"):
        run_tool("tar", "-xf", tarballs[0], "--strip-components=1", cwd=work)
    for patch in _patches(series):
        run_tool("patch", "-p1", "--batch", "--forward", "-i", patch, cwd=work)
    make = ("make", "-s", "O=build", f"-j{os.cpu_count() or 1}")
    config = {"KCONFIG_ALLCONFIG": str(FOLDER / series / CONFIG)}
    run_tool(*make, "allnoconfig", cwd=work, env={**FIXED, **config})
    with progress.step("compiling the kernel", progress.files_like("*.o", work / "build", "objects")):
        run_tool(*make, "bzImage", cwd=work, env=FIXED)
    boot.mkdir()
    shutil.copyfile(work / "build/arch/x86/boot/bzImage", boot / "vmlinuz")
    shutil.copyfile(work / "build/.config", boot / "config")
    shutil.rmtree(work)
