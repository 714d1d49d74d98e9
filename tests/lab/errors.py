# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes wrong in the lab."""


class LabError(Exception):
    """The lab itself, or what it tests, did not do what a run needs."""


class DeadlineError(LabError):
    """Something did not happen in time; the message names it."""
