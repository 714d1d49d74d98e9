/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does what a hand-over does to a host, step by step, without a guest: the lab looks at what the
 * kernel has after each. host-steps SYSFS PF BRIDGE TAP VF MAC STEP prints what came of one step.
 * VF is a PCI address, or "none". The steps give-outer, give-inner and give-nothing are the VF's
 * alone: they ask nobody for the way of its frames.
 */
#include <stdio.h>

#include "host/host.h"

#define STAY_MS 3500

static gboolean on_end(gpointer data)
{
    *(gboolean *)data = TRUE;
    return G_SOURCE_REMOVE;
}

/* As the daemon does: for what is to be done a little later. */
static gboolean stay(void)
{
    gboolean end = FALSE;

    g_timeout_add(STAY_MS, on_end, &end);
    while (!end)
        g_main_context_iteration(NULL, TRUE);
    return TRUE;
}

static gboolean run(VfoHost *host, const VfoWire *wire, const VfoVf *vf, const VfoMac *mac,
                    const char *step, GError **error)
{
    VfoVfSettings settings = {0};

    if (g_str_equal(step, "find"))
        return TRUE;
    if (g_str_equal(step, "open"))
        return host->ops->open_pf(host, wire, error);
    if (g_str_equal(step, "close-to-vf-and-stay"))
        return host->ops->close_pf(host, wire, TRUE, error) && stay();
    if (g_str_equal(step, "close-to-vf"))
        return host->ops->close_pf(host, wire, TRUE, error);
    if (g_str_equal(step, "close"))
        return host->ops->close_pf(host, wire, FALSE, error);
    if (g_str_equal(step, "announce"))
        return host->ops->announce(host, wire, error);
    if (vf)
        settings = vf->settings;
    if (vf && g_str_equal(step, "configure")) {
        settings.mac = *mac;
        return host->ops->set_vf(host, vf->pci, &settings, error);
    }
    if (vf && g_str_equal(step, "park")) {
        settings.mac = vf->parking;
        return host->ops->set_vf(host, vf->pci, &settings, error);
    }
    g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "no step '%s'", step);
    return FALSE;
}

/* Each setting there is, in one of them at least as no parked VF has it. */
static gboolean settings_of(const VfoVf *vf, const char *step, VfoVfSettings *settings)
{
    static const VfoVfSettings outer = {.vlan = 200,
                                        .vlan_outer = TRUE,
                                        .qos = 5,
                                        .trust = TRUE,
                                        .min_tx_rate = 100,
                                        .max_tx_rate = 1000,
                                        .link = VFO_LINK_DISABLE};
    static const VfoVfSettings inner = {
        .vlan = 100, .qos = 3, .spoofchk = TRUE, .max_tx_rate = 500, .link = VFO_LINK_ENABLE};

    if (g_str_equal(step, "give-outer"))
        *settings = outer;
    else if (g_str_equal(step, "give-inner"))
        *settings = inner;
    else if (g_str_equal(step, "give-nothing"))
        *settings = vfo_vf_parked(vf);
    else
        return FALSE;
    return TRUE;
}

static gboolean give(VfoHost *host, const VfoVf *vf, const VfoVfSettings *settings, GError **error)
{
    g_autoptr(VfoVf) now = NULL;

    if (!host->ops->set_vf(host, vf->pci, settings, error) ||
        !(now = host->ops->read_vf(host, vf->pci, error)))
        return FALSE;
    if (vfo_vf_settings_equal(&now->settings, settings))
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH, "VF %s has other settings than it was given",
                vf->pci);
    return FALSE;
}

static gboolean find_and_run(VfoHost *host, char **argv, GError **error)
{
    gboolean with_vf = !g_str_equal(argv[5], "none");
    g_autoptr(VfoVf) vf = with_vf ? host->ops->read_vf(host, argv[5], error) : NULL;
    VfoVfSettings settings = {.vlan = VFO_VLAN_ANY};
    g_autoptr(VfoWire) wire = NULL;
    VfoMac mac;

    if (with_vf && !vf)
        return FALSE;
    if (!vfo_mac_parse(argv[6], &mac)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "'%s' is no MAC address", argv[6]);
        return FALSE;
    }
    if (vf && settings_of(vf, argv[7], &settings)) {
        if (!g_str_equal(argv[7], "give-nothing"))
            settings.mac = mac;
        return give(host, vf, &settings, error);
    }
    if (vf)
        settings = vf->settings;
    settings.mac = mac;
    wire = host->ops->find_wire(host, argv[4], vf, &settings, error);
    if (!wire || !run(host, wire, vf, &mac, argv[7], error))
        return FALSE;
    printf("%s %s\n", wire->datapath, wire->vf_port ? wire->vf_port : "-");
    return TRUE;
}

int main(int argc, char **argv)
{
    g_autoptr(GPtrArray) networks =
        g_ptr_array_new_with_free_func((GDestroyNotify)vfo_network_free);
    g_autoptr(VfoLeases) leases = vfo_leases_new();
    VfoNetwork *network = g_new0(VfoNetwork, 1);
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoHost) host = NULL;

    if (argc != 8) {
        fprintf(stderr, "usage: host-steps SYSFS PF BRIDGE TAP VF MAC STEP\n");
        return 2;
    }
    network->name = g_strdup("lab");
    network->pfs = g_strsplit(argv[2], ",", 0);
    network->bridge = g_strdup(argv[3]);
    g_ptr_array_add(networks, network);
    host = vfo_host_new(networks, leases, argv[1], &error);
    if (!host || !find_and_run(host, argv, &error)) {
        fprintf(stderr, "host-steps: %s\n", error->message);
        return 1;
    }
    return 0;
}
