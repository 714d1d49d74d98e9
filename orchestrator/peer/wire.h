/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside peer/: what the two daemons say to each other, to and from JSON.
 *
 * Commands:  reserve {job, vm, machine, network, pair, settings, vendor?, device?, mtu?} -> {uri}
 *            release {job} -> {}, once the destination's half has been undone
 *            stopped {job} -> {}: the VM has been stopped at the source
 *            hand-over {job, vm, uuid, standby} -> {}, once that job has reserved with the one who
 *            asks
 *            ping -> {}: this connection is still wanted
 * Events:    STEP {job, step, host, start-us, duration-us, own-us, result, detail?}
 *            JOB  {job, state, error?}
 */
#pragma once

#include "peer/peer.h"
#include "qmp/qmp.h"

/** vfo_wire_name_is_valid: TRUE for 1 to @max letters, digits and characters of @more, the first
 *  of them a letter or digit. */
gboolean vfo_wire_name_is_valid(const char *text, const char *more, gsize max);

/** vfo_wire_text: at most 1024 bytes of @text on one line of valid UTF-8. Free with g_free(). */
char *vfo_wire_text(const char *text);

json_object *vfo_wire_from_call(const VfoPeerCall *call);

/** vfo_wire_to_call: FALSE with VFO_ERROR_INVALID unless every member is there, known and within
 *  its bounds. @call's strings are borrowed from @object. */
gboolean vfo_wire_to_call(json_object *object, VfoPeerCall *call, GError **error);

json_object *vfo_wire_from_record(const char *job, const VfoRecord *record);

/** vfo_wire_to_record: the record of a STEP event of @job, with @host as its host: a peer speaks
 *  for itself only. NULL with VFO_ERROR_INVALID when it is anything else. */
VfoRecord *vfo_wire_to_record(json_object *object, const char *job, const char *host,
                              GError **error);

/** vfo_wire_from_state: the JOB event; @error may be NULL. */
json_object *vfo_wire_from_state(const char *job, VfoJobState state, const GError *error);

/** vfo_wire_to_state: the JOB event of @job. @text (borrowed from @object) is NULL when there is
 *  no error. */
gboolean vfo_wire_to_state(json_object *object, const char *job, VfoJobState *state,
                           const char **text, GError **error);

/** vfo_wire_to_uri: the answer to reserve, "tcp:HOST:PORT" or VFO_URI_LIBVIRT and nothing else, as
 *  QEMU would run a command for other URIs. Borrowed from @object. */
const char *vfo_wire_to_uri(json_object *object, GError **error);
