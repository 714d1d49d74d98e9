/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/core.h"

/* Far beyond any host; a VM beyond them is left to its jobs. */
#define MAX_STEERED 4096

/* Steered: a pair that has a VF, which the guest is on. */
typedef struct {
    char *vm;
    char *standby;
    char *vf;
    gboolean leaving; /* it is not, as the VM is being migrated */
    VfoWire *wire;    /* NULL: it has none, which was logged, or no bridge has to be told */
} Steered;

struct _VfoSteering {
    VfoHost *host;
    GPtrArray *list; /* of Steered */
};

static void steered_free(gpointer data)
{
    Steered *steered = data;

    g_free(steered->vm);
    g_free(steered->standby);
    g_free(steered->vf);
    vfo_wire_free(steered->wire);
    g_free(steered);
}

VfoSteering *vfo_steering_new(VfoHost *host)
{
    VfoSteering *steering = g_new0(VfoSteering, 1);

    steering->host = host;
    steering->list = g_ptr_array_new_with_free_func(steered_free);
    return steering;
}

void vfo_steering_free(VfoSteering *steering)
{
    if (!steering)
        return;
    g_ptr_array_unref(steering->list);
    g_free(steering);
}

static Steered *find(VfoSteering *steering, const char *vm, const char *standby)
{
    for (guint i = 0; i < steering->list->len; i++) {
        Steered *steered = g_ptr_array_index(steering->list, i);

        if (g_str_equal(steered->vm, vm) && g_str_equal(steered->standby, standby))
            return steered;
    }
    return NULL;
}

/* The wire of a pair whose VF has the guest's address; NULL without @error: it has another. */
static VfoWire *wire_of(VfoHost *host, const VfoPair *pair, GError **error)
{
    g_autoptr(VfoVf) vf = host->ops->read_vf(host, pair->vf, error);

    if (!vf || !vfo_mac_equal(&vf->settings.mac, &pair->mac))
        return NULL;
    return host->ops->find_wire(host, pair->tap, vf, &vf->settings, error);
}

static gboolean steer(VfoHost *host, const VfoWire *wire, gboolean leaving, GError **error)
{
    return leaving ? host->ops->open_pf(host, wire, error)
                   : host->ops->close_pf(host, wire, TRUE, error);
}

static void steer_one(VfoSteering *steering, const VfoVmInfo *info, const VfoPair *pair)
{
    VfoHost *host = steering->host;
    g_autoptr(GError) error = NULL;
    VfoWire *wire = wire_of(host, pair, &error);
    Steered *steered;

    if (!wire && !error)
        return;
    /* A wire on which that fails is kept: half of it may have happened. */
    if (wire && !wire->bridge)
        g_clear_pointer(&wire, vfo_wire_free);
    else if (!wire || !steer(host, wire, info->leaving, &error))
        g_message("VM %s is on %s %s, but this host's own frames for it may not reach it: %s",
                  info->name, info->leaving ? "its standby" : "VF",
                  info->leaving ? pair->standby : pair->vf, error->message);
    if (info->leaving)
        g_warning("VM %s is being migrated, and no job hands it over: unless this daemon was "
                  "started meanwhile, vfailover is not at work where it goes (hook and daemon), "
                  "and nobody gives its VF an address there, or takes that of %s away",
                  info->name, pair->vf);
    steered = g_new0(Steered, 1);
    steered->vm = g_strdup(info->name);
    steered->leaving = info->leaving;
    steered->standby = g_strdup(pair->standby);
    steered->vf = g_strdup(pair->vf);
    steered->wire = wire;
    g_ptr_array_add(steering->list, steered);
}

/* Somebody else has taken the VF away: the guest is on its standby. */
static void steer_to_standby(VfoSteering *steering, const Steered *steered)
{
    VfoHost *host = steering->host;
    g_autoptr(GError) error = NULL;

    if (steered->wire && !host->ops->open_pf(host, steered->wire, &error))
        g_message("VM %s has lost its VF, but frames for its standby may not reach it: %s",
                  steered->vm, error->message);
}

void vfo_steering_see(VfoSteering *steering, const VfoVmInfo *info)
{
    if (g_str_equal(info->status, "postmigrate")) {
        vfo_steering_forget(steering, info->name);
        return;
    }
    if (!g_str_equal(info->status, "running"))
        return;
    for (guint i = 0; i < info->pairs->len; i++) {
        const VfoPair *pair = g_ptr_array_index(info->pairs, i);
        Steered *steered = find(steering, info->name, pair->standby);

        if (steered && g_strcmp0(steered->vf, pair->vf) == 0 && steered->leaving == info->leaving)
            continue;
        if (steered && !pair->vf)
            steer_to_standby(steering, steered);
        if (steered)
            g_ptr_array_remove(steering->list, steered);
        if (pair->vf && pair->tap && steering->list->len < MAX_STEERED)
            steer_one(steering, info, pair);
    }
}

void vfo_steering_forget(VfoSteering *steering, const char *vm)
{
    for (guint i = steering->list->len; i > 0; i--) {
        const Steered *steered = g_ptr_array_index(steering->list, i - 1);

        if (g_str_equal(steered->vm, vm))
            g_ptr_array_remove_index(steering->list, i - 1);
    }
}

void vfo_steering_gone(VfoSteering *steering, const char *vm)
{
    VfoHost *host = steering->host;

    for (guint i = 0; i < steering->list->len; i++) {
        const Steered *steered = g_ptr_array_index(steering->list, i);
        g_autoptr(GError) error = NULL;

        if (g_str_equal(steered->vm, vm) && steered->wire &&
            !host->ops->close_pf(host, steered->wire, FALSE, &error))
            g_message("VM %s has gone, but this host may not have forgotten its address: %s", vm,
                      error->message);
    }
    vfo_steering_forget(steering, vm);
}
