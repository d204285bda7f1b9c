# SPDX-License-Identifier: Apache-2.0
"""The words of --by, and how values are named."""

from __future__ import annotations

import pytest

from memtrace.analyzer.keys import (
    DEFAULT,
    KEYS,
    flag_names,
    gfp_text,
    parse_keys,
    readable,
    without_aggregates,
)
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.recorded import header
from memtrace.traces.run import Fact
from memtrace.traces.schema import COLUMN_NAMES, Flag


def words(text: str | None) -> list[str]:
    return [key.word for key in parse_keys(text)]


def test_the_event_always_comes_first() -> None:
    assert words("order") == ["event", "order"]
    assert words("node,event") == ["event", "node"]
    assert words("event") == ["event"]
    assert parse_keys(None) == DEFAULT


def test_spaces_case_and_repetition_do_not_matter() -> None:
    assert words(" Order, node,order") == ["event", "order", "node"]


@pytest.mark.parametrize("text", ["nonsense", "order,,node", "", "order;node"])
def test_an_unknown_word_is_a_usage_error_that_names_the_known_ones(text: str) -> None:
    with pytest.raises(MemtraceError, match="it takes any of event, order, node") as error:
        parse_keys(text)
    assert error.value.exit_code == 2


def test_every_key_is_taken_from_a_column_of_the_file() -> None:
    assert {key.column for key in KEYS.values()} <= set(COLUMN_NAMES)


def test_which_words_aggregates_do_not_have() -> None:
    assert without_aggregates(parse_keys("order,pid,gfp,site")) == ("pid", "gfp")


def test_flags_by_name() -> None:
    assert flag_names(0) == "none"
    assert flag_names(int(Flag.ZEROED | Flag.INFERRED)) == "zeroed|inferred"
    assert flag_names(int(Flag.ZEROED) | 1 << 30) == "zeroed|0x40000000"


def test_gfp_by_the_names_of_the_recorded_kernel() -> None:
    assert gfp_text(0xCC0, header()) == "GFP_KERNEL"
    assert gfp_text(0xDC0, header()) == "GFP_KERNEL|__GFP_ZERO"
    assert gfp_text(0x40 | 1 << 20, header()) == "__GFP_IO|0x100000"
    assert gfp_text(0, header()) == "0"
    assert gfp_text(0xCC0, header(gfp_names={})) == "0xcc0"


def test_readable_names_what_is_known_and_leaves_the_rest() -> None:
    row = {"event": "alloc", "flags": 1, "zeroed": False, "gfp": None, "parent": None, "count": 3}
    named = {"event": "alloc", "flags": "zeroed", "zeroed": "no", "gfp": None, "parent": "none", "count": 3}
    assert readable([row], header()) == [named]
    untold = header(facts=(Fact("init_on_free", "unknown"),))
    assert readable([row], untold) == [named | {"zeroed": None}]
    assert readable([row | {"zeroed": True}], untold) == [named | {"zeroed": "yes"}]
