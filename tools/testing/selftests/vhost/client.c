// SPDX-License-Identifier: GPL-2.0
/* A client of /dev/vhost-net, and what others need as well; see client.h. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/mempolicy.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

#ifndef __NR_memfd_secret
#define __NR_memfd_secret 447
#endif

#define STATS_FILE "/sys/kernel/debug/vhost_ring_mirror"
#define PARAM_FILE "/sys/module/vhost/parameters/"

#ifndef VHOST_SET_FORK_FROM_OWNER
#define VHOST_SET_FORK_FROM_OWNER _IOW(VHOST_VIRTIO, 0x84, __u8)
#endif

/* An ether type for local experiments: nobody else's packets interfere. */
#define TEST_PROTO 0x88b5
#define NET_HDR sizeof(struct virtio_net_hdr_mrg_rxbuf)

static int fail(const char *what)
{
	note("%s: %s", what, strerror(errno));
	return -1;
}

long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

const char *why_skip(void)
{
	if (geteuid())
		return "needs root";
	/* Where nobody makes the nodes that load a module when opened. */
	if (access("/dev/vhost-net", F_OK) || access("/dev/net/tun", F_OK))
		system("modprobe -q -a tun vhost_net");
	if (access("/dev/vhost-net", R_OK | W_OK))
		return "no /dev/vhost-net: vhost_net is not loaded";
	if (access("/dev/net/tun", R_OK | W_OK))
		return "no /dev/net/tun: tun is not loaded";
	if (access(STATS_FILE, R_OK)) {
		mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
		if (access(STATS_FILE, R_OK))
			return "vhost has no ring mirror";
	}
	return NULL;
}

static void *disturb(void *arg)
{
	struct disturber *d = arg;

	while (!d->stop) {
		d->once(d);
		d->done++;
	}
	return NULL;
}

int disturber_start(struct disturber *d, struct client *c,
		    void (*once)(struct disturber *d))
{
	d->once = once;
	d->c = c;
	return pthread_create(&d->thread, NULL, disturb, d);
}

void disturber_stop(struct disturber *d)
{
	d->stop = true;
	pthread_join(d->thread, NULL);
}

/* Ring parts. */

size_t client_part_size(struct client *c, enum part part)
{
	switch (part) {
	case DESC:
		return c->num * sizeof(struct vring_desc);
	case AVAIL:
		return sizeof(struct vring_avail) + 2 * c->num;
	default:
		return sizeof(struct vring_used) +
		       c->num * sizeof(struct vring_used_elem);
	}
}

static struct vring_desc *desc_of(struct queue *queue)
{
	return queue->part[DESC];
}

static struct vring_avail *avail_of(struct queue *queue)
{
	return queue->part[AVAIL];
}

static struct vring_used *used_of(struct queue *queue)
{
	return queue->part[USED];
}

static uint64_t guest_addr(struct client *c, void *p)
{
	return (char *)p - c->mem + c->iova_shift + c->config.guest_base;
}

/* Rings are known to the device by our addresses unless there is an IOTLB. */
static uint64_t ring_addr(struct client *c, void *p)
{
	if (c->features & (1ULL << VIRTIO_F_ACCESS_PLATFORM))
		return guest_addr(c, p);
	return (uintptr_t)p | c->config.tag;
}

/* Setting up. */

/* The kernel's own packets would use buffers up. */
static void no_ipv6(const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6",
		 name);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return;
	if (write(fd, "1", 1) != 1)
		fail(path);
	close(fd);
}

