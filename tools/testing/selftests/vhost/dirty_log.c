// SPDX-License-Identifier: GPL-2.0
/*
 * The dirty log of live migration through a window: every page that vhost
 * writes has its bit, in the log of the moment and in no other, while the log
 * is collected, moved, replaced and switched on and off.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/const.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "../kselftest_harness.h"
#include "client.h"

#define WORD_BITS (8 * sizeof(long))
#define ROUNDS 12
#define TIMEOUT 300
/* The guest's memory is where this needs 32 MiB of log. */
#define HIGH _BITULL(40)

FIXTURE(log)
{
	struct client c;
	/* What has been taken out of the log; as long as the client's memory. */
	unsigned long *seen;
	size_t nr_words;
};

FIXTURE_VARIANT(log)
{
	struct client_config config;
};

FIXTURE_VARIANT_ADD(log, low)
{
	.config = { .num = 256 },
};

FIXTURE_VARIANT_ADD(log, high)
{
	.config = { .num = 256, .guest_base = HIGH },
};

/* Here vhost finds the guest's address by ours. */
FIXTURE_VARIANT_ADD(log, iotlb)
{
	.config = { .features = 1ULL << VIRTIO_F_ACCESS_PLATFORM },
};

FIXTURE_VARIANT_ADD(log, large_event_idx)
{
	.config = {
		.num = MAX_NUM,
		.features = 1ULL << VIRTIO_RING_F_EVENT_IDX,
	},
};

/* vhost itself writes to each buffer, of guest memory that a cache has. */
FIXTURE_VARIANT_ADD(log, mergeable)
{
	.config = { .features = 1ULL << VIRTIO_NET_F_MRG_RXBUF },
};

FIXTURE_SETUP(log)
{
	struct client_config config = variant->config;

	config.features |= 1ULL << VHOST_F_LOG_ALL;
	ASSERT_EQ(0, client_open(&self->c, &config));
	self->nr_words = self->c.mem_size / PAGE / WORD_BITS + 1;
	self->seen = calloc(self->nr_words, sizeof(*self->seen));
	ASSERT_NE(NULL, self->seen);
}

FIXTURE_TEARDOWN(log)
{
	client_close(&self->c);
	free(self->seen);
}

/* Take out of the log at @log what has been set, as QEMU does. */
static void collect(struct client *c, void *log, unsigned long *seen)
{
	size_t nr_words = c->mem_size / PAGE / WORD_BITS + 1;
	unsigned long *word = log;

	word += c->config.guest_base / PAGE / WORD_BITS;
	for (size_t i = 0; i < nr_words; i++)
		if (__atomic_load_n(&word[i], __ATOMIC_RELAXED))
			seen[i] |= __atomic_exchange_n(&word[i], 0,
						       __ATOMIC_SEQ_CST);
}

/* How many of the pages of [@p, @p + @size) have been seen. */
static size_t pages_seen(struct client *c, const unsigned long *seen, void *p,
			 size_t size)
{
	size_t first = ((char *)p - c->mem) / PAGE;
	size_t last = ((char *)p + size - 1 - c->mem) / PAGE;
	size_t n = 0;

	for (size_t i = first; i <= last; i++)
		n += seen[i / WORD_BITS] >> i % WORD_BITS & 1;
	return n;
}

static size_t pages_of(void *p, size_t size)
{
	return ((uintptr_t)p + size - 1) / PAGE - (uintptr_t)p / PAGE + 1;
}

/*
 * What was seen since every buffer has been used once: all that the device has
 * written, and nothing that it only reads.
 */
static void check_seen(struct __test_metadata *_metadata, struct client *c,
		       unsigned long *seen)
{
	size_t bufs = c->num * BUF_SIZE;
	size_t nr_words = c->mem_size / PAGE / WORD_BITS + 1;

	EXPECT_EQ(bufs / PAGE, pages_seen(c, seen, c->queue[RX].bufs, bufs));
	EXPECT_EQ(0, pages_seen(c, seen, c->queue[TX].bufs, bufs));
	for (int q = 0; q < NR_QUEUES; q++) {
		struct queue *queue = &c->queue[q];
		size_t size = client_part_size(c, USED);

		EXPECT_EQ(pages_of(queue->part[USED], size),
			  pages_seen(c, seen, queue->part[USED], size));
		EXPECT_EQ(0, pages_seen(c, seen, queue->part[DESC], PART_ROOM));
		EXPECT_EQ(0, pages_seen(c, seen, queue->part[AVAIL],
					PART_ROOM));
	}
	memset(seen, 0, nr_words * sizeof(*seen));
}

