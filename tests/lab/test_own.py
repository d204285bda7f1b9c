# SPDX-License-Identifier: Apache-2.0
"""Users' own kernels, by file, folder and build tree: from the path to the cache."""

import os
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab import kernels, own
from memtrace.lab.needs import find
from memtrace.tests.lab.test_vmlinux import elf
from memtrace.tests.lab.trees import A, B, bzimage, lay, write

pytestmark = pytest.mark.skipif(find("depmod") is None, reason="no depmod here, which all modules need")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def refused(name: Path | str) -> str:
    with pytest.raises(MemtraceError) as refusal:
        kernels.prepare(str(name))
    assert "\n" not in str(refusal.value)
    assert ".partial" not in str(refusal.value)
    return str(refusal.value)


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


@pytest.mark.parametrize("base", ["lib/modules", "usr/lib/modules"])
def test_a_folder_boots_its_vmlinux_and_is_not_written_to(base: str, tmp_path: Path) -> None:
    root = tmp_path / "unpacked"
    folder = lay(root, A, base)
    before = listing(root)
    for given in (root, folder, folder / "vmlinuz"):
        kernel = kernels.prepare(str(given))
        assert (kernel.release, kernel.boot_file.name, kernel.name) == (A, "vmlinux", str(given))
        assert kernel.modules_dir and (kernel.modules_dir / "modules.dep").read_text().startswith(
            "kernel/fs/9p/9p.ko"
        )
        assert kernel.modules_dir.is_relative_to(tmp_path / "cache")
        assert not list(kernel.modules_dir.rglob("build"))
    assert listing(root) == before


def test_a_kernel_built_again_is_another_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    folder = lay(tmp_path / "unpacked")
    first = kernels.prepare(str(folder)).boot_file
    assert kernels.prepare(str(folder)).boot_file == first
    module = folder / "kernel" / "fs" / "9p" / "9p.ko"
    os.utime(module, (1, 1))
    second = kernels.prepare(str(folder)).boot_file
    assert second != first
    (folder / "config").write_bytes((folder / "config").read_bytes() + b"CONFIG_B=y\n")
    assert kernels.prepare(str(folder)).boot_file not in (first, second)


def test_missing_modules_are_named(tmp_path: Path) -> None:
    folder = lay(tmp_path)
    (folder / "kernel" / "fs" / "9p" / "9p.ko").unlink()
    assert refused(tmp_path) == (
        f"{tmp_path} lacks modules of the kernel {A} that a guest needs (9p): "
        f"put its whole lib/modules/{A} into the folder"
    )
    (folder / "modules.builtin").unlink()
    assert "lacks modules.builtin" in refused(tmp_path)


def test_files_that_cannot_be_booted(tmp_path: Path) -> None:
    assert "is a vmlinux without CONFIG_PVH" in refused(write(tmp_path / "vmlinux", elf()))
    assert "is cut short: copy or build it again" in refused(write(tmp_path / "b", bzimage(A)[:-5]))
    assert "is packed with xz: unpack it first" in refused(write(tmp_path / "x", b"\xfd7zXZ\0" + bytes(99)))
    assert "is not a regular file" in refused("/dev/null")
    image = bytearray(bzimage(A))
    image[1040:] = b"\xff" * (len(image) - 1040)
    assert "is damaged (gzip failed" in refused(write(tmp_path / "d", bytes(image)))
    assert not list((tmp_path / "cache").rglob(".*"))


def test_the_words_of_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    a, b, comma = (write(tmp_path / name, b"") for name in ("a.deb", "b.deb", "with,comma"))
    assert own.paths_of("a.deb,b.deb") == (Path("a.deb"), Path("b.deb"))
    assert own.paths_of(f"{tmp_path}/*.deb") == (a, b)
    assert own.paths_of(str(comma)) == (comma,)
    for none in ("", "a.deb,", "a.deb,c.deb", "*.rpm"):
        assert own.paths_of(none) == ()
    with pytest.raises(MemtraceError, match="with,comma is no package: of other kernels give one path"):
        own.prepare("x", (a, comma))


MAKEFILE = f"""\
modules_install:
\tmkdir -p $(INSTALL_MOD_PATH)/lib/modules/{A}/kernel/fs/9p
\tcp fs/9p/9p.ko $(INSTALL_MOD_PATH)/lib/modules/{A}/kernel/fs/9p/
\tcp modules.order modules.builtin $(INSTALL_MOD_PATH)/lib/modules/{A}/
\tln -s $(CURDIR) $(INSTALL_MOD_PATH)/lib/modules/{A}/build
"""


def tree(root: Path, release: str = A) -> Path:
    """What a build leaves, as far as it is read; installing is make's, as in a real one."""
    write(root / "Makefile", MAKEFILE.encode())
    write(root / "arch" / "x86" / "boot" / "bzImage", bzimage(A))
    write(root / "include" / "config" / "kernel.release", f"{release}\n".encode())
    write(root / ".config", b"CONFIG_MODULES=y\nCONFIG_9P_FS=m\n")
    write(root / "fs" / "9p" / "9p.ko", b"\x7fELF")
    write(root / "modules.order", b"fs/9p/9p.o\n")
    write(root / "modules.builtin", b"kernel/fs/ext4/ext4.ko\n")
    write(root / "vmlinux", elf())
    return root


@pytest.mark.skipif(find("make") is None, reason="no make here, which installs modules")
def test_a_build_tree_with_modules(tmp_path: Path) -> None:
    root = tree(tmp_path / "linux")
    before = listing(root)
    kernel = kernels.prepare(str(root))
    assert (kernel.release, kernel.boot_file.name) == (A, "vmlinux")
    assert kernel.modules_dir and (kernel.modules_dir / "modules.dep").exists()
    assert listing(root) == before
    os.utime(root / "fs" / "9p" / "9p.ko", (1, 1))
    assert kernels.prepare(str(root)).boot_file != kernel.boot_file


def test_a_build_tree_that_is_not_built_or_half(tmp_path: Path) -> None:
    root = tree(tmp_path / "linux", B)
    assert f"has the bzImage of {A} but the modules of {B}: run 'make " in refused(root)
    (root / "fs" / "9p" / "9p.ko").unlink()
    assert "lacks fs/9p/9p.ko, " in refused(root)
    (root / "modules.order").unlink()
    assert "that a guest needs (9p): run 'make -j$(nproc)' in it" in refused(root)
    (root / "arch" / "x86" / "boot" / "bzImage").unlink()
    assert "is a kernel tree without arch/x86/boot/bzImage: run 'make " in refused(root)
