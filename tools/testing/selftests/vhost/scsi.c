// SPDX-License-Identifier: GPL-2.0
/*
 * vhost_scsi's rings through windows. Its requests are completed by a work item
 * of their own, long after the descriptors were read, so what becomes of the
 * rings in between matters here more than elsewhere; and so do queues that
 * another worker takes over, which no other user of vhost can have.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/const.h>
#include <linux/virtio_scsi.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "../kselftest_harness.h"
#include "pages.h"
#include "scsi_client.h"

#define ROUNDS 12
#define TIMEOUT 300
/* Who need not wait has not come back by then. */
#define SOON_MS 500

#define EVENT_IDX _BITULL(VIRTIO_RING_F_EVENT_IDX)
#define HOTPLUG _BITULL(VIRTIO_SCSI_F_HOTPLUG)

FIXTURE(scsi)
{
	struct scsi s;
};

FIXTURE_VARIANT(scsi)
{
	uint64_t features;
};

FIXTURE_VARIANT_ADD(scsi, plain)
{
	.features = HOTPLUG,
};

FIXTURE_VARIANT_ADD(scsi, event_idx)
{
	.features = HOTPLUG | EVENT_IDX,
};

FIXTURE_SETUP(scsi)
{
	ASSERT_EQ(0, ring_mirror_set(true));
	ASSERT_EQ(0, scsi_target_make());
	ASSERT_EQ(0, scsi_open(&self->s, variant->features));
}

FIXTURE_TEARDOWN(scsi)
{
	scsi_close(&self->s);
	scsi_target_remove();
}

TEST_F_TIMEOUT(scsi, moves_data_through_windows, TIMEOUT)
{
	struct stats before[NR_PARTS], first, after;
	unsigned int n = 2 * SCSI_SLOTS * ROUNDS;
	struct scsi *s = &self->s;
	int tries = 8;

	ASSERT_EQ(0, scsi_inquire(s));
	/* What the kernel does to our memory of its own accord is not ours. */
	do {
		ASSERT_EQ(0, scsi_warm_up(s));
		ASSERT_EQ(0, stats_read(&first, getpid(), SCSI_IO, ANY));
		for (int p = 0; p < NR_PARTS; p++)
			ASSERT_EQ(0, stats_read(&before[p], getpid(), SCSI_IO,
						p));
		for (int i = 0; i < ROUNDS; i++)
			ASSERT_EQ(0, scsi_round(s));
		ASSERT_EQ(0, stats_read(&after, getpid(), SCSI_IO, ANY));
	} while (after.fills != first.fills && --tries);
	note("%lu drops, %lu fills meanwhile", after.drops - first.drops,
	     after.fills - first.fills);
	for (int p = 0; p < NR_PARTS; p++) {
		ASSERT_EQ(0, stats_read(&after, getpid(), SCSI_IO, p));
		ASSERT_EQ(1, after.lines);
		/* Three descriptors, one head, one used element. */
		EXPECT_LE(n, after.mirrored - before[p].mirrored);
		EXPECT_GE(n / 100, after.fallback - before[p].fallback);
	}
}

TEST_F_TIMEOUT(scsi, stays_on_uaccess_when_off, TIMEOUT)
{
	struct stats before, after;
	struct scsi *s = &self->s;

	ASSERT_EQ(0, scsi_warm_up(s));
	ASSERT_EQ(0, ring_mirror_set(false));
	ASSERT_EQ(0, scsi_settle(s));
	ASSERT_EQ(0, stats_read(&before, getpid(), ANY, ANY));
	ASSERT_EQ(0, scsi_inquire(s));
	ASSERT_EQ(0, scsi_round(s));
	ASSERT_EQ(0, stats_read(&after, getpid(), ANY, ANY));
	EXPECT_EQ(before.mirrored, after.mirrored);
	EXPECT_LT(before.fallback, after.fallback);
	ASSERT_EQ(0, ring_mirror_set(true));
	EXPECT_EQ(0, scsi_warm_up(s));
}

static void test_replacing(struct __test_metadata *_metadata, struct scsi *s,
			   int (*replace)(void *addr, size_t size))
{
	struct stats before[NR_PARTS], after;

	ASSERT_EQ(0, scsi_warm_up(s));
	for (int p = 0; p < NR_PARTS; p++)
		ASSERT_EQ(0, stats_read(&before[p], getpid(), SCSI_IO, p));
	for (int i = 0; i < ROUNDS; i++) {
		for (int p = 0; p < NR_PARTS; p++) {
			/* Nobody writes while the page is being copied. */
			ASSERT_EQ(0, scsi_settle(s));
			ASSERT_EQ(0, replace(s->queue[SCSI_IO].part[p], PAGE));
			ASSERT_EQ(0, scsi_round(s));
		}
	}
	for (int p = 0; p < NR_PARTS; p++) {
		ASSERT_EQ(0, stats_read(&after, getpid(), SCSI_IO, p));
		/* Live pages were hit, not only addresses. */
		EXPECT_LT(before[p].drops, after.drops);
	}
	EXPECT_EQ(0, scsi_warm_up(s));
}

