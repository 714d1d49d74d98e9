/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/core.h"

static const struct {
    const char *name;
    guint ms;
} defaults[VFO_N_DEADLINES] = {
    [VFO_DEADLINE_QUERY] = {"query", 5000},
    [VFO_DEADLINE_PEER] = {"peer", 10000},
    [VFO_DEADLINE_UNPLUG] = {"unplug", 15000},
    [VFO_DEADLINE_HOLD] = {"hold", 1000},
    [VFO_DEADLINE_CLOSE] = {"close", 5000},
    [VFO_DEADLINE_RESET] = {"reset", 10000},
    [VFO_DEADLINE_MIGRATE] = {"migrate", 3600 * 1000},
    [VFO_DEADLINE_SWITCH] = {"switch", 60000},
    [VFO_DEADLINE_DRAIN] = {"drain", 3000},
    [VFO_DEADLINE_PLUG] = {"plug", 60000},
    [VFO_DEADLINE_USE] = {"use", 30000},
    [VFO_DEADLINE_ARRIVE] = {"arrive", 120000},
};

void vfo_policy_default(VfoPolicy *policy)
{
    *policy = (VfoPolicy){0};
    for (int i = 0; i < VFO_N_DEADLINES; i++)
        policy->deadline_ms[i] = defaults[i].ms;
}

const char *vfo_deadline_name(VfoDeadline deadline)
{
    return defaults[deadline].name;
}
