/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/core.h"

typedef struct {
    VfoOffer *offer;
    VfoWire *wire; /* NULL: not known */
    gboolean wanted;
} Absence;

struct _VfoAbsences {
    GPtrArray *list;            /* of Absence, oldest first */
    VfoAbsencesChanged changed; /* NULL: nobody listens */
    gpointer data;
};

static void absence_free(gpointer data)
{
    Absence *absence = data;

    vfo_offer_free(absence->offer);
    vfo_wire_free(absence->wire);
    g_free(absence);
}

VfoAbsences *vfo_absences_new(void)
{
    VfoAbsences *absences = g_new0(VfoAbsences, 1);

    absences->list = g_ptr_array_new_with_free_func(absence_free);
    return absences;
}

void vfo_absences_free(VfoAbsences *absences)
{
    if (!absences)
        return;
    g_ptr_array_unref(absences->list);
    g_free(absences);
}

void vfo_absences_on_change(VfoAbsences *absences, VfoAbsencesChanged changed, gpointer data)
{
    absences->changed = changed;
    absences->data = data;
}

static void tell(VfoAbsences *absences)
{
    if (absences->changed)
        absences->changed(absences, absences->data);
}

static gboolean is_of(const Absence *absence, const char *vm, const char *standby)
{
    return g_str_equal(absence->offer->vm, vm) &&
           (!standby || g_str_equal(absence->offer->pair->standby, standby));
}

static Absence *find(VfoAbsences *absences, const char *vm, const char *standby)
{
    for (guint i = 0; i < absences->list->len; i++) {
        Absence *absence = g_ptr_array_index(absences->list, i);

        if (is_of(absence, vm, standby))
            return absence;
    }
    return NULL;
}

static gboolean drop(VfoAbsences *absences, const char *vm, const char *standby)
{
    guint before = absences->list->len;

    for (guint i = before; i > 0; i--) {
        if (is_of(g_ptr_array_index(absences->list, i - 1), vm, standby))
            g_ptr_array_remove_index(absences->list, i - 1);
    }
    return absences->list->len < before;
}

void vfo_absences_note(VfoAbsences *absences, const VfoOffer *offer, gboolean wanted)
{
    Absence *absence = g_new0(Absence, 1);
    Absence *old = find(absences, offer->vm, offer->pair->standby);

    absence->wire = old ? g_steal_pointer(&old->wire) : NULL;
    absence->offer = vfo_offer_copy(offer);
    absence->wanted = wanted;
    drop(absences, absence->offer->vm, absence->offer->pair->standby);
    if (absences->list->len >= VFO_MAX_ABSENCES)
        g_ptr_array_remove_index(absences->list, 0);
    g_ptr_array_add(absences->list, absence);
    tell(absences);
}

void vfo_absences_keep(VfoAbsences *absences, const char *vm, const char *standby, VfoWire *wire)
{
    Absence *absence = find(absences, vm, standby);

    if (!absence) {
        vfo_wire_free(wire);
        return;
    }
    vfo_wire_free(absence->wire);
    absence->wire = wire;
}

GPtrArray *vfo_absences_wires(VfoAbsences *absences, const char *vm)
{
    GPtrArray *wires = g_ptr_array_new();

    for (guint i = 0; i < absences->list->len; i++) {
        Absence *absence = g_ptr_array_index(absences->list, i);

        if (absence->wire && is_of(absence, vm, NULL))
            g_ptr_array_add(wires, absence->wire);
    }
    return wires;
}

gboolean vfo_absences_has_wire(VfoAbsences *absences, const char *vm, const char *standby)
{
    const Absence *absence = find(absences, vm, standby);

    return absence && absence->wire;
}

void vfo_absences_forget(VfoAbsences *absences, const char *vm, const char *standby)
{
    if (drop(absences, vm, standby))
        tell(absences);
}

const VfoOffer *vfo_absences_nth(VfoAbsences *absences, guint index, gboolean *wanted)
{
    const Absence *absence;

    if (index >= absences->list->len)
        return NULL;
    absence = g_ptr_array_index(absences->list, index);
    if (wanted)
        *wanted = absence->wanted;
    return absence->offer;
}

const VfoOffer *vfo_absences_find(VfoAbsences *absences, const char *vm, const char *standby)
{
    const Absence *absence = find(absences, vm, standby);

    return absence ? absence->offer : NULL;
}

void vfo_absences_unwant(VfoAbsences *absences, const char *vm, const char *standby)
{
    Absence *absence = find(absences, vm, standby);

    if (!absence || !absence->wanted)
        return;
    absence->wanted = FALSE;
    tell(absences);
}

GPtrArray *vfo_absences_wanted(VfoAbsences *absences, const char *network)
{
    GPtrArray *wanted = g_ptr_array_new();

    for (guint i = 0; i < absences->list->len; i++) {
        const Absence *absence = g_ptr_array_index(absences->list, i);

        if (absence->wanted && g_str_equal(absence->offer->network, network))
            g_ptr_array_add(wanted, absence->offer);
    }
    return wanted;
}