static int round_and_settle(void *client)
{
	struct client *c = client;

	return client_round(c, c->num) || client_settle(c) ? -1 : 0;
}

/* Move until the log of both queues is written through windows only. */
static int warm_up_log(struct client *c)
{
	struct warm_up warm_up = {
		.pid = getpid(),
		.first_queue = RX,
		.last_queue = TX,
		.first_part = LOG,
		.last_part = LOG,
		.round = round_and_settle,
		.client = c,
	};

	return queues_warm_up(&warm_up);
}

/* One packet, one bit; and a large log does not become memory. */
TEST_F_TIMEOUT(log, is_mirrored, TIMEOUT)
{
	struct client *c = &self->c;
	unsigned char *resident = malloc(c->log_size / PAGE);
	struct stats before, after;
	size_t n = 0;

	ASSERT_NE(NULL, resident);
	ASSERT_EQ(0, warm_up_log(c));
	for (int i = 0; i < ROUNDS; i++) {
		char *buf = c->queue[RX].bufs +
			    c->queue[RX].used_idx % c->num * BUF_SIZE;
		size_t size = c->num * BUF_SIZE;

		collect(c, c->log, self->seen);
		memset(self->seen, 0, self->nr_words * sizeof(*self->seen));
		ASSERT_EQ(0, stats_read(&before, getpid(), ANY, LOG));
		ASSERT_EQ(0, client_round(c, 1));
		ASSERT_EQ(0, client_settle(c));
		ASSERT_EQ(0, stats_read(&after, getpid(), ANY, LOG));
		EXPECT_LT(before.mirrored, after.mirrored);
		EXPECT_EQ(before.fallback, after.fallback);
		collect(c, c->log, self->seen);
		EXPECT_EQ(1, pages_seen(c, self->seen, buf, 1));
		EXPECT_EQ(1, pages_seen(c, self->seen, c->queue[RX].bufs,
					size));
	}
	ASSERT_EQ(0, mincore(c->log, c->log_size, resident));
	for (size_t i = 0; i < c->log_size / PAGE; i++)
		n += resident[i] & 1;
	EXPECT_GE(2, n);
	free(resident);
}

struct collector {
	struct disturber d;
	unsigned long *seen;
};

static void collect_once(struct disturber *d)
{
	struct collector *collector = (struct collector *)d;

	collect(d->c, d->c->log, collector->seen);
}

TEST_F_TIMEOUT(log, is_collected_under_traffic, TIMEOUT)
{
	struct client *c = &self->c;
	struct collector collector = { .seen = self->seen };
	struct stats before, after;

	ASSERT_EQ(0, warm_up_log(c));
	ASSERT_EQ(0, stats_read(&before, getpid(), ANY, LOG));
	for (int i = 0; i < ROUNDS; i++) {
		collector.d = (struct disturber) { };
		collect(c, c->log, self->seen);
		memset(self->seen, 0, self->nr_words * sizeof(*self->seen));
		ASSERT_EQ(0, disturber_start(&collector.d, c, collect_once));
		ASSERT_EQ(0, client_round(c, c->num));
		ASSERT_EQ(0, client_settle(c));
		disturber_stop(&collector.d);
		collect(c, c->log, self->seen);
		check_seen(_metadata, c, self->seen);
	}
	ASSERT_EQ(0, stats_read(&after, getpid(), ANY, LOG));
	EXPECT_LT(before.mirrored, after.mirrored);
	EXPECT_EQ(before.fallback, after.fallback);
}

/* Two logs in turn, each with a second view of its own. */
struct two_logs {
	struct disturber d;
	int fd[2];
	void *at[2];
	unsigned long *seen;
	int now;
	/* How to go over to the other one. */
	int (*change)(struct two_logs *two, int to);
};

static int open_logs(struct two_logs *two, struct client *c)
{
	for (int i = 0; i < 2; i++) {
		two->fd[i] = memfd_create("log", 0);
		if (two->fd[i] < 0)
			return -1;
		two->at[i] = client_alloc_log(c, two->fd[i]);
		if (!two->at[i])
			return -1;
	}
	return 0;
}

