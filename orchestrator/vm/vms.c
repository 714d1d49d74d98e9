/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/libvirt.h"
#include "vm/qmp-vm.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#define SUFFIX   ".sock"
#define MAX_NAME 64
/* A directory that somebody fills with files must not make us connect without end. */
#define MAX_VMS 1024
/* Names in an error message. */
#define MAX_LISTED 16

struct _VfoVms {
    GObject parent_instance;
    char *directory;
    GFileMonitor *monitor;
    VfoVmListener listener;
    VfoLibvirt *libvirt; /* NULL: it is not followed */
    GHashTable *vms;     /* name -> VfoLocalVm */
    gboolean unmet;      /* vfo_vms_unmet() was not NULL the last time */
};

G_DEFINE_FINAL_TYPE(VfoVms, vfo_vms, G_TYPE_OBJECT)

enum { ADDED, REMOVED, PROGRESS, INSPECTED, MET, N_SIGNALS };

static guint signals[N_SIGNALS];

static gboolean is_name(const char *name)
{
    gsize length = strlen(name);

    if (!length || length > MAX_NAME)
        return FALSE;
    for (const char *c = name; *c; c++)
        if (!g_ascii_isalnum(*c) && !strchr("._-", *c))
            return FALSE;
    return TRUE;
}

/* The VM that the file @base is the socket of; NULL: of none. */
static char *name_of_file(const char *base)
{
    g_autofree char *name = NULL;

    if (!g_str_has_suffix(base, SUFFIX))
        return NULL;
    name = g_strndup(base, strlen(base) - strlen(SUFFIX));
    return is_name(name) ? g_steal_pointer(&name) : NULL;
}

static void on_moved(VfoVm *vm, gpointer data)
{
    g_signal_emit(data, signals[PROGRESS], 0, vm);
}

GError *vfo_vms_unmet(VfoVms *vms)
{
    GError *error = vms->libvirt ? vfo_libvirt_unmet(vms->libvirt) : NULL;
    GHashTableIter iter;
    gpointer vm;

    g_hash_table_iter_init(&iter, vms->vms);
    while (!error && g_hash_table_iter_next(&iter, NULL, &vm)) {
        const GError *state;

        if (((VfoLocalVm *)vm)->info || (vfo_qmp_vm_is(vm) && vfo_qmp_vm_is_dead(vm)))
            continue;
        state = vfo_vm_state(vm);
        error = state ? g_error_copy(state)
                      : g_error_new(VFO_ERROR, VFO_ERROR_BUSY,
                                    "VM '%s' has not been looked at; try again in a moment, or see "
                                    "the daemon's log for why it cannot be",
                                    ((VfoLocalVm *)vm)->vm.name);
    }
    return error;
}

static void note_met(VfoVms *vms)
{
    g_autoptr(GError) error = vfo_vms_unmet(vms);
    gboolean was_unmet = vms->unmet;

    vms->unmet = error != NULL;
    if (was_unmet && !error)
        g_signal_emit(vms, signals[MET], 0, NULL);
}

static void on_inspected(VfoVm *vm, gpointer data)
{
    g_signal_emit(data, signals[INSPECTED], 0, vm);
    note_met(data);
}

static gboolean set_bad_name(GError **error)
{
    g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                "the name of a VM is 1 to %d of the characters A-Z a-z 0-9 . _ -", MAX_NAME);
    return FALSE;
}

/* There may be a VM more, and none is called @name yet. */
static gboolean vms_has_room(VfoVms *vms, const char *name, const char *where)
{
    const VfoLocalVm *other = g_hash_table_lookup(vms->vms, name);

    if (other && g_str_equal(other->where, where))
        return FALSE;
    if (other)
        g_warning("VM '%s' is reached through %s; the one of the same name at %s is ignored", name,
                  other->where, where);
    else if (g_hash_table_size(vms->vms) >= MAX_VMS)
        g_warning("there are more than %d VMs; '%s' at %s is ignored", MAX_VMS, name, where);
    else
        return TRUE;
    return FALSE;
}

static void vms_insert(VfoVms *vms, VfoLocalVm *vm)
{
    g_hash_table_insert(vms->vms, g_strdup(vm->vm.name), vm);
    g_signal_emit(vms, signals[ADDED], 0, vm);
    note_met(vms);
}

