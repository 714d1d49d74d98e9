/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is called of libvirt, what it says when that fails, and the call by which all of a domain is
 * seen.
 */
#include "vm/libvirt.h"

#include <stdlib.h>
#include <string.h>

#define MAX_REASON 512

const VfoLibvirtCalls vfo_libvirt_calls = {
    .open = virConnectOpen,
    .on_close = virConnectRegisterCloseCallback,
    .off_close = virConnectUnregisterCloseCallback,
    .on_event = virConnectDomainEventRegisterAny,
    .on_qemu_event = virConnectDomainQemuMonitorEventRegister,
    .off_qemu_event = virConnectDomainQemuMonitorEventDeregister,
    .get_xml = virDomainGetXMLDesc,
    .get_state = virDomainGetState,
    .detach = virDomainDetachDeviceAlias,
    .attach = virDomainAttachDeviceFlags,
    .define = virDomainDefineXMLFlags,
    .abort_job = virDomainAbortJob,
    .migrate = virDomainMigrateToURI3,
    .set_downtime = virDomainMigrateSetMaxDowntime,
    .get_job = virDomainGetJobStats,
    .last_error = virGetLastError,
};

/* ------------------------------------------------------------------ errors */

static VfoError code_of(int code)
{
    switch (code) {
    case VIR_ERR_NO_DOMAIN:
        return VFO_ERROR_CLOSED;
    case VIR_ERR_DEVICE_MISSING:
        return VFO_ERROR_NOT_FOUND;
    case VIR_ERR_OPERATION_TIMEOUT:
        return VFO_ERROR_BUSY;
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_ACCESS_DENIED:
        return VFO_ERROR_DENIED;
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_CONFIG_UNSUPPORTED:
        return VFO_ERROR_NOT_SUPPORTED;
    case VIR_ERR_OPERATION_INVALID:
        return VFO_ERROR_INVALID;
    default:
        return VFO_ERROR_FAILED;
    }
}

void vfo_libvirt_set_error(const VfoLibvirtCalls *calls, GError **error, const char *what)
{
    const virError *last = calls->last_error();
    g_autofree char *reason =
        g_strndup(last && last->message ? last->message : "libvirt gives no reason", MAX_REASON);
    g_autofree char *plain = g_utf8_make_valid(reason, -1);

    for (char *c = plain; *c; c++)
        if (g_ascii_iscntrl(*c))
            *c = ' ';
    g_set_error(error, VFO_ERROR, (gint)code_of(last ? last->code : VIR_ERR_OK), "cannot %s: %s",
                what, g_strstrip(plain));
}

gboolean vfo_libvirt_error_is(const VfoLibvirtCalls *calls, int code)
{
    const virError *last = calls->last_error();

    return last && last->code == code;
}

/* -------------------------------------------------------------------- see */

void vfo_libvirt_seen_free(VfoLibvirtSeen *seen)
{
    if (!seen)
        return;
    vfo_domain_free(seen->config);
    g_free(seen);
}

gpointer vfo_libvirt_see(const VfoLibvirtCalls *calls, virDomainPtr domain, gpointer data,
                         GError **error)
{
    VfoLibvirtSeen *seen;
    VfoDomain *config;
    int state = VIR_DOMAIN_NOSTATE, reason = 0;
    char *xml;

    /* The state afterwards: the XML of a domain that is arriving comes when it runs. */
    xml = calls->get_xml(domain, 0);
    if (!xml) {
        vfo_libvirt_set_error(calls, error, "ask libvirt for the domain's XML");
        return NULL;
    }
    if (calls->get_state(domain, &state, &reason, 0) < 0) {
        free(xml);
        vfo_libvirt_set_error(calls, error, "ask libvirt for the domain's state");
        return NULL;
    }
    if (state == VIR_DOMAIN_SHUTOFF || state == VIR_DOMAIN_NOSTATE) {
        free(xml);
        g_set_error(error, VFO_ERROR, VFO_ERROR_CLOSED, "libvirt says that it does not run");
        return NULL;
    }
    config = vfo_domain_parse(xml, strlen(xml), error);
    free(xml);
    if (!config)
        return NULL;
    seen = g_new0(VfoLibvirtSeen, 1);
    seen->config = config;
    seen->state = state;
    seen->reason = reason;
    return seen;
}
