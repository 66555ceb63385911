// SPDX-License-Identifier: GPL-2.0
/*
 * What vhost accesses for a packet, or a request, of each of its devices: how much of
 * the rings and of guest memory, how much of that through kernel pointers, and how
 * long its worker's path is, with all of it on, with mem_mirror off, and with
 * ring_mirror off, which is as it was before.
 *
 * Rings, tables and buffers are as a Linux guest has them. Not counted is what the tap
 * device, or the disk, copies or maps of the data.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <linux/virtio_vsock.h>
#include <linux/vm_sockets.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../selftests/vhost/client.h"
#include "../selftests/vhost/scsi_client.h"
#include "vhost_cost.h"

/* Packets of a measurement. */
#define NR_PACKETS 1024
#define WARM_UPS 1000

/* Net: the smallest packets. */

static struct client net;
static struct vring_desc *tables;

static void net_open(void)
{
	struct client_config config = {
		.features = 1ULL << VIRTIO_NET_F_MRG_RXBUF,
		.extra = PAGE,
	};

	packet_spread = 1;
	check(client_open(&net, &config));
	tables = (void *)net.extra;
}

static void net_close(void)
{
	client_close(&net);
}

static void net_settle(void)
{
	check(client_settle(&net));
}

/* UDP: one piece, which is its header and all of the rest. */
static void send_plain(void)
{
	check(client_send(&net, BATCH));
	check(client_sent(&net, BATCH));
}

/* TCP: what is linear, and a page's part. */
static void send_tables(void)
{
	for (int i = 0; i < BATCH; i++)
		client_put_table(&net, 2, &tables[2 * i]);
	check(queue_publish(&net.queue[TX]));
	check(client_sent(&net, BATCH));
}

static void receive(void)
{
	check(client_received(&net, BATCH));
}

/* Vsock: a connection that we make as the guest, to a socket of our own. */

#define GUEST_CID 3
#define VSOCK_NUM 128
#define VSOCK_BUF 256
#define VSOCK_DATA 64
/* What the host may send before we say that it has come. */
#define VSOCK_CREDIT (256 << 10)

static struct vsock {
	int fd;
	int conn;
	char *mem;
	struct queue queue[NR_QUEUES];
	char *bufs[NR_QUEUES];
	struct vring_desc *tables;
	uint32_t received;
	uint32_t told;
} vsock;

/* Of both ends, and another one each time: who is closed lingers. */
static unsigned int vsock_port = 5000;

static uint64_t vsock_addr(void *p)
{
	return (char *)p - vsock.mem;
}

static void vsock_put(int q, struct vring_desc desc)
{
	struct queue *queue = &vsock.queue[q];
	unsigned int slot = queue->avail_idx++ % VSOCK_NUM;

	((struct vring_desc *)queue->part[DESC])[slot] = desc;
	((struct vring_avail *)queue->part[AVAIL])->ring[slot] = slot;
}

/* A packet is a table of its header and its data. */
static void vsock_put_packet(int op, uint32_t len)
{
	unsigned int slot = vsock.queue[TX].avail_idx % VSOCK_NUM;
	struct vring_desc *table = &vsock.tables[2 * slot];
	struct virtio_vsock_hdr *hdr = (void *)(vsock.bufs[TX] +
						slot * VSOCK_BUF);

	*hdr = (struct virtio_vsock_hdr) {
		.src_cid = GUEST_CID,
		.dst_cid = VMADDR_CID_HOST,
		.src_port = vsock_port,
		.dst_port = vsock_port,
		.len = len,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.buf_alloc = VSOCK_CREDIT,
		.fwd_cnt = vsock.received,
	};
	table[0] = (struct vring_desc) {
		.addr = vsock_addr(hdr),
		.len = sizeof(*hdr),
		.flags = len ? VRING_DESC_F_NEXT : 0,
		.next = 1,
	};
	table[1] = (struct vring_desc) {
		.addr = vsock_addr(hdr + 1),
		.len = len,
	};
	vsock_put(TX, (struct vring_desc) {
		.addr = vsock_addr(table),
		.len = (len ? 2 : 1) * sizeof(*table),
		.flags = VRING_DESC_F_INDIRECT,
	});
}

