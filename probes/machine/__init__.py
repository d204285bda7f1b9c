# SPDX-License-Identifier: Apache-2.0
"""This machine: its kernel, platform, topology, settings, counters and privileges.

The modules read text files below a root directory, and every judgement names its source.
They import nothing else of probes/.
"""
