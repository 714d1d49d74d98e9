/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/code.h"

#include <string.h>

#define MAX_TEXT 2048 /* bytes of a foreign error message that we repeat */

static const struct {
    VfoError code;
    const char *name;
} codes[] = {
    {VFO_ERROR_FAILED, "failed"},       {VFO_ERROR_INVALID, "invalid"},
    {VFO_ERROR_NOT_FOUND, "not-found"}, {VFO_ERROR_BUSY, "busy"},
    {VFO_ERROR_MISMATCH, "mismatch"},   {VFO_ERROR_DEADLINE, "deadline"},
    {VFO_ERROR_CLOSED, "closed"},       {VFO_ERROR_PROTOCOL, "protocol"},
    {VFO_ERROR_DENIED, "denied"},       {VFO_ERROR_NOT_SUPPORTED, "not-supported"},
};

/* QEMU's qapi/error.json */
static const struct {
    VfoError code;
    const char *name;
} classes[] = {
    {VFO_ERROR_QMP_GENERIC, "GenericError"},
    {VFO_ERROR_QMP_COMMAND_NOT_FOUND, "CommandNotFound"},
    {VFO_ERROR_QMP_DEVICE_NOT_ACTIVE, "DeviceNotActive"},
    {VFO_ERROR_QMP_DEVICE_NOT_FOUND, "DeviceNotFound"},
    {VFO_ERROR_QMP_KVM_MISSING_CAP, "KVMMissingCap"},
};

static const char *class_of(const GError *error)
{
    for (guint i = 0; i < G_N_ELEMENTS(classes); i++)
        if (g_error_matches(error, VFO_ERROR, (gint)classes[i].code))
            return classes[i].name;
    return NULL;
}

static const char *code_of(const GError *error)
{
    for (guint i = 0; i < G_N_ELEMENTS(codes); i++)
        if (g_error_matches(error, VFO_ERROR, (gint)codes[i].code))
            return codes[i].name;
    return "failed";
}

json_object *vfo_code_to_json(const GError *error)
{
    g_autofree char *desc = g_utf8_make_valid(error->message, -1);
    const char *class_name = class_of(error);
    json_object *object = json_object_new_object();

    json_object_object_add(object, "class",
                           json_object_new_string(class_name ? class_name : "GenericError"));
    json_object_object_add(object, "desc", json_object_new_string(desc));
    if (!class_name) {
        json_object *data = json_object_new_object();

        json_object_object_add(data, "code", json_object_new_string(code_of(error)));
        json_object_object_add(object, "data", data);
    }
    return object;
}

/* A foreign text on one line of ours. */
static char *one_line(const char *text)
{
    char *line = g_strndup(text, MAX_TEXT);
    const char *end;

    if (!g_utf8_validate(line, -1, &end))
        line[end - line] = '\0'; /* cut in the middle of a character */
    for (char *c = line; *c; c++)
        if (g_ascii_iscntrl(*c))
            *c = ' ';
    return line;
}

GError *vfo_code_from_json(json_object *object, const char *name, const char *command)
{
    const char *class_name = NULL;
    const char *desc = NULL;
    const char *code_name = NULL;
    json_object *data = NULL;
    VfoError code = VFO_ERROR_QMP_GENERIC;
    g_autofree char *text = NULL;
    GError *error = NULL;

    if (!vfo_json_string(object, "class", "error", &class_name, &error) ||
        !vfo_json_string(object, "desc", "error", &desc, &error)) {
        error->code = VFO_ERROR_PROTOCOL;
        g_prefix_error(&error, "%s: %s: the answer cannot be read: ", name, command);
        return error;
    }
    for (guint i = 0; i < G_N_ELEMENTS(classes); i++)
        if (strcmp(class_name, classes[i].name) == 0)
            code = classes[i].code;
    if (code == VFO_ERROR_QMP_GENERIC && vfo_json_object(object, "data", "error", &data, NULL) &&
        vfo_json_string(data, "code", "error.data", &code_name, NULL))
        for (guint i = 0; i < G_N_ELEMENTS(codes); i++)
            if (strcmp(code_name, codes[i].name) == 0)
                code = codes[i].code;
    text = one_line(desc);
    return g_error_new(VFO_ERROR, (gint)code, "%s: %s: %s", name, command, text);
}
