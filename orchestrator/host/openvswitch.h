/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Open vSwitch, as far as the kernel forwards for it: its ports have the master "ovs-system".
 * Private to host/.
 */
#pragma once

#include "host/link.h"

/** vfo_openvswitch_is: @bridge is one. */
gboolean vfo_openvswitch_is(const VfoLink *bridge);

/**
 * vfo_openvswitch_learn: has Open vSwitch take an announcement of @mac as if its port @port, an
 * interface, had received it: it learns from it, in the VLAN of the port, and sends it on to the
 * other ports, with that to the network. What it has learned cannot be read back from the kernel.
 * @generic is a socket for NETLINK_GENERIC.
 */
gboolean vfo_openvswitch_learn(VfoNetlink *generic, const char *port, const VfoMac *mac,
                               GError **error);

/** VfoLesson: the same three times more, a second apart: QEMU repeats its announcements of the
 * standby for 800 ms, from which Open vSwitch learns as well, up to a second later (measured
 * with 3.1), though the guest may be on its VF by then. */
typedef struct _VfoLesson VfoLesson;

/** vfo_lesson_new: to be repeated, unless it is freed before. @generic is borrowed. */
VfoLesson *vfo_lesson_new(VfoNetlink *generic, const char *port, const VfoMac *mac);
void vfo_lesson_free(VfoLesson *lesson);
