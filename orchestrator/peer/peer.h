/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door of peer/: other hosts' daemons, over mutual TLS. The wire protocol
 * is that of qmp/, over a connection that one job owns.
 */
#pragma once

#include "core/core.h"

#include <json-c/json.h>

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
    char *libvirt_uri; /* of the libvirt there */
} VfoPeerAddress;

void vfo_peer_address_free(VfoPeerAddress *address);

/** vfo_wire_from_offer: @offer as it is sent to a peer: without its tap. Free with
 *  json_object_put(). */
json_object *vfo_wire_from_offer(const VfoOffer *offer);

/** vfo_wire_to_offer: NULL with VFO_ERROR_INVALID unless every member is there, known and within
 *  its bounds. Free with vfo_offer_free(). */
VfoOffer *vfo_wire_to_offer(json_object *object, GError **error);

/* ------------------------------------------------------- as the source */

typedef struct _VfoPeerPool VfoPeerPool;

/**
 * vfo_peer_pool_new: keeps one connection to each of @peers (of VfoPeerAddress), over mutual TLS as
 * any other, for a job to use: makes it as soon as the loop runs, and again a while after it was
 * used, lost or refused, 1 s to 5 min apart. Both arguments are copied.
 */
VfoPeerPool *vfo_peer_pool_new(GPtrArray *peers, const VfoTlsFiles *tls);

/** vfo_peer_pool_set_busy: while a job runs the pool connects to nobody. */
void vfo_peer_pool_set_busy(VfoPeerPool *pool, gboolean busy);

/** vfo_peer_pool_set_pace: how long after a connection was used or lost the pool connects again,
 *  doubled at each failure, and how often it sees to one that nobody uses. */
void vfo_peer_pool_set_pace(VfoPeerPool *pool, guint retry_ms, guint ping_ms);

/** vfo_peer_pool_has: a connection to the peer called @name is there. */
gboolean vfo_peer_pool_has(VfoPeerPool *pool, const char *name);

/** vfo_peer_pool_free: closes its connections; those that were used are no longer its own. */
void vfo_peer_pool_free(VfoPeerPool *pool);

/**
 * vfo_peer_new: the daemon at @address, for one job. reserve() uses the connection that @pool has
 * (NULL: none), and connects, within 10 s, if it has none or if that one turns out to be
 * dead. @address and @tls are copied; the files are read when it connects; @pool must outlive
 * reserve().
 *
 * Errors of reserve(): VFO_ERROR_DENIED when either side does not accept the
 * other's certificate, _NOT_FOUND, _CLOSED and _DEADLINE when the host cannot be
 * reached, else the destination's own (its VFO_ERROR code comes across).
 * finished() fails with VFO_ERROR_FAILED when the destination undid its half,
 * and _CLOSED when the connection was lost before it was told.
 * release() is done when the destination has undone its half.
 */
VfoPeer *vfo_peer_new(const VfoPeerAddress *address, const VfoTlsFiles *tls, VfoPeerPool *pool);

/** vfo_peer_set_job: the job that the destination's records are added to, under the peer's name
 *  as their host, and that is degraded when the destination's half is. A reference is kept until
 *  vfo_peer_free() or vfo_peer_set_job(NULL). */
void vfo_peer_set_job(VfoPeer *peer, VfoJob *job);

/** vfo_peer_free: closes the connection, on which the destination undoes a half that has not
 *  ended. What still waits fails with VFO_ERROR_CLOSED. */
void vfo_peer_free(VfoPeer *peer);

/* ------------------------------------------------ a VM that libvirt migrates */

/** VfoPeerCall: a VM that libvirt is about to migrate to the caller's host. */
typedef struct {
    const char *job;     /* the UUID of the job to be, chosen by the caller */
    const char *vm;      /* as the domain is called at the caller's */
    const char *uuid;    /* the domain's; goes before the name */
    const char *standby; /* of which of its pairs: each has a job of its own */
} VfoPeerCall;

/**
 * vfo_peer_call: asks the daemon at @address to hand over a pair of @call's VM to this host: to
 * begin job call->job, which reserves here. Uses the connection that @pool has (NULL: none), or
 * connects. All arguments are copied; @pool must outlive the call. @task returns nothing, when that
 * job has reserved and watches the VM's QEMU.
 *
 * Errors: VFO_ERROR_NOT_FOUND when the VM does not run there, VFO_ERROR_NOT_SUPPORTED when that
 * daemon does not know of libvirt, the job's own, those of connecting as for reserve(), DEADLINE
 * when there is no answer within @timeout_ms. When @task is cancelled, or its deadline passes, the
 * job is cancelled there, unless it had got so far.
 */
void vfo_peer_call(const VfoPeerAddress *address, const VfoTlsFiles *tls, VfoPeerPool *pool,
                   const VfoPeerCall *call, guint timeout_ms, GTask *task);

/** VfoPeerCalled: makes (does not run) the followed job for @call, towards @peer_name, which the
 *  certificate of the caller carries; NULL and @error (VFO_ERROR_NOT_FOUND: no such VM here) when
 *  it cannot. @ready and @ready_data are for VfoSourceArgs. The server takes the reference that is
 *  returned, becomes the job's listener (vfo_peer_server_on_change()), and runs it. */
typedef VfoJob *(*VfoPeerCalled)(const char *peer_name, const VfoPeerCall *call, VfoReady ready,
                                 gpointer ready_data, gpointer data, GError **error);

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

/** vfo_peer_server_on_call: @called answers vfo_peer_call() of peers; without it they are told
 *  VFO_ERROR_NOT_SUPPORTED. A peer may have a few calls under way at a time. */
void vfo_peer_server_on_call(VfoPeerServer *server, VfoPeerCalled called, gpointer data);

/** vfo_peer_server_set_idle_limit: how long a connection over which nothing was reserved is kept
 *  without a command; 3 min unless set. A peer has two of them at most, and the oldest make room
 * for new ones. */
void vfo_peer_server_set_idle_limit(VfoPeerServer *server, guint ms);

/** vfo_peer_server_free: stops listening and closes all connections. Jobs under way go on. */
void vfo_peer_server_free(VfoPeerServer *server);
