# SPDX-License-Identifier: Apache-2.0
"""Pure functions from a run to tables, one topic a module; drawing; rendering.

Knows nothing of BPF nor of a live system: everything is taken from the run.
"""