static void vsock_sent(unsigned int n)
{
	check(queue_publish(&vsock.queue[TX]));
	check(queue_wait_used(&vsock.queue[TX], n));
	vsock.queue[TX].used_idx += n;
}

/* @n buffers to receive into. */
static void vsock_post(unsigned int n)
{
	for (; n; n--) {
		unsigned int slot = vsock.queue[RX].avail_idx % VSOCK_NUM;

		vsock_put(RX, (struct vring_desc) {
			.addr = vsock_addr(vsock.bufs[RX] + slot * VSOCK_BUF),
			.len = VSOCK_BUF,
			.flags = VRING_DESC_F_WRITE,
		});
	}
	check(queue_publish(&vsock.queue[RX]));
}

/* At least @n packets have come. */
static void vsock_take(unsigned int n)
{
	struct queue *queue = &vsock.queue[RX];

	check(queue_wait_used(queue, n));
	n = queue_used(queue);
	queue->used_idx += n;
	if (n)
		vsock_post(n);
}

static void vsock_set_up(void)
{
	size_t parts = NR_QUEUES * NR_PARTS * PART_ROOM;
	size_t bufs = VSOCK_NUM * VSOCK_BUF;
	size_t size = parts + NR_QUEUES * bufs +
		      VSOCK_NUM * 2 * sizeof(struct vring_desc);
	uint64_t features = 1ULL << 32, cid = GUEST_CID;
	int run = 1;

	vsock.fd = open("/dev/vhost-vsock", O_RDWR);
	vsock.mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vsock.fd < 0 || vsock.mem == MAP_FAILED)
		err(1, "/dev/vhost-vsock");
	if (ioctl(vsock.fd, VHOST_SET_OWNER) ||
	    ioctl(vsock.fd, VHOST_SET_FEATURES, &features))
		err(1, "vhost-vsock");
	check(mem_table_set(vsock.fd, 0, vsock.mem, size));
	for (int q = 0; q < NR_QUEUES; q++) {
		struct queue *queue = &vsock.queue[q];
		struct vhost_vring_addr addr = { .index = q };

		for (int p = 0; p < NR_PARTS; p++)
			queue->part[p] = vsock.mem +
					 (q * NR_PARTS + p) * PART_ROOM;
		vsock.bufs[q] = vsock.mem + parts + q * bufs;
		addr.desc_user_addr = (uintptr_t)queue->part[DESC];
		addr.avail_user_addr = (uintptr_t)queue->part[AVAIL];
		addr.used_user_addr = (uintptr_t)queue->part[USED];
		queue_open(queue, q);
		check(queue_set_up(vsock.fd, queue, VSOCK_NUM, &addr));
	}
	vsock.tables = (void *)(vsock.mem + parts + NR_QUEUES * bufs);
	if (ioctl(vsock.fd, VHOST_VSOCK_SET_GUEST_CID, &cid) ||
	    ioctl(vsock.fd, VHOST_VSOCK_SET_RUNNING, &run))
		err(1, "vhost-vsock");
}

static void vsock_open(void)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_ANY,
		.svm_port = ++vsock_port,
	};
	int fd;

	/* It brings the sockets along. */
	system("modprobe -q vhost_vsock");
	fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    listen(fd, 1))
		err(1, "a vsock socket");
	memset(&vsock, 0, sizeof(vsock));
	vsock_set_up();
	vsock_post(VSOCK_NUM);
	vsock_put_packet(VIRTIO_VSOCK_OP_REQUEST, 0);
	vsock_sent(1);
	vsock.conn = accept(fd, NULL, NULL);
	if (vsock.conn < 0)
		err(1, "accept");
	vsock_take(1);
	close(fd);
}

