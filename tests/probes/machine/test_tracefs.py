# SPDX-License-Identifier: Apache-2.0
"""tracefs: gfp names from real event formats, the function list, no mount left behind."""

from pathlib import Path

import pytest

from memtrace.probes.machine import tracefs

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize(
    ("kernel", "zero", "movable", "account"),
    [(name, 0x100, 0x8, 0x400000) for name in ("debian-6.1", "debian-6.12", "debian-7.3", "accept-7.3")],
)
def test_gfp_bits_are_read_from_the_kernels_own_format(
    kernel: str, zero: int, movable: int, account: int
) -> None:
    names = tracefs.gfp_names((DATA / kernel / "mm_page_alloc.format").read_text())
    assert (names["__GFP_ZERO"], names["__GFP_MOVABLE"], names["__GFP_ACCOUNT"]) == (zero, movable, account)
    assert "GFP_KERNEL" not in names, "composites are not single bits"


def test_expressions_that_are_not_constants_are_left_out() -> None:
    assert tracefs.gfp_names('{ open("/etc/passwd"), "__GFP_X" }, { 1 << 3, "__GFP_Y" }') == {"__GFP_Y": 8}


def test_a_function_is_traceable_if_listed_whole() -> None:
    functions = b"get_page_from_freelist\naccept_memory\nother [module]\n"
    assert tracefs.traceable("accept_memory", functions) is True
    assert tracefs.traceable("get_page_from_freelist", functions) is True
    assert tracefs.traceable("page_from_freelist", functions) is False
    assert tracefs.traceable("accept_memory", None) is None


@pytest.mark.live
def test_reading_leaves_no_mount_behind() -> None:
    mounts = Path("/proc/mounts").read_text()
    files = tracefs.read(["events/kmem/mm_page_alloc/format", "no/such/file"])
    assert b"mm_page_alloc" in files["events/kmem/mm_page_alloc/format"]
    assert "no/such/file" not in files
    assert Path("/proc/mounts").read_text() == mounts


def test_a_module_s_function_may_be_traceable() -> None:
    functions = b"first [kvm]\nkvm_vcpu_ioctl [kvm]\nlast\n"
    assert [tracefs.traceable(name, functions) for name in ("first", "kvm_vcpu_ioctl", "last")] == [True] * 3
    assert tracefs.traceable("kvm_vcpu", functions) is False
