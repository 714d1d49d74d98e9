/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "peer/wire.h"

#include <string.h>

#define MAX_TEXT      1024
#define MAX_FEATURES  8192
#define MAX_VM        128
#define VM_CHARACTERS "-._+:@"
#define MAX_TIME_US   (G_GINT64_CONSTANT(1) << 53) /* what a JSON reader may keep of an integer */

static const char *const link_names[] = {
    [VFO_LINK_AUTO] = "auto",
    [VFO_LINK_ENABLE] = "enable",
    [VFO_LINK_DISABLE] = "disable",
};

gboolean vfo_wire_name_is_valid(const char *text, const char *more, gsize max)
{
    gsize length = strlen(text);

    if (length == 0 || length > max || !g_ascii_isalnum(text[0]))
        return FALSE;
    for (gsize i = 0; i < length; i++)
        if (!g_ascii_isalnum(text[i]) && !strchr(more, text[i]))
            return FALSE;
    return TRUE;
}

char *vfo_wire_text(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    const char *end;

    if (strlen(valid) > MAX_TEXT)
        valid[MAX_TEXT] = '\0';
    if (!g_utf8_validate(valid, -1, &end))
        valid[end - valid] = '\0'; /* cut in the middle of a character */
    for (char *c = valid; *c; c++)
        if (g_ascii_iscntrl(*c))
            *c = ' ';
    return g_steal_pointer(&valid);
}

/* A text that is shown to the user as it is. */
static gboolean text_of(json_object *object, const char *member, const char *where,
                        const char **value, GError **error)
{
    if (!vfo_json_string(object, member, where, value, error))
        return FALSE;
    for (const char *c = *value; *c; c++) {
        if (g_ascii_iscntrl(*c) || c - *value >= MAX_TEXT) {
            g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                        "%s: '%s' must be one line of at most %d bytes", where, member, MAX_TEXT);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean name_of(json_object *object, const char *member, const char *where,
                        const char *more, gsize max, const char **value, GError **error)
{
    if (!vfo_json_string(object, member, where, value, error))
        return FALSE;
    if (vfo_wire_name_is_valid(*value, more, max))
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                "%s: '%s' must be 1 to %zu letters, digits and characters of \"%s\"", where, member,
                max, more);
    return FALSE;
}

static gboolean uuid_of(json_object *object, const char *member, const char *where,
                        const char **value, GError **error)
{
    if (!vfo_json_string(object, member, where, value, error))
        return FALSE;
    if (g_uuid_string_is_valid(*value))
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "%s: '%s' is no UUID", where, member);
    return FALSE;
}

static gboolean is_job(json_object *object, const char *job, const char *where, GError **error)
{
    const char *id = NULL;

    if (!vfo_json_string(object, "job", where, &id, error))
        return FALSE;
    if (strcmp(id, job) == 0)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "%s: it is about another job than %s", where,
                job);
    return FALSE;
}

static void add_string(json_object *object, const char *member, const char *text)
{
    if (text)
        json_object_object_add(object, member, json_object_new_string(text));
}

/* ----------------------------------------------------------------- offer */

static json_object *from_pair(const VfoPair *pair)
{
    json_object *object = json_object_new_object();
    char mac[VFO_MAC_STRLEN];

    add_string(object, "standby", pair->standby);
    add_string(object, "mac", vfo_mac_format(&pair->mac, mac));
    add_string(object, "features", pair->features ? pair->features : "");
    add_string(object, "primary", pair->primary);
    add_string(object, "bus", pair->bus);
    json_object_object_add(object, "rombar", json_object_new_boolean(pair->rombar));
    if (pair->bonded)
        json_object_object_add(object, "bonded", json_object_new_boolean(TRUE));
    return object;
}

static json_object *from_settings(const VfoVfSettings *settings)
{
    json_object *object = json_object_new_object();

    json_object_object_add(object, "vlan", json_object_new_int(settings->vlan));
    if (settings->vlan_outer)
        json_object_object_add(object, "vlan-outer", json_object_new_boolean(TRUE));
    json_object_object_add(object, "qos", json_object_new_int(settings->qos));
    json_object_object_add(object, "spoofchk", json_object_new_boolean(settings->spoofchk));
    json_object_object_add(object, "trust", json_object_new_boolean(settings->trust));
    json_object_object_add(object, "min-tx-rate", json_object_new_int64(settings->min_tx_rate));
    json_object_object_add(object, "max-tx-rate", json_object_new_int64(settings->max_tx_rate));
    add_string(object, "link", link_names[settings->link]);
    return object;
}