int client_open_tap(struct client *c)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(TEST_PROTO),
	};
	int size = NET_HDR;
	int rcvbuf = 4 << 20;

	c->tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
	if (c->tap < 0)
		return fail("/dev/net/tun");
	if (ioctl(c->tap, TUNSETIFF, &ifr))
		return fail("TUNSETIFF");
	if (ioctl(c->tap, TUNSETVNETHDRSZ, &size))
		return fail("TUNSETVNETHDRSZ");
	no_ipv6(ifr.ifr_name);

	c->peer = socket(AF_PACKET, SOCK_RAW, htons(TEST_PROTO));
	if (c->peer < 0)
		return fail("packet socket");
	setsockopt(c->peer, SOL_SOCKET, SO_RCVBUFFORCE, &rcvbuf,
		   sizeof(rcvbuf));
	if (ioctl(c->peer, SIOCGIFINDEX, &ifr))
		return fail("SIOCGIFINDEX");
	addr.sll_ifindex = ifr.ifr_ifindex;
	if (ioctl(c->peer, SIOCGIFFLAGS, &ifr))
		return fail("SIOCGIFFLAGS");
	ifr.ifr_flags |= IFF_UP | IFF_RUNNING;
	if (ioctl(c->peer, SIOCSIFFLAGS, &ifr))
		return fail("SIOCSIFFLAGS");
	if (bind(c->peer, (struct sockaddr *)&addr, sizeof(addr)))
		return fail("bind");
	return 0;
}

static int alloc_memory(struct client *c)
{
	size_t room = c->num > MAX_NUM ? c->num * sizeof(struct vring_desc) :
					 PART_ROOM;
	size_t parts = NR_QUEUES * NR_PARTS * room;
	size_t bufs = c->num * BUF_SIZE;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	int fd = -1;

	c->mem_size = parts + NR_QUEUES * bufs + c->config.extra;
	if (c->config.memfd || c->config.secret) {
		fd = c->config.secret ? syscall(__NR_memfd_secret, 0) :
					memfd_create("vhost-client", 0);
		if (fd < 0 || ftruncate(fd, c->mem_size))
			return fail("memfd");
		flags = MAP_SHARED;
	}
	c->mem = mmap(NULL, c->mem_size, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (fd >= 0)
		close(fd);
	if (c->mem == MAP_FAILED)
		return fail("mmap");
	/* One page is to be one page here: huge ones have tests elsewhere. */
	madvise(c->mem, c->mem_size, MADV_NOHUGEPAGE);

	for (int q = 0; q < NR_QUEUES; q++) {
		struct queue *queue = &c->queue[q];

		for (int p = 0; p < NR_PARTS; p++)
			queue->part[p] = c->mem + (q * NR_PARTS + p) * room;
		queue->part[DESC] = (char *)queue->part[DESC] +
				    c->config.skew;
		queue->bufs = c->mem + parts + q * bufs;
		queue->avail_idx = c->config.base;
		queue->used_idx = c->config.base;
		avail_of(queue)->idx = c->config.base;
		used_of(queue)->idx = c->config.base;
	}
	c->extra = c->mem + parts + NR_QUEUES * bufs;
	return 0;
}

void mem_table_init(struct mem_table *table, uint64_t guest_addr,
		    uint64_t addr, size_t size)
{
	*table = (struct mem_table) {
		.mem.nregions = 1,
		.region = {
			.guest_phys_addr = guest_addr,
			.memory_size = size,
			.userspace_addr = addr,
		},
	};
}

int mem_table_set(int fd, uint64_t guest_addr, void *mem, size_t size)
{
	struct mem_table table;

	mem_table_init(&table, guest_addr, (uintptr_t)mem, size);
	if (ioctl(fd, VHOST_SET_MEM_TABLE, &table))
		return fail("VHOST_SET_MEM_TABLE");
	return 0;
}

/* A log that is large enough, of @fd's memory, or anonymous with -1. */
void *client_alloc_log(struct client *c, int fd)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	uint64_t last = c->config.guest_base + c->mem_size - 1;
	void *log;

	c->log_size = (last / PAGE / 8 + PAGE) & ~(PAGE - 1);
	if (fd >= 0 && ftruncate(fd, c->log_size)) {
		fail("ftruncate log");
		return NULL;
	}
	log = mmap(NULL, c->log_size, PROT_READ | PROT_WRITE,
		   flags | MAP_NORESERVE, fd, 0);
	if (log == MAP_FAILED) {
		fail("mmap log");
		return NULL;
	}
	madvise(log, c->log_size, MADV_NOHUGEPAGE);
	return log;
}

static int set_log_base(struct client *c)
{
	uint64_t base = (uintptr_t)c->log;

	if (ioctl(c->fd, VHOST_SET_LOG_BASE, &base))
		return fail("VHOST_SET_LOG_BASE");
	return 0;
}

