/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whatever arrives over a socket, from the first byte to the readers of its
 * members. tests/unit/test-qmp-fuzz.c runs it over mutations that are the same
 * each time; for a longer search, with libFuzzer (clang), in the top directory:
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Iorchestrator \
 *     $(pkg-config --cflags gio-2.0 json-c) tests/fuzz/qmp-input.c \
 *     orchestrator/qmp/{framing,json,code}.c orchestrator/core/{error,mac,model,job,policy}.c \
 *     orchestrator/core/stopwatch.c orchestrator/peer/wire.c -o qmp-input \
 *     $(pkg-config --libs gio-2.0 json-c)
 *   ./qmp-input -max_total_time=600
 */
#include "peer/wire.h"
#include "qmp/code.h"
#include "qmp/framing.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void read_message(json_object *message)
{
    static const char job[] = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    g_autoptr(VfoOffer) offer = NULL;
    g_autoptr(VfoRecord) record = NULL;
    g_autoptr(GError) error = NULL;
    json_object *arguments = message;
    VfoJobState state;
    VfoPeerCall call;
    const char *text;
    gint64 number;

    g_assert_true(json_object_is_type(message, json_type_object));
    error = vfo_code_from_json(message, "x", "y");
    g_assert_null(strchr(error->message, '\n'));
    if (vfo_json_object(message, "arguments", "x", &arguments, NULL) ||
        vfo_json_object(message, "data", "x", &arguments, NULL))
        vfo_json_int(arguments, "id", "x", 0, 10, &number, NULL);
    offer = vfo_wire_to_offer(arguments, NULL);
    if (offer) {
        g_autoptr(json_object) again = vfo_wire_from_offer(offer);
        g_autoptr(VfoOffer) same = vfo_wire_to_offer(again, NULL);

        g_assert_nonnull(same);
    }
    record = vfo_wire_to_record(arguments, job, "host", NULL);
    if (record) {
        g_autoptr(json_object) again = vfo_wire_from_record(job, record);
        g_autoptr(VfoRecord) same = vfo_wire_to_record(again, job, "host", NULL);

        g_assert_nonnull(same);
    }
    vfo_wire_to_state(arguments, job, &state, &text, NULL);
    vfo_wire_to_uri(arguments, NULL);
    if (vfo_wire_to_call(arguments, &call, NULL)) {
        g_autoptr(json_object) again = vfo_wire_from_call(&call);
        VfoPeerCall same;

        g_assert_true(vfo_wire_to_call(again, &same, NULL));
    }
}

/* The first byte says in pieces of what size the others arrive. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    g_autoptr(VfoFraming) framing = vfo_framing_new();
    gsize piece;

    if (length < 2)
        return 0;
    piece = bytes[0] ? bytes[0] : length;
    bytes++;
    length--;
    while (length > 0) {
        const guint8 *next = bytes;
        gsize left = MIN(piece, length);

        bytes += left;
        length -= left;
        while (left > 0) {
            g_autoptr(json_object) message = NULL;
            g_autoptr(GError) error = NULL;
            gsize before = left;
            VfoFrame frame = vfo_framing_next(framing, &next, &left, &message, &error);

            g_assert_true((message != NULL) == (frame == VFO_FRAME_MESSAGE));
            g_assert_true((error != NULL) ==
                          (frame == VFO_FRAME_GARBAGE || frame == VFO_FRAME_BOUND));
            g_assert_true(left < before);
            g_assert_true(next + left == bytes);
            if (message)
                read_message(message);
        }
    }
    return 0;
}
