# SPDX-License-Identifier: Apache-2.0
"""``report --view hotplug``: where the time of a hot-add goes, where its struct pages go."""

from memtrace.analyzer.hotplug.view import view

__all__ = ["view"]