/* Each time the IOTLB is a new one. */
static int set_features(struct client *c)
{
	if (ioctl(c->fd, VHOST_SET_FEATURES, &c->features))
		return fail("VHOST_SET_FEATURES");
	if (c->iova_shift)
		return client_iotlb(c, VHOST_IOTLB_UPDATE, 0, c->mem_size,
				    c->mem);
	return 0;
}

/* In QEMU's order. */
int client_set_log(struct client *c, void *log)
{
	uint64_t bit = 1ULL << VHOST_F_LOG_ALL;

	c->log = log;
	c->features = log ? c->features | bit : c->features & ~bit;
	if (log && set_log_base(c))
		return -1;
	if (set_features(c))
		return -1;
	for (int q = 0; q < NR_QUEUES; q++)
		if (client_set_rings(c, q))
			return -1;
	return 0;
}

static struct vhost_vring_addr rings_of(struct client *c, int q)
{
	struct queue *queue = &c->queue[q];
	struct vhost_vring_addr addr = {
		.index = q,
		.desc_user_addr = ring_addr(c, queue->part[DESC]),
		.avail_user_addr = ring_addr(c, queue->part[AVAIL]),
		.used_user_addr = ring_addr(c, queue->part[USED]),
	};

	if (c->features & (1ULL << VHOST_F_LOG_ALL)) {
		addr.flags = 1 << VHOST_VRING_F_LOG;
		addr.log_guest_addr = (char *)queue->part[USED] - c->mem +
				      c->config.guest_base;
	}
	return addr;
}

static int set_rings(int fd, const struct vhost_vring_addr *addr)
{
	if (ioctl(fd, VHOST_SET_VRING_ADDR, addr))
		return fail("VHOST_SET_VRING_ADDR");
	return 0;
}

int client_set_rings(struct client *c, int q)
{
	struct vhost_vring_addr addr = rings_of(c, q);

	return set_rings(c->fd, &addr);
}

void queue_open(struct queue *queue, int index)
{
	queue->index = index;
	queue->kick = eventfd(0, EFD_NONBLOCK);
	queue->call = eventfd(0, EFD_NONBLOCK);
}

void queue_close(struct queue *queue)
{
	close(queue->kick);
	close(queue->call);
}

int queue_set_up(int fd, struct queue *queue, unsigned int num,
		 const struct vhost_vring_addr *addr)
{
	struct vhost_vring_state state = { .index = queue->index, .num = num };
	struct vhost_vring_file file = { .index = queue->index };

	if (ioctl(fd, VHOST_SET_VRING_NUM, &state))
		return fail("VHOST_SET_VRING_NUM");
	state.num = queue->avail_idx;
	if (ioctl(fd, VHOST_SET_VRING_BASE, &state))
		return fail("VHOST_SET_VRING_BASE");
	if (set_rings(fd, addr))
		return -1;
	file.fd = queue->kick;
	if (ioctl(fd, VHOST_SET_VRING_KICK, &file))
		return fail("VHOST_SET_VRING_KICK");
	file.fd = queue->call;
	if (ioctl(fd, VHOST_SET_VRING_CALL, &file))
		return fail("VHOST_SET_VRING_CALL");
	return 0;
}

int client_set_queue(struct client *c, int q)
{
	struct vhost_vring_addr addr = rings_of(c, q);

	return queue_set_up(c->fd, &c->queue[q], c->num, &addr);
}

int client_backend(struct client *c, bool on)
{
	for (int q = 0; q < NR_QUEUES; q++) {
		struct vhost_vring_file file = {
			.index = q,
			.fd = on ? c->tap : -1,
		};

		if (ioctl(c->fd, VHOST_NET_SET_BACKEND, &file))
			return fail("VHOST_NET_SET_BACKEND");
	}
	return 0;
}

int client_iotlb(struct client *c, int type, uint64_t offset, size_t size,
		 void *to)
{
	struct vhost_msg msg = {
		.type = VHOST_IOTLB_MSG,
		.iotlb = {
			.iova = offset + c->iova_shift,
			.size = size,
			.uaddr = (uintptr_t)to,
			.perm = VHOST_ACCESS_RW,
			.type = type,
		},
	};

	if (write(c->fd, &msg, sizeof(msg)) != sizeof(msg))
		return fail("IOTLB message");
	return 0;
}

