/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside peer/: taking what the pool has.
 */
#pragma once

#include "peer/peer.h"
#include "qmp/qmp.h"

/** vfo_peer_pool_take: the connection to @address, ready as far as is known, though the other end
 *  may have gone without a word; NULL: there is none, or it was made with other files than those
 *  there now. Transfer full. */
VfoQmpClient *vfo_peer_pool_take(VfoPeerPool *pool, const VfoPeerAddress *address);

/** vfo_peer_pool_give: gives back @client (transfer full), which vfo_peer_pool_take() gave for
 *  @name, when nothing has begun over it that its end would end. */
void vfo_peer_pool_give(VfoPeerPool *pool, const char *name, VfoQmpClient *client);
