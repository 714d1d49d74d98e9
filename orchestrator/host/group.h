/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vfio group: /dev/vfio/N. Private to host/.
 */
#pragma once

#include "core/core.h"

typedef enum {
    VFO_GROUP_NONE, /* no such group, or not given to vfio */
    VFO_GROUP_FREE, /* nobody has it open */
    VFO_GROUP_OPEN, /* another process has */
} VfoGroupUse;

/**
 * vfo_group_take: opens group @number under @dev ("/dev"); the kernel lets one
 * process have it at a time, so nobody else can take it until the descriptor in
 * @fd is closed. @fd is -1 unless the result is VFO_GROUP_FREE. FALSE and @error when the
 * kernel refuses for another reason.
 */
gboolean vfo_group_take(const char *dev, int number, VfoGroupUse *use, int *fd, GError **error);

/**
 * vfo_group_use: the same, and closes it again. For those few microseconds a QEMU that
 * opens the group fails: nothing else tells whether it is open short of reading
 * every process's descriptors.
 */
gboolean vfo_group_use(const char *dev, int number, VfoGroupUse *use, GError **error);
