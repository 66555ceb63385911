/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A client of /dev/vhost-net, with a tap device behind it and a packet socket
 * behind that: what it sends comes out of the socket, and the other way round.
 *
 * It is the driver's side of two virtqueues, so it can put the rings where it
 * likes and pull the memory away from under them. It always kicks, and looks
 * at the used index itself, so that no packet depends on a notification.
 */
#ifndef SELFTESTS_VHOST_CLIENT_H
#define SELFTESTS_VHOST_CLIENT_H

#include <linux/vhost.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define RX 0
#define TX 1
#define NR_QUEUES 2

enum part {
	DESC, AVAIL, USED, NR_PARTS, LOG = NR_PARTS,
	/* Kinds of guest memory. */
	INDIRECT, HEADER, PAYLOAD, NR_COUNTED,
};

#define PAGE 4096UL
/* What one window of the cache of guest memory maps. */
#define CHUNK (512 * PAGE)
/* Room for one ring part of up to MAX_NUM, and the bytes of a packet buffer. */
#define PART_ROOM (16 * PAGE)
#define BUF_SIZE 2048UL
#define MAX_NUM 1024

/* Packets under way at once: fewer than any queue on the way holds. */
#define BATCH 32
/* Nothing here takes this long, however slow the machine. */
#define PATIENCE_MS 60000

