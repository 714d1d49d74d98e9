/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/qmp-vm.h"

#include <string.h>

#define MAX_ENTRIES 1024

/* announce-self's parameters, those of QEMU's own announcements after a migration
 * (migration/options.c): 50, 150, 250, 350 ms apart. */
#define ANNOUNCE_INITIAL_MS 50
#define ANNOUNCE_MAX_MS     550
#define ANNOUNCE_ROUNDS     5
#define ANNOUNCE_STEP_MS    100

static gboolean is_about(json_object *data, const char *id)
{
    const char *device;

    return data && vfo_json_has(data, "device") &&
           vfo_json_string(data, "device", "event", &device, NULL) && g_str_equal(device, id);
}

/* ------------------------------------------------------------------- unplug */

static void on_unplug_event(VfoOp *op, const char *event, json_object *data)
{
    if (!is_about(data, op->state))
        return;
    if (g_str_equal(event, "DEVICE_DELETED"))
        vfo_op_done(op);
    else if (g_str_equal(event, "DEVICE_UNPLUG_GUEST_ERROR"))
        vfo_op_fail(op, VFO_ERROR_FAILED,
                    "the guest refuses to release it (DEVICE_UNPLUG_GUEST_ERROR); its kernel log "
                    "says why");
}

static void on_unplug_asked(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    if (!error)
        return; /* DEVICE_DELETED is still to come */
    if (g_error_matches(error, VFO_ERROR, VFO_ERROR_QMP_DEVICE_NOT_FOUND))
        vfo_op_done(op);
    else if (vfo_op_is_answer(error) && strstr(error->message, "already in the process of unplug"))
        return; /* somebody has asked the guest before us; QMP has no class of its own for this */
    else
        vfo_op_fail_because(op, error);
}

/*
 * device_del rather than the unplug that QEMU does itself at a migration:
 * stock QEMU's own keeps the vfio descriptor open until QEMU exits, has no
 * deadline and polls every 250 ms; device_del frees the VF, and tells of it at once.
 */
void vfo_qmp_vm_unplug(VfoVm *base, const VfoPair *pair, GTask *task)
{
    json_object *arguments;
    VfoOp *op;

    if (!pair->primary) {
        vfo_task_done(task);
        return;
    }
    op = vfo_op_begin((VfoLocalVm *)base, task, on_unplug_event,
                      "unplug the primary '%s' of VM '%s'", pair->primary, base->name);
    if (!op)
        return;
    vfo_op_set_state(op, g_strdup(pair->primary), g_free);
    arguments = json_object_new_object();
    json_object_object_add(arguments, "id", json_object_new_string(pair->primary));
    vfo_op_ask(op, "device_del", arguments, on_unplug_asked, NULL);
}

/* --------------------------------------------------------------------- plug */

typedef struct {
    VfoPair *pair;
    char *pci;
} Plug;

static void plug_free(gpointer data)
{
    Plug *plug = data;

    vfo_pair_free(plug->pair);
    g_free(plug->pci);
    g_free(plug);
}

static gboolean is_listed(json_object *list, const char *id)
{
    if (!json_object_is_type(list, json_type_array) || json_object_array_length(list) > MAX_ENTRIES)
        return FALSE;
    for (gsize i = 0; i < json_object_array_length(list); i++) {
        json_object *name = json_object_object_get(json_object_array_get_idx(list, i), "name");

        if (g_strcmp0(json_object_get_string(name), id) == 0)
            return TRUE;
    }
    return FALSE;
}

static void fail_hidden(VfoOp *op)
{
    const Plug *plug = op->state;

    vfo_op_fail(op, VFO_ERROR_NOT_SUPPORTED,
                "the guest has not negotiated VIRTIO_NET_F_STANDBY on '%s'; it needs a running "
                "driver with net_failover (Linux 4.18 or later)",
                plug->pair->standby);
}

