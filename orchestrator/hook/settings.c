/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hook/hook.h"

#define CONTROL_SOCKET  "/run/vfailover/vfailoverd.sock"
#define DEFAULT_SECONDS 30

void hook_settings_read(const char *path, HookSettings *settings)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *no_daemon = NULL;
    double seconds;

    g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL);
    no_daemon = g_key_file_get_string(file, "libvirt", "no-daemon", NULL);
    seconds = g_key_file_get_double(file, "libvirt", "hook-deadline", NULL);
    settings->in_use = g_key_file_has_group(file, "libvirt");
    settings->refuse = !no_daemon || !g_str_equal(g_strstrip(no_daemon), "allow");
    settings->deadline_ms =
        (guint)((seconds >= 0.001 && seconds <= 86400 ? seconds : DEFAULT_SECONDS) * 1000);
    settings->socket = g_key_file_get_string(file, "daemon", "socket", NULL);
    if (settings->socket)
        g_strstrip(settings->socket);
    else
        settings->socket = g_strdup(CONTROL_SOCKET);
}

void hook_settings_clear(HookSettings *settings)
{
    g_free(settings->socket);
}
