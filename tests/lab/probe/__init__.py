# SPDX-License-Identifier: GPL-2.0-or-later
"""The traffic probe, from the lab's side."""

from .control import Control
from .probe import Traffic, program

__all__ = ["Control", "Traffic", "program"]
