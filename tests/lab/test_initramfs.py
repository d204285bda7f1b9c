# SPDX-License-Identifier: Apache-2.0
"""Which modules a guest loads before it can mount, and in which order."""

from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab.initramfs import module_files

DEP = """\
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet.ko.xz:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/drivers/virtio/virtio.ko.xz kernel/net/9p/9pnet.ko.xz
kernel/fs/netfs/netfs.ko.xz:
kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/virtio/virtio.ko.xz:
kernel/crypto/crc32c_generic.ko.xz:
"""


def write(folder: Path, dep: str, built_in: str) -> Path:
    (folder / "modules.dep").write_text(dep)
    (folder / "modules.builtin").write_text(built_in)
    return folder


def test_each_module_comes_once_and_after_what_it_needs(tmp_path: Path) -> None:
    folder = write(tmp_path, DEP, "kernel/drivers/virtio/virtio_pci.ko\n")
    order = [path.name.split(".")[0] for path in module_files(folder)]
    assert len(set(order)) == len(order) == 9
    for later, earlier in [("9p", "netfs"), ("9pnet_virtio", "virtio"), ("ext4", "jbd2"), ("9p", "9pnet")]:
        assert order.index(earlier) < order.index(later)
    assert order[0] == "crc32c_generic"


def test_a_module_that_is_nowhere_is_told_as_its_option(tmp_path: Path) -> None:
    folder = write(tmp_path, DEP, "")
    with pytest.raises(MemtraceError, match="lacks CONFIG_VIRTIO_PCI, which a guest needs"):
        module_files(folder)


def test_a_modules_folder_without_its_lists(tmp_path: Path) -> None:
    with pytest.raises(MemtraceError, match=r"modules\.dep.*run depmod"):
        module_files(tmp_path)