static void vms_drop(VfoVms *vms, const char *name)
{
    g_autofree char *key = NULL;
    VfoLocalVm *vm = NULL;

    g_hash_table_steal_extended(vms->vms, name, (gpointer *)&key, (gpointer *)&vm);
    vfo_local_vm_close(vm);
    g_signal_emit(vms, signals[REMOVED], 0, vm);
    vfo_vm_unref(&vm->vm);
    note_met(vms);
}

static void vms_add(VfoVms *vms, const char *base)
{
    g_autofree char *name = name_of_file(base);
    g_autofree char *path = NULL;

    if (!name) {
        g_autofree char *shown = g_strescape(base, NULL);

        g_message("'%s' in %s is not the QMP socket of a VM (NAME%s, NAME being up to %d of "
                  "A-Z a-z 0-9 . _ -); ignored",
                  shown, vms->directory, SUFFIX, MAX_NAME);
        return;
    }
    path = g_build_filename(vms->directory, base, NULL);
    if (vms_has_room(vms, name, path))
        vms_insert(vms, vfo_qmp_vm_new(name, path, &vms->listener));
}

static void vms_remove(VfoVms *vms, const char *base)
{
    g_autofree char *name = name_of_file(base);
    const VfoLocalVm *vm = name ? g_hash_table_lookup(vms->vms, name) : NULL;

    if (vm && vfo_qmp_vm_is(vm))
        vms_drop(vms, name);
}

static void on_file_changed(GFileMonitor *monitor, GFile *file, GFile *other,
                            GFileMonitorEvent event, gpointer data)
{
    VfoVms *vms = data;
    g_autoptr(VfoVms) keep = g_object_ref(vms);
    g_autofree char *path = g_file_get_path(file);
    g_autofree char *base = g_file_get_basename(file);

    if (g_strcmp0(path, vms->directory) == 0) {
        if (event == G_FILE_MONITOR_EVENT_DELETED || event == G_FILE_MONITOR_EVENT_UNMOUNTED)
            g_critical("the directory %s of the VMs' QMP sockets has gone; restart vfailoverd "
                       "when it is back",
                       vms->directory);
        return;
    }
    if (event == G_FILE_MONITOR_EVENT_CREATED)
        vms_add(vms, base);
    else if (event == G_FILE_MONITOR_EVENT_DELETED)
        vms_remove(vms, base);
}

/* ------------------------------------------------------------------ libvirt */

static gboolean on_appeared(VfoLocalVm *vm, gpointer data)
{
    VfoVms *vms = data;

    if (!is_name(vm->vm.name)) {
        g_autofree char *shown = g_strescape(vm->vm.name, NULL);

        g_message("libvirt's domain '%s' is left alone: a VM's name is 1 to %d of the characters "
                  "A-Z a-z 0-9 . _ -",
                  shown, MAX_NAME);
        return FALSE;
    }
    if (!vms_has_room(vms, vm->vm.name, vm->where))
        return FALSE;
    vms_insert(vms, vm);
    return TRUE;
}

static void on_gone(VfoLocalVm *vm, gpointer data)
{
    vms_drop(data, vm->vm.name);
}

static void on_met(gpointer data)
{
    note_met(data);
}

void vfo_vms_follow_calls(VfoVms *vms, const char *uri, gboolean updates,
                          const VfoLibvirtCalls *calls)
{
    VfoLibvirtListener listener = {on_appeared, on_gone, on_met, vms, vms->listener};

    g_assert(!vms->libvirt);
    vms->libvirt = vfo_libvirt_new(calls, uri, updates, &listener);
    note_met(vms);
}

void vfo_vms_follow_libvirt(VfoVms *vms, const char *uri, gboolean updates)
{
    vfo_vms_follow_calls(vms, uri, updates, &vfo_libvirt_calls);
}

