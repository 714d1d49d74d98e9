/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/qmp-vm.h"

#include <glib/gstdio.h>
#include <string.h>

int vfo_numa_parse(const char *list)
{
    guint64 node;

    /* "0" is one node; "0-1" and "0,4" are several. */
    return g_ascii_string_to_unsigned(list, 10, 0, G_MAXUINT16, &node, NULL) ? (int)node : -1;
}

int vfo_numa_of_process(pid_t pid)
{
    static const char key[] = "Mems_allowed_list:";
    g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)pid);
    FILE *file = pid > 0 ? g_fopen(path, "re") : NULL;
    char line[512];
    int node = -1;

    while (file && fgets(line, sizeof(line), file)) {
        if (g_str_has_prefix(line, key)) {
            node = vfo_numa_parse(g_strstrip(line + strlen(key)));
            break;
        }
    }
    if (file)
        fclose(file);
    return node;
}
