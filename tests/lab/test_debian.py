# SPDX-License-Identifier: Apache-2.0
"""Versions in dpkg's order, and a kernel's files where the lab looks for them."""

import itertools
import shutil
import subprocess

import pytest

from memtrace.lab.debian import version_key

# As deb-version(7) orders them.
IN_ORDER = (
    "1.0~~", "1.0~rc1", "1.0~rc1-1", "1.0~rc2", "1.0", "1.0-0.1", "1.0-1~bpo13+1", "1.0-1", "1.0-1+b1",
    "1.0-1.1", "1.0-2", "1.0-10", "1.0a", "1.0+b", "1.0.9", "1.0.10", "1.1~1", "1.1", "10", "1:0.1",
)  # fmt: skip
SHUFFLED = IN_ORDER[1::2] + IN_ORDER[::2]


def test_versions_are_in_dpkg_s_order() -> None:
    assert sorted(SHUFFLED, key=version_key) == list(IN_ORDER)
    assert version_key("1.0-0") == version_key("1.0") == version_key("0:1.0")


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="there is no dpkg to compare with")
def test_the_order_is_dpkg_s_own() -> None:
    for low, high in itertools.pairwise(IN_ORDER):
        assert subprocess.run(["dpkg", "--compare-versions", low, "lt", high]).returncode == 0, (low, high)


def test_numbers_in_names_are_compared_as_numbers() -> None:
    names = ["linux-image-6.1.0-100-amd64", "linux-image-6.1.0-9-amd64", "linux-image-6.1.0-47-amd64"]
    assert sorted(names, key=version_key) == [names[1], names[2], names[0]]