TEST_F_TIMEOUT(scsi, pages_are_replaced, TIMEOUT)
{
	test_replacing(_metadata, &self->s, replace_pages);
}

TEST_F_TIMEOUT(scsi, rings_are_unmapped_and_mapped, TIMEOUT)
{
	test_replacing(_metadata, &self->s, unmap_and_map);
}

TEST_F_TIMEOUT(scsi, rings_are_moved_and_back, TIMEOUT)
{
	test_replacing(_metadata, &self->s, move_and_back);
}

/* The rings only: the disk's transfers have pages of their own pinned. */
static void toggle_exec(struct disturber *d)
{
	if (mprotect(d->mem, d->size, PROT_READ | PROT_WRITE | PROT_EXEC) ||
	    mprotect(d->mem, d->size, PROT_READ | PROT_WRITE))
		d->failed++;
}

TEST_F_TIMEOUT(scsi, rings_are_reprotected_under_traffic, TIMEOUT)
{
	struct stats before, after;
	struct scsi *s = &self->s;
	struct disturber d = {
		.mem = s->mem,
		.size = SCSI_NR_QUEUES * NR_PARTS * PART_ROOM,
	};

	ASSERT_EQ(0, scsi_warm_up(s));
	ASSERT_EQ(0, stats_read(&before, getpid(), SCSI_IO, ANY));
	ASSERT_EQ(0, disturber_start(&d, NULL, toggle_exec));
	do {
		ASSERT_EQ(0, scsi_round(s));
		ASSERT_EQ(0, stats_read(&after, getpid(), SCSI_IO, ANY));
	} while (after.drops_protection - before.drops_protection < ROUNDS);
	disturber_stop(&d);
	EXPECT_EQ(0, d.failed);
	EXPECT_EQ(0, scsi_warm_up(s));
}

/* An interrupt is wanted after @n requests that come back; 0: not before long. */
static void want_call(struct scsi *s, unsigned int n)
{
	struct queue *queue = &s->queue[SCSI_IO];
	struct vring_avail *avail = queue->part[AVAIL];

	if (s->features & EVENT_IDX)
		__atomic_store_n(&avail->ring[SCSI_NUM],
				 queue->used_idx + n - 1, __ATOMIC_SEQ_CST);
	else
		__atomic_store_n(&avail->flags,
				 n ? 0 : VRING_AVAIL_F_NO_INTERRUPT,
				 __ATOMIC_SEQ_CST);
}

/*
 * Whether to signal is read from the available ring, from the page that is there
 * when requests complete. It is done under the queue's mutex, so whoever has
 * seen the requests come back, and waits for that, knows.
 */
TEST_F_TIMEOUT(scsi, completion_signals, TIMEOUT)
{
	struct scsi *s = &self->s;
	struct queue *queue = &s->queue[SCSI_IO];
	struct stats before, after;
	uint64_t value;

	ASSERT_EQ(0, scsi_warm_up(s));
	ASSERT_EQ(0, stats_read(&before, getpid(), SCSI_IO, AVAIL));
	for (int i = 0; i < 4 * ROUNDS; i++) {
		bool want = i % 2;

		/* In every third round the window knows the page. */
		ASSERT_EQ(0, scsi_settle(s));
		if (i % 3)
			ASSERT_EQ(0, replace_pages(queue->part[AVAIL], PAGE));
		want_call(s, want ? SCSI_SLOTS : 0);
		if (read(queue->call, &value, sizeof(value)) < 0)
			ASSERT_EQ(EAGAIN, errno);
		ASSERT_EQ(0, scsi_send(s, i / 2 % 2 == 0));
		ASSERT_EQ(0, scsi_done(s));
		ASSERT_EQ(0, scsi_settle(s));
		ASSERT_EQ(want ? 8 : -1,
			  read(queue->call, &value, sizeof(value)));
	}
	ASSERT_EQ(0, stats_read(&after, getpid(), SCSI_IO, AVAIL));
	EXPECT_LT(before.mirrored, after.mirrored);
}

struct settler {
	struct disturber d;
	struct scsi *s;
};

static void settle(struct disturber *d)
{
	d->inside = true;
	if (scsi_settle(((struct settler *)d)->s))
		d->failed++;
}

/*
 * The worker is stopped twice, by pages that come when we say so: where the
 * request's response is written, and in the signal, which looks at the available
 * ring. Nobody gets the queue's mutex before that is over, or a window might be
 * closed under the worker.
 */