static void close_logs(struct two_logs *two, struct client *c)
{
	for (int i = 0; i < 2; i++) {
		munmap(two->at[i], c->log_size);
		close(two->fd[i]);
	}
}

/* Whether bits were set through a window since there had been so many. */
static bool mirrored_since(unsigned long mirrored)
{
	struct stats stats;

	return stats_read(&stats, getpid(), ANY, LOG) ||
	       stats.mirrored > mirrored;
}

/*
 * When the change is over, the old log is complete: but for an access by way of
 * uaccess that is under way, which has the old page pinned, window or not. The
 * next change comes when the new log has been written to through a window.
 */
static void change_logs(struct disturber *d)
{
	struct two_logs *two = (struct two_logs *)d;
	size_t offset = d->c->config.guest_base / PAGE / 8;
	size_t size = d->c->mem_size / PAGE / 8 + sizeof(long);
	int old = two->now;
	char *log = two->at[old];
	long long until, deadline;
	struct stats stats;

	if (two->change(two, !old) || client_settle(d->c) ||
	    stats_read(&stats, getpid(), ANY, LOG)) {
		d->failed++;
		return;
	}
	two->now = !old;
	collect(d->c, log, two->seen);
	until = now_ms() + 20;
	deadline = until + PATIENCE_MS;
	do {
		for (size_t i = 0; i < size; i++)
			if (log[offset + i]) {
				note("a bit in the old log, byte %zu", i);
				d->failed++;
			}
		sched_yield();
	} while (!d->failed && !d->stop && now_ms() < deadline &&
		 (now_ms() < until || !mirrored_since(stats.mirrored)));
	collect(d->c, two->at[!old], two->seen);
}

static void run_changes(struct __test_metadata *_metadata, struct client *c,
			struct two_logs *two)
{
	struct stats before, after;

	two->d = (struct disturber) { };
	ASSERT_EQ(0, stats_read(&before, getpid(), ANY, LOG));
	ASSERT_EQ(0, disturber_start(&two->d, c, change_logs));
	while (two->d.done < 2 * ROUNDS && !two->d.failed)
		ASSERT_EQ(0, client_round(c, c->num));
	disturber_stop(&two->d);
	ASSERT_EQ(0, client_settle(c));
	EXPECT_EQ(0, two->d.failed);
	collect(c, two->at[two->now], two->seen);
	check_seen(_metadata, c, two->seen);
	ASSERT_EQ(0, stats_read(&after, getpid(), ANY, LOG));
	EXPECT_LT(before.mirrored, after.mirrored);
}

static int set_other_base(struct two_logs *two, int to)
{
	uint64_t base = (uintptr_t)two->at[to];

	return ioctl(two->d.c->fd, VHOST_SET_LOG_BASE, &base);
}

TEST_F_TIMEOUT(log, is_moved_under_traffic, TIMEOUT)
{
	struct client *c = &self->c;
	struct two_logs two = { .change = set_other_base, .seen = self->seen };

	ASSERT_EQ(0, open_logs(&two, c));
	two.d.c = c;
	ASSERT_EQ(0, set_other_base(&two, 0));
	ASSERT_EQ(0, warm_up_log(c));
	memset(two.at[0], 0, c->log_size);
	run_changes(_metadata, c, &two);
	ASSERT_EQ(0, client_set_log(c, c->log));
	ASSERT_EQ(0, warm_up_log(c));
	close_logs(&two, c);
}

/*
 * A device that is started writes the used ring's flags before it runs the
 * queue, and so before it has asked where the log is now.
 */
TEST_F_TIMEOUT(log, starts_anew_elsewhere, TIMEOUT)
{
	struct client *c = &self->c;
	struct two_logs two = { .d.c = c };

	ASSERT_EQ(0, open_logs(&two, c));
	ASSERT_EQ(0, set_other_base(&two, 0));
	for (int i = 0; i < ROUNDS; i++) {
		int old = i % 2;

		ASSERT_EQ(0, warm_up_log(c));
		ASSERT_EQ(0, client_backend(c, false));
		collect(c, two.at[old], self->seen);
		memset(self->seen, 0, self->nr_words * sizeof(*self->seen));
		ASSERT_EQ(0, set_other_base(&two, !old));
		ASSERT_EQ(0, client_backend(c, true));
		collect(c, two.at[old], self->seen);
		EXPECT_EQ(0, pages_seen(c, self->seen, c->mem, c->mem_size));
		collect(c, two.at[!old], self->seen);
		for (int q = 0; q < NR_QUEUES; q++)
			EXPECT_EQ(1, pages_seen(c, self->seen,
						c->queue[q].part[USED], 1));
	}
	ASSERT_EQ(0, client_set_log(c, c->log));
	ASSERT_EQ(0, warm_up_log(c));
	close_logs(&two, c);
}

