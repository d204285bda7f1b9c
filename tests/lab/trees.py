# SPDX-License-Identifier: Apache-2.0
"""Small folders laid out as kernels are, around images with a real header and no code."""

import gzip
from pathlib import Path

from memtrace.tests.lab.test_vmlinux import PVH
from memtrace.tests.lab.test_vmlinux import bzimage as image_of

A = "6.12.0-test"
B = "7.3.0-other"
ALL_IN = b"CONFIG_MODULES=y\nCONFIG_9P_FS=m\n"


def bzimage(release: str) -> bytes:
    """A bzImage of a release, around an ELF file with a PVH entry."""
    image = bytearray(image_of(gzip.compress(PVH, mtime=0)))
    image[0x300:0x320] = f"{release} (a@b)".encode().ljust(32, b"\0")
    return bytes(image)


def write(path: Path, content: bytes) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def modules(folder: Path) -> None:
    """A folder lib/modules/REL with one module, not indexed, and the link that builds leave."""
    write(folder / "kernel" / "fs" / "9p" / "9p.ko", b"\x7fELF")
    write(folder / "modules.builtin", b"kernel/fs/ext4/ext4.ko\n")
    write(folder / "modules.order", b"kernel/fs/9p/9p.ko\n")
    (folder / "build").symlink_to("/usr/src/linux")


def lay(root: Path, release: str = A, base: str = "usr/lib/modules") -> Path:
    """A kernel with config and modules as in packages since Debian's 6.19; returns its folder."""
    folder = root / base / release
    modules(folder)
    write(folder / "vmlinuz", bzimage(release))
    write(folder / "config", ALL_IN)
    return folder
