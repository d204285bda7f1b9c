# SPDX-License-Identifier: Apache-2.0
"""The list of kernels, and the refusal of what is none; booting them is in tests/vm."""

from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab import debian, kernels
from memtrace.lab.requirements import BUILT_IN, BUILT_IN_OR_MODULE, missing_options


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_names_are_unique_and_not_paths() -> None:
    names = [entry.name for entry in kernels.KERNELS]
    assert len(set(names)) == len(names)
    assert {"debian-6.1", "debian-6.12", "accept-6.12"} <= set(names)
    assert not any("/" in name for name in names)


def test_an_unknown_name_is_answered_with_the_list() -> None:
    with pytest.raises(MemtraceError, match=r"'debian-9' is neither a kernel of the list \(debian-6.1, "):
        kernels.prepare("debian-9")


def test_a_missing_file() -> None:
    with pytest.raises(MemtraceError, match="'/no/bzImage' is neither a kernel of the list"):
        kernels.prepare("/no/bzImage")


def test_a_folder_without_a_kernel(tmp_path: Path) -> None:
    with pytest.raises(MemtraceError, match="holds no kernel"):
        kernels.prepare(str(tmp_path))


def test_a_deb_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "linux.deb").write_text("no archive")
    with pytest.raises(MemtraceError, match="dpkg-deb failed"):
        kernels.prepare(str(tmp_path / "linux.deb"))


def test_a_ready_made_kernel_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bzImage").write_text("no kernel")
    monkeypatch.setenv(kernels.READY_MADE, str(tmp_path / "bzImage"))
    with pytest.raises(MemtraceError, match="is not an x86-64 kernel"):
        kernels.prepare("accept-6.12")


def test_without_apt_and_without_a_cache_the_refusal_is_apt_s(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_lists(pattern: str) -> debian.Package:
        raise MemtraceError("apt knows no package named like it")

    monkeypatch.setattr(debian, "newest_package", no_lists)
    with pytest.raises(MemtraceError, match="apt knows no package"):
        kernels.prepare("debian-6.1")


COMPLETE = dict.fromkeys((*BUILT_IN, *BUILT_IN_OR_MODULE), "y")


def test_a_kernel_with_all_options_serves() -> None:
    assert missing_options(COMPLETE, with_modules=False) == []


@pytest.mark.parametrize("option", COMPLETE)
def test_the_missing_option_is_named(option: str) -> None:
    config = {key: value for key, value in COMPLETE.items() if key != option}
    assert missing_options(config, with_modules=True) == [option]


def test_a_module_serves_only_a_kernel_with_modules() -> None:
    config = {**COMPLETE, "CONFIG_9P_FS": "m"}
    assert missing_options(config, with_modules=True) == []
    assert missing_options(config, with_modules=False) == ["CONFIG_9P_FS"]
