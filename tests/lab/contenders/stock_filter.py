# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's own failover, and the best set of filters that nobody has to change."""

from ..lab import Lab
from .stock import Stock


class StockFilter(Stock):
    """The PFs of both hosts let the guest's MAC in, from before the migration until after."""

    name = "stock-filter"

    def prepare(self, lab: Lab) -> None:
        super().prepare(lab)
        for host in lab.hosts:
            self.let_in(host)
