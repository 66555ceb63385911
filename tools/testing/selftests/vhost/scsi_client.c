// SPDX-License-Identifier: GPL-2.0
/* A client of /dev/vhost-scsi; see scsi_client.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/virtio_config.h>
#include <linux/virtio_scsi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "scsi_client.h"

#define CONFIGFS "/sys/kernel/config"
#define HBA CONFIGFS "/target/core/rd_mcp_63"
#define DISK HBA "/mirror_test"
#define FABRIC CONFIGFS "/target/vhost"
#define WWN "naa.500140500000face"
#define TPGT 1
#define TPG FABRIC "/" WWN "/tpgt_1"

#define TEST_UNIT_READY 0x00
#define INQUIRY 0x12
#define READ_10 0x28
#define WRITE_10 0x2a
#define BLOCK 512
#define INQUIRY_DATA 36

/* The longest chain: a request, its response, and data either way. */
#define CHAIN 3
/* That, made a power of two: a slot's first descriptor is at four times it. */
#define SLOT_DESCS 4

/* Two pages, so that the disk transfers what it is given. */
struct scsi_slot {
	union {
		struct {
			union {
				struct virtio_scsi_cmd_req cmd;
				struct virtio_scsi_ctrl_tmf_req tmf;
				struct virtio_scsi_ctrl_an_req an;
			} req;
			union {
				struct virtio_scsi_cmd_resp cmd;
				struct virtio_scsi_ctrl_tmf_resp tmf;
				struct virtio_scsi_ctrl_an_resp an;
				struct virtio_scsi_event event;
			} resp;
			/* In the client's memory, mostly @resp. */
			struct virtio_scsi_cmd_resp *answer;
			bool reads;
		};
		char room[PAGE];
	};
	unsigned char data[SCSI_DATA];
};

struct piece {
	void *p;
	size_t size;
	bool in;
};

static int fail(const char *what)
{
	note("%s: %s", what, strerror(errno));
	return -1;
}

/* The target. */

const char *scsi_why_skip(void)
{
	const char *reason;

	system("modprobe -q -a target_core_mod vhost_scsi");
	if (access("/dev/vhost-scsi", R_OK | W_OK))
		return "no /dev/vhost-scsi: vhost_scsi is not loaded";
	reason = why_skip();
	if (reason)
		return reason;
	if (access(CONFIGFS "/target", F_OK))
		mount("configfs", CONFIGFS, "configfs", 0, NULL);
	if (access(CONFIGFS "/target", W_OK))
		return "no target core in configfs";
	return NULL;
}

static int put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY), ret = 0;

	if (fd < 0)
		return fail(path);
	if (write(fd, text, strlen(text)) < 0)
		ret = fail(path);
	close(fd);
	return ret;
}

static int make_dir(const char *path)
{
	return mkdir(path, 0755) && errno != EEXIST ? fail(path) : 0;
}

int scsi_target_make(void)
{
	/* Somebody's who did not come to clean up. */
	scsi_target_remove();
	if (make_dir(HBA) || make_dir(DISK) ||
	    put_text(DISK "/control", "rd_pages=64") ||
	    put_text(DISK "/enable", "1") ||
	    make_dir(FABRIC) || make_dir(FABRIC "/" WWN) || make_dir(TPG) ||
	    put_text(TPG "/nexus", WWN) || make_dir(TPG "/lun/lun_0"))
		return -1;
	if (symlink(DISK, TPG "/lun/lun_0/disk"))
		return fail(TPG "/lun/lun_0/disk");
	return 0;
}

void scsi_target_remove(void)
{
	if (access(HBA, F_OK))
		return;
	unlink(TPG "/lun/lun_1/disk");
	rmdir(TPG "/lun/lun_1");
	unlink(TPG "/lun/lun_0/disk");
	rmdir(TPG "/lun/lun_0");
	if (!access(TPG "/nexus", F_OK))
		put_text(TPG "/nexus", "NULL");
	rmdir(TPG);
	rmdir(FABRIC "/" WWN);
	rmdir(DISK);
	rmdir(HBA);
}

int scsi_target_plug(bool in)
{
	static const char link[] = TPG "/lun/lun_1/disk";

	if (!in)
		return unlink(link) ? fail(link) : 0;
	if (make_dir(TPG "/lun/lun_1"))
		return -1;
	return symlink(DISK, link) ? fail(link) : 0;
}

/* Setting up. */

