# SPDX-License-Identifier: Apache-2.0
"""Saved text of other tracers, and of the kernel's own log, made into runs.

One module a format (``tracefs``, ``trace_cmd``, ``perf_script``, ``bpftrace``, ``dmesg``), each
from lines to ``parsed.Parsed``.  What a function means is said in ``topics``
alone; ``pairing`` makes intervals of entries and returns, ``clocks`` puts files
on one clock, ``description`` is what the run says of itself, ``assemble`` writes it.
"""
