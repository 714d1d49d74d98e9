/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The definition that a domain brings with it ('virsh migrate --persistent'). libvirt takes it over
 * from the source and shows it to no hook, so it names the VF there: here that is another VM's, or
 * none.
 */
#include "vm/libvirt.h"

#include <string.h>

/* Whether there was something to change. Starts no job in libvirt. */
static gpointer update(const VfoLibvirtCalls *calls, virDomainPtr domain, gpointer running,
                       GError **error)
{
    char *xml = calls->get_xml(domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
    g_autofree char *changed = NULL;
    virDomainPtr defined;

    if (!xml) {
        vfo_libvirt_set_error(calls, error, "ask libvirt for it");
        return NULL;
    }
    changed = vfo_domain_set_vfs(xml, strlen(xml), running, error);
    free(xml);
    if (!changed)
        return NULL;
    defined = calls->define(virDomainGetConnect(domain), changed, 0);
    if (!defined) {
        vfo_libvirt_set_error(calls, error, "have libvirt change it");
        return NULL;
    }
    virDomainFree(defined);
    return GINT_TO_POINTER(TRUE);
}

static void on_updated(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(VfoVm) vm = data;
    g_autoptr(GError) error = NULL;
    gboolean changed = GPOINTER_TO_INT(g_task_propagate_pointer(G_TASK(result), &error));

    if (error)
        g_warning("VM '%s': the definition that it has brought is left as it is, and may name the "
                  "VF of the host that it comes from: %s; put the VF that 'virsh dumpxml %s' shows "
                  "into it with 'virsh edit %s'",
                  vm->name, error->message, vm->name, vm->name);
    else if (changed)
        g_message("VM '%s': the definition that it has brought names its VF on this host now",
                  vm->name);
}

void vfo_libvirt_vm_update_definition(VfoLibvirtVm *vm)
{
    vfo_libvirt_call(vm->libvirt, vm->domain, update, vfo_domain_copy(vm->config),
                     (GDestroyNotify)vfo_domain_free, NULL,
                     g_task_new(NULL, NULL, on_updated, vfo_vm_ref(&vm->base.vm)));
}
