# SPDX-License-Identifier: Apache-2.0
"""The root file system of all guests: a minimal Debian 12, built once, used read-only.

It holds what recording imports and nothing of memtrace itself, whose tree each guest
mounts, so that a change of the code needs no new image.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from memtrace.lab import cache, progress
from memtrace.lab.needs import For, require
from memtrace.lab.run import run_tool
from memtrace.lab.sizes import MIB

SUITE = "bookworm"
PYTHON = "3.11"
PACKAGES = ("kmod", "numactl", "procps", "python3", "python3-bpfcc")
# What recording imports: no pandas, whose import alone takes seconds under emulation.
WHEELS = ("click", "numpy", "pyarrow", "rich")
WHEELS_FOLDER = "/opt/memtrace"
MOUNT_POINTS = ("/lab/src/memtrace", "/lab/job", "/lab/results", "/lib/modules")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
UNUSED = ("/usr/share/doc", "/usr/share/man", "/usr/share/locale")


def prepare() -> Path:
    """The image file, from the cache or built; without root too, where user namespaces work."""
    key = cache.key_of(Path(__file__))
    return cache.ensure("image", key, _build) / "root.ext4"


def _build(folder: Path) -> None:
    require(For.IMAGE, *(() if _is_root() else (For.IMAGE_NOT_AS_ROOT,)))
    wheels = folder / Path(WHEELS_FOLDER).name
    with progress.step("downloading the Python packages of the root image"):
        _fetch_wheels(wheels)
    archive = folder / "root.tar"
    with progress.step("installing Debian into the root image"):
        _install(wheels, archive)
    shutil.rmtree(wheels)
    with progress.step("making the root image's file system"):
        _make_ext4(archive, folder / "root.ext4")
    archive.unlink()


def _install(wheels: Path, archive: Path) -> None:
    run_tool(
        *("mmdebstrap", "--quiet", "--variant=minbase", "--format=tar"),
        '--aptopt=Apt::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude={path}/*" for path in UNUSED),
        "--include=" + ",".join(PACKAGES),
        f"--customize-hook=copy-in {shlex.quote(str(wheels))} {Path(WHEELS_FOLDER).parent}",
        f'--customize-hook=chroot "$1" python3 -m compileall -q {WHEELS_FOLDER}',
        *(f'--customize-hook=mkdir -p "$1{path}"' for path in MOUNT_POINTS),
        *(SUITE, archive),
    )


def _make_ext4(archive: Path, image: Path) -> None:
    # Files of root's, made by somebody who need not be root.
    root = image.with_name("root")
    root.mkdir()
    # Blocks in use, and room for inodes and tables; the free rest of a sparse file costs nothing.
    size_mib = archive.stat().st_size * 5 // 4 // MIB + 128
    make = "mkfs.ext4 -q -O ^has_journal,^metadata_csum -m 0 -L memtrace-lab"
    script = f'tar -xf "$1" -C "$2" --exclude=./dev/\\* && {make} -d "$2" "$3" {size_mib}M && rm -rf "$2"'
    as_root = () if _is_root() else ("fakeroot", "--")
    run_tool(*as_root, "sh", "-c", script, "sh", archive, root, image)


def _is_root() -> bool:
    return os.geteuid() == 0


def _fetch_wheels(folder: Path) -> None:
    run_tool(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--target", folder, "--only-binary=:all:", "--implementation=cp"),
        f"--python-version={PYTHON}",
        *(f"--platform={platform}" for platform in PLATFORMS),
        *WHEELS,
    )
    for name in ("pyarrow/include", "pyarrow/tests", "bin"):
        shutil.rmtree(folder / name, ignore_errors=True)
