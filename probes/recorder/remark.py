# SPDX-License-Identifier: Apache-2.0
"""What ``memtrace doctor`` remarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Remark:
    """One thing that the user should know.

    ``kind`` is "means" if it changes what the numbers say, and "cure" if it can be put right.
    ``command`` is the command that does so; None where there is none to give, for example
    because only another kernel or boot helps.
    """

    id: str
    kind: Literal["means", "cure"]
    text: str
    command: str | None = None
