# SPDX-License-Identifier: Apache-2.0
"""Macros are compiled in or set at loading, and what is set at loading changes no digest."""

import pytest

from memtrace.probes.programs.compiled import digest
from memtrace.probes.programs.values import number, variant

HERE = {
    "MT_TAIL_NS": "4711",
    "MT_PAGE_OFFSET": "0xffff888000000000ULL",
    "MT_CLEAR0_LO": "0xffffffff81000000ULL",
    "MT_KVM_PID": "1234",
    "MT_FN_ALLOC": "get_page_from_freelist",
    "MT_EV_ALLOC": "0",
    "MT_STREAM_ALL": "1",
}
AFTER_A_REBOOT = HERE | {
    "MT_TAIL_NS": "99",
    "MT_PAGE_OFFSET": "0xffff8a4000000000ULL",
    "MT_CLEAR0_LO": "0xffffffff9d000000ULL",
}


def test_addresses_offsets_and_limits_are_values() -> None:
    made = variant(HERE)
    assert dict(made.values) == {
        "MT_TAIL_NS": 4711,
        "MT_PAGE_OFFSET": 0xFFFF888000000000,
        "MT_CLEAR0_LO": 0xFFFFFFFF81000000,
        "MT_KVM_PID": 1234,
    }
    assert dict(made.macros) == {"MT_FN_ALLOC": "mt_fn_alloc", "MT_EV_ALLOC": "0", "MT_STREAM_ALL": "1"}
    assert dict(made.fentry) == {"get_page_from_freelist": "mt_fn_alloc"}


def test_a_reboot_changes_values_alone() -> None:
    def named(macros: dict[str, str]) -> str:
        made = variant(macros)
        return digest("text", made.macros, made.values)

    assert named(HERE) == named(AFTER_A_REBOOT)
    assert named(HERE) != named({name: text for name, text in HERE.items() if name != "MT_STREAM_ALL"})
    assert named(HERE) != named({name: text for name, text in HERE.items() if name != "MT_KVM_PID"})


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("0x10ULL", 16), ("100000ULL", 100_000), ("-1", -1)])
def test_a_literal_of_c_is_a_number(text: str, value: int) -> None:
    assert number(text) == value
