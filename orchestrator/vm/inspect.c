/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a VM has: read from QEMU's object model. A device's properties are
 * asked for once, as they cannot change while it is there; each inspection
 * asks for the list of devices and the run state, and no more when the list is
 * the same as before.
 */
#include "vm/qmp-vm.h"

#include <string.h>

/* Far beyond any real VM; QEMU may be in the hands of its guest. */
#define MAX_DEVICES    128
#define MAX_PAIRS      8
#define MAX_PROPERTIES 1024
#define MAX_ID         128
#define MAX_VALUE      64

#define PERIPHERALS "/machine/peripheral"

/* Properties of a standby that change what its guest negotiated: both ends must have the same. */
static const char *const feature_names[] = {
    "csum",      "ctrl_rx",  "ctrl_vq",       "disable-legacy", "disable-modern",
    "event_idx", "gso",      "guest_csum",    "guest_tso4",     "guest_tso6",
    "hash",      "host_mtu", "indirect_desc", "iommu_platform", "mq",
    "mrg_rxbuf", "packed",   "rss",
};

typedef enum {
    DEVICE_OTHER,   /* may be a primary */
    DEVICE_STANDBY, /* a virtio-net device: a standby if it has failover=on */
    DEVICE_PORT,    /* a PCIe port, whose bus has its id */
} DeviceKind;

/* VfoDevice: shared by the inspections that saw it (g_rc_box), unchanged once it is known. */
typedef struct {
    DeviceKind kind;
    char *id;
    char *type;
    gboolean known; /* everything below has been asked for */
    gboolean gone;  /* it went while it was asked */

    gboolean failover; /* standby */
    VfoMac mac;
    char *netdev;
    char *tap;
    gboolean has[G_N_ELEMENTS(feature_names)];
    char *features[G_N_ELEMENTS(feature_names)]; /* NULL: it has no such property */

    char *pair_id; /* primary: the standby's id; NULL: it is no primary */
    char *host;    /* NULL: not on a VF */
    char *bus;
    gboolean rombar;

    gboolean hotplug; /* port */
} VfoDevice;

static void device_clear(gpointer data)
{
    VfoDevice *device = data;

    g_free(device->id);
    g_free(device->type);
    g_free(device->netdev);
    g_free(device->tap);
    for (guint i = 0; i < G_N_ELEMENTS(device->features); i++)
        g_free(device->features[i]);
    g_free(device->pair_id);
    g_free(device->host);
    g_free(device->bus);
}

static void device_release(gpointer device)
{
    g_rc_box_release_full(device, device_clear);
}

GHashTable *vfo_qmp_vm_new_devices(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, NULL, device_release);
}

void vfo_qmp_vm_forget(VfoQmpVm *vm, const char *id)
{
    vm->epoch++;
    if (id)
        g_hash_table_remove(vm->devices, id);
    else
        g_hash_table_remove_all(vm->devices);
    g_clear_pointer(&vm->free_buses, g_ptr_array_unref);
}

/* --------------------------------------------------------- one inspection */

/* Inspection: one run through the stages. The questions of a stage are asked
 * at once; the next begins when all of them have been answered. */
typedef struct {
    guint epoch;   /* the VM's when it began */
    guint waiting; /* for answers in this stage */
    void (*next)(VfoOp *op);
    gboolean changed;   /* the devices are not those of the last inspection */
    char *status;       /* RunState */
    char *network;      /* the answer to "info network" */
    GPtrArray *devices; /* of VfoDevice, by id */
    GPtrArray *free_buses;
    GPtrArray *questions;
} Inspection;

/* Take: puts the answer to one question where it belongs. */
typedef gboolean (*Take)(VfoOp *op, VfoDevice *device, guint index, json_object *value,
                         GError **error);

typedef struct {
    VfoDevice *device; /* NULL: about the VM */
    guint index;       /* of the feature */
    gboolean optional; /* QEMU may not know what it is asked */
    Take take;
} Question;

static void inspection_free(gpointer data)
{
    Inspection *inspection = data;

    g_free(inspection->status);
    g_free(inspection->network);
    g_ptr_array_unref(inspection->devices);
    g_ptr_array_unref(inspection->free_buses);
    g_ptr_array_unref(inspection->questions);
    g_free(inspection);
}