/* From SET_OWNER to a running device; also after RESET_OWNER. */
int client_start(struct client *c)
{
	uint8_t fork_owner = 0;

	if (c->config.kthread &&
	    ioctl(c->fd, VHOST_SET_FORK_FROM_OWNER, &fork_owner))
		return fail("VHOST_SET_FORK_FROM_OWNER");
	if (ioctl(c->fd, VHOST_SET_OWNER))
		return fail("VHOST_SET_OWNER");
	if (mem_table_set(c->fd, c->config.guest_base, c->mem, c->mem_size))
		return -1;
	if (c->features & (1ULL << VHOST_F_LOG_ALL)) {
		if (!c->log)
			c->log = client_alloc_log(c, -1);
		if (!c->log || set_log_base(c))
			return -1;
	}
	if (set_features(c))
		return -1;
	for (int q = 0; q < NR_QUEUES; q++)
		if (client_set_queue(c, q))
			return -1;
	return client_backend(c, true);
}

int client_open(struct client *c, const struct client_config *config)
{
	/* Any policy of our own: NUMA balancing leaves such memory alone. */
	syscall(__NR_set_mempolicy, MPOL_LOCAL, NULL, 0);
	memset(c, 0, sizeof(*c));
	c->config = *config;
	c->num = config->num ?: 256;
	c->features = config->features | (1ULL << VIRTIO_F_VERSION_1);
	/* Vhost keeps the rings' addresses as pointers of the kernel. */
	if (c->features & (1ULL << VIRTIO_F_ACCESS_PLATFORM))
		c->iova_shift = sizeof(long) > 4 ? 1ULL << 32 : 1ULL << 31;
	c->fd = config->fd ?: open("/dev/vhost-net", O_RDWR);
	if (c->fd < 0)
		return fail("/dev/vhost-net");
	for (int q = 0; q < NR_QUEUES; q++)
		queue_open(&c->queue[q], q);
	if (client_open_tap(c) || alloc_memory(c))
		return -1;
	return client_start(c);
}

void client_close(struct client *c)
{
	if (!c->mem)
		return;
	close(c->fd);
	close(c->tap);
	close(c->peer);
	for (int q = 0; q < NR_QUEUES; q++)
		queue_close(&c->queue[q]);
	munmap(c->mem, c->mem_size);
	if (c->log)
		munmap(c->log, c->log_size);
	c->mem = NULL;
}

int queues_settle(int fd, int n)
{
	for (int q = 0; q < n; q++) {
		struct vhost_vring_state state = { .index = q };

		if (ioctl(fd, VHOST_GET_VRING_BASE, &state))
			return fail("VHOST_GET_VRING_BASE");
	}
	return 0;
}

int client_settle(struct client *c)
{
	return queues_settle(c->fd, NR_QUEUES);
}

/* Packets: a header of zeroes, an Ethernet header, a number, a pattern. */

unsigned int packet_spread = 1024;

static size_t payload_size(uint32_t seq)
{
	return 64 + seq * 37 % packet_spread;
}

static unsigned char pattern(uint32_t seq, size_t i)
{
	return seq * 131 + i * 7;
}

static size_t make_frame(char *frame, uint32_t seq)
{
	struct ethhdr *eth = (struct ethhdr *)frame;
	char *payload = frame + sizeof(*eth);
	size_t size = payload_size(seq);

	memset(eth->h_dest, 0xff, ETH_ALEN);
	memcpy(eth->h_source, "\x02vhost", ETH_ALEN);
	eth->h_proto = htons(TEST_PROTO);
	memcpy(payload, &seq, sizeof(seq));
	for (size_t i = sizeof(seq); i < size; i++)
		payload[i] = pattern(seq, i);
	return sizeof(*eth) + size;
}

