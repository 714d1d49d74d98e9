/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/qmp.h"

#include <string.h>

json_object *vfo_json_parse(const char *text, gsize length, GError **error)
{
    json_tokener *tokener;
    json_object *object;
    enum json_tokener_error result;

    if (length > G_MAXINT || !g_utf8_validate_len(text, length, NULL)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    length > G_MAXINT ? "it is too long" : "it is not UTF-8 text");
        return NULL;
    }
    tokener = json_tokener_new_ex(VFO_QMP_MAX_DEPTH);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    object = json_tokener_parse_ex(tokener, text, (int)length);
    result = json_tokener_get_error(tokener);
    json_tokener_free(tokener);
    if (result == json_tokener_success && json_object_is_type(object, json_type_object))
        return object;
    json_object_put(object);
    g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "JSON parse error: %s",
                result == json_tokener_success    ? "no object"
                : result == json_tokener_continue ? "it ends too soon"
                                                  : json_tokener_error_desc(result));
    return NULL;
}

/* The member, when it is there and of @type. */
static gboolean member_of(json_object *object, const char *member, const char *where,
                          json_type type, json_object **value, GError **error)
{
    if (!json_object_is_type(object, json_type_object)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "%s: not a JSON object", where);
        return FALSE;
    }
    if (!json_object_object_get_ex(object, member, value)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "%s: '%s' is missing", where, member);
        return FALSE;
    }
    if (!json_object_is_type(*value, type)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "%s: '%s' must be of type %s, not %s",
                    where, member, json_type_to_name(type),
                    json_type_to_name(json_object_get_type(*value)));
        return FALSE;
    }
    return TRUE;
}

gboolean vfo_json_string(json_object *object, const char *member, const char *where,
                         const char **value, GError **error)
{
    json_object *found = NULL;
    const char *text;

    if (!member_of(object, member, where, json_type_string, &found, error))
        return FALSE;
    text = json_object_get_string(found);
    if (strlen(text) != (gsize)json_object_get_string_len(found)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "%s: '%s' contains a NUL character", where,
                    member);
        return FALSE;
    }
    *value = text;
    return TRUE;
}

gboolean vfo_json_int(json_object *object, const char *member, const char *where, gint64 min,
                      gint64 max, gint64 *value, GError **error)
{
    json_object *found = NULL;
    gint64 number;

    if (!member_of(object, member, where, json_type_int, &found, error))
        return FALSE;
    number = json_object_get_int64(found);
    /* json-c answers the nearest gint64 for a larger number. */
    if (number < min || number > max ||
        (number > 0 && json_object_get_uint64(found) != (guint64)number)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "%s: '%s' must be between %" G_GINT64_FORMAT " and %" G_GINT64_FORMAT, where,
                    member, min, max);
        return FALSE;
    }
    *value = number;
    return TRUE;
}

gboolean vfo_json_bool(json_object *object, const char *member, const char *where, gboolean *value,
                       GError **error)
{
    json_object *found = NULL;

    if (!member_of(object, member, where, json_type_boolean, &found, error))
        return FALSE;
    *value = json_object_get_boolean(found);
    return TRUE;
}

gboolean vfo_json_object(json_object *object, const char *member, const char *where,
                         json_object **value, GError **error)
{
    json_object *found = NULL;

    if (!member_of(object, member, where, json_type_object, &found, error))
        return FALSE;
    *value = found;
    return TRUE;
}

gboolean vfo_json_array(json_object *object, const char *member, const char *where, guint max,
                        json_object **value, GError **error)
{
    json_object *found = NULL;

    if (!member_of(object, member, where, json_type_array, &found, error))
        return FALSE;
    if (json_object_array_length(found) > max) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "%s: '%s' has more than the %u elements allowed", where, member, max);
        return FALSE;
    }
    *value = found;
    return TRUE;
}

gboolean vfo_json_has(json_object *object, const char *member)
{
    json_object *found = NULL;

    return json_object_is_type(object, json_type_object) &&
           json_object_object_get_ex(object, member, &found) && found != NULL;
}

gboolean vfo_json_only(json_object *object, const char *const *members, const char *where,
                       GError **error)
{
    if (!json_object_is_type(object, json_type_object)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "%s: not a JSON object", where);
        return FALSE;
    }
    json_object_object_foreach(object, name, value)
    {
        if (!g_strv_contains(members, name)) {
            g_autofree char *cut = g_strndup(name, 64);
            g_autofree char *shown = g_strescape(cut, NULL);

            g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "%s: '%s' is unexpected", where,
                        shown);
            return FALSE;
        }
        (void)value;
    }
    return TRUE;
}
