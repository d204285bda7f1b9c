# SPDX-License-Identifier: Apache-2.0
"""From a report's tables to what a reader sees of them, the same in every format."""