/* The address stays, and what is there becomes the other log. */
static int map_other_log(struct two_logs *two, int to)
{
	struct client *c = two->d.c;

	if (mmap(c->log, c->log_size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED | MAP_NORESERVE, two->fd[to], 0) !=
	    c->log)
		return -1;
	return 0;
}

TEST_F_TIMEOUT(log, is_replaced_under_traffic, TIMEOUT)
{
	struct client *c = &self->c;
	struct two_logs two = { .change = map_other_log, .seen = self->seen };
	struct stats before, after;

	ASSERT_EQ(0, open_logs(&two, c));
	two.d.c = c;
	ASSERT_NE(MAP_FAILED,
		  mmap(c->log, c->log_size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED | MAP_NORESERVE, two.fd[0], 0));
	ASSERT_EQ(0, warm_up_log(c));
	memset(c->log, 0, c->log_size);
	ASSERT_EQ(0, stats_read(&before, getpid(), ANY, LOG));
	run_changes(_metadata, c, &two);
	ASSERT_EQ(0, stats_read(&after, getpid(), ANY, LOG));
	EXPECT_LE(ROUNDS, after.drops - before.drops);
	close_logs(&two, c);
}

static void toggle_param(struct disturber *d)
{
	if (ring_mirror_set(d->done % 2))
		d->failed++;
	sched_yield();
}

TEST_F_TIMEOUT(log, survives_toggling, TIMEOUT)
{
	struct client *c = &self->c;
	struct disturber d;

	for (int i = 0; i < ROUNDS; i++) {
		d = (struct disturber) { };
		ASSERT_EQ(0, client_settle(c));
		collect(c, c->log, self->seen);
		memset(self->seen, 0, self->nr_words * sizeof(*self->seen));
		ASSERT_EQ(0, disturber_start(&d, c, toggle_param));
		ASSERT_EQ(0, client_round(c, c->num));
		disturber_stop(&d);
		EXPECT_EQ(0, d.failed);
		ASSERT_EQ(0, client_settle(c));
		collect(c, c->log, self->seen);
		check_seen(_metadata, c, self->seen);
	}
	ASSERT_EQ(0, ring_mirror_set(true));
	ASSERT_EQ(0, warm_up_log(c));
}

/* A migration that is started, and given up, again and again. */
TEST_F_TIMEOUT(log, is_switched_on_and_off, TIMEOUT)
{
	struct client *c = &self->c;
	void *log = c->log;
	struct stats before, after;

	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, client_set_log(c, NULL));
		collect(c, log, self->seen);
		memset(self->seen, 0, self->nr_words * sizeof(*self->seen));
		ASSERT_EQ(0, stats_read(&before, getpid(), ANY, LOG));
		ASSERT_EQ(0, client_round(c, c->num));
		ASSERT_EQ(0, client_settle(c));
		collect(c, log, self->seen);
		EXPECT_EQ(0, pages_seen(c, self->seen, c->mem, c->mem_size));
		ASSERT_EQ(0, stats_read(&after, getpid(), ANY, LOG));
		EXPECT_EQ(before.mirrored, after.mirrored);
		EXPECT_EQ(before.fallback, after.fallback);

		ASSERT_EQ(0, client_set_log(c, log));
		ASSERT_EQ(0, client_round(c, c->num));
		ASSERT_EQ(0, client_settle(c));
		collect(c, log, self->seen);
		check_seen(_metadata, c, self->seen);
		ASSERT_EQ(0, warm_up_log(c));
	}
}

int main(int argc, char **argv)
{
	const char *reason = why_skip();

	if (reason)
		ksft_exit_skip("%s\n", reason);
	return test_harness_run(argc, argv);
}