json_object *vfo_wire_from_offer(const VfoOffer *offer)
{
    json_object *object = json_object_new_object();

    add_string(object, "job", offer->job);
    add_string(object, "vm", offer->vm);
    add_string(object, "machine", offer->machine);
    add_string(object, "network", offer->network);
    add_string(object, "uuid", offer->uuid);
    json_object_object_add(object, "pair", from_pair(offer->pair));
    json_object_object_add(object, "settings", from_settings(&offer->settings));
    if (offer->vendor || offer->device) {
        json_object_object_add(object, "vendor", json_object_new_int(offer->vendor));
        json_object_object_add(object, "device", json_object_new_int(offer->device));
    }
    if (offer->mtu)
        json_object_object_add(object, "mtu", json_object_new_int64(offer->mtu));
    return object;
}

static gboolean check_features(const char *features, GError **error)
{
    gsize length = strlen(features);

    if (length <= MAX_FEATURES && strspn(features, "abcdefghijklmnopqrstuvwxyz"
                                                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                   "0123456789-_.+:/=,") == length)
        return TRUE;
    g_set_error_literal(error, VFO_ERROR, VFO_ERROR_INVALID,
                        "reserve.pair: 'features' must be NAME=VALUE,... of plain characters");
    return FALSE;
}

static VfoPair *to_pair(json_object *object, GError **error)
{
    static const char where[] = "reserve.pair";
    static const char *const members[] = {"standby", "mac",    "features", "primary",
                                          "bus",     "rombar", "bonded",   NULL};
    g_autoptr(VfoPair) pair = g_new0(VfoPair, 1);
    const char *standby = NULL;
    const char *mac = NULL;
    const char *features = NULL;
    const char *primary = NULL;
    const char *bus = NULL;

    if (!vfo_json_only(object, members, where, error) ||
        !name_of(object, "standby", where, "-._", VFO_MAX_ID, &standby, error) ||
        !vfo_json_string(object, "mac", where, &mac, error) ||
        !vfo_json_string(object, "features", where, &features, error) ||
        !check_features(features, error) ||
        !vfo_json_bool(object, "rombar", where, &pair->rombar, error))
        return NULL;
    if ((vfo_json_has(object, "primary") &&
         !name_of(object, "primary", where, "-._", VFO_MAX_ID, &primary, error)) ||
        (vfo_json_has(object, "bus") &&
         !name_of(object, "bus", where, "-._", VFO_MAX_ID, &bus, error)) ||
        (vfo_json_has(object, "bonded") &&
         !vfo_json_bool(object, "bonded", where, &pair->bonded, error)))
        return NULL;
    if (!vfo_mac_parse(mac, &pair->mac) || !vfo_mac_is_unicast(&pair->mac)) {
        g_set_error_literal(error, VFO_ERROR, VFO_ERROR_INVALID,
                            "reserve.pair: 'mac' is no address that a NIC can have");
        return NULL;
    }
    pair->standby = g_strdup(standby);
    pair->features = g_strdup(features);
    pair->primary = g_strdup(primary);
    pair->bus = g_strdup(bus);
    return g_steal_pointer(&pair);
}

static gboolean to_link(const char *name, VfoLinkState *link, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS(link_names); i++) {
        if (strcmp(name, link_names[i]) == 0) {
            *link = (VfoLinkState)i;
            return TRUE;
        }
    }
    g_set_error_literal(error, VFO_ERROR, VFO_ERROR_INVALID,
                        "reserve.settings: 'link' must be auto, enable or disable");
    return FALSE;
}