static void on_question_answered(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    Inspection *inspection = op->state;
    const Question *question = data;
    g_autoptr(GError) broken = NULL;

    if (error && question->device &&
        g_error_matches(error, VFO_ERROR, VFO_ERROR_QMP_DEVICE_NOT_FOUND)) {
        question->device->gone = TRUE;
    } else if (error && !(question->optional && vfo_op_is_answer(error))) {
        vfo_op_fail_because(op, error);
        return;
    } else if (value && !question->take(op, question->device, question->index, value, &broken)) {
        vfo_op_fail_because(op, broken);
        return;
    }
    if (!op->task)
        return;
    if (--inspection->waiting == 0)
        inspection->next(op);
}

static void ask(VfoOp *op, const char *command, json_object *arguments, VfoDevice *device,
                guint index, gboolean optional, Take take)
{
    Inspection *inspection = op->state;
    Question *question = g_new0(Question, 1);

    question->device = device;
    question->index = index;
    question->optional = optional;
    question->take = take;
    g_ptr_array_add(inspection->questions, question);
    inspection->waiting++;
    vfo_op_ask(op, command, arguments, on_question_answered, question);
}

static void ask_path(VfoOp *op, const char *path, const char *property, VfoDevice *device,
                     guint index, gboolean optional, Take take)
{
    json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "path", json_object_new_string(path));
    if (property)
        json_object_object_add(arguments, "property", json_object_new_string(property));
    ask(op, property ? "qom-get" : "qom-list", arguments, device, index, optional, take);
}

static void ask_device(VfoOp *op, VfoDevice *device, const char *property, gboolean optional,
                       Take take)
{
    g_autofree char *path = g_strdup_printf(PERIPHERALS "/%s", device->id);

    ask_path(op, path, property, device, 0, optional, take);
}

/* Goes to @next when what has been asked is answered, which may be nothing. */
static void then(VfoOp *op, void (*next)(VfoOp *op))
{
    Inspection *inspection = op->state;

    inspection->next = next;
    if (!inspection->waiting)
        next(op);
}

/* ------------------------------------------------------ reading the answers */

static gboolean set_broken(GError **error, VfoOp *op, const VfoDevice *device, const char *what)
{
    g_set_error(error, VFO_ERROR, VFO_ERROR_PROTOCOL, "QEMU's answer about %s of %s '%s' is %s",
                what, device ? "the device" : "the VM", device ? device->id : op->vm->vm.name,
                "malformed or beyond all bounds");
    return FALSE;
}

/* QEMU's id_wellformed(), with a bound. Ids become part of paths and messages. */
static gboolean is_id(const char *text)
{
    if (!g_ascii_isalpha(*text) || strlen(text) > MAX_ID)
        return FALSE;
    for (const char *c = text; *c; c++)
        if (!g_ascii_isalnum(*c) && !strchr("-._", *c))
            return FALSE;
    return TRUE;
}

/* A string without surprises that is at most @max long; NULL: it is something else. */
static const char *plain_string(json_object *value, gsize max)
{
    const char *text;
    gsize length;

    if (!json_object_is_type(value, json_type_string))
        return NULL;
    text = json_object_get_string(value);
    length = (gsize)json_object_get_string_len(value);
    if (length > max || strlen(text) != length)
        return NULL;
    for (const char *c = text; *c; c++)
        if (!g_ascii_isgraph(*c))
            return NULL;
    return text;
}

static gboolean take_status(VfoOp *op, VfoDevice *device, guint index, json_object *value,
                            GError **error)
{
    Inspection *inspection = op->state;
    const char *status = vfo_qmp_vm_take_status(op, value);

    g_free(inspection->status);
    inspection->status = g_strdup(status);
    return TRUE;
}

