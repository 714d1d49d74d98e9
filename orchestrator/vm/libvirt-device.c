/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The devices of a VM that libvirt manages: seen, taken out, put in, by libvirt's own calls alone,
 * so that its XML stays true. */
#include "vm/libvirt.h"

#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------- inspect */

static void on_seen(VfoOp *op, gpointer value, const GError *error)
{
    VfoLibvirtVm *vm = vfo_libvirt_vm_of(op);

    if (error) {
        vfo_op_fail_because(op, error);
        /* A libvirtd that finds it half migrated when it is started ends it, and tells nobody. */
        if (vm->domain && g_error_matches(error, VFO_ERROR, VFO_ERROR_CLOSED))
            vfo_libvirt_vm_miss(vm);
        return;
    }
    vfo_libvirt_vm_take(vfo_libvirt_vm_of(op), value);
    vfo_op_return(op, vfo_local_vm_copy_info(op->vm), (GDestroyNotify)vfo_vm_info_free);
}

static void see(VfoOp *op)
{
    vfo_libvirt_vm_ask(op, vfo_libvirt_see, NULL, NULL, (GDestroyNotify)vfo_libvirt_seen_free,
                       on_seen);
}

static void on_inspect_event(VfoOp *op, const char *event, json_object *data)
{
    if (g_str_equal(event, VFO_MET))
        see(op);
}

void vfo_libvirt_vm_inspect(VfoVm *base, GTask *task)
{
    const VfoLibvirtVm *vm = (const VfoLibvirtVm *)base;
    VfoOp *op = vfo_op_begin_patiently((VfoLocalVm *)base, task, on_inspect_event,
                                       "inspect VM '%s'", base->name);

    if (!op)
        return;
    if (vm->expected)
        vfo_op_return(op, vfo_local_vm_copy_info(op->vm), (GDestroyNotify)vfo_vm_info_free);
    else if (vm->domain)
        see(op);
}

/* -------------------------------------------------------------------- unplug */

static void on_seen_afterwards(VfoOp *op, gpointer value, const GError *error)
{
    if (error) {
        vfo_op_fail_because(op, error);
        return;
    }
    vfo_libvirt_vm_take(vfo_libvirt_vm_of(op), value);
    vfo_op_done(op);
}

/* The op is done when what is known of the VM is what its XML says now. */
static void see_afterwards(VfoOp *op)
{
    op->event = NULL;
    vfo_libvirt_vm_ask(op, vfo_libvirt_see, NULL, NULL, (GDestroyNotify)vfo_libvirt_seen_free,
                       on_seen_afterwards);
}

static gpointer detach(const VfoLibvirtCalls *calls, virDomainPtr domain, gpointer alias,
                       GError **error)
{
    if (calls->detach(domain, alias, VIR_DOMAIN_AFFECT_LIVE) < 0)
        vfo_libvirt_set_error(calls, error, "ask libvirt to detach it");
    return NULL;
}

/* libvirt tells of it when it is through with all that it does to the device
 * (qemuDomainRemoveDevice of libvirt 9.0 and 11.3). */
static void on_unplug_event(VfoOp *op, const char *event, json_object *data)
{
    const char *alias = NULL;

    if (!data || !vfo_json_has(data, "device") ||
        !vfo_json_string(data, "device", event, &alias, NULL) || !g_str_equal(alias, op->state))
        return;
    if (g_str_equal(event, VFO_DEVICE_REMOVED))
        see_afterwards(op);
    else if (g_str_equal(event, VFO_DEVICE_REMOVAL_FAILED))
        vfo_op_fail(op, VFO_ERROR_FAILED,
                    "the guest refuses to release it; its kernel log says why");
}

static void on_detach_asked(VfoOp *op, gpointer value, const GError *error)
{
    if (!error)
        return; /* the event is still to come */
    if (g_error_matches(error, VFO_ERROR, VFO_ERROR_NOT_FOUND))
        see_afterwards(op);
    else if (strstr(error->message, "already in the process of unplug"))
        return; /* somebody has asked the guest before us */
    else
        vfo_op_fail_because(op, error);
}

/* The alias of a VF that we have plugged beside an interface that the guest bonds it with: the hook
 * knows by it, when the domain has ended, that the VF is to be parked. */
static char *bonded_alias(const VfoPair *pair)
{
    gboolean is_users = g_str_has_prefix(pair->standby, "ua-");

    return g_strconcat(VFO_DOMAIN_BONDED, pair->standby + (is_users ? 3 : 0), NULL);
}

