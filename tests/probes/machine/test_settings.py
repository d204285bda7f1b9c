# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memtrace.probes.machine.settings import (
    accept_memory,
    chosen,
    cpu_clearing,
    hugetlb_pools,
    init_on,
    memory_facts,
    struct_page_init,
    sysctls,
    thp,
)
from memtrace.probes.machine.sources import KernelLog, kernel_log, read_text

SILENT = KernelLog(("Linux version 6.12.0",), complete=True, source="/dev/kmsg", readable=True)
UNREADABLE = KernelLog()
AUTO_INIT = KernelLog(
    ("mem auto-init: stack:off, heap alloc:off, heap free:on",), True, "/dev/kmsg", readable=True
)
DEFAULT_ON = {"CONFIG_INIT_ON_ALLOC_DEFAULT_ON": "y", "CONFIG_INIT_ON_FREE_DEFAULT_ON": "n"}


@pytest.mark.parametrize(
    ("what", "log", "config", "cmdline", "value", "source"),
    [
        ("alloc", AUTO_INIT, DEFAULT_ON, "init_on_alloc=1", "no", "/dev/kmsg: mem auto-init"),
        ("free", AUTO_INIT, DEFAULT_ON, "", "yes", "/dev/kmsg: mem auto-init"),
        ("alloc", UNREADABLE, DEFAULT_ON, "init_on_alloc=0", "no", "/proc/cmdline: init_on_alloc=0"),
        ("alloc", UNREADABLE, {}, "init_on_alloc=on", "yes", "/proc/cmdline: init_on_alloc=on"),
        ("alloc", SILENT, DEFAULT_ON, "", "yes", "CONFIG_INIT_ON_ALLOC_DEFAULT_ON=y"),
        ("free", SILENT, DEFAULT_ON, "", "no", "CONFIG_INIT_ON_FREE_DEFAULT_ON=n"),
        ("alloc", UNREADABLE, {}, "", "unknown", "no kernel config"),
        ("alloc", UNREADABLE, {}, "init_on_alloc=maybe", "unknown", "no kernel config"),
    ],
)
def test_init_on_is_the_kernels_word_else_the_command_line_else_the_default(
    what: str, log: KernelLog, config: dict[str, str], cmdline: str, value: str, source: str
) -> None:
    fact = init_on(what, log, config, cmdline)
    assert (fact.name, fact.value) == (f"init_on_{what}", value)
    assert source in fact.evidence


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        (
            "debian-6.1",
            {
                "init_on_alloc": "no",
                "init_on_free": "yes",
                "accept_memory": "not built in",
                "struct_page_init": "deferred",
                "thp_enabled": "always",
                "mthp": "none",
                "hugetlb_pools": "node0 2048kB: 4, 4 free; node1 2048kB: 4, 4 free",
                "cpu_erms": "yes",
                "cpu_fsrm": "no",
                "clocksource": "tsc",
            },
        ),
        (
            "debian-6.12",
            {
                "init_on_alloc": "yes",
                "init_on_free": "no",
                "accept_memory": "lazy",
                "mthp": "2048kB=inherit",
                "hugetlb_pools": "none",
            },
        ),
        ("accept-6.12", {"init_on_alloc": "no", "accept_memory": "lazy", "thp_enabled": "madvise"}),
    ],
)
def test_the_facts_of_recorded_guests(machine: Any, name: str, facts: dict[str, str]) -> None:
    root = machine(name)
    found = memory_facts(root, kernel_log(root), {}, read_text(root, "/proc/cmdline") or "")
    assert {f.name: f.value for f in found if f.name in facts} == facts


@pytest.mark.parametrize(
    ("vmstat", "config", "cmdline", "value"),
    [
        ("nr_unaccepted 0\n", {}, "", "lazy"),
        ("nr_unaccepted 0\n", {}, "accept_memory=eager", "eager"),
        ("nr_unaccepted 0\n", {}, "accept_memory=sometimes", "lazy"),
        ("nr_free_pages 1\n", {}, "accept_memory=eager", "not built in"),
        (None, {"CONFIG_UNACCEPTED_MEMORY": "y"}, "", "lazy"),
        (None, {"CONFIG_UNACCEPTED_MEMORY": "n"}, "", "not built in"),
        (None, {}, "", "unknown"),
    ],
)
def test_accept_memory(
    tree: Any, vmstat: str | None, config: dict[str, str], cmdline: str, value: str
) -> None:
    root = tree({} if vmstat is None else {"/proc/vmstat": vmstat})
    assert accept_memory(root, config, cmdline).value == value


@pytest.mark.parametrize(
    ("log", "config", "cmdline", "value"),
    [
        (SILENT, {"CONFIG_DEFERRED_STRUCT_PAGE_INIT": "y"}, "", "deferred"),
        (SILENT, {"CONFIG_DEFERRED_STRUCT_PAGE_INIT": "n"}, "deferred_init=lazy", "at boot"),
        (SILENT, {"CONFIG_DEFERRED_STRUCT_PAGE_INIT": "y"}, "deferred_init=lazy", "lazy"),
        (SILENT, {}, "", "at boot"),
        (UNREADABLE, {}, "", "unknown"),
    ],
)
def test_struct_page_init(
    tmp_path: Path, log: KernelLog, config: dict[str, str], cmdline: str, value: str
) -> None:
    assert struct_page_init(tmp_path, log, config, cmdline).value == value


def test_lazy_struct_pages_tell_how_far_they_are(machine: Any) -> None:
    fact = struct_page_init(machine("debian-6.12"), SILENT, {}, "deferred_init=lazy")
    assert "of 524155 present pages managed" in fact.evidence


@pytest.mark.parametrize(
    ("text", "word"), [("always [madvise] never\n", "madvise"), ("", "unknown"), (None, "unknown")]
)
def test_the_bracketed_word_is_chosen(text: str | None, word: str) -> None:
    assert chosen(text) == word


def test_what_is_not_built_in_is_said_to_be_so(tmp_path: Path) -> None:
    config = {"CONFIG_TRANSPARENT_HUGEPAGE": "n", "CONFIG_HUGETLBFS": "n"}
    assert [f.value for f in thp(tmp_path, config)] == ["not built in"]
    assert hugetlb_pools(tmp_path, config).value == "not built in"


def test_an_mthp_size_without_a_switch_for_anonymous_memory_is_left_out(tree: Any) -> None:
    base = "/sys/kernel/mm/transparent_hugepage"
    root = tree(
        {f"{base}/hugepages-8kB/": "", f"{base}/hugepages-64kB/enabled": "[always] inherit madvise never"}
    )
    assert thp(root, {})[-1].value == "64kB=always"


def test_an_empty_tree_has_no_settings(tmp_path: Path) -> None:
    found = memory_facts(tmp_path, UNREADABLE, {}, "")
    assert {f.value for f in found} <= {"unknown", "none"}
    assert (sysctls(tmp_path), cpu_clearing(tmp_path)) == ({}, ())


def test_sysctls_of_the_running_kernel_are_the_files_below_proc_sys() -> None:
    found = sysctls()
    assert found["vm.min_free_kbytes"] == Path("/proc/sys/vm/min_free_kbytes").read_text().strip()
    assert "\t" not in found["vm.lowmem_reserve_ratio"]
