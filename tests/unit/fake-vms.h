/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A set of VMs, as a test of daemon/ plays it: it is no more than its signals. */
#pragma once

#include <glib-object.h>

GType vms_get_type(void);
typedef GObject Vms;
typedef GObjectClass VmsClass;
G_DEFINE_FINAL_TYPE(Vms, vms, G_TYPE_OBJECT)

static void vms_class_init(VmsClass *class)
{
    static const char *const names[] = {"inspected", "removed", "met"};

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        g_signal_new(names[i], G_TYPE_FROM_CLASS(class), G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                     G_TYPE_NONE, 1, G_TYPE_POINTER);
}

static void vms_init(Vms *vms)
{
}