static gboolean take_machine(VfoOp *op, VfoDevice *device, guint index, json_object *value,
                             GError **error)
{
    const char *type = plain_string(value, MAX_VALUE);

    if (!type)
        return set_broken(error, op, NULL, "the machine type");
    g_free(vfo_qmp_vm_of(op)->machine);
    vfo_qmp_vm_of(op)->machine = g_strdup(type);
    if (g_str_has_suffix(type, "-machine"))
        vfo_qmp_vm_of(op)->machine[strlen(type) - strlen("-machine")] = '\0';
    return TRUE;
}

static DeviceKind kind_of(const char *type)
{
    static const char *const ports[] = {"ioh3420", "pcie-root-port", "xio3130-downstream", NULL};

    if (g_str_equal(type, "virtio-net-pci") || g_str_has_prefix(type, "virtio-net-pci-"))
        return DEVICE_STANDBY;
    return g_strv_contains(ports, type) ? DEVICE_PORT : DEVICE_OTHER;
}

/* The device of @entry of a qom-list; NULL: it is something else. */
static VfoDevice *device_of_entry(VfoQmpVm *vm, json_object *entry)
{
    const char *id, *child;
    g_autofree char *type = NULL;
    VfoDevice *device;

    id = plain_string(json_object_object_get(entry, "name"), MAX_ID);
    child = plain_string(json_object_object_get(entry, "type"), MAX_ID);
    if (!id || !child || !is_id(id) || !g_str_has_prefix(child, "child<") ||
        !g_str_has_suffix(child, ">"))
        return NULL;
    type = g_strndup(child + strlen("child<"), strlen(child) - strlen("child<>"));
    device = g_hash_table_lookup(vm->devices, id);
    if (device && !device->gone && g_str_equal(device->type, type))
        return g_rc_box_acquire(device);
    device = g_rc_box_new0(VfoDevice);
    device->kind = kind_of(type);
    device->id = g_strdup(id);
    device->type = g_steal_pointer(&type);
    return device;
}

static gint compare_devices(gconstpointer a, gconstpointer b)
{
    const VfoDevice *const *left = a, *const *right = b;

    return strcmp((*left)->id, (*right)->id);
}

static gboolean take_devices(VfoOp *op, VfoDevice *ignored, guint index, json_object *value,
                             GError **error)
{
    Inspection *inspection = op->state;
    VfoQmpVm *vm = vfo_qmp_vm_of(op);

    if (!json_object_is_type(value, json_type_array) ||
        json_object_array_length(value) > MAX_DEVICES)
        return set_broken(error, op, NULL, "the list of devices");
    for (gsize i = 0; i < json_object_array_length(value); i++) {
        VfoDevice *device = device_of_entry(vm, json_object_array_get_idx(value, i));

        if (!device)
            continue;
        g_ptr_array_add(inspection->devices, device);
        if (!device->known)
            inspection->changed = TRUE;
    }
    if (!vm->free_buses || inspection->devices->len != g_hash_table_size(vm->devices))
        inspection->changed = TRUE;
    g_ptr_array_sort(inspection->devices, compare_devices);
    for (guint i = 1; i < inspection->devices->len; i++)
        if (compare_devices(&g_ptr_array_index(inspection->devices, i - 1),
                            &g_ptr_array_index(inspection->devices, i)) == 0)
            return set_broken(error, op, NULL, "the list of devices");
    if (!inspection->changed) {
        g_ptr_array_unref(inspection->free_buses);
        inspection->free_buses = g_ptr_array_ref(vm->free_buses);
    }
    return TRUE;
}

static gboolean take_failover(VfoOp *op, VfoDevice *device, guint index, json_object *value,
                              GError **error)
{
    if (!json_object_is_type(value, json_type_boolean))
        return set_broken(error, op, device, "failover");
    device->failover = json_object_get_boolean(value);
    return TRUE;
}

static gboolean take_hotplug(VfoOp *op, VfoDevice *device, guint index, json_object *value,
                             GError **error)
{
    device->hotplug = json_object_get_boolean(value);
    return TRUE;
}

static gboolean take_pair_id(VfoOp *op, VfoDevice *device, guint index, json_object *value,
                             GError **error)
{
    const char *id = plain_string(value, MAX_ID);

    if (!id)
        return set_broken(error, op, device, "failover_pair_id");
    if (*id) {
        g_free(device->pair_id);
        device->pair_id = g_strdup(id);
    }
    return TRUE;
}

