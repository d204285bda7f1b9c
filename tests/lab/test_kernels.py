# SPDX-License-Identifier: Apache-2.0
"""The list of kernels, and the refusal of what is none; booting them is in tests/vm."""

from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab import acceptance, apt, kernels, needs
from memtrace.lab.requirements import BUILT_IN, BUILT_IN_OR_MODULE, missing_options, read_config


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_names_are_unique_and_not_paths() -> None:
    names = [entry.name for entry in kernels.KERNELS]
    assert len(set(names)) == len(names)
    assert {"debian-6.1", "debian-6.12", "debian-7.3", "accept-6.12", "accept-7.3"} <= set(names)
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


def test_a_deb_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(needs, "SYSTEM_PATH", "/nowhere")
    (tmp_path / "linux.deb").write_text("no archive")
    with pytest.raises(MemtraceError, match=r"linux\.deb is no package: neither a \.deb nor an \.rpm"):
        kernels.prepare(str(tmp_path / "linux.deb"))


@pytest.mark.parametrize("prefix", ["", "accept-6.12="])
def test_a_ready_made_kernel_that_is_none(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bzImage").write_text("no kernel")
    monkeypatch.setenv(kernels.READY_MADE, f"{prefix}{tmp_path / 'bzImage'}")
    with pytest.raises(MemtraceError, match="is not an x86-64 kernel"):
        kernels.prepare("accept-6.12")


@pytest.mark.parametrize(
    ("value", "old", "new"),
    [
        ("", None, None),
        ("/k/bzImage", "/k/bzImage", None),
        ("/k:l/bz=Image", "/k:l/bz=Image", None),
        ("accept-7.3=/new", None, "/new"),
        ("accept-6.12=/k:l/old:accept-7.3=/new=1", "/k:l/old", "/new=1"),
        ("/old:accept-7.3=/new", "/old", "/new"),
    ],
)
def test_ready_made_kernels_are_named_in_one_variable(
    value: str, old: str | None, new: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(kernels.READY_MADE, value)
    assert kernels.ready_made("accept-6.12") == (Path(old) if old else None)
    assert kernels.ready_made("accept-7.3") == (Path(new) if new else None)
    assert kernels.ready_made("debian-6.1") is None


@pytest.mark.parametrize("name", ["accept-9", "debian-6.1"])
def test_a_name_that_no_ready_made_kernel_can_have(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.READY_MADE, f"{name}=/k")
    with pytest.raises(MemtraceError, match=f"can name accept-6.12 and accept-7.3, not '{name}'"):
        kernels.prepare("accept-7.3")


@pytest.mark.parametrize("series", ["6.12", "7.3"])
def test_each_series_has_its_own_patches_and_configuration(series: str) -> None:
    *patches, config = acceptance.inputs(series)
    assert len(patches) == 3
    assert all(path.is_file() and path.parent.name == series for path in (*patches, config))
    # With the rest of what allnoconfig leaves out, these are what a guest needs.
    assert missing_options(read_config(config), with_modules=False) == []


def test_without_apt_and_without_a_cache_the_refusal_is_apt_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "refresh_if_older", lambda age_s: "apt-get failed: no network")
    with pytest.raises(MemtraceError, match=r"debian-6\.1 can be fetched: apt-get failed: no network"):
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
