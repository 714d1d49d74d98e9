/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The absences (core/core.h) in a file: {"absences": [{"offer": {...}, "wanted": true}, ...]}, an
 * offer being what is sent to a peer. All of it is written at once and at each change: it is short,
 * and rarely changes, but a VF is asked for only when it is written down what it was like.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gunixinputstream.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

/* An offer is 9 KiB at most, of which QEMU's features take 8; a common one is 1. */
#define MAX_BYTES ((goffset)VFO_MAX_ABSENCES * 10 * 1024)

struct _VfoMemory {
    VfoAbsences *absences; /* not owned */
    char *path;
    char *untold; /* VM that the file does not have, as was said; NULL: there was none */
};

/* ------------------------------------------------------------------- write */

/* NULL: @offer would not be taken when it is read again, as no peer would take it. */
static json_object *from_offer(VfoMemory *memory, const VfoOffer *offer)
{
    g_autoptr(json_object) object = vfo_wire_from_offer(offer);
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoOffer) again = vfo_wire_to_offer(object, &error);

    if (again)
        return g_steal_pointer(&object);
    if (g_strcmp0(memory->untold, offer->vm) == 0)
        return NULL;
    g_free(memory->untold);
    memory->untold = g_strdup(offer->vm);
    g_warning("what the VF of VM %s was like cannot be written to %s: %s; a vfailoverd that is "
              "started anew will not know it",
              offer->vm, memory->path, error->message);
    return NULL;
}

static json_object *from_absences(VfoMemory *memory, VfoAbsences *absences)
{
    json_object *object = json_object_new_object();
    json_object *list = json_object_new_array();
    const VfoOffer *offer;
    gboolean wanted = FALSE;

    for (guint i = 0; (offer = vfo_absences_nth(absences, i, &wanted)); i++) {
        json_object *described = from_offer(memory, offer);
        json_object *absence;

        if (!described)
            continue;
        absence = json_object_new_object();
        json_object_object_add(absence, "offer", described);
        json_object_object_add(absence, "wanted", json_object_new_boolean(wanted));
        json_object_array_add(list, absence);
    }
    json_object_object_add(object, "absences", list);
    return object;
}

static void on_changed(VfoAbsences *absences, gpointer data)
{
    VfoMemory *memory = data;
    g_autoptr(json_object) object = from_absences(memory, absences);
    g_autoptr(GError) error = NULL;
    size_t length = 0;
    const char *text = json_object_to_json_string_length(
        object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);

    if (!g_file_set_contents_full(memory->path, text, (gssize)length,
                                  G_FILE_SET_CONTENTS_CONSISTENT, 0600, &error))
        g_warning("which VMs are without their VF cannot be written to %s: %s; a vfailoverd that "
                  "is started anew will not know what their VFs were like",
                  memory->path, error->message);
}

/* -------------------------------------------------------------------- read */

static char *read_stream(GInputStream *stream, int fd, gsize *length, GError **error)
{
    g_autofree char *text = NULL;
    struct stat status;

    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "it is no ordinary file");
        return NULL;
    }
    if (status.st_size > MAX_BYTES) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "it has %" G_GINT64_FORMAT " bytes, more than the %" G_GINT64_FORMAT " allowed",
                    (gint64)status.st_size, (gint64)MAX_BYTES);
        return NULL;
    }
    text = g_malloc((gsize)status.st_size + 1);
    if (!g_input_stream_read_all(stream, text, (gsize)status.st_size, length, NULL, error))
        return NULL;
    text[*length] = '\0';
    return g_steal_pointer(&text);
}

/* NULL without an error: there is no such file. */
static char *read_file(const char *path, gsize *length, GError **error)
{
    int fd = g_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    g_autoptr(GInputStream) stream = NULL;

    if (fd < 0) {
        if (errno != ENOENT)
            g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "%s", g_strerror(errno));
        return NULL;
    }
    stream = g_unix_input_stream_new(fd, TRUE);
    return read_stream(stream, fd, length, error);
}

static gboolean recall(VfoAbsences *absences, json_object *absence, GError **error)
{
    static const char where[] = "absence";
    static const char *const members[] = {"offer", "wanted", NULL};
    g_autoptr(VfoOffer) offer = NULL;
    json_object *object = NULL;
    gboolean wanted = FALSE;

    if (!vfo_json_only(absence, members, where, error) ||
        !vfo_json_object(absence, "offer", where, &object, error) ||
        !vfo_json_bool(absence, "wanted", where, &wanted, error))
        return FALSE;
    offer = vfo_wire_to_offer(object, error);
    if (offer)
        vfo_absences_note(absences, offer, wanted);
    return offer != NULL;
}

/* For a message about an entry that may be nonsense. */
static const char *vm_of(json_object *absence)
{
    json_object *offer = NULL;
    json_object *vm = NULL;

    if (json_object_object_get_ex(absence, "offer", &offer) &&
        json_object_object_get_ex(offer, "vm", &vm) && json_object_is_type(vm, json_type_string))
        return json_object_get_string(vm);
    return "(no name)";
}

/* A name that a peer would refuse, too, costs its own VM alone what is known. */
static void recall_each(const VfoMemory *memory, json_object *list)
{
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        json_object *absence = json_object_array_get_idx(list, i);
        g_autoptr(GError) error = NULL;

        if (!recall(memory->absences, absence, &error))
            g_warning("%s: entry %zu is left out: %s; VM %.64s gets its next VF with the guest's "
                      "MAC alone",
                      memory->path, i, error->message, vm_of(absence));
    }
}

static gboolean load(const VfoMemory *memory, GError **error)
{
    static const char *const members[] = {"absences", NULL};
    gsize length = 0;
    g_autofree char *text = read_file(memory->path, &length, error);
    g_autoptr(json_object) object = NULL;
    json_object *list = NULL;

    if (!text)
        return !*error;
    object = vfo_json_parse(text, length, error);
    if (!object || !vfo_json_only(object, members, "the file", error) ||
        !vfo_json_array(object, "absences", "the file", VFO_MAX_ABSENCES, &list, error))
        return FALSE;
    recall_each(memory, list);
    return TRUE;
}

/* ---------------------------------------------------------------- lifetime */

VfoMemory *vfo_memory_new(VfoAbsences *absences, const char *path)
{
    VfoMemory *memory = g_new0(VfoMemory, 1);
    g_autoptr(GError) error = NULL;

    memory->absences = absences;
    memory->path = g_strdup(path);
    if (!load(memory, &error))
        g_warning("which VMs are without their VF cannot be read from %s: %s; they get their next "
                  "one with the guest's MAC alone",
                  path, error->message);
    vfo_absences_on_change(absences, on_changed, memory);
    return memory;
}

void vfo_memory_free(VfoMemory *memory)
{
    if (!memory)
        return;
    vfo_absences_on_change(memory->absences, NULL, NULL);
    g_free(memory->path);
    g_free(memory->untold);
    g_free(memory);
}
