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
 * called, within 10 s. Both arguments are copied; the files are read by reserve().
 *
 * Errors of reserve(): VFO_ERROR_DENIED when either side does not accept the
 * other's certificate, _NOT_FOUND, _CLOSED and _DEADLINE when the host cannot be
 * reached, else the destination's own (its VFO_ERROR code comes across).
 * finished() fails with VFO_ERROR_FAILED when the destination undid its half,
 * and _CLOSED when the connection was lost before it was told.
 * release() is done when the destination has undone its half.
 */
VfoPeer *vfo_peer_new(const VfoPeerAddress *address, const VfoTlsFiles *tls);

/** vfo_peer_set_job: the job that the destination's records are added to, under the peer's name
 *  as their host, and that is degraded when the destination's half is. A reference is kept until
 *  vfo_peer_free() or vfo_peer_set_job(NULL). */
void vfo_peer_set_job(VfoPeer *peer, VfoJob *job);

/** vfo_peer_free: closes the connection, on which the destination undoes a half that has not
 *  ended. What still waits fails with VFO_ERROR_CLOSED. */
void vfo_peer_free(VfoPeer *peer);

/* -------------------------------------------------- as the destination */

/** VfoPeerStart: makes (does not run) the destination's job for @offer; NULL and @error when
 *  it cannot. @reserved and @reserved_data are for VfoDestinationArgs. The server takes the
 *  reference that is returned, becomes the job's listener, and runs it. */
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

/** vfo_peer_server_on_change: @changed is called, too, for every change of every job that a peer
 *  reserved: the server is their one listener. */
void vfo_peer_server_on_change(VfoPeerServer *server, VfoJobChanged changed, gpointer data);

/** vfo_peer_server_free: stops listening and closes all connections. Jobs under way go on. */
void vfo_peer_server_free(VfoPeerServer *server);
