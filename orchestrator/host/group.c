/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/group.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

gboolean vfo_group_take(const char *dev, int number, VfoGroupUse *use, int *fd, GError **error)
{
    g_autofree char *leaf = g_strdup_printf("%d", number);
    g_autofree char *path = g_build_filename(dev, "vfio", leaf, NULL);
    int saved;

    *use = VFO_GROUP_NONE;
    *fd = -1;
    if (number < 0)
        return TRUE;
    *fd = open(path, O_RDWR | O_CLOEXEC);
    saved = errno;
    if (*fd >= 0)
        *use = VFO_GROUP_FREE;
    else if (saved == EBUSY)
        *use = VFO_GROUP_OPEN;
    else if (saved != ENOENT && saved != ENODEV && saved != ENXIO) {
        g_set_error(error, VFO_ERROR,
                    saved == EACCES || saved == EPERM ? VFO_ERROR_DENIED : VFO_ERROR_FAILED,
                    "cannot find out whether vfio group %d is in use: opening %s: %s; vfailoverd "
                    "needs access to it",
                    number, path, g_strerror(saved));
        return FALSE;
    }
    return TRUE;
}

gboolean vfo_group_use(const char *dev, int number, VfoGroupUse *use, GError **error)
{
    int fd;
    gboolean known = vfo_group_take(dev, number, use, &fd, error);

    if (fd >= 0)
        close(fd);
    return known;
}
