/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside qmp/: messages over a GIOStream, both ways, bounded both ways.
 */
#pragma once

#include "qmp/qmp.h"

typedef struct _VfoLink VfoLink;

/** VfoLinkHandlers: called from the main loop only, never from inside a vfo_link_* call. Any of
 *  them may close the link. */
typedef struct {
    /** A JSON object arrived. @message is borrowed. */
    void (*message)(gpointer owner, json_object *message);
    /** What arrived is no message. With @over nothing more will be read: the owner sends its last
     *  words and calls vfo_link_finish(), or closes. */
    void (*garbage)(gpointer owner, const GError *error, gboolean over);
    /** The last call: VFO_ERROR_CLOSED, VFO_ERROR_PROTOCOL (the other end does not read), or what
     *  the stream said. The owner still has to call vfo_link_close(). */
    void (*lost)(gpointer owner, const GError *error);
} VfoLinkHandlers;

/** vfo_link_new: reads from @stream (own reference taken; a socket's, or TLS over one) from now on,
 *  in the thread-default main context. */
VfoLink *vfo_link_new(GIOStream *stream, const VfoLinkHandlers *handlers, gpointer owner);

/** vfo_link_send: queues @message (borrowed). When the other end leaves more than
 *  VFO_QMP_MAX_UNSENT bytes unread, the link is lost. */
void vfo_link_send(VfoLink *link, json_object *message);

/** vfo_link_finish: sends what is queued, reads nothing more, and is lost when the other end has
 *  closed or after 2 s. */
void vfo_link_finish(VfoLink *link);

/** vfo_link_close: sends what of the queue the other end takes at once, closes and frees; no
 * handler is called any more. */
void vfo_link_close(VfoLink *link);

/** vfo_timer_start: calls @func once after @ms in @context, unless it is stopped before. */
GSource *vfo_timer_start(GMainContext *context, guint ms, GSourceFunc func, gpointer data);

/** vfo_source_stop: destroys *@source, if there is one, and clears it. */
void vfo_source_stop(GSource **source);
