/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside hook/: what libvirt runs when something happens to a domain. A client
 * of the control socket, nothing more; it never calls libvirt, which waits for it.
 */
#pragma once

#include "core/core.h"

/* -------------------------------------------------------------- settings */

/** HookSettings: what vfailoverd.conf(5) says of the hook. Free with hook_settings_clear(). */
typedef struct {
    gboolean in_use; /* there is a configuration, and it has a group [libvirt] */
    gboolean refuse; /* no daemon: a domain with a pair neither starts nor arrives */
    guint deadline_ms;
    char *socket;
} HookSettings;

/** hook_settings_read: reads @path. What is not there, or cannot be read, is as its default; the
 *  daemon is the one to complain of it. */
void hook_settings_read(const char *path, HookSettings *settings);
void hook_settings_clear(HookSettings *settings);

/* ----------------------------------------------------------------- input */

/** hook_read: all of @fd, which may be @max bytes, within @ms. The bytes have a NUL after them,
 *  which does not count. */
GByteArray *hook_read(int fd, gsize max, guint ms, GError **error);

/* ------------------------------------------------------------------- ask */

/** HookEvent: what libvirt tells its hook. Borrowed strings. */
typedef struct {
    const char *domain, *operation, *sub_operation, *extra;
    const char *xml;
} HookEvent;

/** HOOK_NO_DAEMON: the code of hook_ask()'s errors when no daemon has answered. */
#define HOOK_NO_DAEMON VFO_ERROR_CLOSED

/**
 * hook_ask: tells the daemon of @event, over its control socket, and blocks for its answer. The
 * XML that libvirt shall use instead is put into @xml (free with g_free()), NULL: as it is. Fails
 * with HOOK_NO_DAEMON and the reason why the daemon has not answered, else with what it says.
 */
gboolean hook_ask(const HookSettings *settings, const HookEvent *event, char **xml, GError **error);
