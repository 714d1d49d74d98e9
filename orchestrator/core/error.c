/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/core.h"

/* It would take the name for a subtraction. */
/* clang-format off */
G_DEFINE_QUARK(vfo-error-quark, vfo_error)
/* clang-format on */

gboolean vfo_fail(GError **error, VfoError code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_propagate_error(error, g_error_new_valist(VFO_ERROR, (gint)code, format, args));
    va_end(args);
    return FALSE;
}

void vfo_task_done(GTask *task)
{
    g_task_return_boolean(task, TRUE);
    g_object_unref(task);
}

void vfo_task_fail(GTask *task, GError *error)
{
    g_task_return_error(task, error);
    g_object_unref(task);
}

void vfo_task_return(GTask *task, gboolean ok, GError *error)
{
    if (ok)
        vfo_task_done(task);
    else
        vfo_task_fail(task, error);
}

GTask *vfo_task_inner(GTask *outer, GAsyncReadyCallback callback)
{
    return g_task_new(NULL, g_task_get_cancellable(outer), callback, outer);
}
