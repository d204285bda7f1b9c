# SPDX-License-Identifier: Apache-2.0
"""What is refused before a guest is booted; guests themselves are in tests/vm."""

from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab.guest import check_kernel
from memtrace.lab.kernels import Kernel
from memtrace.lab.requirements import BUILT_IN, BUILT_IN_OR_MODULE


def kernel(folder: Path, lacking: tuple[str, ...], modules: Path | None = None) -> Kernel:
    options = [option for option in (*BUILT_IN, *BUILT_IN_OR_MODULE) if option not in lacking]
    config = folder / "config"
    config.write_text("".join(f"{option}=y\n" for option in options))
    return Kernel("own", folder / "vmlinuz", modules, config, "6.12.0-test")


def test_a_kernel_whose_configuration_lacks_something_is_told_all_of_it(tmp_path: Path) -> None:
    check_kernel(kernel(tmp_path, ()))
    lacking = ("CONFIG_9P_FS", "CONFIG_KPROBE_EVENTS")
    with pytest.raises(MemtraceError) as refusal:
        check_kernel(kernel(tmp_path, lacking))
    assert str(refusal.value) == (
        "the kernel own (6.12.0-test) cannot be a guest: build it with CONFIG_KPROBE_EVENTS, CONFIG_9P_FS"
    )


def test_of_a_kernel_without_a_configuration_nothing_is_said(tmp_path: Path) -> None:
    check_kernel(Kernel("own", tmp_path / "vmlinuz", None, None, "unknown"))
