/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel tells of interfaces and PCI devices by itself. Private to host/.
 */
#pragma once

#include "host/link.h"

typedef struct _VfoEvents VfoEvents;

/** VfoEvent: a PCI device came, went, or got another driver (@link is NULL), or the interface
 *  @link changed or went. */
typedef void (*VfoEvent)(const VfoLink *link, gpointer data);

/**
 * vfo_events_new: listens from now on, in the thread-default main context, at a low priority. When
 * the kernel had more to tell than the sockets hold, @event is called with NULL: anything may have
 * changed. uevents are the kernel's own, so that they come with and without udevd.
 */
VfoEvents *vfo_events_new(VfoEvent event, gpointer data, GError **error);
void vfo_events_free(VfoEvents *events);
