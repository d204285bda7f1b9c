# SPDX-License-Identifier: Apache-2.0
"""A kernel laid out as Debian's split packages and Fedora's have it boots with its modules.

One boot.
"""

import shutil
from pathlib import Path

import pytest

from memtrace.lab import kernels
from tests.vm.conftest import Guest

pytestmark = pytest.mark.vm
SOURCE = "debian-6.12"


def test_a_folder_in_which_the_kernel_is_beside_its_modules(guest: Guest, tmp_path: Path) -> None:
    debian = kernels.prepare(SOURCE)
    assert debian.modules_dir
    assert debian.config
    folder = tmp_path / "unpacked" / "usr" / "lib" / "modules" / debian.release
    left_out = shutil.ignore_patterns("modules.dep*", "modules.alias*", "modules.symbols*", "*.bin", "build")
    shutil.copytree(debian.modules_dir, folder, ignore=left_out)
    (packed,) = debian.boot_file.parent.glob("vmlinuz*")
    shutil.copyfile(packed, folder / "vmlinuz")
    shutil.copyfile(debian.config, folder / "config")

    result = guest(str(tmp_path / "unpacked"), "uname -r; modprobe loop && lsmod | grep -w ^loop")
    assert result.status == 0, result.output
    assert result.output.split()[:2] == [debian.release, "loop"]
    assert not (folder / "modules.dep").exists()
