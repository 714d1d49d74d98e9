# SPDX-License-Identifier: GPL-2.0-or-later
"""The SR-IOV lab: emulated hosts with real drivers, and guests that migrate between them."""