/* The bus of a port holds its devices as links child[0], child[1] ... This says what query-pci
 * does not before the guest has numbered its buses, as in a VM that waits for a migration. */
static gboolean take_bus(VfoOp *op, VfoDevice *device, guint index, json_object *value,
                         GError **error)
{
    Inspection *inspection = op->state;

    if (!json_object_is_type(value, json_type_array) ||
        json_object_array_length(value) > MAX_PROPERTIES)
        return set_broken(error, op, device, "the bus");
    for (gsize i = 0; i < json_object_array_length(value); i++) {
        json_object *entry = json_object_array_get_idx(value, i);
        const char *name = plain_string(json_object_object_get(entry, "name"), MAX_ID);

        if (name && g_str_has_prefix(name, "child["))
            return TRUE;
    }
    g_ptr_array_add(inspection->free_buses, g_strdup(device->id));
    return TRUE;
}

static gboolean take_mac(VfoOp *op, VfoDevice *device, guint index, json_object *value,
                         GError **error)
{
    const char *text = plain_string(value, VFO_MAC_STRLEN);

    return (text && vfo_mac_parse(text, &device->mac)) || set_broken(error, op, device, "mac");
}

static gboolean take_netdev(VfoOp *op, VfoDevice *device, guint index, json_object *value,
                            GError **error)
{
    const char *netdev = plain_string(value, MAX_ID);

    if (!netdev)
        return set_broken(error, op, device, "netdev");
    g_free(device->netdev);
    device->netdev = g_strdup(netdev);
    return TRUE;
}

static gboolean take_properties(VfoOp *op, VfoDevice *device, guint index, json_object *value,
                                GError **error)
{
    if (!json_object_is_type(value, json_type_array) ||
        json_object_array_length(value) > MAX_PROPERTIES)
        return set_broken(error, op, device, "the properties");
    for (gsize i = 0; i < json_object_array_length(value); i++) {
        json_object *entry = json_object_array_get_idx(value, i);
        const char *name = plain_string(json_object_object_get(entry, "name"), MAX_ID);

        for (guint f = 0; name && f < G_N_ELEMENTS(feature_names); f++)
            if (g_str_equal(name, feature_names[f]))
                device->has[f] = TRUE;
    }
    return TRUE;
}

static gboolean take_feature(VfoOp *op, VfoDevice *device, guint index, json_object *value,
                             GError **error)
{
    const char *text = NULL;

    if (json_object_is_type(value, json_type_boolean))
        text = json_object_get_boolean(value) ? "on" : "off";
    else if (json_object_is_type(value, json_type_int))
        text = json_object_get_string(value);
    else
        text = plain_string(value, MAX_VALUE);
    /* The comma separates features. */
    if (!text || strchr(text, ','))
        return set_broken(error, op, device, feature_names[index]);
    g_free(device->features[index]);
    device->features[index] = g_strdup(text);
    return TRUE;
}

static gboolean take_host(VfoOp *op, VfoDevice *device, guint index, json_object *value,
                          GError **error)
{
    const char *host = plain_string(value, MAX_VALUE);

    if (!host || !vfo_pci_is_address(host))
        return set_broken(error, op, device, "host");
    g_free(device->host);
    device->host = g_strdup(host);
    return TRUE;
}

static gboolean take_parent_bus(VfoOp *op, VfoDevice *device, guint index, json_object *value,
                                GError **error)
{
    const char *path = plain_string(value, 8 * MAX_ID);
    const char *last = path ? strrchr(path, '/') : NULL;

    if (!last || !is_id(last + 1))
        return set_broken(error, op, device, "parent_bus");
    g_free(device->bus);
    device->bus = g_strdup(last + 1);
    return TRUE;
}

static gboolean take_rombar(VfoOp *op, VfoDevice *device, guint index, json_object *value,
                            GError **error)
{
    if (!json_object_is_type(value, json_type_int))
        return set_broken(error, op, device, "rombar");
    /* -1, QEMU's default since 10.0, is on as well. */
    device->rombar = json_object_get_int64(value) != 0;
    return TRUE;
}

