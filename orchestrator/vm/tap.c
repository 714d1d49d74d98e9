/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/qmp-vm.h"

#include <glib/gstdio.h>
#include <net/if.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* More than any QEMU of ours has open; a process that wants to keep us busy has more. */
#define MAX_DESCRIPTORS 4096
#define MAX_FDINFO      4096

/* As the kernel's dev_valid_name(). */
static gboolean is_interface_name(const char *name)
{
    gsize length = strlen(name);

    if (!length || length >= IFNAMSIZ || g_str_equal(name, ".") || g_str_equal(name, ".."))
        return FALSE;
    for (const char *c = name; *c; c++)
        if (*c == '/' || *c == ':' || !g_ascii_isgraph(*c))
            return FALSE;
    return TRUE;
}

/* The macvtap behind descriptor @fd of @pid. Each has a character device of its own, a child of the
 * interface (drivers/net/macvtap.c, macvtap_device_event()), and shows no fdinfo. */
static char *macvtap_of_descriptor(pid_t pid, guint fd)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd/%u", (int)pid, fd);
    g_autofree char *device = NULL;
    g_autofree char *subsystem = NULL;
    g_autofree char *class = NULL;
    g_autofree char *parent = NULL;
    g_autofree char *interface = NULL;
    g_autofree char *name = NULL;
    struct stat status;

    if (stat(path, &status) < 0 || !S_ISCHR(status.st_mode))
        return NULL;
    device = g_strdup_printf("/sys/dev/char/%u:%u", major(status.st_rdev), minor(status.st_rdev));
    subsystem = g_build_filename(device, "subsystem", NULL);
    class = g_file_read_link(subsystem, NULL);
    if (!class || !g_str_has_suffix(class, "/class/macvtap"))
        return NULL;
    parent = g_build_filename(device, "device", NULL);
    interface = g_file_read_link(parent, NULL);
    name = interface ? g_path_get_basename(interface) : NULL;
    return name && is_interface_name(name) ? g_steal_pointer(&name) : NULL;
}

/* The tap behind descriptor @fd of @pid: drivers/net/tun.c, tun_chr_show_fdinfo(). */
static char *tun_of_descriptor(pid_t pid, guint fd)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fdinfo/%u", (int)pid, fd);
    FILE *file = g_fopen(path, "re");
    char line[256];
    char *tap = NULL;
    gsize seen = 0;

    if (!file)
        return NULL;
    while (!tap && seen < MAX_FDINFO && fgets(line, sizeof(line), file)) {
        seen += strlen(line);
        if (g_str_has_prefix(line, "iff:\t")) {
            const char *name = g_strstrip(line + strlen("iff:\t"));

            if (is_interface_name(name))
                tap = g_strdup(name);
        }
    }
    fclose(file);
    return tap;
}

static char *tap_of_descriptor(pid_t pid, guint fd)
{
    char *tap = tun_of_descriptor(pid, fd);

    return tap ? tap : macvtap_of_descriptor(pid, fd);
}

static gboolean holds_tap(pid_t pid, const char *tap)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", (int)pid);
    g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
    const char *name;

    for (guint n = 0; directory && n < MAX_DESCRIPTORS && (name = g_dir_read_name(directory));
         n++) {
        g_autofree char *link = g_build_filename(path, name, NULL);
        g_autofree char *target = g_file_read_link(link, NULL);
        g_autofree char *held = NULL;
        guint64 fd;

        if (!target || !g_str_has_prefix(target, "/dev/") ||
            !g_ascii_string_to_unsigned(name, 10, 0, G_MAXINT, &fd, NULL))
            continue;
        held = tap_of_descriptor(pid, (guint)fd);
        if (g_strcmp0(held, tap) == 0)
            return TRUE;
    }
    return FALSE;
}

/* The rest of the line of @netdev after "NETDEV: "; NULL: there is none. */
static char *find_line(const char *text, const char *netdev)
{
    gsize length = strlen(netdev);

    for (const char *line = text; *line; line += *line ? 1 : 0) {
        gsize end = strcspn(line, "\r\n");
        const char *id = line;

        /* The backend of a NIC hangs below it: " \ hn1: ...". */
        if (end > 3 && strncmp(line, " \\ ", 3) == 0)
            id += 3;
        if ((gsize)(line + end - id) > length + 2 && strncmp(id, netdev, length) == 0 &&
            strncmp(id + length, ": ", 2) == 0)
            return g_strndup(id + length + 2, (gsize)(line + end - id) - length - 2);
        line += end;
    }
    return NULL;
}

/* The value of "@key=" among the comma-separated @fields; NULL: there is none. */
static const char *find_field(char **fields, const char *key)
{
    for (guint i = 0; fields[i]; i++) {
        const char *value = g_str_has_prefix(fields[i], key) ? fields[i] + strlen(key) : NULL;

        if (value && *value == '=')
            return value + 1;
    }
    return NULL;
}

char *vfo_tap_find(const char *text, const char *netdev, pid_t pid)
{
    g_autofree char *line = NULL;
    g_auto(GStrv) fields = NULL;
    const char *value;
    guint64 fd;

    if (!*netdev || pid <= 0)
        return NULL;
    line = find_line(text, netdev);
    if (!line)
        return NULL;
    fields = g_strsplit(line, ",", 16);
    if (g_strcmp0(find_field(fields, "type"), "tap") != 0)
        return NULL;

    value = find_field(fields, "ifname");
    if (value) {
        if (is_interface_name(value) && holds_tap(pid, value))
            return g_strdup(value);
        g_warning("QEMU (process %d) calls '%s' the tap of its netdev '%s' but does not have it "
                  "open; taken as no tap",
                  (int)pid, value, netdev);
        return NULL;
    }
    value = find_field(fields, "fd");
    if (value && g_ascii_string_to_unsigned(value, 10, 0, G_MAXINT, &fd, NULL))
        return tap_of_descriptor(pid, (guint)fd);
    return NULL;
}
