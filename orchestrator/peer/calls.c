/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "peer/calls.h"

#include "peer/wire.h"

/* Of one peer at a time: VMs do come several at once. */
#define MAX_WAITING 8

struct _VfoCalls {
    VfoPeerCalled called;
    gpointer called_data;
    VfoJobChanged changed;
    gpointer changed_data;
    GPtrArray *list; /* of Asked: their jobs have not ended */
};

/* What one peer has asked for. Lives until its job has ended. */
typedef struct {
    VfoCalls *calls; /* NULL: gone */
    VfoJob *job;
    VfoQmpCall *call;       /* NULL: answered */
    VfoQmpSession *session; /* that waits for it; NULL: none does, or it is gone */
} Asked;

static void asked_free(Asked *asked)
{
    vfo_job_unref(asked->job);
    g_free(asked);
}

static void on_ready(VfoJob *job, gpointer data)
{
    Asked *asked = data;
    VfoQmpCall *call = g_steal_pointer(&asked->call);

    asked->session = NULL;
    if (call)
        vfo_qmp_call_return(call, NULL);
}

static GError *why(VfoJob *job)
{
    const GError *error = vfo_job_error(job);
    /* That the VM itself is not here is another matter: the caller goes on asking. */
    gboolean as_it_is = error && error->domain == VFO_ERROR &&
                        !g_error_matches(error, VFO_ERROR, VFO_ERROR_NOT_FOUND);

    return as_it_is ? g_error_copy(error)
                    : g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "%s",
                                  error ? error->message : "its job has ended");
}

static void on_job_changed(VfoJob *job, const VfoRecord *record, gpointer data)
{
    Asked *asked = data;
    const VfoCalls *self = asked->calls;

    if (self && self->changed)
        self->changed(job, record, self->changed_data);
    if (record || !vfo_job_ended(job))
        return;
    if (asked->call)
        vfo_qmp_call_fail(asked->call, why(job));
    vfo_job_on_change(job, NULL, NULL);
    if (asked->calls)
        g_ptr_array_remove_fast(asked->calls->list, asked);
    asked_free(asked);
}

/* Why nothing is begun; NULL: nothing speaks against it. */
static GError *refusal(VfoCalls *self, const VfoPeerCall *call, const char *name)
{
    guint waiting = 0;

    if (!self->called)
        return g_error_new(VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                           "VM %s: this daemon does not look after libvirt's VMs: give it a "
                           "[libvirt] group in its configuration",
                           call->vm);
    for (guint i = 0; i < self->list->len; i++) {
        const Asked *asked = g_ptr_array_index(self->list, i);

        if (g_str_equal(vfo_job_id(asked->job), call->job))
            return g_error_new(VFO_ERROR, VFO_ERROR_BUSY, "VM %s: job %s is under way already",
                               call->vm, call->job);
        waiting += asked->session && g_str_equal(vfo_qmp_session_name(asked->session), name);
    }
    if (waiting >= MAX_WAITING)
        return g_error_new(VFO_ERROR, VFO_ERROR_BUSY,
                           "VM %s: %s waits for %d others already: try again when they have begun",
                           call->vm, name, MAX_WAITING);
    return NULL;
}

void vfo_calls_take(VfoCalls *self, VfoQmpCall *call, json_object *arguments)
{
    const char *name = vfo_qmp_session_name(vfo_qmp_call_session(call));
    VfoPeerCall wanted = {0};
    GError *error = NULL;
    Asked *asked;

    if (vfo_wire_to_call(arguments, &wanted, &error))
        error = refusal(self, &wanted, name);
    if (error) {
        vfo_qmp_call_fail(call, error);
        return;
    }
    asked = g_new0(Asked, 1);
    asked->calls = self;
    asked->call = call;
    asked->session = vfo_qmp_call_session(call);
    asked->job = self->called(name, &wanted, on_ready, asked, self->called_data, &error);
    if (!asked->job) {
        /* With many peers most of them do not have the VM. */
        if (!g_error_matches(error, VFO_ERROR, VFO_ERROR_NOT_FOUND))
            g_message("peer %s: job %s of VM %s refused: %s", name, wanted.job, wanted.vm,
                      error->message);
        g_free(asked);
        vfo_qmp_call_fail(call, error);
        return;
    }
    g_message("job %s: %s asks for VM %s, which libvirt migrates to it", wanted.job, name,
              vfo_job_vm(asked->job));
    g_ptr_array_add(self->list, asked);
    vfo_job_on_change(asked->job, on_job_changed, asked);
    vfo_job_run(asked->job);
}

gboolean vfo_calls_wait(VfoCalls *self, VfoQmpSession *session)
{
    for (guint i = 0; i < self->list->len; i++) {
        if (((const Asked *)g_ptr_array_index(self->list, i))->session == session)
            return TRUE;
    }
    return FALSE;
}

void vfo_calls_closed(VfoCalls *self, VfoQmpSession *session)
{
    g_autoptr(GPtrArray) jobs = g_ptr_array_new();

    /* A job that is cancelled may end at once, and leave the list. */
    for (guint i = 0; i < self->list->len; i++) {
        Asked *asked = g_ptr_array_index(self->list, i);

        if (asked->session != session)
            continue;
        asked->session = NULL;
        g_ptr_array_add(jobs, vfo_job_ref(asked->job));
    }
    for (guint i = 0; i < jobs->len; i++) {
        VfoJob *job = g_ptr_array_index(jobs, i);

        g_message("peer %s: the connection was lost before job %s of VM %s was ready",
                  vfo_qmp_session_name(session), vfo_job_id(job), vfo_job_vm(job));
        vfo_job_cancel(job, NULL);
        vfo_job_unref(job);
    }
}

VfoCalls *vfo_calls_new(void)
{
    VfoCalls *self = g_new0(VfoCalls, 1);

    self->list = g_ptr_array_new();
    return self;
}

void vfo_calls_set_called(VfoCalls *self, VfoPeerCalled called, gpointer data)
{
    self->called = called;
    self->called_data = data;
}

void vfo_calls_set_changed(VfoCalls *self, VfoJobChanged changed, gpointer data)
{
    self->changed = changed;
    self->changed_data = data;
}

void vfo_calls_free(VfoCalls *self)
{
    for (guint i = 0; i < self->list->len; i++) {
        Asked *asked = g_ptr_array_index(self->list, i);

        asked->calls = NULL; /* ends itself, with its job */
    }
    g_ptr_array_unref(self->list);
    g_free(self);
}
