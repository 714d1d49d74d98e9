/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VFs of the configured PFs as they were when last looked at, and what has changed since.
 * Private to host/.
 */
#pragma once

#include "host/host.h"

typedef struct _VfoPool VfoPool;

/** VfoPoolRead: adds to @vfs those of @pf. FALSE and VFO_ERROR_NOT_FOUND: there is no such PF. */
typedef gboolean (*VfoPoolRead)(const VfoNetwork *network, const char *pf, GPtrArray *vfs,
                                gpointer data, GError **error);

/** vfo_pool_new: looks at the PFs of @networks (reference taken) once. @sysfs as for the host. */
VfoPool *vfo_pool_new(GPtrArray *networks, const char *sysfs, VfoPoolRead read, gpointer data);
void vfo_pool_free(VfoPool *pool);

/** vfo_pool_on_change: whom to tell; once. */
void vfo_pool_on_change(VfoPool *pool, VfoHostChanged changed, VfoHost *host, gpointer data);

/** vfo_pool_look_soon: something may have changed: looks when the loop has nothing else to do, and
 *  not so often that it would do nothing but look. */
void vfo_pool_look_soon(VfoPool *pool);

/** vfo_pool_look: looks now. */
void vfo_pool_look(VfoPool *pool);

/** vfo_pool_has_pf: @name is a configured PF. */
gboolean vfo_pool_has_pf(VfoPool *pool, const char *name);

/** vfo_pool_expect: this daemon changes the settings of @pci: what they are at the next look is no
 *  news. */
void vfo_pool_expect(VfoPool *pool, const char *pci);
