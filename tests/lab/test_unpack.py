# SPDX-License-Identifier: Apache-2.0
"""What is taken out of an archive, and what a hostile or damaged one cannot do."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab import unpack
from memtrace.lab.needs import find
from memtrace.lab.unpack import Damaged, Sink


def tar(*members: tuple[str, bytes | str], kind: bytes = tarfile.SYMTYPE) -> bytes:
    """An archive of files (bytes) and of links (the text is where to)."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = kind, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


def taken(folder: Path, archive: bytes) -> list[str]:
    sink = Sink(folder, {}, Path("x.deb"))
    unpack.from_tar(io.BytesIO(archive), sink)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_kernel_s_files_are_taken_and_usr_merged_ones_moved(tmp_path: Path) -> None:
    archive = tar(
        ("./boot/vmlinuz-1", b"k"),
        ("/usr/lib/modules/1/kernel/a.ko", b"a"),
        ("lib/modules/1/kernel/b.ko", b"b"),
        ("usr/share/doc/c", b"c"),
        ("usr/lib/debug/lib/modules/1/vmlinux", b"d"),
        ("usr/src/linux/lib/modules/1/e.ko", b"e"),
    )
    assert taken(tmp_path, archive) == [
        "boot/vmlinuz-1",
        "lib/modules/1/kernel/a.ko",
        "lib/modules/1/kernel/b.ko",
    ]


@pytest.mark.parametrize("name", ["../evil", "boot/../../evil", "lib/modules/1/../../../../evil"])
def test_a_path_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(MemtraceError, match=r"x\.deb holds the path '.*evil', which leads out of it"):
        taken(tmp_path / "in", tar((name, b"x")))
    assert not list(tmp_path.rglob("evil"))


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    folder = tmp_path / "in"
    folder.mkdir()
    archive = tar(
        ("boot", str(out)), ("boot/vmlinuz", b"k"), ("lib/modules/1", str(out)), ("lib/modules/1/a", b"a")
    )
    assert taken(folder, archive) == ["boot/vmlinuz", "lib/modules/1/a"]
    assert not list(out.iterdir())


def test_a_second_name_is_a_copy_and_never_of_a_file_outside(tmp_path: Path) -> None:
    archive = tar(("boot/a", b"a"))[:1024] + tar(
        ("boot/b", "boot/a"), ("boot/c", "/etc/passwd"), kind=tarfile.LNKTYPE
    )
    assert taken(tmp_path, archive) == ["boot/a", "boot/b"]
    assert (tmp_path / "boot" / "b").read_bytes() == b"a"


def test_what_would_fill_the_disk_is_refused_before_it_does(tmp_path: Path) -> None:
    info = tarfile.TarInfo("boot/vmlinuz")
    for size, said in (
        (unpack.MOST_BYTES + 1, "unpacks to more than any kernel does"),
        (unpack.MOST_BYTES, "more than any kernel does|the disk is full before"),
    ):
        info.size = size
        sink = Sink(tmp_path, {}, Path("x.deb"), total=int(size == unpack.MOST_BYTES))
        with pytest.raises(MemtraceError, match=said):
            unpack.from_tar(io.BytesIO(info.tobuf()), sink)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [100, 700, 1500])
def test_an_archive_that_is_cut_short(keep: int, tmp_path: Path) -> None:
    with pytest.raises(Damaged):
        taken(tmp_path, tar(("boot/vmlinuz", bytes(2000)))[:keep])


def test_the_same_file_of_two_packages(tmp_path: Path) -> None:
    origin: dict[str, Path] = {}
    unpack.from_tar(io.BytesIO(tar(("boot/a", b"1"))), Sink(tmp_path, origin, Path("1.deb")))
    with pytest.raises(MemtraceError, match=r"1\.deb and 2\.deb both hold boot/a: give only one of them"):
        unpack.from_tar(io.BytesIO(tar(("boot/a", b"2"))), Sink(tmp_path, origin, Path("2.deb")))
    with pytest.raises(Damaged):
        unpack.from_tar(
            io.BytesIO(tar(("boot/b/c", b""), ("boot/b", b""))), Sink(tmp_path, origin, Path("3"))
        )


@pytest.mark.skipif(find("cpio") is None, reason="no cpio here, which makes the archive")
def test_cpio_as_rpm2cpio_prints_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "boot").mkdir(parents=True)
    (root / "boot" / "vmlinuz").write_bytes(b"kernel")
    (root / "boot" / "again").hardlink_to(root / "boot" / "vmlinuz")
    (root / "boot" / "link").symlink_to("/etc")
    (root / "other").write_bytes(b"12345")
    names = b"./boot/vmlinuz\n./other\n./boot/link\n./boot/again\n"
    archive = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], input=names, cwd=root, stdout=subprocess.PIPE, check=True
    ).stdout
    folder = tmp_path / "in"
    folder.mkdir()
    unpack.from_cpio(io.BytesIO(archive), Sink(folder, {}, Path("x.rpm")))
    assert sorted(path.name for path in (folder / "boot").iterdir()) == ["again", "vmlinuz"]
    assert {path.read_bytes() for path in (folder / "boot").iterdir()} == {b"kernel"}
    assert not (folder / "other").exists()
    for end in (50, 130, 250, len(archive) - 700):
        with pytest.raises(Damaged):
            unpack.from_cpio(io.BytesIO(archive[:end]), Sink(tmp_path / str(end), {}, Path("x.rpm")))