static int alloc_memory(struct scsi *s)
{
	size_t parts = SCSI_NR_QUEUES * NR_PARTS * PART_ROOM;
	struct queue *queue = s->queue;

	s->mem_size = parts + SCSI_SLOTS * sizeof(*s->slot) + PAGE;
	s->mem = mmap(NULL, s->mem_size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->mem == MAP_FAILED)
		return fail("mmap");
	/* One page is to be one page here. */
	madvise(s->mem, s->mem_size, MADV_NOHUGEPAGE);
	for (int q = 0; q < SCSI_NR_QUEUES; q++)
		for (int p = 0; p < NR_PARTS; p++)
			queue[q].part[p] = s->mem +
					   (q * NR_PARTS + p) * PART_ROOM;
	s->slot = (struct scsi_slot *)(s->mem + parts);
	s->extra = (char *)(s->slot + SCSI_SLOTS);
	return 0;
}

static int set_queue(struct scsi *s, int q)
{
	struct queue *queue = &s->queue[q];
	struct vhost_vring_addr addr = {
		.index = q,
		.desc_user_addr = (uintptr_t)queue->part[DESC],
		.avail_user_addr = (uintptr_t)queue->part[AVAIL],
		.used_user_addr = (uintptr_t)queue->part[USED],
	};

	return queue_set_up(s->fd, queue, SCSI_NUM, &addr);
}

int scsi_endpoint(struct scsi *s, bool on)
{
	struct vhost_scsi_target target = {
		.abi_version = VHOST_SCSI_ABI_VERSION,
		.vhost_wwpn = WWN,
		.vhost_tpgt = TPGT,
	};

	if (ioctl(s->fd, on ? VHOST_SCSI_SET_ENDPOINT :
			 VHOST_SCSI_CLEAR_ENDPOINT, &target))
		return fail("endpoint");
	return 0;
}

int scsi_open(struct scsi *s, uint64_t features)
{
	/* Any policy of our own: NUMA balancing leaves such memory alone. */
	syscall(__NR_set_mempolicy, MPOL_LOCAL, NULL, 0);
	memset(s, 0, sizeof(*s));
	s->features = features | (1ULL << VIRTIO_F_VERSION_1);
	s->fd = open("/dev/vhost-scsi", O_RDWR);
	if (s->fd < 0)
		return fail("/dev/vhost-scsi");
	if (alloc_memory(s))
		return -1;
	if (ioctl(s->fd, VHOST_SET_OWNER))
		return fail("VHOST_SET_OWNER");
	if (mem_table_set(s->fd, 0, s->mem, s->mem_size))
		return -1;
	if (ioctl(s->fd, VHOST_SET_FEATURES, &s->features))
		return fail("VHOST_SET_FEATURES");
	for (int q = 0; q < SCSI_NR_QUEUES; q++) {
		queue_open(&s->queue[q], q);
		if (set_queue(s, q))
			return -1;
	}
	if (scsi_endpoint(s, true))
		return -1;
	return scsi_ready(s);
}

void scsi_close(struct scsi *s)
{
	if (!s->mem)
		return;
	close(s->fd);
	for (int q = 0; q < SCSI_NR_QUEUES; q++)
		queue_close(&s->queue[q]);
	munmap(s->mem, s->mem_size);
	s->mem = NULL;
}

int scsi_settle(struct scsi *s)
{
	return queues_settle(s->fd, SCSI_NR_QUEUES);
}

/* The queues. */

static void put(struct scsi *s, int q, unsigned int slot,
		const struct piece *piece, int n)
{
	struct queue *queue = &s->queue[q];
	struct vring_desc *desc = queue->part[DESC];
	struct vring_avail *avail = queue->part[AVAIL];
	unsigned int head = slot * SLOT_DESCS;

	for (int i = 0; i < n; i++) {
		desc[head + i] = (struct vring_desc) {
			.addr = (char *)piece[i].p - s->mem,
			.len = piece[i].size,
			.flags = (piece[i].in ? VRING_DESC_F_WRITE : 0) |
				 (i < n - 1 ? VRING_DESC_F_NEXT : 0),
			.next = head + i + 1,
		};
	}
	avail->ring[queue->avail_idx % SCSI_NUM] = head;
	queue->avail_idx++;
}

/* The slot of the next request that has come back, or -1. */
static int take(struct scsi *s, int q)
{
	struct queue *queue = &s->queue[q];
	struct vring_used *used = queue->part[USED];
	unsigned int id;

	if (queue_wait_used(queue, 1))
		return -1;
	id = used->ring[queue->used_idx % SCSI_NUM].id;
	queue->used_idx++;
	if (id % SLOT_DESCS || id / SLOT_DESCS >= SCSI_SLOTS) {
		note("queue %d: descriptor %u comes back", q, id);
		return -1;
	}
	return id / SLOT_DESCS;
}

