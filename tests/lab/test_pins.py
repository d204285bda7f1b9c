# SPDX-License-Identifier: Apache-2.0
"""The list of pinned versions, and which file a moved pin goes to."""

from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab import kernels, pins, stock
from memtrace.lab.debian import Package

OLD = Package("linux-image-6.1.0-50-amd64", "6.1.170-1", "a" * 64)
NEW = Package("linux-image-6.1.0-56-amd64", "6.1.192-2", "b" * 64)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list that is in no clone, with the user's configuration in a folder of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(pins, "LIST", tmp_path / "site/lab/pins.txt")
    pins.write({"debian-6.1": (OLD,), "accept-6.12": (OLD, NEW)}, pins.LIST)
    return pins.LIST


def test_each_kernel_of_the_list_has_a_pin_and_a_series() -> None:
    listed = pins.parse(pins.LIST.read_text(), "pins.txt")
    assert {entry.name for entry in kernels.KERNELS} < set(listed)
    assert set(listed) == set(stock.SERIES)
    for package in (package for packages in listed.values() for package in packages):
        assert len(bytes.fromhex(package.sha256)) == 32, package


def test_what_is_written_is_read(installed: Path) -> None:
    assert pins.read() == {"debian-6.1": (OLD,), "accept-6.12": (OLD, NEW)}
    assert [path.name for path in installed.parent.iterdir()] == ["pins.txt"]


def test_in_a_clone_the_list_itself_is_changed(installed: Path) -> None:
    (installed.parents[1] / ".git").touch()
    assert pins.own_file() == installed


def test_the_user_s_file_goes_before_the_list_of_an_installed_one(installed: Path, tmp_path: Path) -> None:
    assert pins.own_file() == tmp_path / "config/memtrace/lab-pins.txt"
    pins.write({"debian-6.1": (NEW,)}, pins.own_file())
    assert pins.read() == {"debian-6.1": (NEW,), "accept-6.12": (OLD, NEW)}


def test_the_user_s_file_holds_only_what_was_moved(installed: Path) -> None:
    pins.move({"debian-6.1": (NEW,), "accept-6.12": (OLD, NEW)})
    assert list(pins.parse(pins.own_file().read_text(), "")) == ["debian-6.1"]
    pins.write({"debian-6.1": (NEW,), "accept-6.12": (NEW,)}, pins.LIST)
    assert pins.read() == {"debian-6.1": (NEW,), "accept-6.12": (NEW,)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"# fine\n\ndebian-6.1 linux-image 6.1\n", "line 3 of .*lab-pins.txt is not KERNEL PACKAGE"),
        (b"a b c d e\n", "line 1 of "),
        (b"\xff\xfe", "cannot read .*lab-pins.txt"),
    ],
)
def test_a_file_that_is_none_is_named(installed: Path, content: bytes, words: str) -> None:
    pins.own_file().parent.mkdir(parents=True)
    pins.own_file().write_bytes(content)
    with pytest.raises(MemtraceError, match=words):
        pins.read()


def test_a_folder_that_cannot_be_written_leaves_the_file_as_it_was(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file in its place")
    with pytest.raises(MemtraceError, match=r"cannot write .*lab-pins\.txt: "):
        pins.write({}, pins.own_file())