static gboolean may_expect(VfoVms *vms, const VfoDomain *domain, GError **error)
{
    VfoLibvirtVm *known = vms->libvirt ? vfo_libvirt_find(vms->libvirt, domain->uuid) : NULL;
    const VfoLocalVm *other;

    if (!vms->libvirt) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "VM '%s': vfailoverd does not follow libvirt here; add a group [libvirt] to "
                    "vfailoverd.conf",
                    domain->name);
        return FALSE;
    }
    if (!is_name(domain->name))
        return set_bad_name(error);
    if (known && !known->expected) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY, "VM '%s' runs here already", domain->name);
        return FALSE;
    }
    if (known)
        vfo_libvirt_remove(vms->libvirt, known);
    other = g_hash_table_lookup(vms->vms, domain->name);
    if (other)
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "VM '%s': another one has its name here, at %s; rename one of them",
                    domain->name, other->where);
    return !other;
}

VfoVm *vfo_vms_expect(VfoVms *vms, const VfoDomain *domain, GError **error)
{
    VfoLibvirtVm *vm;

    if (!may_expect(vms, domain, error))
        return NULL;
    vm = vfo_libvirt_vm_new(vms->libvirt, domain, NULL, &vms->listener);
    if (vfo_libvirt_add(vms->libvirt, vm))
        return &vm->base.vm;
    g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY, "VM '%s': there are %d VMs here already",
                domain->name, MAX_VMS);
    return NULL;
}

static VfoLibvirtVm *find_expected(VfoVms *vms, const char *uuid)
{
    VfoLibvirtVm *vm = vms->libvirt ? vfo_libvirt_find(vms->libvirt, uuid) : NULL;

    return vm && vm->expected ? vm : NULL;
}

void vfo_vms_unexpect(VfoVms *vms, const char *uuid)
{
    VfoLibvirtVm *vm = find_expected(vms, uuid);

    if (vm)
        vfo_libvirt_remove(vms->libvirt, vm);
}

gboolean vfo_vms_tell_start(VfoVms *vms, const VfoDomain *domain, GError **error)
{
    VfoLibvirtVm *vm = find_expected(vms, domain->uuid);

    if (vm)
        vfo_libvirt_vm_on_start(vm, domain);
    else
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND, "VM '%s' is not expected here",
                    domain->name);
    return vm != NULL;
}

gboolean vfo_vm_is_libvirts(VfoVm *vm)
{
    return vfo_libvirt_vm_is((VfoLocalVm *)vm);
}

/* ---------------------------------------------------------------------- set */

static gboolean vms_scan(VfoVms *vms, GError **error)
{
    g_autoptr(GDir) directory = g_dir_open(vms->directory, 0, error);
    const char *base;

    if (!directory)
        return FALSE;
    while ((base = g_dir_read_name(directory)))
        vms_add(vms, base);
    return TRUE;
}

static gboolean vms_watch(VfoVms *vms, GError **error)
{
    g_autoptr(GFile) file = g_file_new_for_path(vms->directory);

    if (g_mkdir_with_parents(vms->directory, 0700) < 0) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "it cannot be made: %s", g_strerror(errno));
        return FALSE;
    }
    /* Before the scan, so that no file is missed in between. */
    vms->monitor = g_file_monitor_directory(file, G_FILE_MONITOR_NONE, NULL, error);
    if (!vms->monitor)
        return FALSE;
    g_signal_connect(vms->monitor, "changed", G_CALLBACK(on_file_changed), vms);
    return vms_scan(vms, error);
}

VfoVms *vfo_vms_new(const char *directory, GError **error)
{
    g_autoptr(VfoVms) vms = g_object_new(VFO_TYPE_VMS, NULL);
    g_autoptr(GError) reason = NULL;

    vms->directory = g_canonicalize_filename(directory, NULL);
    if (!vms_watch(vms, &reason)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "cannot watch the directory %s of the VMs' QMP sockets: %s", vms->directory,
                    reason->message);
        return NULL;
    }
    return g_steal_pointer(&vms);
}

static gint compare_vms(gconstpointer a, gconstpointer b)
{
    const VfoVm *const *left = a, *const *right = b;

    return strcmp((*left)->name, (*right)->name);
}

GPtrArray *vfo_vms_list(VfoVms *vms)
{
    GPtrArray *list = g_ptr_array_sized_new(g_hash_table_size(vms->vms));
    GHashTableIter iter;
    gpointer vm;

    g_hash_table_iter_init(&iter, vms->vms);
    while (g_hash_table_iter_next(&iter, NULL, &vm))
        g_ptr_array_add(list, vm);
    g_ptr_array_sort(list, compare_vms);
    return list;
}