/* Commands of the I/O queue. */

static void set_lun(uint8_t *lun)
{
	memset(lun, 0, 8);
	lun[0] = 1;
	lun[1] = TPGT;
}

static void put_command_apart(struct scsi *s, unsigned int i,
			      const uint8_t *cdb, size_t cdb_size, size_t size,
			      bool reads, struct virtio_scsi_cmd_resp *answer)
{
	struct scsi_slot *slot = &s->slot[i];
	struct piece piece[CHAIN] = { { &slot->req, sizeof(slot->req.cmd) } };
	struct piece resp = { answer, sizeof(*answer), true };
	struct piece data = { slot->data, size, reads };
	int n = 1;

	memset(&slot->req, 0, sizeof(slot->req));
	set_lun(slot->req.cmd.lun);
	slot->req.cmd.tag = i;
	memcpy(slot->req.cmd.cdb, cdb, cdb_size);
	slot->answer = answer;
	slot->reads = reads;
	if (size && !reads)
		piece[n++] = data;
	piece[n++] = resp;
	if (size && reads)
		piece[n++] = data;
	put(s, SCSI_IO, i, piece, n);
	s->busy |= 1u << i;
}

static void put_command(struct scsi *s, unsigned int i, const uint8_t *cdb,
			size_t cdb_size, size_t size, bool reads)
{
	struct scsi_slot *slot = &s->slot[i];

	/* Which is no success. */
	memset(&slot->resp, 0xff, sizeof(slot->resp));
	put_command_apart(s, i, cdb, cdb_size, size, reads, &slot->resp.cmd);
}

/* Its status, or -1. */
static int take_command(struct scsi *s, struct scsi_slot **slot)
{
	int i = take(s, SCSI_IO);

	if (i < 0)
		return -1;
	if (!(s->busy & 1u << i)) {
		note("request %d came back and was not under way", i);
		return -1;
	}
	s->busy &= ~(1u << i);
	*slot = &s->slot[i];
	if ((*slot)->answer->response != VIRTIO_SCSI_S_OK) {
		note("request %d: response %u", i, (*slot)->answer->response);
		return -1;
	}
	return (*slot)->answer->status;
}

static unsigned char pattern(unsigned int generation, int place, size_t i)
{
	return generation * 131 + place * 17 + i * 7 + i / 256;
}

static void put_transfer(struct scsi *s, int i, bool write)
{
	uint8_t blocks = SCSI_DATA / BLOCK;
	uint8_t cdb[10] = {
		[0] = write ? WRITE_10 : READ_10,
		[4] = i * blocks >> 8,
		[5] = i * blocks & 0xff,
		[8] = blocks,
	};

	for (size_t b = 0; b < SCSI_DATA; b++)
		s->slot[i].data[b] = write ? pattern(s->generation, i, b) : 0;
	put_command(s, i, cdb, sizeof(cdb), SCSI_DATA, !write);
}

int scsi_send(struct scsi *s, bool write)
{
	if (write)
		s->generation++;
	for (int i = 0; i < SCSI_SLOTS; i++)
		put_transfer(s, i, write);
	return queue_publish(&s->queue[SCSI_IO]);
}

int scsi_kick(struct scsi *s)
{
	return queue_publish(&s->queue[SCSI_IO]);
}

int scsi_done(struct scsi *s)
{
	while (s->busy) {
		struct scsi_slot *slot;
		int status = take_command(s, &slot);

		if (status < 0)
			return -1;
		if (status) {
			note("status 0x%x", status);
			return -1;
		}
		for (size_t b = 0; slot->reads && b < SCSI_DATA; b++) {
			if (slot->data[b] == pattern(s->generation,
						     slot - s->slot, b))
				continue;
			note("request %td: byte %zu is wrong", slot - s->slot,
			     b);
			return -1;
		}
	}
	return 0;
}

int scsi_round(struct scsi *s)
{
	if (scsi_send(s, true) || scsi_done(s) || scsi_send(s, false))
		return -1;
	return scsi_done(s);
}

static const uint8_t test_unit_ready[6] = { TEST_UNIT_READY };

int scsi_ask(struct scsi *s, void *answer)
{
	put_command_apart(s, 0, test_unit_ready, sizeof(test_unit_ready), 0,
			  false, answer);
	return queue_publish(&s->queue[SCSI_IO]);
}

