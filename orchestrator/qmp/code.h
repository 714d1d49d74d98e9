/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside qmp/: errors on the wire.
 */
#pragma once

#include "qmp/qmp.h"

/** vfo_code_to_json: the "error" member of an answer for @error. */
json_object *vfo_code_to_json(const GError *error);

/** vfo_code_from_json: what the "error" member of an answer says, as an error of @command at the
 *  other end @name. VFO_ERROR_PROTOCOL when @object is no such thing. */
GError *vfo_code_from_json(json_object *object, const char *name, const char *command);
