# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from memtrace.probes.machine.kconfig import CONFIG_NAMES, KernelConfig, kernel_config, parse_config

CONFIG = 'CONFIG_KPROBES=y\nCONFIG_NODES_SHIFT=10\nCONFIG_LSM="lockdown,bpf"\n# CONFIG_KASAN is not set\n'
NO_CONFIG = KernelConfig(None, {})


def test_config_lines() -> None:
    assert parse_config(CONFIG) == {
        "CONFIG_KPROBES": "y",
        "CONFIG_NODES_SHIFT": "10",
        "CONFIG_LSM": "lockdown,bpf",
        "CONFIG_KASAN": "n",
    }


@pytest.mark.parametrize(
    "path", ["boot/config-6.12.1", "lib/modules/6.12.1/config", "lib/modules/6.12.1/build/.config"]
)
def test_the_config_is_found_where_distributions_put_it(tree: Any, path: str) -> None:
    root = tree({"/proc/sys/kernel/osrelease": "6.12.1\n", path: CONFIG})
    config = kernel_config(root)
    assert config.source == f"/{path}"
    assert config.chosen()["CONFIG_KPROBES"] == "y"


def test_a_config_of_another_kernel_is_not_taken(tree: Any) -> None:
    root = tree({"/proc/sys/kernel/osrelease": "6.12.1\n", "/boot/config-6.12.2": CONFIG})
    assert kernel_config(root) == NO_CONFIG


def test_the_kernels_own_config_counts_most_unless_it_is_broken(tree: Any) -> None:
    root = tree({"/proc/sys/kernel/osrelease": "6.12.1\n", "/boot/config-6.12.1": CONFIG})
    packed = root / "proc/config.gz"
    packed.write_bytes(gzip.compress(b"CONFIG_KPROBES=n\n"))
    assert kernel_config(root).source == "/proc/config.gz"
    packed.write_bytes(packed.read_bytes()[:-12])
    assert kernel_config(root).source == "/boot/config-6.12.1"


def test_what_a_config_does_not_set_is_n_and_without_one_nothing_is_known() -> None:
    chosen = KernelConfig("/proc/config.gz", parse_config(CONFIG)).chosen()
    assert set(chosen) == set(CONFIG_NAMES)
    assert (chosen["CONFIG_KASAN"], chosen["CONFIG_UNACCEPTED_MEMORY"]) == ("n", "n")
    assert NO_CONFIG.chosen() == {}


def test_the_running_kernels_config_is_of_the_running_kernel() -> None:
    config = kernel_config()
    if config.source is None:
        pytest.skip("this machine has none")
    assert config.chosen()["CONFIG_BPF_SYSCALL"] == "y"
    assert Path(config.source).exists()
    assert (config.chosen()["CONFIG_NUMA"] == "y") == Path("/sys/devices/system/node").exists()
    assert config.options.get("CONFIG_64BIT") == (
        "y" if os.uname().machine in ("x86_64", "aarch64") else None
    )
