# SPDX-License-Identifier: Apache-2.0
"""The hotplug view: where the time of a hot-add goes, where its struct pages go."""
