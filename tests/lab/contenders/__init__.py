# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways to migrate a guest with a VF that the lab compares."""

from .contender import Contender, Outcome
from .stock import Stock
from .vfailover import Vfailover

ALL: dict[str, type[Contender]] = {kind.name: kind for kind in (Vfailover, Stock)}

__all__ = ["ALL", "Contender", "Outcome"]
