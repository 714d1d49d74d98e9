/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Waiting for what the kernel tells nobody of. Private to host/.
 */
#pragma once

#include "core/core.h"

/** VfoPollCheck: TRUE: it has come about; FALSE: not yet, or (with @error set) it never will. */
typedef gboolean (*VfoPollCheck)(gpointer data, GError **error);

/**
 * vfo_poll: asks @check now and each @interval_ms from the main loop, and completes @task
 * (reference taken over) when it is TRUE, when it fails, or at once when the task is cancelled.
 * @data is freed with @free_data then.
 */
void vfo_poll(GTask *task, guint interval_ms, VfoPollCheck check, gpointer data,
              GDestroyNotify free_data);