static const char *bonded_alias_of(const VfoLibvirtVm *vm, const VfoPair *pair)
{
    g_autofree char *ours = bonded_alias(pair);

    for (guint i = 0; i < vm->config->pairs->len; i++) {
        const VfoDomainPair *known = g_ptr_array_index(vm->config->pairs, i);

        if (g_strcmp0(known->primary, ours) == 0)
            return known->primary;
    }
    return pair->primary;
}

/* libvirt gives a device an alias of its own when the one wanted is not a user's ("ua-..."). */
static const char *alias_of(const VfoLibvirtVm *vm, const VfoPair *pair)
{
    const VfoDomainPair *known = vfo_domain_pair(vm->config, pair->standby);

    if (pair->bonded)
        return bonded_alias_of(vm, pair);
    return known && known->has_vf && known->primary ? known->primary : pair->primary;
}

void vfo_libvirt_vm_unplug(VfoVm *base, const VfoPair *pair, GTask *task)
{
    const char *alias = alias_of((VfoLibvirtVm *)base, pair);
    VfoOp *op;

    if (!alias) {
        vfo_task_done(task);
        return;
    }
    op = vfo_op_begin((VfoLocalVm *)base, task, on_unplug_event,
                      "unplug the primary '%s' of VM '%s'", alias, base->name);
    if (!op)
        return;
    vfo_op_set_state(op, g_strdup(alias), g_free);
    vfo_libvirt_vm_ask(op, detach, g_strdup(alias), g_free, NULL, on_detach_asked);
}

/* ---------------------------------------------------------------------- plug */

/*
 * A plain <hostdev>, whatever form the VF had before: libvirt does not touch the MAC address and
 * the VLAN of such a VF, which it has been given already. It is bound to vfio-pci and stays so.
 */
char *vfo_libvirt_device_xml(const VfoPair *pair, const char *primary, const char *pci)
{
    guint domain = 0, bus = 0, slot = 0, function = 0;
    g_autofree char *bonded = pair->bonded ? bonded_alias(pair) : NULL;
    g_autofree char *alias = NULL;
    g_autofree char *teaming = NULL;
    g_autofree char *device = NULL;

    if (sscanf(pci, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4)
        return NULL;
    if (bonded)
        primary = bonded;
    else
        teaming =
            g_markup_printf_escaped("<teaming type='transient' persistent='%s'/>", pair->standby);
    if (primary && g_str_has_prefix(primary, "ua-"))
        alias = g_markup_printf_escaped("<alias name='%s'/>", primary);
    device = g_markup_printf_escaped("<hostdev mode='subsystem' type='pci' managed='no'>"
                                     "<driver name='vfio'/>"
                                     "<source><address domain='0x%04x' bus='0x%02x' slot='0x%02x' "
                                     "function='0x%x'/></source>",
                                     domain, bus, slot, function);
    return g_strconcat(device, teaming ? teaming : "", "<rom bar='off'/>", alias ? alias : "",
                       "</hostdev>", NULL);
}

static gpointer attach(const VfoLibvirtCalls *calls, virDomainPtr domain, gpointer xml,
                       GError **error)
{
    if (calls->attach(domain, xml, VIR_DOMAIN_AFFECT_LIVE) < 0)
        vfo_libvirt_set_error(calls, error, "have libvirt attach it");
    return NULL;
}

static void on_attached(VfoOp *op, gpointer value, const GError *error)
{
    if (error)
        vfo_op_fail_because(op, error);
    else
        see_afterwards(op);
}

void vfo_libvirt_vm_plug(VfoVm *base, const VfoPair *pair, const char *pci, GTask *task)
{
    VfoOp *op = vfo_op_begin((VfoLocalVm *)base, task, NULL, "plug the VF %s into VM '%s'", pci,
                             base->name);
    /* Stock QEMU 10.0 takes no primary by another id than that of the first one that the standby
     * had (failover_hide_primary_device()). libvirt's own aliases come about by themselves. */
    const char *primary = g_hash_table_lookup(((VfoLibvirtVm *)base)->aliases, pair->standby);

    if (!op)
        return;
    if (!vfo_pci_is_address(pci))
        vfo_op_fail(op, VFO_ERROR_INVALID, "it takes a PCI address such as 0000:01:10.0");
    else
        vfo_libvirt_vm_ask(op, attach,
                           vfo_libvirt_device_xml(pair, primary ? primary : pair->primary, pci),
                           g_free, NULL, on_attached);
}