static gboolean take_network(VfoOp *op, VfoDevice *device, guint index, json_object *value,
                             GError **error)
{
    Inspection *inspection = op->state;

    if (!json_object_is_type(value, json_type_string))
        return set_broken(error, op, NULL, "the network");
    g_free(inspection->network);
    inspection->network = g_strdup(json_object_get_string(value));
    return TRUE;
}

/* ---------------------------------------------------------- putting together */

static char *join_features(const VfoDevice *standby)
{
    GString *features = g_string_new(NULL);

    for (guint i = 0; i < G_N_ELEMENTS(feature_names); i++)
        if (standby->features[i])
            g_string_append_printf(features, "%s%s=%s", features->len ? "," : "", feature_names[i],
                                   standby->features[i]);
    return g_string_free(features, FALSE);
}

static VfoPair *pair_of(const Inspection *inspection, const VfoDevice *standby)
{
    VfoPair *pair = g_new0(VfoPair, 1);

    pair->standby = g_strdup(standby->id);
    pair->mac = standby->mac;
    pair->tap = g_strdup(standby->tap);
    pair->features = join_features(standby);
    for (guint i = 0; i < inspection->devices->len; i++) {
        const VfoDevice *device = g_ptr_array_index(inspection->devices, i);

        if (device->gone || g_strcmp0(device->pair_id, standby->id) != 0)
            continue;
        pair->primary = g_strdup(device->id);
        pair->vf = g_strdup(device->host);
        pair->bus = g_strdup(device->bus);
        pair->rombar = device->rombar;
        return pair;
    }
    if (inspection->free_buses->len)
        pair->bus = g_strdup(g_ptr_array_index(inspection->free_buses, 0));
    return pair;
}

static gpointer copy_text(gconstpointer text, gpointer data)
{
    return g_strdup(text);
}

/* What was learnt is kept for the next inspection, unless something went meanwhile. */
static void keep_devices(VfoQmpVm *vm, const Inspection *inspection)
{
    if (vm->epoch != inspection->epoch || !inspection->changed)
        return;
    g_hash_table_remove_all(vm->devices);
    for (guint i = 0; i < inspection->devices->len; i++) {
        VfoDevice *device = g_ptr_array_index(inspection->devices, i);

        if (!device->gone)
            g_hash_table_insert(vm->devices, device->id, g_rc_box_acquire(device));
    }
    g_clear_pointer(&vm->free_buses, g_ptr_array_unref);
    vm->free_buses = g_ptr_array_ref(inspection->free_buses);
}

static void finish(VfoOp *op)
{
    Inspection *inspection = op->state;
    VfoQmpVm *vm = vfo_qmp_vm_of(op);
    VfoVmInfo *info;

    for (guint i = 0; i < inspection->devices->len; i++) {
        VfoDevice *device = g_ptr_array_index(inspection->devices, i);

        if (device->failover && !device->known && inspection->network)
            device->tap = vfo_tap_find(inspection->network, device->netdev ? device->netdev : "",
                                       vfo_qmp_client_peer_pid(vm->client));
        device->known = TRUE;
    }
    keep_devices(vm, inspection);

    info = g_new0(VfoVmInfo, 1);
    info->name = g_strdup(vm->base.vm.name);
    info->machine = g_strdup(vm->machine);
    info->status = g_strdup(inspection->status);
    info->numa_node = vfo_numa_of_process(vfo_qmp_client_peer_pid(vm->client));
    info->pairs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_pair_free);
    info->free_buses = g_ptr_array_copy(inspection->free_buses, copy_text, NULL);
    for (guint i = 0; i < inspection->devices->len; i++) {
        const VfoDevice *device = g_ptr_array_index(inspection->devices, i);

        if (device->failover && !device->gone)
            g_ptr_array_add(info->pairs, pair_of(inspection, device));
    }
    vfo_local_vm_keep(&vm->base, info);
    vfo_op_return(op, vfo_local_vm_copy_info(op->vm), (GDestroyNotify)vfo_vm_info_free);
}

/* ------------------------------------------------------------------- stages */

