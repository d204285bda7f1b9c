# SPDX-License-Identifier: Apache-2.0
"""What memtrace costs and how fast it is, beside perf, bpftrace and DuckDB on the same work."""
