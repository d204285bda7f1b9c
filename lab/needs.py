# SPDX-License-Identifier: Apache-2.0
"""What the lab needs of the host, and the one line that installs it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from memtrace.errors import MemtraceError

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class For(Enum):
    """The step of the lab that a need belongs to."""

    BOOT = "boot a guest"
    KERNEL = "unpack a kernel"
    IMAGE = "build the root image"
    IMAGE_NOT_AS_ROOT = "build the root image without being root"
    WORKLOAD = "build the workloads"
    BUILD = "build the emulated-acceptance kernel"
    RPM = "unpack an .rpm"


@dataclass(frozen=True)
class Need:
    """One thing looked for: a command name, or an absolute path of a header."""

    looked_for: str
    package: str
    step: For


NEEDS = (
    Need("qemu-system-x86_64", "qemu-system-x86", For.BOOT),
    Need("setpriv", "util-linux", For.BOOT),
    Need("cpio", "cpio", For.BOOT),
    Need("apt-get", "apt", For.KERNEL),
    Need("dpkg-deb", "dpkg", For.KERNEL),
    Need("depmod", "kmod", For.KERNEL),
    Need("gzip", "gzip", For.KERNEL),
    Need("xz", "xz-utils", For.KERNEL),
    Need("zstd", "zstd", For.KERNEL),
    Need("lz4", "lz4", For.KERNEL),
    Need("mmdebstrap", "mmdebstrap", For.IMAGE),
    Need("mkfs.ext4", "e2fsprogs", For.IMAGE),
    Need("newuidmap", "uidmap", For.IMAGE_NOT_AS_ROOT),
    Need("fakeroot", "fakeroot", For.IMAGE_NOT_AS_ROOT),
    Need("gcc", "gcc", For.WORKLOAD),
    Need("/usr/include/stdio.h", "libc6-dev", For.WORKLOAD),
    Need("make", "make", For.BUILD),
    Need("patch", "patch", For.BUILD),
    Need("flex", "flex", For.BUILD),
    Need("bison", "bison", For.BUILD),
    Need("bc", "bc", For.BUILD),
    Need("pahole", "pahole", For.BUILD),
    Need("perl", "perl", For.BUILD),
    Need("/usr/include/gelf.h", "libelf-dev", For.BUILD),
    Need("/usr/include/openssl/ssl.h", "libssl-dev", For.BUILD),
    Need("bsdtar", "libarchive-tools", For.RPM),
)


def search_path() -> str:
    """PATH with the system folders added: users often lack the sbin ones."""
    return os.environ.get("PATH", "") + os.pathsep + SYSTEM_PATH


def find(command: str) -> str | None:
    """Absolute path of a command or header, None where the host lacks it."""
    if command.startswith("/"):
        return command if Path(command).exists() else None
    return shutil.which(command, path=search_path())


def all_steps() -> tuple[For, ...]:
    """The steps that this user comes to; not those of a file that he may or may not have."""
    left_out = {For.RPM, *([For.IMAGE_NOT_AS_ROOT] if os.geteuid() == 0 else [])}
    return tuple(step for step in For if step not in left_out)


def missing(*steps: For) -> tuple[Need, ...]:
    """The needs of these steps (of all, where none is named) that the host lacks."""
    steps = steps or all_steps()
    return tuple(need for need in NEEDS if need.step in steps and find(need.looked_for) is None)


def cure(needs: Iterable[Need]) -> str:
    """The apt line that installs these needs."""
    packages = sorted({need.package for need in needs})
    return "sudo apt-get install --no-install-recommends " + " ".join(packages)


def require(*steps: For) -> None:
    """Raise MemtraceError naming what is missing for these steps, and its cure."""
    lacking = missing(*steps)
    if lacking:
        names = ", ".join(need.looked_for for need in lacking)
        raise MemtraceError(f"cannot {lacking[0].step.value}: no {names} here; {cure(lacking)}")


def require_tools(*names: str) -> None:
    """Raise MemtraceError naming which of these commands of NEEDS is missing, and its cure."""
    lacking = [need for need in NEEDS if need.looked_for in names and find(need.looked_for) is None]
    if lacking:
        missed = ", ".join(need.looked_for for need in lacking)
        raise MemtraceError(f"cannot {lacking[0].step.value}: no {missed} here; {cure(lacking)}")


def main() -> int:
    """Print the apt line that cures what is missing; 1 where something is."""
    lacking = missing()
    if lacking:
        print(cure(lacking))
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
