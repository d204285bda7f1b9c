# SPDX-License-Identifier: Apache-2.0
"""The words of --hotplug and --unplug, and what is said of steps that were not done."""

from __future__ import annotations

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab.plugging import NOTHING, Plugging, parse, undone, with_nodes
from memtrace.lab.sizes import GIB, MIB
from memtrace.lab.spec import Done, GuestSpec, PlugDimm, ResizeVirtioMem, Step, UnplugDimm, VirtioMem, check


def plugging(hotplug: str, unplug: str = "", memory: tuple[int, ...] | None = (GIB, GIB)) -> Plugging:
    return parse([hotplug], [unplug] if unplug else [], memory)


def test_a_plain_word_is_a_dimm_before_the_workload() -> None:
    found = plugging("512M@1")
    assert found.steps == (Step("start", PlugDimm("dimm0", 1, 512 * MIB)),)
    assert (found.append, found.modules, found.around) == ("memhp_default_state=online", (), True)


def test_a_list_is_numbered_by_kind_and_may_be_given_in_parts() -> None:
    words = ["512M@1,virtio-mem:1G@1:at=grow", "dimm:128M"]
    found = parse(words, ["virtio-mem0,dimm1:at=later"], None)
    assert found.virtio_mem == (VirtioMem("virtio-mem0", 1, GIB),)
    assert found.steps == (
        Step("start", PlugDimm("dimm0", 1, 512 * MIB)),
        Step("grow", ResizeVirtioMem("virtio-mem0", GIB)),
        Step("start", PlugDimm("dimm1", 0, 128 * MIB)),
        Step("end", ResizeVirtioMem("virtio-mem0", 0)),
        Step("later", UnplugDimm("dimm1")),
    )
    assert found.modules == ("virtio_mem",)


def test_what_is_to_go_again_comes_online_movable() -> None:
    assert plugging("512M", "dimm0").append == "memhp_default_state=online_movable"
    assert plugging("virtio-mem:512M", "virtio-mem0").append == "memhp_default_state=online_movable"
    assert NOTHING.append == ""


def test_marks_of_the_workload_s_own_need_no_wrapper() -> None:
    assert not plugging("512M:at=a", "dimm0:at=b").around
    assert plugging("512M:at=a", "dimm0").around


def test_a_node_without_memory_is_made_where_memory_was_not_given() -> None:
    found = plugging("512M@1", memory=None)
    assert with_nodes((2 * GIB,), found) == (2 * GIB, 0)
    assert with_nodes((2 * GIB,), NOTHING) == (2 * GIB,)
    check(GuestSpec("k", "true", memory=(2 * GIB, 0), steps=found.steps))


def test_only_the_last_node_can_be_without_memory() -> None:
    assert plugging("512M@2", memory=(GIB, GIB, 0)).steps
    for nid in (1, 2):
        with pytest.raises(MemtraceError, match="the guest does not know node 1"):
            plugging(f"512M@{nid}", memory=(GIB, 0, GIB))
    assert plugging("512M@0", memory=(GIB, 0, GIB)).steps


@pytest.mark.parametrize(
    ("hotplug", "unplug", "said"),
    [
        ("100M@1", "", "--hotplug 100M@1: the size must be a multiple of 128M"),
        ("0@1", "", "must be a multiple of 128M"),
        ("512Q@1", "", "'512Q' is not a memory size"),
        ("@1", "", "'' is not a memory size"),
        ("512M@2", "", "there is no node 2; 0 as the last size of --mem makes one without memory"),
        ("512M@-1", "", "'-1' is not the number of a node"),
        ("512M@", "", "'' is not the number of a node"),
        ("512M@one", "", "'one' is not the number of a node"),
        ("512M@1@2", "", "write it like 512M@1, virtio-mem:1G@1 or 512M@1:at=MARK"),
        ("nvdimm:512M@1", "", "write it like 512M@1"),
        ("512M@1:at=", "", "a mark is a word"),
        ("512M@1:at=a b", "", "a mark is a word"),
        ("512M@1:when=a", "", "write it like 512M@1"),
        ("512M@1,", "", "nothing between two commas"),
        ("512M@1", "dimm1", "--unplug dimm1: no device is named so; --hotplug makes dimm0"),
        ("512M@1", "dimm0,dimm0", "dimm0 is unplugged twice"),
        ("512M@1:at=a", "dimm0:at=start", "dimm0 comes later, at a"),
        ("512M@1:at=end", "dimm0:at=a", "dimm0 comes later, at end"),
    ],
)
def test_bad_words_are_told_in_a_sentence(hotplug: str, unplug: str, said: str) -> None:
    with pytest.raises(MemtraceError, match=said) as refusal:
        plugging(hotplug, unplug)
    assert refusal.value.exit_code == 2
    assert len(str(refusal.value).splitlines()) == 1


def test_unplugging_without_hotplug_and_nodes_without_mem() -> None:
    with pytest.raises(MemtraceError, match="no device is named so; --hotplug makes none"):
        parse([], ["dimm0"], None)
    with pytest.raises(MemtraceError, match="there is no node 2; give --mem for each node"):
        parse(["512M@2"], [], None)
    assert parse([], [], None) == NOTHING


def test_what_was_not_done_is_told() -> None:
    steps = plugging("512M,512M@1:at=grow,512M:at=grow", "dimm0").steps
    done = (Done(steps[0], "done dimm0 plugged"), Done(steps[3], "failed dimm0 is refused by the guest"))
    assert undone(steps, done, ("start", "grwo", "grwo", "end")) == [
        "the workload never called `lab-mark grow`, so that dimm1 was not plugged; it called grwo",
        "the workload never called `lab-mark grow`, so that dimm2 was not plugged; it called grwo",
        "dimm0 is refused by the guest: not unplugged at end",
    ]
    assert undone(steps[:1], done, ()) == []
