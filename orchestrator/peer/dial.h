/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside peer/: connecting to another daemon.
 */
#pragma once

#include "peer/peer.h"
#include "qmp/qmp.h"

/**
 * vfo_dial: connects to the daemon at @address within 10 s, over mutual TLS. Both arguments are
 * copied; the files are read now, unless these are the same as the last time. @task returns a
 * VfoQmpClient that is ready (transfer full); its errors are those of a peer's reserve().
 */
void vfo_dial(const VfoPeerAddress *address, const VfoTlsFiles *tls, GTask *task);
