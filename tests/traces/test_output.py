# SPDX-License-Identifier: Apache-2.0
"""Files for the user: whose they are, who may read them, and what others cannot make of them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.traces import output
from memtrace.traces.answers import write
from memtrace.traces.astray import check
from memtrace.traces.folders import Place
from memtrace.traces.output import create

MALLORY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root and another user")


def put(path: Path, text: str, overwrite: bool = False, mode: int = output.MODE) -> None:
    with create(path, overwrite=overwrite, mode=mode) as file:
        os.write(file.fd, text.encode())
        file.publish()
        check(file)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder like /tmp."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    for above in (tmp_path, *list(tmp_path.parents)[:-2]):
        above.chmod(above.stat().st_mode | 0o011)
    return folder


def mallorys_link(folder: Path, name: str, target: Path) -> Path:
    link = folder / name
    link.symlink_to(target)
    os.lchown(link, MALLORY, MALLORY)
    return link


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
@pytest.mark.parametrize("overwrite", [False, True])
def test_only_the_owner_may_read_it_whatever_the_umask(tmp_path: Path, umask: int, overwrite: bool) -> None:
    path = tmp_path / "run"
    if overwrite:
        path.write_text("before")
        path.chmod(0o666)
    before = os.umask(umask)
    try:
        put(path, "new", overwrite)
        put(tmp_path / "group", "new", mode=0o640)
    finally:
        os.umask(before)
    assert (mode_of(path), path.read_text()) == (0o600, "new")
    assert mode_of(tmp_path / "group") == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["group", "run"]


@as_root
@pytest.mark.parametrize("overwrite", [False, True])
def test_another_users_link_makes_root_write_nowhere_else(
    shared: Path, tmp_path: Path, overwrite: bool
) -> None:
    """As a name, and as a folder on the way, whatever fs.protected_symlinks is."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "there").write_text("precious")
    mallorys_link(shared, "dangling", victim / "absent")
    mallorys_link(shared, "leads", victim / "there")
    mallorys_link(shared, "folder", victim)
    for name in ("dangling", "leads", "folder/run", "folder/there", "folder/../victim/run"):
        with pytest.raises(MemtraceError, match="symbolic link"):
            put(shared / name, "new", overwrite)
        with pytest.raises(MemtraceError, match="symbolic link"):
            write(shared / name, b"new")
    assert [p.name for p in victim.iterdir()] == ["there"]
    assert (victim / "there").read_text() == "precious"
    assert sorted(p.name for p in shared.iterdir()) == ["dangling", "folder", "leads"]


@as_root
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_planted_after_the_check_is_not_followed(
    shared: Path, tmp_path: Path, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Place.look

    def look_then_plant(place: Place) -> os.stat_result | None:
        found = real(place)
        if not os.path.lexists(shared / "run"):
            mallorys_link(shared, "run", tmp_path / "target")
        return found

    monkeypatch.setattr(Place, "look", look_then_plant)
    with pytest.raises(MemtraceError):
        put(shared / "run", "new", overwrite)
    assert not (tmp_path / "target").exists()


def test_ones_own_links_to_folders_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    put(tmp_path / "link" / "run", "new")
    assert (tmp_path / "real" / "run").read_text() == "new"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(MemtraceError, match="symbolic link"):
        put(tmp_path / "loop" / "run", "new")


@as_root
@pytest.mark.parametrize(
    ("uid", "gid", "owner"),
    [
        ("65534", "65533", (65534, 65533)),
        ("0", "0", (0, 0)),
        ("-1", "65533", (0, 0)),
        ("4294967295", "65533", (0, 0)),
        ("65534", "", (0, 0)),
        ("65534 ", "65533", (0, 0)),
        ("٣", "65533", (0, 0)),
        ("root", "root", (0, 0)),
    ],
)
def test_it_belongs_to_the_user_who_called_sudo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: str, gid: str, owner: tuple[int, int]
) -> None:
    monkeypatch.setenv("SUDO_UID", uid)
    monkeypatch.setenv("SUDO_GID", gid)
    put(tmp_path / "run", "new")
    write(tmp_path / "page", b"new")
    for name in ("run", "page"):
        found = (tmp_path / name).stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (*owner, 0o600)


