# SPDX-License-Identifier: Apache-2.0
"""Debian packages fetched by name and unpacked beside the system, never installed."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.lab.run import run_tool


@dataclass(frozen=True)
class Package:
    """One version of one package, as the host's apt knows it."""

    name: str
    version: str
    sha256: str


@functools.cache
def newest_package(pattern: str) -> Package:
    """The package whose whole name matches the regular expression, the highest name first.

    Kernel packages carry their version in the name, so the highest name is the newest
    kernel.  Raises MemtraceError where apt knows none.
    """
    prefix = re.split(r"[\\\[(.*+?|]", pattern, maxsplit=1)[0]
    known = run_tool("apt-cache", "pkgnames", prefix).decode().split()
    names = [name for name in known if re.fullmatch(pattern, name)]
    for name in sorted(names, key=_natural, reverse=True):
        shown = run_tool("apt-cache", "show", "--no-all-versions", name).decode()
        fields = dict(re.findall(r"^(Version|SHA256): (\S+)$", shown, re.MULTILINE))
        if len(fields) == 2:
            return Package(name, fields["Version"], fields["SHA256"])
    raise MemtraceError(
        f"apt knows no package named like {pattern}: run 'sudo apt-get update', or add "
        "Debian 12 (bookworm) to the apt sources"
    )


def unpack(package: Package, folder: Path) -> None:
    """Download the package and unpack its files into the folder."""
    unpack_file(download(package, folder), folder)


def download(package: Package, folder: Path) -> Path:
    """Download the package into the folder; apt checks its hash. Returns the .deb file."""
    # As root, apt downloads as the user _apt, who cannot write here.
    run_tool(
        "apt-get",
        "-qq",
        *("-o", "APT::Sandbox::User=root"),
        "download",
        f"{package.name}={package.version}",
        cwd=folder,
    )
    found = list(folder.glob(f"{package.name}_*.deb"))
    if not found:
        raise MemtraceError(f"apt-get download {package.name} left no file: is the disk full?")
    return found[0]


def unpack_file(deb: Path, folder: Path, keep: bool = False) -> None:
    """Unpack a .deb file into the folder, and remove the file unless it is to be kept."""
    run_tool("dpkg-deb", "-x", deb, folder)
    if not keep:
        deb.unlink()


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
