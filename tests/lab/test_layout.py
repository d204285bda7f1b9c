# SPDX-License-Identifier: Apache-2.0
"""Where the parts of a kernel are found in a folder; the real ones are booted in tests/vm."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab import layout
from memtrace.tests.lab.trees import A, B, bzimage, modules, write


def found(root: Path) -> layout.Layout:
    return layout.find(root, "GIVEN")


def refused(root: Path) -> str:
    with pytest.raises(MemtraceError) as refusal:
        found(root)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def boot(root: Path, release: str = A) -> None:
    write(root / "boot" / f"vmlinuz-{release}", bzimage(release))
    write(root / "boot" / f"config-{release}", b"CONFIG_A=y\n")
    modules(root / "lib" / "modules" / release)


def split(root: Path, release: str = A) -> None:
    folder = root / "usr" / "lib" / "modules" / release
    modules(folder)
    write(folder / "vmlinuz", bzimage(release))
    write(folder / "config", b"CONFIG_A=y\n")
    write(folder / "System.map", b"")


@pytest.mark.parametrize("laid", [boot, split])
def test_all_parts_are_found(laid: Callable[[Path], None], tmp_path: Path) -> None:
    laid(tmp_path)
    parts = found(tmp_path)
    assert (parts.release, parts.modules and parts.modules.name) == (A, A)
    assert parts.config and parts.config.read_text() == "CONFIG_A=y\n"
    assert parts.kernel.read_bytes() == bzimage(A)


@pytest.mark.parametrize("laid", [boot, split])
def test_a_modules_folder_finds_its_kernel(laid: Callable[[Path], None], tmp_path: Path) -> None:
    laid(tmp_path)
    (folder,) = tmp_path.glob("**/modules/*")
    assert found(folder) == layout.around(found(tmp_path).kernel)
    assert found(folder).modules == folder
    assert found(folder).config


def test_a_boot_folder_finds_the_modules_beside_it(tmp_path: Path) -> None:
    boot(tmp_path)
    modules(tmp_path / "lib" / "modules" / B)
    assert found(tmp_path / "boot").modules == tmp_path / "lib" / "modules" / A


def test_a_file_that_lies_nowhere_is_taken_alone(tmp_path: Path) -> None:
    boot(tmp_path)
    write(tmp_path / "elsewhere" / "bzImage", bzimage(A))
    alone = layout.around(tmp_path / "elsewhere" / "bzImage")
    assert (alone.config, alone.modules) == (None, None)


def test_of_two_kernels_both_paths_are_named(tmp_path: Path) -> None:
    boot(tmp_path)
    boot(tmp_path, B)
    said = refused(tmp_path)
    assert said.startswith("GIVEN holds 2 kernels: give the path of one, ")
    assert f"{tmp_path}/boot/vmlinuz-{A} or {tmp_path}/boot/vmlinuz-{B}" in said
    assert layout.around(tmp_path / "boot" / f"vmlinuz-{A}").modules == tmp_path / "lib" / "modules" / A


def test_two_builds_of_one_release_are_two_kernels_and_a_copy_is_none(tmp_path: Path) -> None:
    boot(tmp_path)
    write(tmp_path / "lib" / "modules" / A / "vmlinuz", bzimage(A))
    write(tmp_path / "boot" / f"vmlinuz-{A}.old", bzimage(B))
    assert found(tmp_path).release == A
    write(tmp_path / "lib" / "modules" / A / "vmlinuz", bzimage(A) + b"another")
    assert "holds 2 kernels" in refused(tmp_path)


def test_modules_of_another_release(tmp_path: Path) -> None:
    boot(tmp_path)
    (tmp_path / "lib" / "modules" / A).rename(tmp_path / "lib" / "modules" / B)
    assert refused(tmp_path) == (
        f"GIVEN holds the kernel {A} but the modules of {B}: give those of {A} with it"
    )
    write(tmp_path / "lib" / "modules" / B / "vmlinuz", bzimage(A))
    assert f"is the kernel {A}, but GIVEN holds the modules of {B}" in refused(
        tmp_path / "lib" / "modules" / B
    )


def test_a_folder_with_no_kernel(tmp_path: Path) -> None:
    assert "GIVEN holds no kernel" in refused(tmp_path)
    write(tmp_path / "boot" / "vmlinuz-of-arm", b"ARM\x64" * 500)
    assert "GIVEN holds no kernel" in refused(tmp_path)
    modules(tmp_path / "lib" / "modules" / A)
    assert f"copy its bzImage to {tmp_path}/lib/modules/{A}/vmlinuz" in refused(
        tmp_path / "lib" / "modules" / A
    )


def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "outside" / "vmlinuz", bzimage(A))
    modules(tmp_path / "outside" / A)
    root = tmp_path / "root"
    (root / "boot").mkdir(parents=True)
    (root / "boot" / f"vmlinuz-{A}").symlink_to(tmp_path / "outside" / "vmlinuz")
    assert "holds no kernel" in refused(root)
    write(root / "boot" / f"vmlinuz-{A}.1", bzimage(A))
    (root / "lib" / "modules").mkdir(parents=True)
    (root / "lib" / "modules" / A).symlink_to(tmp_path / "outside" / A)
    (root / "boot" / f"config-{A}").symlink_to("/etc/passwd")
    assert found(root) == layout.Layout(root / "boot" / f"vmlinuz-{A}.1", A, None, None)


def test_links_in_the_tree_are_followed(tmp_path: Path) -> None:
    split(tmp_path)
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / "vmlinuz").symlink_to(f"../usr/lib/modules/{A}/vmlinuz")
    assert found(tmp_path).release == A


@pytest.fixture
def without_rights(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Take the rights on a path away, from root too for the time of the test."""
    shut: list[Path] = []

    def take(path: Path) -> None:
        for above in [tmp_path, *list(tmp_path.parents)[:3]]:
            above.chmod(above.stat().st_mode | 0o055)
        path.chmod(0)
        shut.append(path)
        if os.getuid() == 0:
            os.seteuid(65534)

    yield take
    if os.getuid() == 0:
        os.seteuid(0)
    for path in shut:
        path.chmod(0o700)


def test_an_unreadable_kernel_is_named_with_its_remedy(
    tmp_path: Path, without_rights: Callable[[Path], None]
) -> None:
    boot(tmp_path)
    without_rights(tmp_path / "boot" / f"vmlinuz-{A}")
    said = refused(tmp_path / "lib" / "modules" / A)
    assert said.startswith(f"cannot read the kernel {tmp_path}/boot/vmlinuz-{A}: run 'sudo chmod a+r ")


def test_a_folder_without_rights(tmp_path: Path, without_rights: Callable[[Path], None]) -> None:
    boot(tmp_path)
    without_rights(tmp_path / "boot")
    assert refused(tmp_path) == f"cannot read the folder {tmp_path}/boot: Permission denied"