TEST_F_TIMEOUT(scsi, completion_signals_under_the_mutex, TIMEOUT)
{
	struct scsi *s = &self->s;
	struct queue *queue = &s->queue[SCSI_IO];
	struct settler settler = { .s = s };
	struct trap answer, avail;
	char copy[PAGE], zeroes[PAGE] = { };
	uint64_t value;

	ASSERT_EQ(0, scsi_warm_up(s));
	ASSERT_EQ(0, scsi_settle(s));
	want_call(s, 1);
	if (read(queue->call, &value, sizeof(value)) < 0)
		ASSERT_EQ(EAGAIN, errno);

	ASSERT_EQ(0, trap_set(&answer, s->extra));
	ASSERT_EQ(0, trap_set(&avail, queue->part[AVAIL]));
	ASSERT_EQ(0, scsi_ask(s, s->extra));
	/* From here on the request is not read any more, only completed. */
	ASSERT_EQ(0, trap_sprung(&answer));
	memcpy(copy, queue->part[AVAIL], PAGE);
	ASSERT_EQ(0, madvise(queue->part[AVAIL], PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, trap_release(&answer, zeroes));
	ASSERT_EQ(0, trap_sprung(&avail));

	ASSERT_EQ(0, disturber_start(&settler.d, NULL, settle));
	while (!settler.d.inside)
		sched_yield();
	usleep(SOON_MS * 1000);
	EXPECT_EQ(0, settler.d.done);
	EXPECT_EQ(-1, read(queue->call, &value, sizeof(value)));
	ASSERT_EQ(0, trap_release(&avail, copy));
	disturber_stop(&settler.d);
	EXPECT_EQ(0, settler.d.failed);
	EXPECT_EQ(8, read(queue->call, &value, sizeof(value)));
	ASSERT_EQ(0, scsi_done(s));
	close(answer.uffd);
	close(avail.uffd);
	EXPECT_EQ(0, scsi_warm_up(s));
}

TEST_F_TIMEOUT(scsi, other_queues_are_mirrored, TIMEOUT)
{
	long long deadline = now_ms() + PATIENCE_MS;
	struct scsi *s = &self->s;
	struct stats stats;
	bool all;

	do {
		ASSERT_EQ(0, scsi_control(s));
		for (int in = 1; in >= 0; in--) {
			ASSERT_EQ(0, scsi_want_event(s));
			ASSERT_EQ(0, scsi_target_plug(in));
			ASSERT_EQ(0, scsi_event(s, in));
		}
		all = true;
		for (int q = SCSI_CONTROL; q <= SCSI_EVENT; q++) {
			for (int p = 0; p < NR_PARTS; p++) {
				ASSERT_EQ(0, stats_read(&stats, getpid(), q,
							p));
				all = all && stats.mirrored;
			}
		}
	} while (!all && now_ms() < deadline);
	EXPECT_TRUE(all);
}

/* While requests of the one that had it are under way. */
TEST_F_TIMEOUT(scsi, queue_moves_between_workers, TIMEOUT)
{
	struct vhost_vring_worker first = { .index = SCSI_IO }, other = first;
	struct vhost_worker_state state = { };
	struct stats before, after;
	struct scsi *s = &self->s;

	ASSERT_EQ(0, scsi_warm_up(s));
	ASSERT_EQ(0, ioctl(s->fd, VHOST_GET_VRING_WORKER, &first));
	ASSERT_EQ(0, ioctl(s->fd, VHOST_NEW_WORKER, &state));
	other.worker_id = state.worker_id;
	ASSERT_EQ(0, stats_read(&before, getpid(), SCSI_IO, ANY));
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, scsi_send(s, true));
		ASSERT_EQ(0, ioctl(s->fd, VHOST_ATTACH_VRING_WORKER,
				   i % 2 ? &first : &other));
		ASSERT_EQ(0, scsi_done(s));
		ASSERT_EQ(0, scsi_round(s));
	}
	ASSERT_EQ(0, stats_read(&after, getpid(), SCSI_IO, ANY));
	EXPECT_LT(before.mirrored, after.mirrored);
	ASSERT_EQ(0, ioctl(s->fd, VHOST_ATTACH_VRING_WORKER, &first));
	ASSERT_EQ(0, ioctl(s->fd, VHOST_FREE_WORKER, &state));
	EXPECT_EQ(0, scsi_warm_up(s));
}

/* Whatever was under way has come back when the target is gone. */
TEST_F_TIMEOUT(scsi, target_leaves_in_mid_traffic, TIMEOUT)
{
	struct scsi *s = &self->s;

	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, scsi_warm_up(s));
		ASSERT_EQ(0, scsi_send(s, true));
		ASSERT_EQ(0, scsi_endpoint(s, false));
		ASSERT_EQ(0, scsi_endpoint(s, true));
		/* What had not been begun is begun now. */
		ASSERT_EQ(0, scsi_kick(s));
		ASSERT_EQ(0, scsi_done(s));
	}
}

TEST_F_TIMEOUT(scsi, closed_in_mid_traffic, TIMEOUT)
{
	struct stats before, after;
	struct scsi *s = &self->s;

	ASSERT_EQ(0, stats_read(&before, CLOSED, ANY, ANY));
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, scsi_warm_up(s));
		ASSERT_EQ(0, scsi_send(s, true));
		scsi_close(s);
		ASSERT_EQ(0, scsi_open(s, variant->features));
	}
	ASSERT_EQ(0, stats_read(&after, CLOSED, ANY, ANY));
	EXPECT_LT(before.mirrored, after.mirrored);
}

int main(int argc, char **argv)
{
	const char *reason = scsi_why_skip();

	if (reason)
		ksft_exit_skip("%s\n", reason);
	return test_harness_run(argc, argv);
}
