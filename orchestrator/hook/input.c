/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hook/hook.h"

#include <errno.h>
#include <unistd.h>

static GByteArray *fail(GByteArray *bytes, VfoError code, GError **error, const char *what)
{
    g_byte_array_unref(bytes);
    g_set_error(error, VFO_ERROR, (gint)code, "libvirt's domain XML, on standard input: %s", what);
    return NULL;
}

GByteArray *hook_read(int fd, gsize max, guint ms, GError **error)
{
    gint64 end = g_get_monotonic_time() + (gint64)ms * 1000;
    GByteArray *bytes = g_byte_array_new();

    for (;;) {
        gint64 left = (end - g_get_monotonic_time()) / 1000;
        GPollFD poll = {.fd = fd, .events = G_IO_IN};
        guint8 buffer[16384];
        gssize n = 0;

        if (left <= 0 || (g_poll(&poll, 1, (gint)left) < 0 && errno != EINTR))
            return fail(bytes, VFO_ERROR_DEADLINE, error, "it does not come");
        if (poll.revents)
            n = read(fd, buffer, sizeof(buffer));
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return fail(bytes, VFO_ERROR_FAILED, error, g_strerror(errno));
        if (n > 0)
            g_byte_array_append(bytes, buffer, (guint)n);
        if (bytes->len > max)
            return fail(bytes, VFO_ERROR_INVALID, error, "too long");
        if (n == 0 && poll.revents)
            break;
    }
    g_byte_array_append(bytes, (const guint8 *)"", 1);
    g_byte_array_set_size(bytes, bytes->len - 1);
    return bytes;
}
