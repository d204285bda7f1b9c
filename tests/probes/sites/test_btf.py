# SPDX-License-Identifier: Apache-2.0
"""BTF of the running kernel: sizes, offsets, parameters; None for what is not there."""

import pytest

from memtrace.probes.sites.btf import Btf


@pytest.fixture(scope="module")
def btf() -> Btf:
    loaded = Btf.load()
    assert loaded is not None, "this kernel has no BTF"
    return loaded


def test_the_stable_signature_of_the_allocator(btf: Btf) -> None:
    assert btf.parameters("get_page_from_freelist") == ("gfp_mask", "order", "alloc_flags", "ac")


def test_members_of_anonymous_structs_are_found(btf: Btf) -> None:
    assert btf.offset_of("page", "lru") is not None
    assert btf.offset_of("page", "flags") == 0


def test_tgid_follows_pid(btf: Btf) -> None:
    pid, tgid = btf.offset_of("task_struct", "pid"), btf.offset_of("task_struct", "tgid")
    assert pid is not None
    assert tgid == pid + 4


def test_nodes_shift_is_the_configured_one(btf: Btf) -> None:
    from memtrace.probes.machine.kconfig import kernel_config

    configured = kernel_config("/").chosen().get("CONFIG_NODES_SHIFT")
    if configured is None:
        pytest.skip("no kernel config to compare with")
    assert btf.nodes_shift == int(configured)


def test_orders_are_as_many_as_the_buddy_allocator_has(btf: Btf) -> None:
    with open("/proc/buddyinfo") as lines:
        counts = next(lines).split()[4:]
    assert btf.elements_of("zone", "free_area") == len(counts)


def test_what_the_kernel_lacks_is_none(btf: Btf) -> None:
    assert btf.elements_of("zone", "no_such_member") is None
    assert btf.elements_of("zone", "name") is None
    assert btf.size_of("no_such_struct") is None
    assert btf.offset_of("page", "no_such_member") is None
    assert btf.parameters("no_such_function") is None
    assert btf.enumerator("NO_SUCH", "pageflags") is None
