/*
 * Failover pairs, in a QEMU without virtio-net
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-virtio-net-failover.h"

VirtioNetFailoverInfoList *qmp_query_virtio_net_failover(Error **errp)
{
    return NULL;
}

void qmp_virtio_net_failover_unplug(const char *standby, bool has_timeout,
                                    uint32_t timeout, bool has_policy,
                                    VirtioNetFailoverPolicy policy,
                                    bool has_release, bool release,
                                    Error **errp)
{
    error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND,
              "No virtio-net device '%s' with failover=on", standby);
}

void qmp_virtio_net_failover_replug(const char *standby, Error **errp)
{
    error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND,
              "No virtio-net device '%s' with failover=on", standby);
}
