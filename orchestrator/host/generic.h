/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What devlink and Open vSwitch have in common: families of generic netlink. Private to host/.
 */
#pragma once

#include "host/netlink.h"

/**
 * vfo_generic_family: the number that the family called @name has here; asked each time, as it
 * changes with the module. @generic is a socket for NETLINK_GENERIC. Returns 0, or a negative errno
 * value for vfo_netlink_fail(), -ENOENT when the kernel has no such family.
 */
int vfo_generic_family(VfoNetlink *generic, const char *name, guint16 *family);