static void on_plug_listed(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    const Plug *plug = op->state;

    if (error) {
        vfo_op_fail_because(op, error);
        return;
    }
    if (!is_listed(value, plug->pair->primary)) {
        fail_hidden(op);
        return;
    }
    vfo_local_vm_refresh(op->vm, VFO_REFRESH_AFTER_MS);
    vfo_op_done(op);
}

static void on_plugged(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    json_object *arguments;

    if (error) {
        vfo_op_fail_because(op, error);
        return;
    }
    vfo_qmp_vm_forget(vfo_qmp_vm_of(op), ((const Plug *)op->state)->pair->primary);
    /* Stock QEMU reports success for a primary that it keeps hidden from the guest. */
    arguments = json_object_new_object();
    json_object_object_add(arguments, "path", json_object_new_string("/machine/peripheral"));
    vfo_op_ask(op, "qom-list", arguments, on_plug_listed, NULL);
}

/* FALSE only when QEMU says for certain that the guest has not negotiated the feature. */
static gboolean may_be_negotiated(json_object *status)
{
    json_object *features, *names;

    if (!json_object_object_get_ex(status, "guest-features", &features) ||
        !json_object_object_get_ex(features, "dev-features", &names) ||
        !json_object_is_type(names, json_type_array) ||
        json_object_array_length(names) > MAX_ENTRIES)
        return TRUE;
    for (gsize i = 0; i < json_object_array_length(names); i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(names, i));

        if (name && g_str_has_prefix(name, "VIRTIO_NET_F_STANDBY"))
            return TRUE;
    }
    return FALSE;
}

static void add_device(VfoOp *op)
{
    const Plug *plug = op->state;
    const VfoPair *pair = plug->pair;
    json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "driver", json_object_new_string("vfio-pci"));
    json_object_object_add(arguments, "id", json_object_new_string(pair->primary));
    json_object_object_add(arguments, "host", json_object_new_string(plug->pci));
    json_object_object_add(arguments, "bus", json_object_new_string(pair->bus));
    json_object_object_add(arguments, "failover_pair_id", json_object_new_string(pair->standby));
    json_object_object_add(arguments, "rombar", json_object_new_int(pair->rombar ? 1 : 0));
    vfo_op_ask(op, "device_add", arguments, on_plugged, NULL);
}

/*
 * The guest's features are asked for before device_add, not only after: what
 * stock QEMU hides it remembers for good, and plugs by itself when the guest
 * negotiates the feature, by when the VF may be another VM's. The command
 * is an unstable one (QEMU 7.2): without it device_add is tried.
 */
static void on_features(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    if (error && !vfo_op_is_answer(error)) {
        vfo_op_fail_because(op, error);
        return;
    }
    if (value && !may_be_negotiated(value)) {
        fail_hidden(op);
        return;
    }
    add_device(op);
}

/* An op about @pci as the primary of @pair; NULL: it has failed. */
static VfoOp *begin_plug(VfoLocalVm *vm, const VfoPair *pair, const char *pci, GTask *task,
                         const char *verb)
{
    VfoOp *op = vfo_op_begin(vm, task, NULL, "%s the VF %s %s VM '%s'", verb, pci,
                             g_str_equal(verb, "plug") ? "into" : "for", vm->vm.name);
    Plug *plug;

    if (!op)
        return NULL;
    if (!pair->standby || !pair->primary || !pair->bus || !vfo_pci_is_address(pci)) {
        vfo_op_fail(op, VFO_ERROR_INVALID,
                    "it takes a PCI address such as 0000:01:10.0, the ids of the standby and of "
                    "the primary, and a free PCIe bus (a pcie-root-port with an id)");
        return NULL;
    }
    plug = g_new0(Plug, 1);
    plug->pair = vfo_pair_copy(pair);
    plug->pci = g_strdup(pci);
    vfo_op_set_state(op, plug, plug_free);
    return op;
}