/* A unit begins by saying what has happened to it. */
int scsi_ready(struct scsi *s)
{
	struct scsi_slot *slot;
	int status = -1;

	for (int tries = 0; status && tries < SCSI_SLOTS; tries++) {
		put_command(s, 0, test_unit_ready, sizeof(test_unit_ready), 0,
			    false);
		if (queue_publish(&s->queue[SCSI_IO]))
			return -1;
		status = take_command(s, &slot);
		if (status < 0)
			return -1;
	}
	if (status)
		note("the unit is not ready: status 0x%x", status);
	return status ? -1 : 0;
}

int scsi_inquire(struct scsi *s)
{
	static const uint8_t cdb[6] = { INQUIRY, [4] = INQUIRY_DATA };
	struct scsi_slot *slot = &s->slot[0];

	memset(slot->data, 0, INQUIRY_DATA);
	put_command(s, 0, cdb, sizeof(cdb), INQUIRY_DATA, true);
	if (queue_publish(&s->queue[SCSI_IO]) || take_command(s, &slot))
		return -1;
	if (memcmp(slot->data + 8, "LIO-ORG ", 8)) {
		note("the vendor is %.8s", slot->data + 8);
		return -1;
	}
	return 0;
}

static int round_the_ring(void *client)
{
	for (int i = 0; i < SCSI_NUM / SCSI_SLOTS; i++)
		if (scsi_round(client))
			return -1;
	return 0;
}

int scsi_warm_up(struct scsi *s)
{
	struct warm_up warm_up = {
		.pid = getpid(),
		.first_queue = SCSI_IO,
		.last_queue = SCSI_IO,
		.first_part = DESC,
		.last_part = USED,
		.round = round_the_ring,
		.client = s,
	};

	return queues_warm_up(&warm_up);
}

/* The other queues. */

static int control(struct scsi *s, size_t req_size, size_t resp_size)
{
	struct scsi_slot *slot = &s->slot[0];
	struct piece piece[] = {
		{ &slot->req, req_size },
		{ &slot->resp, resp_size, true },
	};

	memset(&slot->resp, 0xff, sizeof(slot->resp));
	put(s, SCSI_CONTROL, 0, piece, 2);
	if (queue_publish(&s->queue[SCSI_CONTROL]))
		return -1;
	return take(s, SCSI_CONTROL);
}

int scsi_control(struct scsi *s)
{
	struct scsi_slot *slot = &s->slot[0];

	memset(&slot->req, 0, sizeof(slot->req));
	slot->req.an.type = VIRTIO_SCSI_T_AN_QUERY;
	set_lun(slot->req.an.lun);
	if (control(s, sizeof(slot->req.an), sizeof(slot->resp.an)))
		return -1;
	if (slot->resp.an.response != VIRTIO_SCSI_S_OK) {
		note("query: response %u", slot->resp.an.response);
		return -1;
	}

	memset(&slot->req, 0, sizeof(slot->req));
	slot->req.tmf.type = VIRTIO_SCSI_T_TMF;
	slot->req.tmf.subtype = VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET;
	set_lun(slot->req.tmf.lun);
	if (control(s, sizeof(slot->req.tmf), sizeof(slot->resp.tmf)))
		return -1;
	if (slot->resp.tmf.response != VIRTIO_SCSI_S_FUNCTION_SUCCEEDED) {
		note("reset: response %u", slot->resp.tmf.response);
		return -1;
	}
	return scsi_ready(s);
}

int scsi_want_event(struct scsi *s)
{
	struct scsi_slot *slot = &s->slot[0];
	struct piece piece = { &slot->resp, sizeof(slot->resp.event), true };

	memset(&slot->resp, 0xff, sizeof(slot->resp));
	put(s, SCSI_EVENT, 0, &piece, 1);
	return queue_publish(&s->queue[SCSI_EVENT]);
}

int scsi_event(struct scsi *s, bool in)
{
	struct virtio_scsi_event *event = &s->slot[0].resp.event;
	uint32_t reason = in ? VIRTIO_SCSI_EVT_RESET_RESCAN :
			       VIRTIO_SCSI_EVT_RESET_REMOVED;

	if (take(s, SCSI_EVENT))
		return -1;
	if (event->event != VIRTIO_SCSI_T_TRANSPORT_RESET ||
	    event->reason != reason || event->lun[3] != 1) {
		note("event 0x%x, reason %u, unit %u", event->event,
		     event->reason, event->lun[3]);
		return -1;
	}
	return 0;
}
