# SPDX-License-Identifier: Apache-2.0
"""What a kernel must be able to do to serve as a guest, as its configuration tells it."""

from __future__ import annotations

import re
from pathlib import Path

# Needed before modules can be loaded, or for tracing.
BUILT_IN = (
    "CONFIG_BLK_DEV_INITRD",
    "CONFIG_BPF_EVENTS",
    "CONFIG_BPF_SYSCALL",
    "CONFIG_DEBUG_INFO_BTF",
    "CONFIG_DEVTMPFS",
    "CONFIG_KALLSYMS_ALL",
    "CONFIG_KPROBE_EVENTS",
    "CONFIG_PERF_EVENTS",
    "CONFIG_SERIAL_8250_CONSOLE",
    "CONFIG_TMPFS",
)

# Option -> the module that serves it as well.
BUILT_IN_OR_MODULE = {
    "CONFIG_VIRTIO_PCI": "virtio_pci",
    "CONFIG_VIRTIO_BLK": "virtio_blk",
    "CONFIG_NET_9P_VIRTIO": "9pnet_virtio",
    "CONFIG_9P_FS": "9p",
    "CONFIG_EXT4_FS": "ext4",
}


def read_config(path: Path) -> dict[str, str]:
    """Option -> "y", "m" or value; options that are not set are absent."""
    return dict(re.findall(r"^(CONFIG_\w+)=(.*)$", path.read_text(), re.MULTILINE))


def missing_options(config: dict[str, str], with_modules: bool) -> list[str]:
    """The options that a guest needs and this kernel lacks; a module without modules lacks."""
    good = ("y", "m") if with_modules else ("y",)
    lacking = [option for option in BUILT_IN if config.get(option) != "y"]
    return lacking + [option for option in BUILT_IN_OR_MODULE if config.get(option) not in good]