#define note(fmt, ...) \
	fprintf(stderr, "# %s:%d: " fmt "\n", __FILE__, __LINE__, ##__VA_ARGS__)

/**
 * struct client_config - what a client is to be like
 * @num: entries of each ring; 0: 256; beyond MAX_NUM, no test may replace parts
 * @base: where the indices begin
 * @features: beyond VIRTIO_F_VERSION_1
 * @skew: bytes to put the descriptors beyond their alignment
 * @tag: what the rings' addresses have beyond their bits
 * @memfd: all memory is a shared mapping of a memfd, not anonymous
 * @secret: of a memfd_secret, which no window can show
 * @kthread: the worker is a kernel thread, not a thread of this process
 * @extra: bytes of memory beyond what the client itself uses
 * @guest_base: guest address of the memory, if there is no IOTLB
 * @fd: an open /dev/vhost-net, or 0
 */
struct client_config {
	unsigned int num;
	uint16_t base;
	uint64_t features;
	size_t skew;
	uintptr_t tag;
	bool memfd;
	bool secret;
	bool kthread;
	size_t extra;
	uint64_t guest_base;
	int fd;
};

struct queue {
	int index;
	void *part[NR_PARTS];
	char *bufs;
	uint16_t avail_idx;
	uint16_t used_idx;
	int kick;
	int call;
};

/* What VHOST_SET_MEM_TABLE takes, where all memory is in one piece. */
struct mem_table {
	struct vhost_memory mem;
	struct vhost_memory_region region;
};

struct client {
	struct client_config config;
	unsigned int num;
	uint64_t features;
	int fd;
	int tap;
	int peer;
	/* All memory that the device may reach. */
	char *mem;
	size_t mem_size;
	char *extra;
	/* With an IOTLB, the device knows addresses by this much more. */
	uint64_t iova_shift;
	/* With VHOST_F_LOG_ALL: a bit for each page of guest addresses. */
	unsigned char *log;
	size_t log_size;
	struct queue queue[NR_QUEUES];
	uint32_t next_seq[NR_QUEUES];
};

/**
 * struct warm_up - what is to be accessed through windows only
 * @pid: whose, or ANY
 * @first_queue: of them
 * @last_queue: of them, which are at most NR_QUEUES
 * @first_part: of each queue, an enum part
 * @last_part: of each queue
 * @round: goes once round each ring, or a page of it might never be looked at;
 *	it is called until it has them accessed so
 * @client: what for
 */
struct warm_up {
	int pid;
	int first_queue;
	int last_queue;
	int first_part;
	int last_part;
	int (*round)(void *client);
	void *client;
};

/* All return 0, or -1 after a note of the reason. */
int client_open(struct client *c, const struct client_config *config);
/* Only the tap device and the socket behind it. */
int client_open_tap(struct client *c);
int client_start(struct client *c);
void client_close(struct client *c);
int client_set_rings(struct client *c, int q);
int client_set_queue(struct client *c, int q);
int client_backend(struct client *c, bool on);
int client_iotlb(struct client *c, int type, uint64_t offset, size_t size,
		 void *to);
int client_settle(struct client *c);
/* Have what is written logged at @log, or no longer with NULL. */
int client_set_log(struct client *c, void *log);
void *client_alloc_log(struct client *c, int fd);

/* The bytes of a ring part, without the event index. */
size_t client_part_size(struct client *c, enum part part);

/* Move @n packets each way, and check them; any number. */
int client_round(struct client *c, unsigned int n);
/* Move until every ring part is accessed through windows only. */
int client_warm_up(struct client *c);
/*
 * Move until each queue has counted some of @key, as for stats_number(), of @part:
 * what the windows' worker finds out takes it as long as it takes.
 */
int client_round_until(struct client *c, int part, const char *key);

/* The same in steps. At most BATCH at once. */
int client_send(struct client *c, unsigned int n);
int client_send_from(struct client *c, void *buf);
/* One packet, in a chain of @n descriptors that are client_stride() apart. */
int client_send_chain(struct client *c, unsigned int n);
unsigned int client_stride(struct client *c);
/*
 * Have a packet be next that comes with a table of @n indirect descriptors at @table,
 * which is memory of the device's. For queue_publish(), and client_sent().
 */
void client_put_table(struct client *c, unsigned int n, void *table);
int client_sent(struct client *c, unsigned int n);
int client_received(struct client *c, unsigned int n);
unsigned int client_used(struct client *c, int q);
size_t client_make_packet(char *buf, uint32_t seq);
/* Packets are of 64 bytes and up to so many more, less one; 1024 unless changed. */
extern unsigned int packet_spread;

/*
 * The same for any device of vhost's, whose file @fd is. Those that return int
 * return 0, or -1 after a note of the reason.
 */
void mem_table_init(struct mem_table *table, uint64_t guest_addr,
		    uint64_t addr, size_t size);
int mem_table_set(int fd, uint64_t guest_addr, void *mem, size_t size);
void queue_open(struct queue *queue, int index);
void queue_close(struct queue *queue);
/* The device begins at the driver's index of the moment. */
int queue_set_up(int fd, struct queue *queue, unsigned int num,
		 const struct vhost_vring_addr *addr);
int queue_publish(struct queue *queue);
/* Buffers that the device has used and we have not looked at. */
unsigned int queue_used(struct queue *queue);
int queue_wait_used(struct queue *queue, unsigned int n);
/*
 * Return when no worker is in the middle of a run of any of the first @n queues:
 * each holds the queue's mutex and so does this ioctl. Used indices that were
 * seen are final by then.
 */
int queues_settle(int fd, int n);
int queues_warm_up(const struct warm_up *warm_up);

long long now_ms(void);

/* Why nothing can be tested here, or NULL. */
const char *why_skip(void);

/* Something done over and over in a thread of its own. */
struct disturber {
	pthread_t thread;
	void (*once)(struct disturber *d);
	struct client *c;
	char *mem;
	size_t size;
	atomic_bool stop;
	/* In the part of it that matters. */
	atomic_bool inside;
	atomic_ulong done;
	atomic_ulong failed;
};

int disturber_start(struct disturber *d, struct client *c,
		    void (*once)(struct disturber *d));
void disturber_stop(struct disturber *d);

/* What vhost_ring_mirror in debugfs says. */
struct stats {
	unsigned long mirrored;
	unsigned long shared;
	unsigned long fallback;
	unsigned long fills;
	unsigned long collisions;
	unsigned long installed;
	unsigned long worst_wait_ns;
	unsigned long drops;
	unsigned long drops_unmap;
	unsigned long drops_clear;
	unsigned long drops_protection;
	unsigned int lines;
};

#define ANY (-1)
#define CLOSED (-2)

/*
 * Sum over the lines of process @pid (or ANY, or CLOSED for what is gone),
 * queue @q (or ANY) and part @part (or ANY, of the rings and the log).
 */
int stats_read(struct stats *stats, int pid, int q, int part);
/* The sum of one number of them, "fills=" or, of a list, "clear:"; or -1. */
long stats_number(int pid, int q, int part, const char *key);
/* Wait until a process has no window left, which its mm's worker removes. */
int windows_gone(int pid);
/* Wait until there is nothing left of a process whose devices are closed. */
int stats_gone(int pid);
int ring_mirror_set(bool on);
int mem_mirror_set(bool on);
/* The sum of a number of the caches of guest memory, such as "chunks=". */
long cache_number(int pid, const char *key);

#endif
