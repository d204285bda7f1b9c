# SPDX-License-Identifier: Apache-2.0
"""Kernels in .deb and .rpm packages: what a package is, and its files in a folder.

Debian up to 6.18, bindeb-pkg    linux-image-REL
Debian from 6.19 on              linux-binary-REL, linux-modules-REL, linux-base-REL
Ubuntu                           linux-image-REL, linux-modules-REL
Fedora                           kernel-core, kernel-modules-core, kernel-modules
SUSE                             kernel-default
binrpm-pkg                       kernel
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.lab.needs import find, require_tools
from memtrace.lab.rpm import LEAD_MAGIC, read_header
from memtrace.lab.run import ToolFailed, run_tool, stream_tool
from memtrace.lab.unpack import Damaged, Sink, from_cpio, from_tar

DEB_MAGIC = b"!<arch>\n"
SUFFIXES = (".deb", ".rpm")
# Packages that a kernel's build or mirror has beside it and that hold none of its parts.
ASIDE = re.compile(
    r"linux-(headers|libc-dev|kbuild|doc|source|tools|perf)\b.*|kernel-(\w+-)*(headers|devel|doc)\b.*|.*-(dbg|dbgsym|debuginfo|debugsource)"
)
SPLIT = re.compile(r"linux-(image|binary|modules|base)(?:-unsigned)?-(\d.*)")
RPMS = ("kernel-core", "kernel-modules-core", "kernel-modules")
# Where package tools leave their output, below the folder that they are told.
OUTPUTS = ("RPMS", "rpmbuild/RPMS")
OUR_ARCHITECTURES = ("amd64", "x86_64")
FOR_ALL = ("all", "noarch")


@dataclass(frozen=True)
class Package:
    """One package file, as it describes itself; `depends` names the packages that it needs."""

    path: Path
    name: str
    version: str
    architecture: str
    depends: str = ""

    @property
    def foreign(self) -> bool:
        """Whether it is for machines that the lab's guests are not."""
        return self.architecture not in (*OUR_ARCHITECTURES, *FOR_ALL)


def is_package(path: Path) -> bool:
    """Whether a file's name says that it is a package."""
    return path.suffix in SUFFIXES


def in_folder(folder: Path) -> list[Path]:
    """The package files of a folder, or of the RPMS folders of rpmbuild in it, sorted."""
    places = [folder, *(path for output in OUTPUTS for path in folder.glob(f"{output}/*"))]
    return sorted(path for place in places if place.is_dir() for path in place.iterdir() if is_package(path))


def read(path: Path) -> Package:
    """What a package file says of itself; MemtraceError where it is no package."""
    try:
        with open(path, "rb") as file:
            magic = file.read(len(DEB_MAGIC))
        if magic.startswith(LEAD_MAGIC):
            header = read_header(path)
            if header is None:
                raise _damaged(path)
            return Package(path, header.name, header.version, header.arch)
    except OSError as error:
        raise MemtraceError(f"cannot read {path}: {error.strerror}") from error
    if magic != DEB_MAGIC:
        raise MemtraceError(f"{path} is no package: neither a .deb nor an .rpm begins like it")
    return _read_deb(path)


def for_guests(packages: list[Package], named: bool) -> list[Package]:
    """Those that can hold parts of a kernel for a guest.

    Of packages for another machine, those that the user has named himself are refused,
    those that lie in his folder only where no others do.  Raises MemtraceError.
    """
    parts = [package for package in packages if not ASIDE.fullmatch(package.name)]
    foreign = [package for package in parts if package.foreign]
    if foreign and (named or len(foreign) == len(parts)):
        raise MemtraceError(f"{foreign[0].path} is for {foreign[0].architecture}: guests are x86-64 machines")
    return [package for package in parts if not package.foreign]


def unpack(packages: Iterable[Package], folder: Path) -> dict[str, Path]:
    """Write the packages' kernel and modules into the folder; which file is of which package.

    Raises MemtraceError where one is damaged, not to be trusted, or in another's way.
    """
    origin: dict[str, Path] = {}
    for package in packages:
        sink = Sink(folder, origin, package.path)
        try:
            _unpack_one(package.path, sink)
        except (Damaged, ToolFailed) as error:
            raise _damaged(package.path, f" ({error})") from error
    return origin


def wanting(packages: list[Package]) -> str:
    """The packages that hold the rest of a kernel of which these are a part, for a sentence."""
    names = {package.name for package in packages}
    if any(package.path.suffix == ".rpm" for package in packages):
        rest = [name for name in RPMS if name not in names]
        return f"{' and '.join(rest)} (of SUSE: kernel-default)"
    for package in packages:
        found = SPLIT.fullmatch(package.name)
        if not found:
            continue
        kinds = ("binary", "modules", "base")
        split = found[1] in ("binary", "base") or re.search(r"linux-(binary|base)-\d", package.depends)
        rest = [f"linux-{kind}-{found[2]}" for kind in (kinds if split else ("image", "modules"))]
        rest = [name for name in rest if name not in names and name.replace("y-", "y-unsigned-") not in names]
        if rest:
            return " and ".join(rest) if len(rest) < 3 else f"{rest[0]}, {rest[1]} and {rest[2]}"
    return "the package that holds them"


def _damaged(path: Path, why: str = "") -> MemtraceError:
    return MemtraceError(f"{path} is damaged or cut short{why}: fetch or build it again")


def _read_deb(path: Path) -> Package:
    require_tools("dpkg-deb")
    try:
        shown = run_tool("dpkg-deb", "-f", path, "Package", "Version", "Architecture", "Depends")
    except ToolFailed as error:
        raise _damaged(path, f" ({error})") from error
    fields = dict(re.findall(r"^([\w-]+): (.*)$", shown.decode(errors="replace"), re.MULTILINE))
    return Package(
        path,
        fields.get("Package", ""),
        fields.get("Version", ""),
        fields.get("Architecture", ""),
        fields.get("Depends", ""),
    )


def _unpack_one(path: Path, sink: Sink) -> None:
    with open(path, "rb") as file:
        is_rpm = file.read(4) == LEAD_MAGIC
    if not is_rpm:
        with stream_tool("dpkg-deb", "--fsys-tarfile", path) as stream:
            from_tar(stream, sink)
    elif find("bsdtar") or not find("rpm2cpio"):
        require_tools("bsdtar")
        with stream_tool("bsdtar", "-c", "-f", "-", "--format", "pax", f"@{path.resolve()}") as stream:
            from_tar(stream, sink)
    else:
        with stream_tool("rpm2cpio", path.resolve()) as stream:
            from_cpio(stream, sink)
