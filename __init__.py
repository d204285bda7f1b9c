# SPDX-License-Identifier: Apache-2.0
"""memtrace: what memory costs a Linux kernel, per order and per NUMA node."""

__version__ = "0.2.0"
