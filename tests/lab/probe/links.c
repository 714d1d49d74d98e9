/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "probe.h"

#include <dirent.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLASS_NET "/sys/class/net"

enum { TARGET_MAX = 512 };

int links_open(void)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
    int events = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (events < 0 || bind(events, (struct sockaddr *)&address, sizeof(address)) < 0) {
        die("netlink socket");
    }
    return events;
}

/* The last component of the symbolic link @name of interface @interface; false if there is none. */
static bool link_target(const char *interface, const char *name, char target[TARGET_MAX])
{
    char path[512], full[TARGET_MAX];
    const char *slash;
    ssize_t length;

    snprintf(path, sizeof(path), CLASS_NET "/%s/%s", interface, name);
    length = readlink(path, full, sizeof(full) - 1);
    if (length < 0) {
        return false;
    }
    full[length] = '\0';
    slash = strrchr(full, '/');
    strcpy(target, slash ? slash + 1 : full);
    return true;
}

static bool has_carrier(const char *interface)
{
    char path[512];
    FILE *file;
    int carrier;

    snprintf(path, sizeof(path), CLASS_NET "/%s/carrier", interface);
    file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    /* Reading fails while the interface is down. */
    carrier = fgetc(file);
    fclose(file);
    return carrier == '1';
}

uint32_t links_read(int events)
{
    char news[8192], target[TARGET_MAX];
    struct dirent *entry;
    uint32_t links = 0;
    DIR *directory;

    while (recv(events, news, sizeof(news), 0) > 0) {
    }
    directory = opendir(CLASS_NET);
    if (directory == NULL) {
        die(CLASS_NET);
    }
    while ((entry = readdir(directory)) != NULL) {
        bool carrier;

        if (entry->d_name[0] == '.' || !link_target(entry->d_name, "master", target) ||
            !link_target(entry->d_name, "device/driver", target)) {
            continue;
        }
        carrier = has_carrier(entry->d_name);
        if (strcmp(target, "virtio_net") == 0) {
            links |= LINK_STANDBY | (carrier ? LINK_STANDBY_CARRIER : 0);
        } else {
            links |= LINK_PRIMARY | (carrier ? LINK_PRIMARY_CARRIER : 0);
        }
    }
    closedir(directory);
    return links;
}
