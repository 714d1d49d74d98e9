# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest with a failover pair."""

from .guest import Guest
from .image import Image
from .shell import Shell

__all__ = ["Guest", "Image", "Shell"]
