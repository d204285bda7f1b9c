# SPDX-License-Identifier: Apache-2.0
"""The staged tables of a run, which every view selects from.

Each is one .sql file: its rules in prose at the top, then a statement whose columns are each
declared in the line above (declared.py).  A table is made once for a run, when it is first
asked for (staged.py); what SQL cannot say is a step in Python (steps.py).
"""
