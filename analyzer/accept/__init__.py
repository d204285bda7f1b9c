# SPDX-License-Identifier: Apache-2.0
"""The accept view: what acceptance of memory cost, who waited for it, and what would have been otherwise."""