static void vsock_close(void)
{
	close(vsock.conn);
	close(vsock.fd);
	for (int q = 0; q < NR_QUEUES; q++)
		queue_close(&vsock.queue[q]);
}

static void vsock_settle(void)
{
	check(queues_settle(vsock.fd, NR_QUEUES));
}

static void vsock_send(void)
{
	char data[BATCH * VSOCK_DATA];

	for (int i = 0; i < BATCH; i++)
		vsock_put_packet(VIRTIO_VSOCK_OP_RW, VSOCK_DATA);
	vsock_sent(BATCH);
	if (recv(vsock.conn, data, sizeof(data), MSG_WAITALL) != sizeof(data))
		err(1, "recv");
	/* What the host says of its room. */
	vsock_take(0);
}

static void vsock_receive(void)
{
	char data[VSOCK_DATA] = { };

	for (int i = 0; i < BATCH; i++)
		if (send(vsock.conn, data, sizeof(data), 0) != sizeof(data))
			err(1, "send");
	vsock_take(BATCH);
	vsock.received += BATCH * VSOCK_DATA;
	if (vsock.received - vsock.told < VSOCK_CREDIT / 2)
		return;
	vsock_put_packet(VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	vsock_sent(1);
	vsock.told = vsock.received;
}

/* Scsi: a page of a disk, written and read. */

static struct scsi scsi;

static void disk_open(void)
{
	const char *reason = scsi_why_skip();

	if (reason)
		errx(4, "%s", reason);
	check(scsi_target_make());
	check(scsi_open(&scsi, 0));
}

static void disk_close(void)
{
	scsi_close(&scsi);
	scsi_target_remove();
}

static void disk_settle(void)
{
	check(scsi_settle(&scsi));
}

static void disk_round(void)
{
	check(scsi_round(&scsi));
}

/**
 * struct traffic - what is measured
 * @name: of the rows
 * @open: make the device
 * @close: and close it
 * @settle: return when its worker is not in the middle of a run
 * @round: move so many packets
 * @packets: of a round
 * @q: the queue that they are in
 */
struct traffic {
	const char *name;
	void (*open)(void);
	void (*close)(void);
	void (*settle)(void);
	void (*round)(void);
	int packets;
	int q;
};

static const struct traffic traffics[] = {
	{ "net TX", net_open, net_close, net_settle, send_plain,
	  BATCH, TX },
	{ "net TX with a table of 2", net_open, net_close, net_settle, send_tables,
	  BATCH, TX },
	{ "net RX", net_open, net_close, net_settle, receive, BATCH, RX },
	{ "vsock TX with a table of 2", vsock_open, vsock_close, vsock_settle,
	  vsock_send, BATCH, TX },
	{ "vsock RX", vsock_open, vsock_close, vsock_settle, vsock_receive,
	  BATCH, RX },
	{ "scsi with a chain of 3", disk_open, disk_close, disk_settle, disk_round,
	  2 * SCSI_SLOTS, SCSI_IO },
};

#define NR_TRAFFICS ((int)(sizeof(traffics) / sizeof(*traffics)))

enum { ALL_ON, MEM_OFF, RING_OFF, NR_MODES };

static const char * const modes[] = {
	"all on", "mem_mirror off", "ring_mirror off",
};

static const struct kind {
	const char *name;
	int first;
	int last;
} kinds[] = {
	{ "ring", DESC, USED },
	{ "indirect", INDIRECT, INDIRECT },
	{ "header", HEADER, HEADER },
	{ "payload", PAYLOAD, PAYLOAD },
};

#define NR_KINDS 4

static double path[NR_MODES][MAX_ROUNDS];
static double mapped[NR_MODES][NR_KINDS][MAX_ROUNDS];
static double uaccess[NR_MODES][NR_KINDS][MAX_ROUNDS];

static struct stats stats_of(const struct traffic *t, const struct kind *kind)
{
	struct stats sum = { }, stats;

	for (int part = kind->first; part <= kind->last; part++) {
		check(stats_read(&stats, getpid(), t->q, part));
		sum.mirrored += stats.mirrored;
		sum.fallback += stats.fallback;
	}
	return sum;
}

/* So many packets; what became of the accesses, and how long the worker ran. */
static double move(const struct traffic *t, int packets, struct stats *diff)
{
	struct stats before[NR_KINDS];
	const char *thread = worker();
	double began;

	t->settle();
	for (int k = 0; k < NR_KINDS; k++)
		before[k] = stats_of(t, &kinds[k]);
	began = ran(thread);
	for (int n = 0; n < packets; n += t->packets)
		t->round();
	t->settle();
	began = ran(thread) - began;
	for (int k = 0; k < NR_KINDS; k++) {
		diff[k] = stats_of(t, &kinds[k]);
		diff[k].mirrored -= before[k].mirrored;
		diff[k].fallback -= before[k].fallback;
	}
	return began;
}

static bool fell_back(const struct stats *diff, int mode)
{
	unsigned long sum = 0;

	for (int k = 0; k < (mode == MEM_OFF ? 1 : NR_KINDS); k++)
		sum += diff[k].fallback;
	return mode != RING_OFF && sum;
}

static void one_mode(const struct traffic *t, int mode, int round)
{
	struct stats diff[NR_KINDS];
	int tries = 0;

	check(ring_mirror_set(mode != RING_OFF));
	check(mem_mirror_set(mode != MEM_OFF));
	/* Until all that can be is mapped; once is for the caches. */
	do {
		move(t, NR_PACKETS, diff);
		if (++tries > WARM_UPS)
			errx(1, "%s, %s: some of it is not mapped", t->name,
			     modes[mode]);
	} while (tries < 2 || fell_back(diff, mode));
	path[mode][round] = move(t, NR_PACKETS, diff) / NR_PACKETS;
	for (int k = 0; k < NR_KINDS; k++) {
		mapped[mode][k][round] = (double)diff[k].mirrored / NR_PACKETS;
		uaccess[mode][k][round] = (double)diff[k].fallback / NR_PACKETS;
	}
}

/* What does not happen is left out, but for what is to be none. */
static void report_kind(const char *what, int k, int nr_rounds)
{
	char how[100];

	for (int mode = 0; mode < NR_MODES; mode++) {
		snprintf(how, sizeof(how), "mapped, %s", modes[mode]);
		if (mapped[mode][k][0])
			report(what, how, mapped[mode][k], nr_rounds);
		snprintf(how, sizeof(how), "uaccess, %s", modes[mode]);
		if (uaccess[mode][k][0] || mode == ALL_ON)
			report(what, how, uaccess[mode][k], nr_rounds);
	}
}

static void one_traffic(const struct traffic *t, int nr_rounds)
{
	char what[100];

	t->open();
	for (int round = 0; round < nr_rounds; round++)
		for (int i = 0; i < NR_MODES; i++)
			one_mode(t, (i + round) % NR_MODES, round);
	t->close();

	for (int k = 0; k < NR_KINDS; k++) {
		snprintf(what, sizeof(what), "per packet: %s: %s", t->name,
			 kinds[k].name);
		if (mapped[ALL_ON][k][0] || uaccess[ALL_ON][k][0])
			report_kind(what, k, nr_rounds);
	}
	snprintf(what, sizeof(what), "path of a packet: %s", t->name);
	for (int mode = 0; mode < NR_MODES; mode++)
		report(what, modes[mode], path[mode], nr_rounds);
}

void pieces(int nr_rounds)
{
	for (int i = 0; i < NR_TRAFFICS; i++)
		one_traffic(&traffics[i], nr_rounds);
	check(ring_mirror_set(true));
	check(mem_mirror_set(true));
}