static void ask_features(VfoOp *op)
{
    Inspection *inspection = op->state;

    for (guint i = 0; i < inspection->devices->len; i++) {
        VfoDevice *device = g_ptr_array_index(inspection->devices, i);
        g_autofree char *path = g_strdup_printf(PERIPHERALS "/%s", device->id);

        for (guint f = 0; !device->known && f < G_N_ELEMENTS(feature_names); f++)
            if (device->has[f])
                ask_path(op, path, feature_names[f], device, f, FALSE, take_feature);
    }
    then(op, finish);
}

static void ask_details(VfoOp *op)
{
    Inspection *inspection = op->state;
    guint standbys = 0, primaries = 0;
    gboolean new_standby = FALSE;

    for (guint i = 0; i < inspection->devices->len; i++) {
        VfoDevice *device = g_ptr_array_index(inspection->devices, i);

        standbys += device->failover;
        primaries += device->pair_id != NULL;
        if (standbys > MAX_PAIRS || primaries > MAX_PAIRS) {
            vfo_op_fail(op, VFO_ERROR_PROTOCOL, "it has more than %d pairs", MAX_PAIRS);
            return;
        }
        if (device->known)
            continue;
        if (device->failover) {
            new_standby = TRUE;
            ask_device(op, device, "mac", FALSE, take_mac);
            ask_device(op, device, "netdev", FALSE, take_netdev);
            ask_device(op, device, NULL, FALSE, take_properties);
        } else if (device->pair_id) {
            ask_device(op, device, "host", TRUE, take_host);
            ask_device(op, device, "parent_bus", FALSE, take_parent_bus);
            ask_device(op, device, "rombar", TRUE, take_rombar);
        }
    }
    if (new_standby) {
        json_object *arguments = json_object_new_object();

        json_object_object_add(arguments, "command-line", json_object_new_string("info network"));
        ask(op, "human-monitor-command", arguments, NULL, 0, FALSE, take_network);
    }
    then(op, ask_features);
}

static void ask_ports(VfoOp *op)
{
    Inspection *inspection = op->state;

    for (guint i = 0; inspection->changed && i < inspection->devices->len; i++) {
        VfoDevice *device = g_ptr_array_index(inspection->devices, i);
        g_autofree char *path = g_strdup_printf(PERIPHERALS "/%s/%s", device->id, device->id);

        if (device->kind == DEVICE_PORT && device->hotplug)
            ask_path(op, path, NULL, device, 0, TRUE, take_bus);
    }
    then(op, ask_details);
}

static void ask_kinds(VfoOp *op)
{
    Inspection *inspection = op->state;

    for (guint i = 0; i < inspection->devices->len; i++) {
        VfoDevice *device = g_ptr_array_index(inspection->devices, i);

        if (device->known)
            continue;
        if (device->kind == DEVICE_STANDBY)
            ask_device(op, device, "failover", FALSE, take_failover);
        else if (device->kind == DEVICE_OTHER)
            ask_device(op, device, "failover_pair_id", TRUE, take_pair_id);
        else
            ask_device(op, device, "hotplug", TRUE, take_hotplug);
    }
    then(op, ask_ports);
}

void vfo_qmp_vm_inspect(VfoVm *base, GTask *task)
{
    VfoQmpVm *vm = (VfoQmpVm *)base;
    VfoOp *op = vfo_op_begin(&vm->base, task, NULL, "inspect VM '%s'", base->name);
    Inspection *inspection;

    if (!op)
        return;
    inspection = g_new0(Inspection, 1);
    inspection->epoch = vm->epoch;
    inspection->devices = g_ptr_array_new_with_free_func(device_release);
    inspection->free_buses = g_ptr_array_new_with_free_func(g_free);
    inspection->questions = g_ptr_array_new_with_free_func(g_free);
    vfo_op_set_state(op, inspection, inspection_free);

    ask(op, "query-status", NULL, NULL, 0, FALSE, take_status);
    if (!vm->machine)
        ask_path(op, "/machine", "type", NULL, 0, FALSE, take_machine);
    ask_path(op, PERIPHERALS, NULL, NULL, 0, FALSE, take_devices);
    then(op, ask_kinds);
}
