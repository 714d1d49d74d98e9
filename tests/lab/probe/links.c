/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "probe.h"

#include <dirent.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
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

/* Of an interface; false if it has gone. */
static bool read_mac(const char *interface, uint8_t mac[6])
{
    char path[TARGET_MAX + 64];
    FILE *file;
    int count;

    snprintf(path, sizeof(path), CLASS_NET "/%s/address", interface);
    file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    count = fscanf(file, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
                   &mac[4], &mac[5]);
    fclose(file);
    return count == 6;
}

bool links_others(unsigned int indexes[LINKS_OTHERS], uint8_t mac[6])
{
    char driver[TARGET_MAX], master[TARGET_MAX];
    struct if_nameindex *interfaces = if_nameindex();
    bool found = false;

    if (interfaces == NULL) {
        die("if_nameindex");
    }
    for (const struct if_nameindex *i = interfaces; i->if_index != 0 && !found; i++) {
        if (link_target(i->if_name, "master", master) &&
            link_target(i->if_name, "device/driver", driver) && strcmp(driver, "virtio_net") == 0) {
            indexes[0] = if_nametoindex("lo");
            indexes[1] = i->if_index;
            indexes[2] = if_nametoindex(master);
            found = read_mac(master, mac);
        }
    }
    if_freenameindex(interfaces);
    return found;
}