static int check_frame(const char *frame, size_t len, uint32_t seq)
{
	const char *payload = frame + sizeof(struct ethhdr);
	size_t size = payload_size(seq);
	uint32_t got;

	if (len != sizeof(struct ethhdr) + size) {
		note("packet %u: %zu bytes, not %zu", seq, len,
		     sizeof(struct ethhdr) + size);
		return -1;
	}
	memcpy(&got, payload, sizeof(got));
	if (got != seq) {
		note("packet %u where %u was expected", got, seq);
		return -1;
	}
	for (size_t i = sizeof(seq); i < size; i++) {
		if ((unsigned char)payload[i] != pattern(seq, i)) {
			note("packet %u: byte %zu is wrong", seq, i);
			return -1;
		}
	}
	return 0;
}

size_t client_make_packet(char *buf, uint32_t seq)
{
	memset(buf, 0, NET_HDR);
	return NET_HDR + make_frame(buf + NET_HDR, seq);
}

/* The queues. */

static char *buf_of(struct client *c, int q, uint16_t slot)
{
	return c->queue[q].bufs + slot * BUF_SIZE;
}

/* The indirect descriptors of a slot are behind its buffer. */
static struct vring_desc *table_of(struct client *c, int q, uint16_t slot)
{
	return (void *)(buf_of(c, q, slot) + BUF_SIZE -
			sizeof(struct vring_desc));
}

/* Only the device says in how many buffers a packet is, and only if it may be many. */
static void forget_buffers(struct client *c, char *buf)
{
	struct virtio_net_hdr_mrg_rxbuf *hdr = (void *)buf;

	if (c->features & (1ULL << VIRTIO_NET_F_MRG_RXBUF))
		hdr->num_buffers = UINT16_MAX;
}

static int check_buffers(struct client *c, const char *buf)
{
	const struct virtio_net_hdr_mrg_rxbuf *hdr = (const void *)buf;

	if (!(c->features & (1ULL << VIRTIO_NET_F_MRG_RXBUF)) ||
	    hdr->num_buffers == 1)
		return 0;
	note("a packet in %u buffers, not 1", hdr->num_buffers);
	return -1;
}

static void put_avail(struct client *c, int q, void *buf, size_t size)
{
	struct queue *queue = &c->queue[q];
	uint16_t slot = queue->avail_idx % c->num;
	struct vring_desc *desc = &desc_of(queue)[slot];

	desc->addr = guest_addr(c, buf);
	desc->len = size;
	desc->flags = q == RX ? VRING_DESC_F_WRITE : 0;
	desc->next = 0;
	if (c->features & (1ULL << VIRTIO_RING_F_INDIRECT_DESC)) {
		struct vring_desc *table = table_of(c, q, slot);

		*table = *desc;
		desc->addr = guest_addr(c, table);
		desc->len = sizeof(*table);
		desc->flags = VRING_DESC_F_INDIRECT;
	}
	avail_of(queue)->ring[slot] = slot;
	queue->avail_idx++;
}

int queue_publish(struct queue *queue)
{
	uint64_t one = 1;

	__atomic_store_n(&avail_of(queue)->idx, queue->avail_idx,
			 __ATOMIC_SEQ_CST);
	if (write(queue->kick, &one, sizeof(one)) != sizeof(one))
		return fail("kick");
	return 0;
}

unsigned int queue_used(struct queue *queue)
{
	return (uint16_t)(__atomic_load_n(&used_of(queue)->idx,
					  __ATOMIC_ACQUIRE) - queue->used_idx);
}

unsigned int client_used(struct client *c, int q)
{
	return queue_used(&c->queue[q]);
}

int queue_wait_used(struct queue *queue, unsigned int n)
{
	long long deadline = now_ms() + PATIENCE_MS;

	while (queue_used(queue) < n) {
		if (now_ms() > deadline) {
			note("queue %d: %u of %u buffers used", queue->index,
			     queue_used(queue), n);
			return -1;
		}
		sched_yield();
	}
	return 0;
}

