# SPDX-License-Identifier: Apache-2.0
"""Log-linear buckets: the one mapping shared by the kernel side and the analysis.

Sixteen buckets an octave, as in HDR histograms: below 16 each value has its own
bucket, above it a bucket is 1/16 of its octave wide.  A value taken from the
middle of its bucket is off by at most 1/32 (``ERROR``) of itself.  Histograms
merge by adding counts, so kernels, row groups, files and machines are alike.

The same arithmetic in BPF C: ``mt_bucket()`` in probes/bpf/aggregate.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SUB_BITS = 4
SUB = 1 << SUB_BITS
TOP_BIT = 41
"""Values of 2**TOP_BIT ns (37 minutes) and more share the last bucket."""
BUCKETS = (TOP_BIT - SUB_BITS + 1) * SUB + 1
ERROR = 1 / (2 * SUB)
_MANTISSA = 52
_BIAS = 1023
_FIRST = (_BIAS + SUB_BITS - 1) * SUB
"""What the highest bits of the double of a bucket's edge are more than its number, from SUB on."""


def bucket_of(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Bucket number of each value (integers >= 0, any shape)."""
    import numpy as np

    clipped = np.minimum(np.asarray(values, dtype=np.int64), np.int64(1) << TOP_BIT)
    # A double is exact for integers below 2**53.  Its highest bits are the exponent and then
    # the mantissa without its leading one: shifted to SUB_BITS of that they count buckets up.
    bits = clipped.astype(np.float64).view(np.int64) >> (_MANTISSA - SUB_BITS)
    return np.where(clipped < SUB, clipped, bits - _FIRST)


def lower_edge(buckets: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Smallest value of each bucket."""
    import numpy as np

    b = np.asarray(buckets, dtype=np.int64)
    octave = b // SUB
    shift = np.maximum(octave - 1, 0)
    return np.where(octave == 0, b, (SUB + b % SUB) << shift)


def width(buckets: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Number of integer values in each bucket (the last one is open: its nominal width)."""
    import numpy as np

    b = np.asarray(buckets, dtype=np.int64)
    return np.int64(1) << np.maximum(b // SUB - 1, 0)
