# SPDX-License-Identifier: Apache-2.0
"""Kernel stacks as folded text."""

from memtrace.probes.recorder.stacks import without_trampolines


def test_a_hooked_function_is_there_once() -> None:
    """Leaf first: the hooked function called the trampoline, which calls its body."""
    hooked = ["__accept_page", "cond_accept_memory", "0xffffffffa00044b9", "cond_accept_memory", "do_fault"]
    assert without_trampolines(hooked) == ["__accept_page", "cond_accept_memory", "do_fault"]


def test_recursion_and_unknown_code_stay() -> None:
    for names in (["a", "a", "b"], ["a", "0xffffffffa0000000", "b"], ["0xffffffffa0000000"], []):
        assert without_trampolines(names) == names