static int take_used(struct client *c, int q, uint32_t *len)
{
	struct queue *queue = &c->queue[q];
	uint16_t slot = queue->used_idx % c->num;
	struct vring_used_elem *elem = &used_of(queue)->ring[slot];

	/*
	 * One worker, one direction: buffers come back in order. If that is
	 * agreed upon, the device says so only once of many that it has sent.
	 */
	if (elem->id != slot &&
	    !(q == TX && c->features & (1ULL << VIRTIO_F_IN_ORDER))) {
		note("queue %d: buffer %u used where %u was expected", q,
		     elem->id, slot);
		return -1;
	}
	*len = elem->len;
	queue->used_idx++;
	return 0;
}

int client_send(struct client *c, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		char *buf = buf_of(c, TX, c->queue[TX].avail_idx % c->num);

		put_avail(c, TX, buf, client_make_packet(buf,
							 c->next_seq[TX] + i));
	}
	return queue_publish(&c->queue[TX]);
}

/* Send a packet whose contents are left to the caller. */
int client_send_from(struct client *c, void *buf)
{
	put_avail(c, TX, buf, NET_HDR + sizeof(struct ethhdr) +
		  payload_size(c->next_seq[TX]));
	return queue_publish(&c->queue[TX]);
}

/* Nowhere near, whatever the size of the ring. */
unsigned int client_stride(struct client *c)
{
	return c->num / 4 + 1;
}

int client_send_chain(struct client *c, unsigned int n)
{
	struct vring_desc *desc = desc_of(&c->queue[TX]);
	uint16_t head = c->queue[TX].avail_idx % c->num;
	char *buf = buf_of(c, TX, head);
	size_t left = client_make_packet(buf, c->next_seq[TX]);
	size_t piece = left / n;
	uint16_t slot = head;

	put_avail(c, TX, buf, left);
	for (; n > 1; n--) {
		desc[slot].len = piece;
		desc[slot].flags = VRING_DESC_F_NEXT;
		desc[slot].next = (slot + client_stride(c)) % c->num;
		slot = desc[slot].next;
		buf += piece;
		left -= piece;
		desc[slot].addr = guest_addr(c, buf);
	}
	desc[slot].len = left;
	desc[slot].flags = 0;
	return queue_publish(&c->queue[TX]);
}

void client_put_table(struct client *c, unsigned int n, void *table)
{
	struct queue *queue = &c->queue[TX];
	uint16_t slot = queue->avail_idx % c->num;
	uint16_t pending = queue->avail_idx - queue->used_idx;
	char *buf = buf_of(c, TX, slot);
	size_t left = client_make_packet(buf, c->next_seq[TX] + pending);
	size_t piece = left / n;

	put_avail(c, TX, buf, left);
	for (unsigned int i = 0; i < n; i++) {
		struct vring_desc desc = {
			.addr = guest_addr(c, buf),
			.len = i + 1 < n ? piece : left,
			.flags = i + 1 < n ? VRING_DESC_F_NEXT : 0,
			.next = i + 1,
		};

		/* At any address. */
		memcpy((char *)table + i * sizeof(desc), &desc, sizeof(desc));
		buf += piece;
		left -= piece;
	}
	desc_of(queue)[slot].addr = guest_addr(c, table);
	desc_of(queue)[slot].len = n * sizeof(struct vring_desc);
	desc_of(queue)[slot].flags = VRING_DESC_F_INDIRECT;
}

/* @n packets that were sent come out, and their buffers come back. */
int client_sent(struct client *c, unsigned int n)
{
	char frame[BUF_SIZE];

	for (unsigned int i = 0; i < n; i++) {
		struct pollfd pfd = { .fd = c->peer, .events = POLLIN };
		ssize_t len;

		if (poll(&pfd, 1, PATIENCE_MS) != 1) {
			note("packet %u never came out", c->next_seq[TX]);
			return -1;
		}
		len = recv(c->peer, frame, sizeof(frame), 0);
		if (len < 0)
			return fail("recv");
		if (check_frame(frame, len, c->next_seq[TX]))
			return -1;
		c->next_seq[TX]++;
	}
	if (queue_wait_used(&c->queue[TX], n))
		return -1;
	for (unsigned int i = 0; i < n; i++) {
		uint32_t len;

		if (take_used(c, TX, &len))
			return -1;
	}
	return 0;
}

