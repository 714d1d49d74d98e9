/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside peer/: certificates, and what to tell the user about them.
 */
#pragma once

#include <gio/gio.h>

#include "peer/peer.h"

/** vfo_tls_files_copy: @to must be all NULL, or cleared. */
void vfo_tls_files_copy(VfoTlsFiles *to, const VfoTlsFiles *from);
void vfo_tls_files_clear(VfoTlsFiles *files);

/** vfo_tls_load: the CA's certificates, and our own with its key; read from the files unless these
 *  are the same as the last time. The system's trust store is never read: it would cost megabytes,
 *  and trust strangers. */
gboolean vfo_tls_load(const char *ca, const char *cert, const char *key, GTlsDatabase **database,
                      GTlsCertificate **certificate, GError **error);

/** vfo_tls_rehearse: verifies our own @certificate as a peer will, and says so in the log if it is
 *  not acceptable; and begins a handshake with nobody. What TLS does for the first time takes it
 *  several times as long, and would be most of what the first hand-over costs. */
void vfo_tls_rehearse(GTlsDatabase *database, GTlsCertificate *certificate, const char *ca);

/** vfo_tls_flaws: in words why a certificate called @subject was not accepted for the name @name
 *  (NULL: no name was asked for) against @ca. Free with g_free(). */
char *vfo_tls_flaws(GTlsCertificateFlags flags, GTlsCertificate *certificate, const char *name,
                    const char *ca);

/** vfo_tls_subject: the certificate's subject, fit for a log line. Free with g_free(). */
char *vfo_tls_subject(GTlsCertificate *certificate);

/** vfo_tls_tune: makes the kernel notice within some 25 s that the other host is gone. */
void vfo_tls_tune(GSocketConnection *connection);
