/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What PF drivers do otherwise than the rest, by their names. Private to host/, but for the type.
 */
#pragma once

#include "host/host.h"

/** vfo_quirks_check: whether the driver can give a VF @settings, as far as is known without asking
 *  it. VFO_ERROR_NOT_SUPPORTED names the first thing that it cannot, and @pf. */
gboolean vfo_quirks_check(const VfoQuirks *quirks, const VfoVfSettings *settings, const char *pf,
                          GError **error);
