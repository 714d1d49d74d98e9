/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door of peer/: other hosts' daemons, over mutual TLS. The wire protocol
 * is that of qmp/, over a connection that one job owns.
 */
#pragma once

#include "core/core.h"

/** VfoTlsFiles: PEM files of the [tls] group. */
typedef struct {
    char *ca;
    char *server_cert, *server_key;
    char *client_cert, *client_key;
} VfoTlsFiles;

/** VfoPeerAddress: a [peer NAME] group. NAME is also the name its certificate must carry. */
typedef struct {
    char *name;
    char *address;
    guint16 port;
} VfoPeerAddress;

void vfo_peer_address_free(VfoPeerAddress *address);

/* ------------------------------------------------------- as the source */

/**
 * vfo_peer_new: the daemon at @address, for one job. Connects when reserve() is
 * called. What the destination's half of the job does is added to @job's records.
 */
VfoPeer *vfo_peer_new(const VfoPeerAddress *address, const VfoTlsFiles *tls);
void vfo_peer_set_job(VfoPeer *peer, VfoJob *job);
void vfo_peer_free(VfoPeer *peer);

/* -------------------------------------------------- as the destination */

/** VfoPeerStart: makes (does not run) the destination's job for @offer; NULL and @error when
 *  it cannot. @reserved is for VfoDestinationArgs. */
typedef VfoJob *(*VfoPeerStart)(const char *peer_name, const VfoOffer *offer, VfoReserved reserved,
                                gpointer reserved_data, gpointer data, GError **error);

typedef struct _VfoPeerServer VfoPeerServer;

/**
 * vfo_peer_server_new: listens on @address:@port for daemons whose certificate
 * the CA signed and carries the name of one of @peers (of VfoPeerAddress).
 * Reads the TLS files now, so that a bad one fails at start.
 */
VfoPeerServer *vfo_peer_server_new(const char *address, guint16 port, const VfoTlsFiles *tls,
                                   GPtrArray *peers, VfoPeerStart start, gpointer data,
                                   GError **error);
void vfo_peer_server_free(VfoPeerServer *server);
