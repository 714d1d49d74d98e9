/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/core.h"

typedef struct {
    VfoJob *job;
    guint index; /* of the record, which another daemon's next word may replace */
} Note;

struct _VfoNotes {
    GArray *notes; /* of Note */
    VfoJobChanged told;
    gpointer data;
    GSource *source; /* NULL: there are none */
};

static void note_clear(gpointer data)
{
    Note *note = data;

    vfo_job_unref(note->job);
}

static GArray *new_notes(void)
{
    GArray *notes = g_array_new(FALSE, FALSE, sizeof(Note));

    g_array_set_clear_func(notes, note_clear);
    return notes;
}

VfoNotes *vfo_notes_new(VfoJobChanged told, gpointer data)
{
    VfoNotes *notes = g_new0(VfoNotes, 1);

    notes->notes = new_notes();
    notes->told = told;
    notes->data = data;
    return notes;
}

static void stop_source(VfoNotes *notes)
{
    if (notes->source) {
        g_source_destroy(notes->source);
        g_clear_pointer(&notes->source, g_source_unref);
    }
}

static gboolean on_leisure(gpointer data)
{
    /* Nothing else is ready, so that somebody else is waited for. */
    vfo_stopwatch_begin_spare();
    vfo_notes_flush(data);
    vfo_stopwatch_end_spare();
    return G_SOURCE_REMOVE;
}

static gboolean is_noted(const VfoNotes *notes, VfoJob *job, guint index)
{
    for (guint i = 0; i < notes->notes->len; i++) {
        const Note *note = &g_array_index(notes->notes, Note, i);

        if (note->job == job && note->index == index)
            return TRUE;
    }
    return FALSE;
}

void vfo_notes_add(VfoNotes *notes, VfoJob *job, const VfoRecord *record)
{
    Note note = {.job = job};

    if (!g_ptr_array_find(vfo_job_records(job), record, &note.index) ||
        is_noted(notes, job, note.index))
        return;
    vfo_job_ref(job);
    g_array_append_val(notes->notes, note);
    if (notes->source)
        return;
    notes->source = g_idle_source_new();
    g_source_set_callback(notes->source, on_leisure, notes, NULL);
    g_source_attach(notes->source, g_main_context_get_thread_default());
}

void vfo_notes_flush(VfoNotes *notes)
{
    g_autoptr(GArray) present = g_steal_pointer(&notes->notes);

    notes->notes = new_notes();
    stop_source(notes);
    for (guint i = 0; i < present->len; i++) {
        const Note *note = &g_array_index(present, Note, i);

        notes->told(note->job, vfo_job_records(note->job)->pdata[note->index], notes->data);
    }
}

void vfo_notes_free(VfoNotes *notes)
{
    if (!notes)
        return;
    stop_source(notes);
    g_array_unref(notes->notes);
    g_free(notes);
}