int client_received(struct client *c, unsigned int n)
{
	char frame[BUF_SIZE];

	for (unsigned int i = 0; i < n; i++) {
		char *buf = buf_of(c, RX, c->queue[RX].avail_idx % c->num);

		forget_buffers(c, buf);
		put_avail(c, RX, buf, BUF_SIZE - sizeof(struct vring_desc));
	}
	if (queue_publish(&c->queue[RX]))
		return -1;
	for (unsigned int i = 0; i < n; i++) {
		size_t size = make_frame(frame, c->next_seq[RX] + i);

		if (send(c->peer, frame, size, 0) != (ssize_t)size)
			return fail("send");
	}
	if (queue_wait_used(&c->queue[RX], n))
		return -1;
	for (unsigned int i = 0; i < n; i++) {
		uint16_t slot = c->queue[RX].used_idx % c->num;
		uint32_t len;

		if (take_used(c, RX, &len) ||
		    check_buffers(c, buf_of(c, RX, slot)) ||
		    check_frame(buf_of(c, RX, slot) + NET_HDR, len - NET_HDR,
				c->next_seq[RX]++))
			return -1;
	}
	return 0;
}

int client_round(struct client *c, unsigned int n)
{
	while (n) {
		unsigned int batch = n < BATCH ? n : BATCH;

		if (client_send(c, batch) || client_received(c, batch) ||
		    client_sent(c, batch))
			return -1;
		n -= batch;
	}
	return 0;
}

static int all_mirrored(const struct warm_up *w)
{
	struct stats before[NR_QUEUES][NR_PARTS + 1], after;

	for (int q = w->first_queue; q <= w->last_queue; q++)
		for (int p = w->first_part; p <= w->last_part; p++)
			if (stats_read(&before[q - w->first_queue][p], w->pid,
				       q, p))
				return -1;
	if (w->round(w->client))
		return -1;
	for (int q = w->first_queue; q <= w->last_queue; q++) {
		for (int p = w->first_part; p <= w->last_part; p++) {
			struct stats *then = &before[q - w->first_queue][p];

			if (stats_read(&after, w->pid, q, p))
				return -1;
			if (after.mirrored == then->mirrored ||
			    after.fallback != then->fallback)
				return 0;
		}
	}
	return 1;
}

int queues_warm_up(const struct warm_up *warm_up)
{
	long long deadline = now_ms() + PATIENCE_MS;
	int ret;

	do {
		ret = all_mirrored(warm_up);
		if (ret)
			return ret < 0 ? -1 : 0;
	} while (now_ms() < deadline);
	note("some part is not mirrored");
	return -1;
}

static int round_the_rings(void *client)
{
	struct client *c = client;

	return client_round(c, c->num);
}

int client_warm_up(struct client *c)
{
	struct warm_up warm_up = {
		.pid = getpid(),
		.first_queue = RX,
		.last_queue = TX,
		.first_part = DESC,
		.last_part = USED,
		.round = round_the_rings,
		.client = c,
	};

	return queues_warm_up(&warm_up);
}

/* What the kernel says of it. */

static unsigned long number(const char *line, const char *key)
{
	const char *p = strstr(line, key);

	return p ? strtoul(p + strlen(key), NULL, 0) : 0;
}

static unsigned long all_drops(const char *line)
{
	const char *p = strstr(line, "drops=");
	unsigned long sum = 0;

	if (!p)
		return 0;
	for (; *p && *p != ' '; p++)
		if (*p == ':')
			sum += strtoul(p + 1, NULL, 10);
	return sum;
}

static bool line_matches(const char *line, int pid, int q, int part)
{
	static const char * const names[] = {
		" part=desc ", " part=avail ", " part=used ", " part=log ",
		" part=indirect ", " part=header ", " part=payload ",
	};
	bool want_closed = pid == CLOSED;
	bool closed = strstr(line, " closed ");

	if (closed != want_closed)
		return false;
	if (pid >= 0 && number(line, "pid=") != (unsigned long)pid)
		return false;
	if (q >= 0 && number(line, " vq=") != (unsigned long)q)
		return false;
	if (part != ANY)
		return strstr(line, names[part]);
	for (part = DESC; part <= LOG; part++)
		if (strstr(line, names[part]))
			return true;
	return false;
}

