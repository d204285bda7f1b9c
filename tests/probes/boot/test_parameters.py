# SPDX-License-Identifier: Apache-2.0
"""Which boot parameters a kernel gets, and what is said to stay unseen."""

from __future__ import annotations

import dataclasses

import pytest

from memtrace.probes.boot.parameters import (
    FUNCTIONS,
    RECORD_BYTES,
    Function,
    Kernel,
    buffer_mib,
    line,
    parameters,
    traceable,
    unseen,
)

INIT = (0x9000, 0x9F00)
FILTER = b"accept_memory\n__accept_page\nschedule\n"
SYMBOLS = {"accept_memory": 0x100, "snp_accept_memory": 0x200, "smp_init": 0x9100}


def kernel(**changes: object) -> Kernel:
    plain = Kernel(
        functions=tuple(Function(name, "traceable", "") for name in FUNCTIONS),
        config={"CONFIG_DEFERRED_STRUCT_PAGE_INIT": "y", "CONFIG_FUNCTION_TRACER": "y"},
        cpus=4,
        memory_bytes=64 << 30,
        efi=True,
        accepts=True,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "filter_functions", "symbols", "state"),
    [
        ("accept_memory", FILTER, SYMBOLS, "traceable"),
        ("snp_accept_memory", FILTER, SYMBOLS, "notrace"),
        ("smp_init", FILTER, SYMBOLS, "init"),
        ("tdx_accept_memory", FILTER, SYMBOLS, "absent"),
        ("snp_accept_memory", None, SYMBOLS, "unknown"),
        ("smp_init", None, SYMBOLS, "init"),
        ("accept_memory", None, {}, "unknown"),
    ],
)
def test_a_function_is_traceable_freed_absent_or_unknown(
    name: str, filter_functions: bytes | None, symbols: dict[str, int], state: str
) -> None:
    assert traceable(name, filter_functions, symbols, INIT).state == state


def test_hidden_addresses_do_not_make_a_function_untraceable() -> None:
    assert traceable("smp_init", FILTER, {"smp_init": 0}, (0, 0)).state == "unknown"


def test_only_functions_that_may_be_traced_are_filtered_for() -> None:
    functions = tuple(
        Function(name, state, "")
        for name, state in (
            ("accept_memory", "traceable"),
            ("smp_init", "init"),
            ("tdx_accept_memory", "absent"),
        )
    )
    words = dict(p.text.partition("=")[::2] for p in parameters(kernel(functions=functions)))
    assert words["ftrace_filter"] == "accept_memory,smp_init"
    assert words["trace_clock"] == "local"
    assert "*" not in line(parameters(kernel())), "GRUB's shell would expand it"


def test_the_firmwares_map_is_asked_for_where_there_is_one() -> None:
    assert "efi=debug" in line(parameters(kernel()))
    assert "efi=debug" not in line(parameters(kernel(efi=False)))
    assert "efi=debug" not in line(parameters(kernel(accepts=False)))


def test_a_kernel_without_the_function_tracer_gets_no_parameters_for_it() -> None:
    bare = kernel(config={"CONFIG_FUNCTION_TRACER": "n", "CONFIG_PRINTK_TIME": "n"}, efi=False)
    assert line(parameters(bare)) == "printk.time=1"
    assert any("CONFIG_FUNCTION_TRACER is not set" in text for text in unseen(bare))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("n", "accept_memory=eager all acceptance is in memblock_free_all()"),
        (None, "configuration is unknown"),
        ("y", ""),
    ],
)
def test_eager_acceptance_without_deferred_init_is_said_to_be_invisible(value: str | None, said: str) -> None:
    config = {} if value is None else {"CONFIG_DEFERRED_STRUCT_PAGE_INIT": value}
    found = [text for text in unseen(kernel(config=config)) if "DEFERRED" in text]
    assert said in found[0] if said else not found


def test_the_buffer_holds_every_block_thrice_on_one_cpu_and_stays_small() -> None:
    blocks = (64 << 30) // (4 << 20)
    assert buffer_mib(64 << 30, 4) << 20 >= blocks * 3 * RECORD_BYTES
    assert buffer_mib(1 << 30, 4) == 2
    assert buffer_mib(64 << 40, 4) == 64
    assert buffer_mib(None, 4) == 16
