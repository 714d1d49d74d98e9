# SPDX-License-Identifier: GPL-2.0-or-later
"""An emulated virtualization host."""

from .host import Host, Result

__all__ = ["Host", "Result"]