static gboolean to_settings(json_object *object, VfoVfSettings *settings, GError **error)
{
    static const char where[] = "reserve.settings";
    static const char *const members[] = {"vlan",        "vlan-outer",  "qos",  "spoofchk", "trust",
                                          "min-tx-rate", "max-tx-rate", "link", NULL};
    gint64 vlan = 0;
    gint64 qos = 0;
    gint64 min_rate = 0;
    gint64 max_rate = 0;
    const char *link = NULL;

    if (!vfo_json_only(object, members, where, error) ||
        !vfo_json_int(object, "vlan", where, 0, 4094, &vlan, error) ||
        !vfo_json_int(object, "qos", where, 0, 7, &qos, error) ||
        !vfo_json_bool(object, "spoofchk", where, &settings->spoofchk, error) ||
        !vfo_json_bool(object, "trust", where, &settings->trust, error) ||
        !vfo_json_int(object, "min-tx-rate", where, 0, G_MAXUINT32, &min_rate, error) ||
        !vfo_json_int(object, "max-tx-rate", where, 0, G_MAXUINT32, &max_rate, error) ||
        !vfo_json_string(object, "link", where, &link, error) ||
        !to_link(link, &settings->link, error) ||
        (vfo_json_has(object, "vlan-outer") &&
         !vfo_json_bool(object, "vlan-outer", where, &settings->vlan_outer, error)))
        return FALSE;
    settings->vlan = (guint16)vlan;
    settings->qos = (guint8)qos;
    settings->min_tx_rate = (guint)min_rate;
    settings->max_tx_rate = (guint)max_rate;
    return TRUE;
}

/* What an older daemon does not know, and leaves out. */
static gboolean to_device(json_object *object, VfoOffer *offer, GError **error)
{
    static const char where[] = "reserve";
    gint64 vendor = 0;
    gint64 device = 0;
    gint64 mtu = 0;

    if ((vfo_json_has(object, "vendor") &&
         !vfo_json_int(object, "vendor", where, 0, G_MAXUINT16, &vendor, error)) ||
        (vfo_json_has(object, "device") &&
         !vfo_json_int(object, "device", where, 0, G_MAXUINT16, &device, error)) ||
        (vfo_json_has(object, "mtu") &&
         !vfo_json_int(object, "mtu", where, 0, G_MAXINT32, &mtu, error)))
        return FALSE;
    offer->vendor = (guint16)vendor;
    offer->device = (guint16)device;
    offer->mtu = (guint)mtu;
    return TRUE;
}

VfoOffer *vfo_wire_to_offer(json_object *object, GError **error)
{
    static const char where[] = "reserve";
    static const char *const members[] = {"job",  "vm",       "machine", "network",
                                          "pair", "settings", "vendor",  "device",
                                          "mtu",  "uuid",     NULL};
    g_autoptr(VfoOffer) offer = g_new0(VfoOffer, 1);
    const char *job = NULL;
    const char *vm = NULL;
    const char *machine = NULL;
    const char *network = NULL;
    const char *uuid = NULL;
    json_object *pair = NULL;
    json_object *settings = NULL;

    if (!vfo_json_only(object, members, where, error) ||
        !uuid_of(object, "job", where, &job, error) ||
        !name_of(object, "vm", where, VM_CHARACTERS, MAX_VM, &vm, error) ||
        !name_of(object, "machine", where, "-._+", 64, &machine, error) ||
        !name_of(object, "network", where, "-._", 64, &network, error) ||
        !vfo_json_object(object, "pair", where, &pair, error) ||
        !vfo_json_object(object, "settings", where, &settings, error) ||
        (vfo_json_has(object, "uuid") && !uuid_of(object, "uuid", where, &uuid, error)))
        return NULL;
    offer->pair = to_pair(pair, error);
    if (!offer->pair || !to_settings(settings, &offer->settings, error) ||
        !to_device(object, offer, error))
        return NULL;
    offer->settings.mac = offer->pair->mac;
    offer->job = g_strdup(job);
    offer->vm = g_strdup(vm);
    offer->machine = g_strdup(machine);
    offer->network = g_strdup(network);
    offer->uuid = g_strdup(uuid);
    return g_steal_pointer(&offer);
}

