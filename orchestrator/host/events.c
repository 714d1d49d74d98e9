/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/events.h"

#include <errno.h>
#include <glib-unix.h>
#include <libudev.h>
#include <linux/rtnetlink.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

/* A thousand VFs come with some thousand messages. */
#define BUFFER_BYTES (4 * 1024 * 1024)
/* In one turn of the loop. */
#define MAX_MESSAGES 4096

struct _VfoEvents {
    VfoEvent event;
    gpointer data;
    struct nl_sock *links;
    struct udev *udev;
    struct udev_monitor *devices;
    GSource *sources[2];
};

/* ------------------------------------------------------------------ links */

static int on_link(struct nl_msg *message, void *data)
{
    VfoEvents *events = data;
    struct nlmsghdr *header = nlmsg_hdr(message);
    const struct ifinfomsg *info = nlmsg_data(header);
    VfoLink link = {0};

    if ((header->nlmsg_type != RTM_NEWLINK && header->nlmsg_type != RTM_DELLINK) ||
        nlmsg_datalen(header) < (int)sizeof(*info) || info->ifi_family != AF_UNSPEC)
        return NL_OK;
    if (vfo_link_parse(header, &link) == 0)
        events->event(&link, events->data);
    return NL_OK;
}

static gboolean on_links_readable(int fd, GIOCondition condition, gpointer data)
{
    VfoEvents *events = data;
    int code = 0;

    vfo_stopwatch_spare();
    for (guint i = 0; i < MAX_MESSAGES && code >= 0; i++)
        code = nl_recvmsgs_default(events->links);
    /* libnl's name for ENOBUFS. */
    if (code == -NLE_NOMEM)
        events->event(NULL, events->data);
    return G_SOURCE_CONTINUE;
}

static gboolean open_links(VfoEvents *events, GError **error)
{
    int code = 0;

    events->links = nl_socket_alloc();
    if (!events->links)
        code = -NLE_NOMEM;
    if (code >= 0) {
        nl_socket_disable_seq_check(events->links);
        nl_socket_modify_cb(events->links, NL_CB_VALID, NL_CB_CUSTOM, on_link, events);
        code = nl_connect(events->links, NETLINK_ROUTE);
    }
    if (code >= 0)
        code = nl_socket_set_buffer_size(events->links, BUFFER_BYTES, 0);
    if (code >= 0)
        code = nl_socket_set_nonblocking(events->links);
    if (code >= 0)
        code = nl_socket_add_memberships(events->links, RTNLGRP_LINK, RTNLGRP_NONE);
    if (code >= 0)
        return TRUE;
    g_set_error(
        error, VFO_ERROR, VFO_ERROR_FAILED,
        "cannot listen for changes of the host's interfaces: %s; is vfailoverd run as root?",
        nl_geterror(code));
    return FALSE;
}

/* ---------------------------------------------------------------- devices */

static gboolean on_devices_readable(int fd, GIOCondition condition, gpointer data)
{
    VfoEvents *events = data;
    gboolean any = FALSE;

    vfo_stopwatch_spare();
    for (guint i = 0; i < MAX_MESSAGES; i++) {
        struct udev_device *device;

        errno = 0;
        device = udev_monitor_receive_device(events->devices);
        /* Of another subsystem, or from somebody who is not the kernel: NULL as well. */
        if (!device && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        any = any || device || errno == ENOBUFS;
        udev_device_unref(device);
    }
    if (any)
        events->event(NULL, events->data);
    return G_SOURCE_CONTINUE;
}

static gboolean open_devices(VfoEvents *events, GError **error)
{
    int code = 0;

    events->udev = udev_new();
    events->devices = events->udev ? udev_monitor_new_from_netlink(events->udev, "kernel") : NULL;
    if (!events->devices)
        code = errno ? -errno : -ENOMEM;
    if (code >= 0)
        code = udev_monitor_filter_add_match_subsystem_devtype(events->devices, "pci", NULL);
    if (code >= 0)
        code = udev_monitor_enable_receiving(events->devices);
    /* More than the host's limit needs root; less is made up for by looking at everything. */
    if (code >= 0)
        udev_monitor_set_receive_buffer_size(events->devices, BUFFER_BYTES);
    if (code >= 0)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                "cannot listen for changes of the host's PCI devices: %s; is vfailoverd run as "
                "root?",
                g_strerror(-code));
    return FALSE;
}

/* ----------------------------------------------------------------- events */

static GSource *attach(int fd, GUnixFDSourceFunc callback, VfoEvents *events)
{
    GSource *source = g_unix_fd_source_new(fd, G_IO_IN);

    g_source_set_callback(source, G_SOURCE_FUNC(callback), events, NULL);
    g_source_set_priority(source, G_PRIORITY_LOW);
    g_source_attach(source, g_main_context_get_thread_default());
    return source;
}

VfoEvents *vfo_events_new(VfoEvent event, gpointer data, GError **error)
{
    VfoEvents *events = g_new0(VfoEvents, 1);

    events->event = event;
    events->data = data;
    if (!open_links(events, error) || !open_devices(events, error)) {
        vfo_events_free(events);
        return NULL;
    }
    events->sources[0] = attach(nl_socket_get_fd(events->links), on_links_readable, events);
    events->sources[1] = attach(udev_monitor_get_fd(events->devices), on_devices_readable, events);
    return events;
}

void vfo_events_free(VfoEvents *events)
{
    if (!events)
        return;
    for (guint i = 0; i < G_N_ELEMENTS(events->sources); i++) {
        if (!events->sources[i])
            continue;
        g_source_destroy(events->sources[i]);
        g_source_unref(events->sources[i]);
    }
    nl_socket_free(events->links);
    udev_monitor_unref(events->devices);
    udev_unref(events->udev);
    g_free(events);
}
