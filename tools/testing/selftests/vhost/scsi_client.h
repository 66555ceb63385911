/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A client of /dev/vhost-scsi, with a RAM disk of the kernel's target core
 * behind it: what is written to the disk is read back and compared.
 *
 * Like the client of /dev/vhost-net (client.h, which has what both need) it is
 * the driver's side of the virtqueues, always kicks, and looks at the used index
 * itself.
 */
#ifndef SELFTESTS_VHOST_SCSI_CLIENT_H
#define SELFTESTS_VHOST_SCSI_CLIENT_H

#include "client.h"

enum { SCSI_CONTROL, SCSI_EVENT, SCSI_IO, SCSI_NR_QUEUES };

/* Entries of each ring, and requests under way at once. */
#define SCSI_NUM 128
#define SCSI_SLOTS 16
/* Each reads or writes so much. */
#define SCSI_DATA PAGE

/* One request, and what comes back. */
struct scsi_slot;

struct scsi {
	int fd;
	uint64_t features;
	char *mem;
	size_t mem_size;
	struct queue queue[SCSI_NR_QUEUES];
	struct scsi_slot *slot;
	/* A page that nothing is done to. */
	char *extra;
	/* A bit for each slot that is under way. */
	unsigned int busy;
	/* How often the disk has been written. */
	unsigned int generation;
};

/* Why nothing can be tested here, or NULL. */
const char *scsi_why_skip(void);

/* All return 0, or -1 after a note of the reason. */

/* The disk, and the target that has it as its first logical unit. */
int scsi_target_make(void);
void scsi_target_remove(void);
/* Plug the disk in as a second one as well, or unplug that. */
int scsi_target_plug(bool in);

/* With feature bits beyond VIRTIO_F_VERSION_1, up to a disk that is ready. */
int scsi_open(struct scsi *s, uint64_t features);
void scsi_close(struct scsi *s);
/* Connect to the target, or disconnect. */
int scsi_endpoint(struct scsi *s, bool on);
int scsi_ready(struct scsi *s);

/* Write to all slots' places on the disk, read that back and compare. */
int scsi_round(struct scsi *s);
/* The same in steps: either of it, and its end. */
int scsi_send(struct scsi *s, bool write);
int scsi_done(struct scsi *s);
/* Ask whether the disk is ready, and have the answer be at @answer. */
int scsi_ask(struct scsi *s, void *answer);
/* Once more, for requests that nobody has looked at. */
int scsi_kick(struct scsi *s);
/* Go on until every part of the ring is accessed through windows only. */
int scsi_warm_up(struct scsi *s);
/* Return when no worker is in the middle of a run. */
int scsi_settle(struct scsi *s);

/* What the device says of itself. */
int scsi_inquire(struct scsi *s);
/* Ask for events, and have the unit reset: two requests of the control queue. */
int scsi_control(struct scsi *s);
/* A buffer for an event; the event has come: plugged in, or not. */
int scsi_want_event(struct scsi *s);
int scsi_event(struct scsi *s, bool in);

#endif