void vfo_qmp_vm_plug(VfoVm *base, const VfoPair *pair, const char *pci, GTask *task)
{
    VfoOp *op = begin_plug((VfoLocalVm *)base, pair, pci, task, "plug");
    g_autofree char *path = NULL;
    json_object *arguments;

    if (!op)
        return;
    arguments = json_object_new_object();
    if (pair->prepared) {
        json_object_object_add(arguments, "standby", json_object_new_string(pair->standby));
        vfo_op_ask(op, "virtio-net-failover-replug", arguments, on_plugged, NULL);
        return;
    }
    path = g_strdup_printf("/machine/peripheral/%s/virtio-backend", pair->standby);
    json_object_object_add(arguments, "path", json_object_new_string(path));
    vfo_op_ask(op, "x-query-virtio-status", arguments, on_features, NULL);
}

/* ------------------------------------------------------------------ prepare */

/* The standby's entry in the answer to query-virtio-net-failover says that the user plugs, and
 * that a primary is prepared. */
static gboolean may_prepare(json_object *answer, const char *standby)
{
    if (!json_object_is_type(answer, json_type_array) ||
        json_object_array_length(answer) > MAX_ENTRIES)
        return FALSE;
    for (gsize i = 0; i < json_object_array_length(answer); i++) {
        json_object *entry = json_object_array_get_idx(answer, i);
        const char *id = json_object_get_string(json_object_object_get(entry, "standby"));
        const char *replug = json_object_get_string(json_object_object_get(entry, "replug"));

        if (g_strcmp0(id, standby) == 0)
            return json_object_get_boolean(json_object_object_get(entry, "prepare")) &&
                   g_strcmp0(replug, "manual") == 0;
    }
    return FALSE;
}

static void on_failover(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    const Plug *plug = op->state;

    if (error && !g_error_matches(error, VFO_ERROR, VFO_ERROR_QMP_COMMAND_NOT_FOUND))
        vfo_op_fail_because(op, error);
    else if (error)
        vfo_op_fail(op, VFO_ERROR_NOT_SUPPORTED, "this QEMU cannot");
    else if (!may_prepare(value, plug->pair->standby))
        vfo_op_fail(op, VFO_ERROR_NOT_SUPPORTED,
                    "its standby '%s' was started without "
                    "failover-prepare=on,failover-replug=manual",
                    plug->pair->standby);
    else
        add_device(op);
}

/*
 * With other settings QEMU would show the VF as soon as the guest runs, with the parking address:
 * the guest would not pair it.
 */
void vfo_qmp_vm_prepare(VfoVm *base, const VfoPair *pair, const char *pci, GTask *task)
{
    VfoOp *op = begin_plug((VfoLocalVm *)base, pair, pci, task, "prepare");

    if (op)
        vfo_op_ask(op, "query-virtio-net-failover", NULL, on_failover, NULL);
}

/* ----------------------------------------------------------------- announce */

static void on_announced(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    if (error)
        vfo_op_fail_because(op, error);
    else
        vfo_op_done(op);
}

void vfo_qmp_vm_announce(VfoVm *base, const VfoPair *pair, GTask *task)
{
    VfoOp *op = vfo_op_begin((VfoLocalVm *)base, task, NULL, "announce the standby '%s' of VM '%s'",
                             pair->standby, base->name);
    json_object *arguments, *interfaces;

    if (!op)
        return;
    arguments = json_object_new_object();
    json_object_object_add(arguments, "initial", json_object_new_int(ANNOUNCE_INITIAL_MS));
    json_object_object_add(arguments, "max", json_object_new_int(ANNOUNCE_MAX_MS));
    json_object_object_add(arguments, "rounds", json_object_new_int(ANNOUNCE_ROUNDS));
    json_object_object_add(arguments, "step", json_object_new_int(ANNOUNCE_STEP_MS));
    interfaces = json_object_new_array();
    json_object_array_add(interfaces, json_object_new_string(pair->standby));
    json_object_object_add(arguments, "interfaces", interfaces);
    /* A timer of its own: the pairs of one VM must not stop each other's announcements. */
    json_object_object_add(arguments, "id", json_object_new_string(pair->standby));
    vfo_op_ask(op, "announce-self", arguments, on_announced, NULL);
}