static char *list_names(VfoVms *vms)
{
    g_autoptr(GPtrArray) list = vfo_vms_list(vms);
    GString *names = g_string_new(NULL);

    for (guint i = 0; i < list->len && i < MAX_LISTED; i++) {
        const VfoVm *vm = g_ptr_array_index(list, i);

        g_string_append_printf(names, "%s%s", i ? ", " : "", vm->name);
    }
    if (list->len > MAX_LISTED)
        g_string_append_printf(names, " and %u more", list->len - MAX_LISTED);
    else if (!list->len)
        g_string_append(names, "none");
    return g_string_free(names, FALSE);
}

static VfoVm *ready(VfoLocalVm *vm, GError **error)
{
    const GError *state = vfo_vm_state(&vm->vm);

    if (!state)
        return &vm->vm;
    g_set_error(error, VFO_ERROR, VFO_ERROR_CLOSED, "VM '%s' does not answer on %s: %s",
                vm->vm.name, vm->where, vfo_local_vm_reason(vm, state));
    return NULL;
}

VfoVm *vfo_vms_get(VfoVms *vms, const char *name, GError **error)
{
    VfoLocalVm *vm = g_hash_table_lookup(vms->vms, name);
    g_autofree char *names = NULL;

    if (!is_name(name)) {
        set_bad_name(error);
        return NULL;
    }
    if (vm)
        return ready(vm, error);
    names = list_names(vms);
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                "no VM is called '%s' (VMs here: %s); its QMP socket would be %s/%s" SUFFIX "%s",
                name, names, vms->directory, name,
                vms->libvirt ? ", and libvirt runs no domain of that name with a VF or a pair"
                             : "");
    return NULL;
}

VfoVm *vfo_vms_get_uuid(VfoVms *vms, const char *uuid, GError **error)
{
    VfoLibvirtVm *vm = vms->libvirt ? vfo_libvirt_find(vms->libvirt, uuid) : NULL;

    if (vm)
        return ready(&vm->base, error);
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                "libvirt runs no domain with the UUID %.36s that has a VF or a pair here", uuid);
    return NULL;
}

static void vfo_vms_dispose(GObject *object)
{
    VfoVms *vms = VFO_VMS(object);
    g_autoptr(GPtrArray) list = vfo_vms_list(vms);

    if (vms->monitor) {
        g_signal_handlers_disconnect_by_data(vms->monitor, vms);
        g_file_monitor_cancel(vms->monitor);
        g_clear_object(&vms->monitor);
    }
    g_hash_table_remove_all(vms->vms);
    for (guint i = 0; i < list->len; i++) {
        vfo_local_vm_close(g_ptr_array_index(list, i));
        vfo_vm_unref(g_ptr_array_index(list, i));
    }
    g_clear_pointer(&vms->libvirt, vfo_libvirt_close);
    G_OBJECT_CLASS(vfo_vms_parent_class)->dispose(object);
}

static void vfo_vms_finalize(GObject *object)
{
    VfoVms *vms = VFO_VMS(object);

    g_hash_table_unref(vms->vms);
    g_free(vms->directory);
    G_OBJECT_CLASS(vfo_vms_parent_class)->finalize(object);
}

static void vfo_vms_init(VfoVms *vms)
{
    vms->listener = (VfoVmListener){on_moved, on_inspected, vms};
    vms->vms = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

static guint new_signal(const char *name)
{
    return g_signal_new(name, VFO_TYPE_VMS, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1,
                        G_TYPE_POINTER);
}

static void vfo_vms_class_init(VfoVmsClass *class)
{
    G_OBJECT_CLASS(class)->dispose = vfo_vms_dispose;
    G_OBJECT_CLASS(class)->finalize = vfo_vms_finalize;
    signals[ADDED] = new_signal("added");
    signals[REMOVED] = new_signal("removed");
    signals[PROGRESS] = new_signal("progress");
    signals[INSPECTED] = new_signal("inspected");
    signals[MET] = new_signal("met");
}
