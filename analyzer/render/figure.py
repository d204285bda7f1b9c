# SPDX-License-Identifier: Apache-2.0
"""Saving a figure whose titles, labels and notes hold foreign text.

matplotlib takes what stands between two $ for a formula, fails at surrogates, and warns
on standard error of signs that its fonts lack; in an SVG a control sign is no valid XML.
Labels that axes make as they are drawn (``set_xticks``) are out of reach here: those
with foreign text go through ``safe.figure`` where they are given.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from memtrace import safe

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def plain_text(figure: Figure) -> Iterator[None]:
    """While this is open, the figure is drawn with its text as it is written, and safe."""
    import matplotlib as mpl
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_parse_math(False)
            text.set_text(safe.figure(text.get_text()))
    with mpl.rc_context({"text.parse_math": False, "text.usetex": False}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
