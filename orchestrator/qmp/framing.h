/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside qmp/: bytes to messages. No input or output of its own.
 */
#pragma once

#include "qmp/qmp.h"

typedef struct _VfoFraming VfoFraming;

typedef enum {
    VFO_FRAME_MORE,    /* all bytes are used up */
    VFO_FRAME_MESSAGE, /* a whole object was read */
    VFO_FRAME_GARBAGE, /* something that is no JSON object; what follows it can be read */
    VFO_FRAME_BOUND,   /* longer or deeper than qmp.h allows; nothing more will be read */
} VfoFrame;

VfoFraming *vfo_framing_new(void);
void vfo_framing_free(VfoFraming *framing);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoFraming, vfo_framing_free)

/**
 * vfo_framing_next: reads up to the end of the next message and moves @bytes
 * and @length past what it has used. A message ends with its closing brace;
 * line ends between and inside messages mean nothing (QEMU reads its monitor
 * the same way, and some clients send no line end at all). After garbage,
 * reading starts again at the next line, or after a byte 0xFF (qmp-spec.rst,
 * "QGA Synchronization").
 *
 * Sets @message (transfer full) with VFO_FRAME_MESSAGE, and @error
 * (VFO_ERROR_PROTOCOL) with _GARBAGE and _BOUND.
 */
VfoFrame vfo_framing_next(VfoFraming *framing, const guint8 **bytes, gsize *length,
                          json_object **message, GError **error);
