# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether two things measured in turns are alike, on a machine that is noisy."""

import math
import statistics
from dataclasses import dataclass

# Student's t: 97.5 % of the distribution lie below, by degrees of freedom from 1 on.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
)  # fmt: skip
_T_BEYOND = 2.086

SHOWN = "within"
NOT_SHOWN = "not decided"
EXCEEDED = "beyond"


@dataclass(frozen=True)
class Ratio:
    """First to second, and between what it lies with 95 % confidence."""

    ratio: float
    low: float
    high: float

    def worse_than(self, tolerance: float, more_is_better: bool) -> str:
        """Whether the first is worse than the second by more than that share: SHOWN that it is
        not, EXCEEDED, or NOT_SHOWN as the measurements scatter too much to tell."""
        if more_is_better:
            worst, best, limit = -self.low, -self.high, -(1 - tolerance)
        else:
            worst, best, limit = self.high, self.low, 1 + tolerance
        if worst <= limit:
            return SHOWN
        return EXCEEDED if best > limit else NOT_SHOWN


def of_pairs(pairs: list[tuple[float, float]]) -> Ratio:
    """The ratio of what was measured one directly after the other, in several pairs.

    Within a pair the machine is much the same, from pair to pair it drifts: so the pairs' ratios
    are looked at, not the ratio of the means.
    """
    logs = [math.log(first / second) for first, second in pairs]
    mean = statistics.mean(logs)
    if len(logs) < 2:
        return Ratio(math.exp(mean), 0, math.inf)
    t = _T[len(logs) - 2] if len(logs) - 2 < len(_T) else _T_BEYOND
    reach = t * statistics.stdev(logs) / math.sqrt(len(logs))
    return Ratio(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach))