int stats_read(struct stats *stats, int pid, int q, int part)
{
	FILE *file = fopen(STATS_FILE, "r");
	char line[1024];

	memset(stats, 0, sizeof(*stats));
	if (!file)
		return fail(STATS_FILE);
	while (fgets(line, sizeof(line), file)) {
		unsigned long wait = number(line, " worst_wait_ns=");

		if (!line_matches(line, pid, q, part))
			continue;
		stats->lines++;
		stats->mirrored += number(line, " mirrored=");
		stats->shared += number(line, " shared=");
		stats->fallback += number(line, " fallback=");
		stats->fills += number(line, " fills=");
		stats->collisions += number(line, " collisions=");
		stats->installed += number(line, " installed=");
		stats->drops += all_drops(line);
		stats->drops_unmap += number(line, "unmap:");
		stats->drops_clear += number(line, ",clear:");
		stats->drops_protection += number(line, "protection_vma:") +
					   number(line, "protection_page:");
		if (wait > stats->worst_wait_ns)
			stats->worst_wait_ns = wait;
	}
	fclose(file);
	return 0;
}

long stats_number(int pid, int q, int part, const char *key)
{
	FILE *file = fopen(STATS_FILE, "r");
	char line[1024];
	long sum = 0;

	if (!file)
		return fail(STATS_FILE);
	while (fgets(line, sizeof(line), file))
		if (line_matches(line, pid, q, part))
			sum += number(line, key);
	fclose(file);
	return sum;
}

static bool queues_have(int part, const char *key)
{
	for (int q = 0; q < NR_QUEUES; q++)
		if (stats_number(getpid(), q, part, key) < 1)
			return false;
	return true;
}

int client_round_until(struct client *c, int part, const char *key)
{
	long long end = now_ms() + PATIENCE_MS;

	do {
		if (client_round(c, c->num))
			return -1;
		if (queues_have(part, key))
			return 0;
	} while (now_ms() < end);
	note("a queue has no %s of part %d", key, part);
	return -1;
}

int stats_gone(int pid)
{
	long long end = now_ms() + PATIENCE_MS;
	struct stats stats;

	do {
		if (stats_read(&stats, pid, ANY, ANY))
			return -1;
		if (!stats.lines)
			return 0;
		usleep(10000);
	} while (now_ms() < end);
	note("%u lines of process %d", stats.lines, pid);
	return -1;
}

#define MIRRORS_FILE "/sys/kernel/debug/mmu_range_mirror"

static int nr_windows(int pid)
{
	FILE *file = fopen(MIRRORS_FILE, "r");
	char line[1024];
	int n = 0;

	if (!file)
		return fail(MIRRORS_FILE);
	while (fgets(line, sizeof(line), file))
		n += strstr(line, " kind=window ") &&
		     number(line, "pid=") == (unsigned long)pid;
	fclose(file);
	return n;
}

int windows_gone(int pid)
{
	long long end = now_ms() + PATIENCE_MS;
	int n;

	while ((n = nr_windows(pid)) > 0 && now_ms() < end)
		usleep(10000);
	if (n > 0)
		note("process %d has %d windows left", pid, n);
	return n ? -1 : 0;
}

long cache_number(int pid, const char *key)
{
	FILE *file = fopen(STATS_FILE, "r");
	char line[1024];
	long sum = 0;

	if (!file)
		return fail(STATS_FILE);
	while (fgets(line, sizeof(line), file))
		if (strstr(line, " cache ") &&
		    number(line, "pid=") == (unsigned long)pid)
			sum += number(line, key);
	fclose(file);
	return sum;
}

static int param_set(const char *path, bool on)
{
	int fd = open(path, O_WRONLY);
	bool ok;

	if (fd < 0)
		return fail(path);
	ok = write(fd, on ? "Y" : "N", 1) == 1;
	close(fd);
	return ok ? 0 : fail(path);
}

int ring_mirror_set(bool on)
{
	return param_set(PARAM_FILE "ring_mirror", on);
}

int mem_mirror_set(bool on)
{
	return param_set(PARAM_FILE "mem_mirror", on);
}
