# SPDX-License-Identifier: Apache-2.0
"""What a kernel must be able to do to serve as a guest, as its configuration tells it."""

from __future__ import annotations

import re
from collections.abc import Iterable
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
    text = path.read_text(errors="replace")
    return dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE))


def module_name(file: str) -> str:
    """What a module is called, of its path: 9pnet_virtio of net/9p/9pnet-virtio.ko.xz."""
    return Path(file).name.split(".")[0].replace("-", "_")


def missing_modules(config: dict[str, str], files: Iterable[str]) -> list[str]:
    """The modules that a guest needs, that this kernel has as modules, and that no file is."""
    there = set(map(module_name, files))
    needed = [module for option, module in BUILT_IN_OR_MODULE.items() if config.get(option) == "m"]
    return [module for module in needed if module not in there]


def missing_options(config: dict[str, str], with_modules: bool) -> list[str]:
    """The options that a guest needs and this kernel lacks; a module without modules lacks."""
    good = ("y", "m") if with_modules else ("y",)
    lacking = [option for option in BUILT_IN if config.get(option) != "y"]
    return lacking + [option for option in BUILT_IN_OR_MODULE if config.get(option) not in good]