def test_two_writers_of_one_path_are_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with create(path, overwrite=False) as first:
        first.publish()
        with pytest.raises(MemtraceError, match=r"another process is writing .*; wait until it ends"):
            put(path, "second", overwrite=True)
        with pytest.raises(MemtraceError, match="another process is writing"):
            write(path, b"second")
        check(first)
    with create(path, overwrite=True) as third:
        # Also before it has its name.
        with pytest.raises(MemtraceError, match="another process is writing"):
            put(path, "fourth", overwrite=True)
        third.publish()
        with pytest.raises(MemtraceError, match="another process is writing"):
            put(path, "fourth", overwrite=True)
        check(third)
    put(path, "fifth", overwrite=True)
    assert path.read_text() == "fifth"
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def lose(what: str, path: Path) -> None:
    if what in ("deleted", "replaced"):
        path.unlink()
    if what == "replaced":
        path.write_text("other")
    if what == "moved":
        path.rename(path.with_name("elsewhere"))
    if what == "folder moved":
        path.parent.rename(path.parent.with_name("new"))
    if what == "folder removed":
        path.unlink()
        path.parent.rmdir()
    if what == "linked":
        path.with_name("other").hardlink_to(path)
        path.unlink()


@pytest.mark.parametrize(
    ("what", "said", "where"),
    [
        ("deleted", "run.x was deleted while it was written; its content is saved as", "out/run.saved-1.x"),
        ("replaced", "run.x was replaced by another file while", "out/run.saved-1.x"),
        ("moved", "run.x was moved while it was written; it is whole, as", "out/elsewhere"),
        ("folder moved", "run.x was moved while it was written; it is whole, as", "new/run.x"),
        ("folder removed", "out was removed while run.x was written; its content", "spare/run.saved-1.x"),
        ("linked", "run.x was deleted while it was written; its content is saved as", "out/run.saved-1.x"),
    ],
)
def test_what_became_of_it_is_said_and_its_content_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, said: str, where: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "spare"))
    for name in ("out", "spare"):
        (tmp_path / name).mkdir()
    with create(tmp_path / "out" / "run.x", overwrite=False) as file:
        os.write(file.fd, b"content" * 100_000)
        file.publish()
        lose(what, file.path)
        with pytest.raises(MemtraceError) as told:
            check(file)
    assert said in str(told.value) and str(told.value).endswith(str(tmp_path / where))
    assert (tmp_path / where).read_bytes() == b"content" * 100_000
    assert mode_of(tmp_path / where) == 0o600
    if what == "replaced":
        assert (tmp_path / "out" / "run.x").read_text() == "other"


def test_an_answer_replaces_a_file_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page"
    write(page, b"first")
    (tmp_path / "hard").hardlink_to(page)
    write(page, b"second")
    assert (page.read_bytes(), (tmp_path / "hard").read_bytes()) == (b"second", b"first")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        with pytest.raises(MemtraceError, match="No space left"):
            write(page, b"third")
    assert page.read_bytes() == b"second"
    (tmp_path / "link").symlink_to("page")
    with pytest.raises(MemtraceError, match="is a symbolic link, which is not followed"):
        write(tmp_path / "link", b"third")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hard", "link", "page"]


WRITE = (
    "import sys; from pathlib import Path; from memtrace.traces.answers import write;"
    "write(Path(sys.argv[1]), b'x' * 100_000)"
)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/null"])
def test_devices_and_descriptors_are_written_as_they_are(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", WRITE, name]
    expected = b"" if name == "/dev/null" else b"x" * 100_000
    piped = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    assert piped.stdout == expected
    log = tmp_path / "log"
    log.write_bytes(b"before ")
    with log.open("ab") as file:
        subprocess.run(command, stdout=file, check=True)
    assert log.read_bytes() == b"before " + expected


def test_a_fifo_is_written_but_not_one_that_another_user_planted(shared: Path) -> None:
    fifo = shared / "fifo"
    os.mkfifo(fifo)
    reader = subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE)
    write(fifo, b"text")
    assert reader.communicate()[0] == b"text"
    if os.geteuid() == 0:
        os.chown(fifo, MALLORY, MALLORY)
        with pytest.raises(MemtraceError, match="may have been planted by another user"):
            write(fifo, b"text")
