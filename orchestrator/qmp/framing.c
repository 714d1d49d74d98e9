/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/framing.h"

/* Not a byte of UTF-8: a client sends it to make the reader start afresh. */
#define RESYNC 0xff

/* Beyond this a message's buffers are given back rather than kept for the next one. */
#define KEEP_BYTES 65536

struct _VfoFraming {
    json_tokener *tokener; /* has seen the message's earlier lines */
    GByteArray *line;      /* of the message: what the tokener has not seen */
    gsize size;            /* of the message, or of the garbage, so far */
    guint depth;
    gboolean in_string;
    gboolean escaped;
    gboolean skipping; /* garbage, up to the end of the line */
    gboolean over;     /* a bound was passed */
};

static json_tokener *tokener_new(void)
{
    /* One more than the bound: scan() enforces the bound itself, to tell it from a syntax error. */
    json_tokener *tokener = json_tokener_new_ex(VFO_QMP_MAX_DEPTH + 2);

    if (!tokener)
        g_error("out of memory");
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    return tokener;
}

VfoFraming *vfo_framing_new(void)
{
    VfoFraming *framing = g_new0(VfoFraming, 1);

    framing->tokener = tokener_new();
    framing->line = g_byte_array_new();
    return framing;
}

void vfo_framing_free(VfoFraming *framing)
{
    if (!framing)
        return;
    json_tokener_free(framing->tokener);
    g_byte_array_unref(framing->line);
    g_free(framing);
}

static void start_afresh(VfoFraming *framing)
{
    if (framing->size > KEEP_BYTES) {
        json_tokener_free(framing->tokener);
        framing->tokener = tokener_new();
        g_byte_array_unref(framing->line);
        framing->line = g_byte_array_new();
    } else {
        json_tokener_reset(framing->tokener);
        g_byte_array_set_size(framing->line, 0);
    }
    framing->size = 0;
    framing->depth = 0;
    framing->in_string = FALSE;
    framing->escaped = FALSE;
    framing->skipping = FALSE;
}

static VfoFrame garbage(VfoFraming *framing, gboolean skip, const char *what, GError **error)
{
    start_afresh(framing);
    framing->skipping = skip;
    g_set_error(error, VFO_ERROR, VFO_ERROR_PROTOCOL, "JSON parse error: %s", what);
    return VFO_FRAME_GARBAGE;
}

static VfoFrame over_bound(VfoFraming *framing, GError **error)
{
    if (framing->depth > VFO_QMP_MAX_DEPTH)
        g_set_error(error, VFO_ERROR, VFO_ERROR_PROTOCOL,
                    "a message is nested deeper than the %d levels allowed", VFO_QMP_MAX_DEPTH);
    else
        g_set_error(error, VFO_ERROR, VFO_ERROR_PROTOCOL,
                    "a message is longer than the %d bytes allowed", VFO_QMP_MAX_LINE);
    start_afresh(framing);
    framing->over = TRUE;
    return VFO_FRAME_BOUND;
}

/* Uses up the bytes before a message: blanks, or the rest of a garbage line. */
static VfoFrame skip(VfoFraming *framing, const guint8 **bytes, gsize *length, GError **error)
{
    while (*length > 0) {
        guint8 byte = **bytes;

        if (!framing->skipping && byte == '{')
            return VFO_FRAME_MESSAGE;
        (*bytes)++;
        (*length)--;
        if (byte == RESYNC || byte == '\n') {
            framing->skipping = FALSE;
            framing->size = 0;
        } else if (framing->skipping) {
            if (++framing->size > VFO_QMP_MAX_LINE)
                return over_bound(framing, error);
        } else if (!g_ascii_isspace(byte)) {
            return garbage(framing, TRUE, "expecting a JSON object", error);
        }
    }
    return VFO_FRAME_MORE;
}

typedef enum { SCAN_MORE, SCAN_LINE, SCAN_CONTROL, SCAN_RESYNC, SCAN_BOUND } Scan;

/* One byte of a message. Knows only what is needed to find the end. */
static Scan scan(VfoFraming *framing, guint8 byte)
{
    if (++framing->size > VFO_QMP_MAX_LINE)
        return SCAN_BOUND;
    if (byte == RESYNC)
        return SCAN_RESYNC;
    if (framing->in_string) {
        if (byte < 0x20) /* RFC 8259, 7; json-c lets it pass */
            return SCAN_CONTROL;
        if (framing->escaped)
            framing->escaped = FALSE;
        else if (byte == '\\')
            framing->escaped = TRUE;
        else if (byte == '"')
            framing->in_string = FALSE;
        return SCAN_MORE;
    }
    switch (byte) {
    case '"':
        framing->in_string = TRUE;
        return SCAN_MORE;
    case '{':
    case '[':
        return ++framing->depth > VFO_QMP_MAX_DEPTH ? SCAN_BOUND : SCAN_MORE;
    case '}':
    case ']':
        return --framing->depth == 0 ? SCAN_LINE : SCAN_MORE;
    case '\n':
        return SCAN_LINE;
    default:
        return SCAN_MORE;
    }
}

/* Gives the tokener what was read up to a line end or to the end of the message: both are ASCII,
 * so that no character is cut in two. */
static VfoFrame parse(VfoFraming *framing, json_object **message, GError **error)
{
    GByteArray *line = framing->line;
    g_autoptr(json_object) object = NULL;
    enum json_tokener_error result;

    /* Stricter than JSON_TOKENER_VALIDATE_UTF8, which takes overlong forms and surrogates. */
    if (!g_utf8_validate((const char *)line->data, (gssize)line->len, NULL))
        return garbage(framing, FALSE, "not valid UTF-8", error);

    object = json_tokener_parse_ex(framing->tokener, (const char *)line->data, (int)line->len);
    result = json_tokener_get_error(framing->tokener);
    if (result == json_tokener_continue && framing->depth > 0) {
        g_byte_array_set_size(line, 0);
        return VFO_FRAME_MORE;
    }
    if (result != json_tokener_success || framing->depth > 0 || !object)
        return garbage(framing, FALSE,
                       result == json_tokener_success ? "unbalanced brackets"
                                                      : json_tokener_error_desc(result),
                       error);
    start_afresh(framing);
    *message = g_steal_pointer(&object);
    return VFO_FRAME_MESSAGE;
}

VfoFrame vfo_framing_next(VfoFraming *framing, const guint8 **bytes, gsize *length,
                          json_object **message, GError **error)
{
    if (framing->over) {
        *bytes += *length;
        *length = 0;
        return VFO_FRAME_MORE;
    }
    while (*length > 0) {
        Scan found = SCAN_MORE;
        gsize used = 0;
        VfoFrame frame;

        if (framing->depth == 0) {
            frame = skip(framing, bytes, length, error);
            if (frame != VFO_FRAME_MESSAGE)
                return frame;
        }
        while (used < *length && found == SCAN_MORE)
            found = scan(framing, (*bytes)[used++]);
        g_byte_array_append(framing->line, *bytes, (guint)used);
        *bytes += used;
        *length -= used;

        switch (found) {
        case SCAN_MORE:
            break;
        case SCAN_LINE:
            frame = parse(framing, message, error);
            if (frame != VFO_FRAME_MORE)
                return frame;
            break;
        case SCAN_CONTROL:
            return garbage(framing, (*bytes)[-1] != '\n', "control character in a string", error);
        case SCAN_RESYNC:
            return garbage(framing, FALSE, "message cut short by a byte 0xFF", error);
        case SCAN_BOUND:
            return over_bound(framing, error);
        }
    }
    return VFO_FRAME_MORE;
}