const char *vfo_wire_to_uri(json_object *object, GError **error)
{
    static const char *const members[] = {"uri", NULL};
    const char *uri = NULL;
    gsize length;

    if (!vfo_json_only(object, members, "the answer to reserve", error) ||
        !vfo_json_string(object, "uri", "the answer to reserve", &uri, error))
        return NULL;
    if (strcmp(uri, VFO_URI_LIBVIRT) == 0)
        return uri;
    length = strlen(uri);
    if (length <= 256 && length > 4 && g_str_has_prefix(uri, "tcp:") &&
        strspn(uri, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.:[]%_") ==
            length)
        return uri;
    g_set_error_literal(error, VFO_ERROR, VFO_ERROR_INVALID,
                        "the answer to reserve: 'uri' must be tcp:HOST:PORT or " VFO_URI_LIBVIRT);
    return NULL;
}

/* ------------------------------------------------------------------ call */

json_object *vfo_wire_from_call(const VfoPeerCall *call)
{
    json_object *object = json_object_new_object();

    add_string(object, "job", call->job);
    add_string(object, "vm", call->vm);
    add_string(object, "uuid", call->uuid);
    add_string(object, "standby", call->standby);
    return object;
}

gboolean vfo_wire_to_call(json_object *object, VfoPeerCall *call, GError **error)
{
    static const char where[] = "hand-over";
    static const char *const members[] = {"job", "vm", "uuid", "standby", NULL};

    return vfo_json_only(object, members, where, error) &&
           uuid_of(object, "job", where, &call->job, error) &&
           name_of(object, "vm", where, VM_CHARACTERS, MAX_VM, &call->vm, error) &&
           uuid_of(object, "uuid", where, &call->uuid, error) &&
           name_of(object, "standby", where, "-._", VFO_MAX_ID, &call->standby, error);
}

/* ---------------------------------------------------------------- events */

json_object *vfo_wire_from_record(const char *job, const VfoRecord *record)
{
    json_object *object = json_object_new_object();

    add_string(object, "job", job);
    add_string(object, "step", record->step);
    add_string(object, "host", record->host);
    json_object_object_add(object, "start-us", json_object_new_int64(record->start_us));
    json_object_object_add(object, "duration-us", json_object_new_int64(record->duration_us));
    json_object_object_add(object, "own-us", json_object_new_int64(record->own_us));
    add_string(object, "result", vfo_result_name(record->result));
    if (record->detail) {
        g_autofree char *detail = vfo_wire_text(record->detail);

        add_string(object, "detail", detail);
    }
    return object;
}

VfoRecord *vfo_wire_to_record(json_object *object, const char *job, const char *host,
                              GError **error)
{
    static const char where[] = "STEP";
    static const char *const members[] = {"job",    "step",   "host",   "start-us", "duration-us",
                                          "own-us", "result", "detail", NULL};
    g_autoptr(VfoRecord) record = g_new0(VfoRecord, 1);
    const char *step = NULL;
    const char *its_host = NULL;
    const char *result = NULL;
    const char *detail = NULL;

    if (!vfo_json_only(object, members, where, error) || !is_job(object, job, where, error) ||
        !name_of(object, "step", where, "-_ ", 64, &step, error) ||
        !name_of(object, "host", where, "-._", 128, &its_host, error) ||
        !vfo_json_int(object, "start-us", where, 0, MAX_TIME_US, &record->start_us, error) ||
        !vfo_json_int(object, "duration-us", where, 0, MAX_TIME_US, &record->duration_us, error) ||
        !vfo_json_int(object, "own-us", where, 0, MAX_TIME_US, &record->own_us, error) ||
        !vfo_json_string(object, "result", where, &result, error) ||
        (vfo_json_has(object, "detail") && !text_of(object, "detail", where, &detail, error)))
        return NULL;
    if (!vfo_result_parse(result, &record->result)) {
        g_set_error_literal(error, VFO_ERROR, VFO_ERROR_INVALID,
                            "STEP: 'result' is no result of a step");
        return NULL;
    }
    record->step = g_strdup(step);
    record->host = g_strdup(host);
    record->detail = g_strdup(detail);
    return g_steal_pointer(&record);
}

json_object *vfo_wire_from_state(const char *job, VfoJobState state, const GError *error)
{
    json_object *object = json_object_new_object();

    add_string(object, "job", job);
    add_string(object, "state", vfo_job_state_name(state));
    if (error) {
        g_autofree char *text = vfo_wire_text(error->message);

        add_string(object, "error", text);
    }
    return object;
}

gboolean vfo_wire_to_state(json_object *object, const char *job, VfoJobState *state,
                           const char **text, GError **error)
{
    static const char *const members[] = {"job", "state", "error", NULL};
    const char *name = NULL;

    *text = NULL;
    if (!vfo_json_only(object, members, "JOB", error) || !is_job(object, job, "JOB", error) ||
        !vfo_json_string(object, "state", "JOB", &name, error) ||
        (vfo_json_has(object, "error") && !text_of(object, "error", "JOB", text, error)))
        return FALSE;
    if (vfo_job_state_parse(name, state))
        return TRUE;
    g_set_error_literal(error, VFO_ERROR, VFO_ERROR_INVALID, "JOB: 'state' is no state of a job");
    return FALSE;
}
