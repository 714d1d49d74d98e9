/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside peer/: what other daemons ask this one to hand over to them.
 */
#pragma once

#include "peer/peer.h"
#include "qmp/qmp.h"

/** VfoCalls: those under way, and the jobs that came of them. */
typedef struct _VfoCalls VfoCalls;

VfoCalls *vfo_calls_new(void);

/** vfo_calls_set_called: who makes the jobs; NULL: nobody. */
void vfo_calls_set_called(VfoCalls *calls, VfoPeerCalled called, gpointer data);

/** vfo_calls_set_changed: who is told of each change of those jobs; NULL: nobody. */
void vfo_calls_set_changed(VfoCalls *calls, VfoJobChanged changed, gpointer data);

/** vfo_calls_take: the command hand-over: answers @call, now or when the job has got so far. */
void vfo_calls_take(VfoCalls *calls, VfoQmpCall *call, json_object *arguments);

/** vfo_calls_wait: @session waits for an answer. */
gboolean vfo_calls_wait(VfoCalls *calls, VfoQmpSession *session);

/** vfo_calls_closed: @session is gone: a job that nobody waits for any more is cancelled. */
void vfo_calls_closed(VfoCalls *calls, VfoQmpSession *session);

/** vfo_calls_free: the jobs go on, nobody is told of them. */
void vfo_calls_free(VfoCalls *calls);
