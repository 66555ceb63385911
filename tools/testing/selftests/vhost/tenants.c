// SPDX-License-Identifier: GPL-2.0
/*
 * One tenant at the cost of others: what vhost's windows take of memory, and for
 * how long one process can hold up another, or itself. What fills take of CPU time
 * is KUnit's to test.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/const.h>
#include <linux/if_tun.h>
#include <linux/mempolicy.h>
#include <linux/virtio_config.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "client.h"

/* Older C libraries do not have it. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define TIMEOUT 300
#define CGROUPS "/sys/fs/cgroup"
#define CGROUP CGROUPS "/tenant"
/* 32 TiB of guest memory that is not there, and a log of it that is not either. */
#define HOLE _BITULL(45)
#define LOG_AT _BITULL(40)

#define NR_DEVICES 32
/* Enough for each of their queues to hold up a worker of a queue of all. */
#define MANY_DEVICES 96

/* The number after @key in @file, or @file's only one; or -1. */
static long field(const char *file, const char *key)
{
	FILE *f = fopen(file, "r");
	char line[256];
	long value = -1;

	if (!f)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			value = strtol(line + strlen(key), NULL, 10);
	fclose(f);
	return value;
}

static int put_text(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

static const char *cgroup_make(void)
{
	mkdir(CGROUPS, 0755);
	if (access(CGROUPS "/cgroup.procs", F_OK))
		mount("cgroup2", CGROUPS, "cgroup2", 0, NULL);
	put_text(CGROUPS "/cgroup.subtree_control", "+memory");
	mkdir(CGROUP, 0755);
	if (access(CGROUP "/memory.max", F_OK))
		return "no memory cgroups of version 2";
	return NULL;
}

/* Devices that are set up and kicked, with no driver behind. */
struct crowd {
	int nr;
	int tap;
	char *rings;
	int fd[MANY_DEVICES];
	int kick[MANY_DEVICES * NR_QUEUES];
};

static size_t crowd_room(int nr)
{
	return nr * NR_QUEUES * 4 * PAGE;
}

static int crowd_open_device(struct crowd *crowd, int i, bool logged)
{
	uint64_t features = 1ULL << VIRTIO_F_VERSION_1;
	uint64_t base = LOG_AT;
	struct mem_table table;
	int fd;

	fd = open("/dev/vhost-net", O_RDWR);
	if (fd < 0 || ioctl(fd, VHOST_SET_OWNER))
		return -1;
	crowd->fd[i] = fd;
	if (logged) {
		features |= 1ULL << VHOST_F_LOG_ALL;
		mem_table_init(&table, 0, PAGE, HOLE);
		if (ioctl(fd, VHOST_SET_MEM_TABLE, &table) ||
		    ioctl(fd, VHOST_SET_LOG_BASE, &base))
			return -1;
	} else if (mem_table_set(fd, 0, crowd->rings, crowd_room(crowd->nr))) {
		return -1;
	}
	if (ioctl(fd, VHOST_SET_FEATURES, &features))
		return -1;
	for (int q = 0; q < NR_QUEUES; q++) {
		char *r = crowd->rings + (i * NR_QUEUES + q) * 4 * PAGE;
		struct queue queue = { .part = { r, r + PAGE, r + 2 * PAGE } };
		struct vhost_vring_addr addr = {
			.index = q,
			.desc_user_addr = (uintptr_t)r,
			.avail_user_addr = (uintptr_t)r + PAGE,
			.used_user_addr = (uintptr_t)r + 2 * PAGE,
			.flags = logged ? 1 << VHOST_VRING_F_LOG : 0,
		};
		struct vhost_vring_file backend = {
			.index = q,
			.fd = crowd->tap,
		};

		queue_open(&queue, q);
		if (queue_set_up(fd, &queue, 16, &addr) ||
		    ioctl(fd, VHOST_NET_SET_BACKEND, &backend))
			return -1;
		crowd->kick[i * NR_QUEUES + q] = queue.kick;
		close(queue.call);
	}
	return 0;
}

/* The rings are at @rings, or wherever there is room. */
static int crowd_open(struct crowd *crowd, int nr, bool logged, char *rings)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	struct rlimit files = { 4096, 4096 };
	int size = 12;

	setrlimit(RLIMIT_NOFILE, &files);
	crowd->nr = nr;
	crowd->tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
	if (crowd->tap < 0 || ioctl(crowd->tap, TUNSETIFF, &ifr) ||
	    ioctl(crowd->tap, TUNSETVNETHDRSZ, &size))
		return -1;
	crowd->rings = mmap(rings, crowd_room(nr), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE |
			    (rings ? MAP_FIXED : 0), -1, 0);
	if (crowd->rings == MAP_FAILED)
		return -1;
	for (int i = 0; i < nr; i++)
		if (crowd_open_device(crowd, i, logged))
			return -1;
	return 0;
}

static void crowd_kick(struct crowd *crowd)
{
	uint64_t one = 1;

	for (int i = 0; i < crowd->nr * NR_QUEUES; i++)
		if (write(crowd->kick[i], &one, sizeof(one)) < 0)
			return;
}

static void crowd_close(struct crowd *crowd)
{
	for (int i = 0; i < crowd->nr; i++) {
		close(crowd->fd[i]);
		for (int q = 0; q < NR_QUEUES; q++)
			close(crowd->kick[i * NR_QUEUES + q]);
	}
	close(crowd->tap);
	munmap(crowd->rings, crowd_room(crowd->nr));
}

/* One invalidation that hits the rings of many queues: they fill a huge page. */
#define HUGE (2UL << 20)
#define NR_PAIRS (HUGE / (NR_QUEUES * 4 * PAGE))
#define NR_BUSY 8
#define NR_ROUNDS 3
#define PACKETS 8

static void *crowd_part(struct crowd *crowd, int i, enum part part)
{
	return crowd->rings + (i * NR_QUEUES + TX) * 4 * PAGE + part * PAGE;
}

/* All of device @i's packets are one, which is behind its ring parts. */
static void crowd_prepare(struct crowd *crowd, int i)
{
	char *packet = crowd_part(crowd, i, NR_PARTS);
	struct vring_avail *avail = crowd_part(crowd, i, AVAIL);
	struct vring_desc *desc = crowd_part(crowd, i, DESC);

	for (int slot = 0; slot < 16; slot++) {
		desc[slot].addr = packet - crowd->rings;
		desc[slot].len = client_make_packet(packet, 0);
		avail->ring[slot] = slot;
	}
}

static bool crowd_is_idle(struct crowd *crowd, int i)
{
	struct vring_avail *avail = crowd_part(crowd, i, AVAIL);
	struct vring_used *used = crowd_part(crowd, i, USED);

	return __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == avail->idx;
}

static void crowd_send(struct crowd *crowd, int i, unsigned int n)
{
	struct vring_avail *avail = crowd_part(crowd, i, AVAIL);
	uint64_t one = 1;

	__atomic_store_n(&avail->idx, avail->idx + n, __ATOMIC_SEQ_CST);
	if (write(crowd->kick[i * NR_QUEUES + TX], &one, sizeof(one)) < 0)
		note("kick: %s", strerror(errno));
}

struct crowd_driver {
	pthread_t thread;
	struct crowd *crowd;
	atomic_bool hold, held;
	atomic_bool stop;
};

/* Has the first NR_BUSY devices send all the time. */
static void *crowd_drive(void *arg)
{
	struct crowd_driver *driver = arg;

	while (!driver->stop) {
		driver->held = driver->hold;
		for (int i = 0; i < NR_BUSY && !driver->held; i++)
			if (crowd_is_idle(driver->crowd, i))
				crowd_send(driver->crowd, i, PACKETS);
		sched_yield();
	}
	return NULL;
}

/* What the windows of this process, and their domains, have seen. */
struct crowd_sum {
	unsigned long mapped;
	unsigned long domains;
	unsigned long waits;
	unsigned long interrupts;
};

static unsigned long crowd_number(const char *line, const char *key)
{
	const char *at = strstr(line, key);

	return at ? strtoul(at + strlen(key), NULL, 0) : 0;
}

static int crowd_sum(struct crowd_sum *sum)
{
	FILE *f = fopen("/sys/kernel/debug/mmu_range_mirror", "r");
	unsigned long seen[NR_PAIRS * NR_QUEUES * NR_PARTS];
	char line[512];

	memset(sum, 0, sizeof(*sum));
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, " domain=");
		unsigned long domain, i;

		if (!at || crowd_number(line, " pid=") != (unsigned long)getpid())
			continue;
		sum->mapped += crowd_number(line, " mapped=");
		domain = strtoul(at + strlen(" domain="), NULL, 16);
		for (i = 0; i < sum->domains && seen[i] != domain; i++)
			;
		if (i < sum->domains || i == NR_PAIRS * NR_QUEUES * NR_PARTS)
			continue;
		seen[sum->domains++] = domain;
		sum->waits += crowd_number(line, " waits=");
		sum->interrupts += crowd_number(line, " interrupts=");
	}
	fclose(f);
	return 0;
}

/* Every queue that sends has just read all parts of its ring, and has them mapped. */
static int crowd_warm_up(struct crowd *crowd)
{
	long long end = now_ms() + PATIENCE_MS;
	struct crowd_sum sum;

	do {
		for (int i = NR_BUSY; i < crowd->nr; i++)
			if (crowd_is_idle(crowd, i))
				crowd_send(crowd, i, 1);
		usleep(20000);
		if (crowd_sum(&sum))
			return -1;
	} while (sum.mapped < (unsigned long)crowd->nr * NR_PARTS &&
		 now_ms() < end);
	for (int i = NR_BUSY; i < crowd->nr; i++)
		while (!crowd_is_idle(crowd, i) && now_ms() < end)
			usleep(1000);
	return now_ms() < end ? 0 : -1;
}

/*
 * All have just read, and nobody does now. An access that missed while the invalidation
 * goes on would have its page mapped again, and that takes a wait of its own.
 */
static int crowd_hold(struct crowd_driver *driver)
{
	long long end = now_ms() + PATIENCE_MS;

	driver->hold = true;
	while (!driver->held && now_ms() < end)
		usleep(1000);
	for (int i = 0; i < NR_BUSY; i++)
		while (!crowd_is_idle(driver->crowd, i) && now_ms() < end)
			usleep(1000);
	/* What has been missed is being mapped. */
	usleep(100000);
	return now_ms() < end ? 0 : -1;
}

static int hit_protect(char *rings, int round)
{
	return mprotect(rings, HUGE, PROT_READ | PROT_WRITE |
			(round & 1 ? 0 : PROT_EXEC));
}

static int hit_collapse(char *rings, int round)
{
	(void)round;
	return madvise(rings, HUGE, MADV_COLLAPSE);
}

/* Of a huge page, which moves as one. */
static int hit_migrate(char *rings, int round)
{
	int node = !(round & 1), status = -1;
	void *page = rings;

	if (syscall(__NR_move_pages, 0, 1UL, &page, &node, &status, MPOL_MF_MOVE))
		return -1;
	return status == node ? 0 : -1;
}

/* What is hit is one ring's, the first busy one's. */
static int hit_page(char *rings, int round)
{
	return mprotect(rings + (TX * 4 + AVAIL) * PAGE, PAGE, PROT_READ |
			PROT_WRITE | (round & 1 ? 0 : PROT_EXEC));
}

/* So that it can be made a huge page again. */
static int split(char *rings)
{
	return mprotect(rings + HUGE - PAGE, PAGE, PROT_READ) ||
	       mprotect(rings + HUGE - PAGE, PAGE, PROT_READ | PROT_WRITE);
}

/**
 * struct hit - one way to hit all rings at once, and what came of it
 * @name: of it
 * @hit: does it
 * @splits: it makes a huge page, which has to be taken apart before
 * @done: how often it took pages away
 * @pages: that were mapped before
 * @domains: that the windows are in
 * @waits: of all rounds
 * @least_waits: of a round
 * @least: interrupts of a round
 * @most: interrupts of a round
 * @least_ns: a round took
 * @most_ns: a round took
 */
struct hit {
	const char *name;
	int (*hit)(char *rings, int round);
	bool splits;
	unsigned int done;
	unsigned long pages, domains, waits, least_waits, least, most;
	long long least_ns, most_ns;
};

static long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static int hit_once(struct crowd_driver *driver, struct hit *hit, int round)
{
	struct crowd *crowd = driver->crowd;
	struct crowd_sum before, after;
	unsigned long interrupts;
	long long ns;
	int ret;

	if (hit->splits && split(crowd->rings))
		return -1;
	if (crowd_warm_up(crowd) || crowd_hold(driver) || crowd_sum(&before))
		return -1;
	ns = now_ns();
	ret = hit->hit(crowd->rings, round);
	ns = now_ns() - ns;
	driver->hold = false;
	if (crowd_sum(&after))
		return -1;
	/* What took no page away was no hit. */
	if (ret || after.waits == before.waits)
		return 0;
	if (!hit->done || after.waits - before.waits < hit->least_waits)
		hit->least_waits = after.waits - before.waits;
	interrupts = after.interrupts - before.interrupts;
	if (!hit->done || interrupts < hit->least)
		hit->least = interrupts;
	if (interrupts > hit->most)
		hit->most = interrupts;
	if (!hit->done || ns < hit->least_ns)
		hit->least_ns = ns;
	if (ns > hit->most_ns)
		hit->most_ns = ns;
	hit->waits += after.waits - before.waits;
	hit->pages = before.mapped;
	hit->domains = before.domains;
	hit->done++;
	return 0;
}

/* A long munmap(): the same memory, mapped so often. */
#define BIG (64UL << 20)
#define COPIES 96

static char *big_map(size_t room)
{
	size_t size = BIG * COPIES;
	char *all = mmap(NULL, size + room, PROT_NONE, MAP_PRIVATE |
			 MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int fd = memfd_create("big", 0);

	if (all == MAP_FAILED || fd < 0 || ftruncate(fd, BIG))
		return NULL;
	for (int i = 0; i < COPIES; i++)
		if (mmap(all + i * BIG, BIG, PROT_READ | PROT_WRITE, MAP_FIXED |
			 MAP_SHARED | MAP_POPULATE, fd, 0) == MAP_FAILED)
			return NULL;
	close(fd);
	return all;
}

struct unmapper {
	pthread_t thread;
	char *all;
	size_t size;
	long long ms;
	atomic_bool begun;
	atomic_bool done;
};

static void *unmap(void *arg)
{
	struct unmapper *u = arg;
	long long began = now_ms();

	u->begun = true;
	munmap(u->all, u->size);
	u->ms = now_ms() - began;
	u->done = true;
	return NULL;
}

FIXTURE(tenant)
{
	struct crowd crowd;
	struct client c;
};

FIXTURE_SETUP(tenant)
{
}

FIXTURE_TEARDOWN(tenant)
{
	mem_mirror_set(true);
	put_text(CGROUPS "/cgroup.procs", "0");
	rmdir(CGROUP);
}

/* What the windows of a process take is its cgroup's, and not much. */
TEST_F_TIMEOUT(tenant, memory_is_charged, TIMEOUT)
{
	struct crowd *crowd = &self->crowd;
	const char *why = cgroup_make();
	long free_kib, kernel_kib;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, put_text(CGROUP "/cgroup.procs", "0"));
	ASSERT_EQ(0, crowd_open(crowd, NR_DEVICES, true, NULL));
	free_kib = field("/proc/meminfo", "MemFree:");
	kernel_kib = field(CGROUP "/memory.stat", "kernel ") / 1024;
	crowd_kick(crowd);
	/* Every part of every queue, and the log. */
	for (int i = 0; i < PATIENCE_MS / 100 &&
	     stats_number(getpid(), ANY, ANY, " pages=") <
	     NR_DEVICES * NR_QUEUES * (3 + (1L << 18)); i++)
		usleep(100000);
	EXPECT_LE(NR_DEVICES * NR_QUEUES * (3 + (1L << 18)),
		  stats_number(getpid(), ANY, ANY, " pages="));
	free_kib -= field("/proc/meminfo", "MemFree:");
	kernel_kib = field(CGROUP "/memory.stat", "kernel ") / 1024 - kernel_kib;
	note("%d devices: %ld KiB of memory, %ld KiB of it charged", NR_DEVICES,
	     free_kib, kernel_kib);
	/* Three windows for each queue, one for the log, of 1 to 5 KiB each. */
	EXPECT_LE(NR_DEVICES * (NR_QUEUES * 3 + 4), kernel_kib);
	/* What is not, is the rest of pages, and what others do. */
	EXPECT_GE(NR_DEVICES * 512, free_kib);
	crowd_close(crowd);
}

/* Chunks whose windows are more than a full cgroup has memory for. */
#define NR_CHUNKS 120
#define SLACK (256L << 10)

static int send_tables(struct client *c, int nr_chunks)
{
	for (int i = 0; i < nr_chunks; i++) {
		client_put_table(c, 2, c->extra + i * CHUNK);
		if (queue_publish(&c->queue[TX]) || client_sent(c, 1))
			return -1;
	}
	return 0;
}

static void poor(int ready, int go)
{
	struct client_config config = {
		.features = 1ULL << VIRTIO_RING_F_INDIRECT_DESC,
		.extra = NR_CHUNKS * CHUNK,
	};
	struct pollfd stop = { .fd = go, .events = POLLIN };
	static struct client c;
	char byte = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (client_open(&c, &config))
		_exit(1);
	for (int i = 0; i < NR_CHUNKS; i++)
		memset(c.extra + i * CHUNK, 0, PAGE);
	if (client_warm_up(&c) || send_tables(&c, 1))
		_exit(2);
	if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 1)
		_exit(3);
	/* Openings are apart, and what has failed rests for a second. */
	while (!poll(&stop, 1, 10))
		if (send_tables(&c, NR_CHUNKS))
			_exit(4);
	_exit(0);
}

/* Until the cgroup was full, or nobody is left in it; and for two seconds more. */
static void await_full(pid_t pid)
{
	long long end = now_ms() + PATIENCE_MS;
	siginfo_t info = { };

	while (field(CGROUP "/memory.events", "max ") < 1 && now_ms() < end &&
	       !waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
	       !info.si_pid)
		usleep(10000);
	sleep(2);
}

/* Without memory for windows there is uaccess, and nobody is killed for them. */
TEST_F_TIMEOUT(tenant, nobody_is_killed_for_windows, TIMEOUT)
{
	int ready[2], go[2], status = -1;
	const char *why = cgroup_make();
	char text[32], byte = 0;
	pid_t pid;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	put_text(CGROUP "/memory.swap.max", "0");
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (put_text(CGROUP "/cgroup.procs", "0"))
			_exit(5);
		poor(ready[1], go[0]);
	}
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	snprintf(text, sizeof(text), "%ld", field(CGROUP "/memory.current", "") + SLACK);
	ASSERT_EQ(0, put_text(CGROUP "/memory.max", text));
	ASSERT_EQ(1, write(go[1], &byte, 1));
	await_full(pid);
	ASSERT_EQ(1, write(go[1], &byte, 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_LT(0, field(CGROUP "/memory.events", "max "));
	EXPECT_EQ(0, field(CGROUP "/memory.events", "oom_kill "));
	put_text(CGROUP "/memory.max", "max");
}

static void attacker(struct crowd *crowd, int ready, int go)
{
	struct unmapper u = { .size = BIG * COPIES + crowd_room(MANY_DEVICES) };
	char byte = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	u.all = big_map(crowd_room(MANY_DEVICES));
	if (!u.all || crowd_open(crowd, MANY_DEVICES, false, u.all + BIG * COPIES))
		_exit(1);
	for (int i = 0; i < 20; i++) {
		crowd_kick(crowd);
		usleep(100000);
	}
	if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 1)
		_exit(1);
	pthread_create(&u.thread, NULL, unmap, &u);
	while (!u.done)
		crowd_kick(crowd);
	if (write(ready, &u.ms, sizeof(u.ms)) != sizeof(u.ms))
		_exit(1);
	_exit(0);
}

static long long refill(struct __test_metadata *_metadata, struct client *c)
{
	void *ring = c->queue[TX].part[DESC];
	long long began = now_ms();

	ASSERT_EQ(0, mprotect(ring, PAGE, PROT_READ));
	ASSERT_EQ(0, mprotect(ring, PAGE, PROT_READ | PROT_WRITE));
	do {
		ASSERT_EQ(0, client_round(c, 8));
	} while (stats_number(getpid(), TX, DESC, " mapped=") < 1 &&
		 now_ms() - began < PATIENCE_MS);
	return now_ms() - began;
}

/* The windows of one process wait for its munmap(), those of others do not. */
TEST_F_TIMEOUT(tenant, refills_of_others_go_on, TIMEOUT)
{
	struct client_config config = { };
	struct client *c = &self->c;
	long long idle, busy, unmapped;
	int ready[2], go[2], status;
	char byte = 0;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		attacker(&self->crowd, ready[1], go[0]);
	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_warm_up(c));
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	idle = refill(_metadata, c);
	ASSERT_EQ(1, write(go[1], &byte, 1));
	usleep(200000);
	busy = refill(_metadata, c);
	ASSERT_EQ((ssize_t)sizeof(unmapped),
		  read(ready[0], &unmapped, sizeof(unmapped)));
	note("a refill takes %lld ms, and %lld ms during another's munmap() of %lld ms",
	     idle, busy, unmapped);
	EXPECT_GT(unmapped / 2, busy);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	client_close(c);
}

/* Nor does a close wait for a munmap() of something else, as plain vhost's. */
TEST_F_TIMEOUT(tenant, close_is_not_held_up, TIMEOUT)
{
	struct client_config config = { };
	struct client *c = &self->c;
	struct unmapper u = { .size = BIG * COPIES };
	long long began, ms;
	void *ring;

	u.all = big_map(0);
	ASSERT_NE(NULL, u.all);
	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_warm_up(c));
	ring = c->queue[TX].part[DESC];
	ASSERT_EQ(0, pthread_create(&u.thread, NULL, unmap, &u));
	while (!u.begun)
		;
	usleep(20000);
	/* The windows are hit while it goes on. */
	ASSERT_EQ(0, madvise(ring, PAGE, MADV_DONTNEED));
	began = now_ms();
	ASSERT_EQ(0, ioctl(c->fd, VHOST_RESET_OWNER));
	ms = now_ms() - began;
	EXPECT_FALSE(u.done);
	ASSERT_EQ(0, pthread_join(u.thread, NULL));
	note("VHOST_RESET_OWNER took %lld ms of a munmap() of %lld ms", ms, u.ms);
	EXPECT_GT(u.ms / 2, ms);
	EXPECT_EQ(0, stats_gone(getpid()));
	client_close(c);
}

/* Hit the rings of all queues, with caches of guest memory there or without. */
static void hit_all(struct __test_metadata *_metadata, struct crowd *crowd,
		    bool caches)
{
	struct hit hits[] = {
		{ .name = "mprotect() of all", .hit = hit_protect },
		{ .name = "MADV_COLLAPSE", .hit = hit_collapse, .splits = true },
		{ .name = "migration of all", .hit = hit_migrate },
		{ .name = "mprotect() of one page", .hit = hit_page },
	};
	unsigned long others = sysconf(_SC_NPROCESSORS_ONLN) - 1;
	struct crowd_driver driver = { .crowd = crowd };
	struct stats stats;
	char *rings;

	rings = mmap(NULL, 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, rings);
	ASSERT_EQ(0, mem_mirror_set(caches));
	rings = (char *)(((uintptr_t)rings + HUGE - 1) & ~(HUGE - 1));
	ASSERT_EQ(0, crowd_open(crowd, NR_PAIRS, false, rings));
	for (int i = 0; i < crowd->nr; i++)
		crowd_prepare(crowd, i);
	crowd_kick(crowd);
	ASSERT_EQ(0, pthread_create(&driver.thread, NULL, crowd_drive, &driver));
	for (size_t h = 0; h < sizeof(hits) / sizeof(*hits); h++) {
		struct hit *hit = &hits[h];

		for (int round = 0; round < NR_ROUNDS; round++)
			ASSERT_EQ(0, hit_once(&driver, hit, round));
		if (!hit->done) {
			note("%s: not here", hit->name);
			continue;
		}
		note("%s: %lu pages, %lu domains, %lu to %lu interrupts",
		     hit->name, hit->pages, hit->domains, hit->least,
		     hit->most);
		note("... in %lu waits of %u calls, %lld to %lld us each",
		     hit->waits, hit->done, hit->least_ns / 1000,
		     hit->most_ns / 1000);
		EXPECT_EQ(1, hit->domains);
		EXPECT_GE(others, hit->least);
		/* CPUs that read no more are interrupted once, however many wait. */
		EXPECT_EQ(1, hit->least_waits);
	}
	EXPECT_LT(0, hits[0].done);
	ASSERT_EQ(0, stats_read(&stats, getpid(), ANY, ANY));
	note("the longest wait: %lu us", stats.worst_wait_ns / 1000);
	driver.stop = true;
	ASSERT_EQ(0, pthread_join(driver.thread, NULL));
	crowd_close(crowd);
}

/*
 * However many queues an invalidation hits, it waits once, and interrupts each CPU
 * that reads at most once.
 */
TEST_F_TIMEOUT(tenant, rings_are_hit_together, TIMEOUT)
{
	hit_all(_metadata, &self->crowd, false);
}

/* The devices share a cache, in the domain of the rings. */
TEST_F_TIMEOUT(tenant, caches_are_hit_together, TIMEOUT)
{
	hit_all(_metadata, &self->crowd, true);
}

/* A cgroup that has nothing, and gets nothing. */
#define POOR CGROUPS "/poor"
#define KICKS 200

static void kick_often(struct client *c)
{
	uint64_t one = 1;

	for (int i = 0; i < KICKS; i++) {
		if (write(c->queue[TX].kick, &one, sizeof(one)) != sizeof(one))
			_exit(1);
		usleep(5000);
	}
}

/*
 * The device's process, which has no memory by the time that the queue first runs. What
 * it would need for that is another's: of @result, how often it was refused some.
 */
static void without_memory(int result)
{
	struct client_config config = { };
	static struct client c;
	char owner[32], byte;
	int still[2];
	long refused;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(owner, sizeof(owner), "%d", getpid());
	/* Nothing of it is to be copied, or looked at elsewhere. */
	if (ring_mirror_set(false) || client_open(&c, &config) ||
	    madvise(c.mem, c.mem_size, MADV_DONTFORK) || pipe(still))
		_exit(1);
	if (fork()) {
		if (write(still[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(still[0], &byte, 1) != 1)
		_exit(1);
	if (put_text(POOR "/memory.max", "0") ||
	    put_text(POOR "/cgroup.procs", owner) || ring_mirror_set(true))
		_exit(1);
	kick_often(&c);
	refused = field(POOR "/memory.events", "max ");
	if (write(result, &refused, sizeof(refused)) != sizeof(refused))
		_exit(1);
	_exit(0);
}

/* Each refusal may take the reclaim of a cgroup, in the queue's run. */
TEST_F_TIMEOUT(tenant, memory_is_asked_for_seldom, TIMEOUT)
{
	const char *why = cgroup_make();
	int result[2], status;
	long refused = -1;
	pid_t pid;

	if (why)
		SKIP(return, "%s", why);
	mkdir(POOR, 0755);
	ASSERT_EQ(0, pipe(result));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(result[0]);
		without_memory(result[1]);
	}
	close(result[1]);
	EXPECT_EQ((ssize_t)sizeof(refused),
		  read(result[0], &refused, sizeof(refused)));
	ring_mirror_set(true);
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	note("%d kicks without memory: refused %ld times", KICKS, refused);
	EXPECT_LE(1, refused);
	EXPECT_GE(KICKS / 2, refused);
	while (rmdir(POOR) && errno == EBUSY)
		usleep(10000);
}

/* Who has called mmu_mirror_queue_get(), by thread. */
#define TRACING	"/sys/kernel/tracing/"
#define PROBE	TRACING "events/vhost_tenants/queue/"
#define HIST	"hist:keys=common_pid"

static const char *probe_on(void)
{
	if (access(TRACING "kprobe_events", F_OK) &&
	    mount("tracefs", TRACING, "tracefs", 0, NULL))
		return "no tracefs";
	if (put_text(TRACING "kprobe_events",
		     "p:vhost_tenants/queue mmu_mirror_queue_get"))
		return "no probe of mmu_mirror_queue_get()";
	if (put_text(PROBE "trigger", HIST))
		return "the kernel has no histograms of events";
	return NULL;
}

static void probe_off(void)
{
	put_text(PROBE "trigger", "!" HIST);
	put_text(TRACING "kprobe_events", "-:vhost_tenants/queue");
}

/* How many threads did, and of them those of this process. */
static int probe_threads(int *own)
{
	FILE *hist = fopen(PROBE "hist", "r");
	char line[256], task[64], *key;
	int nr = 0;

	*own = 0;
	while (hist && fgets(line, sizeof(line), hist)) {
		key = strstr(line, "{ common_pid:");
		if (!key)
			continue;
		nr++;
		snprintf(task, sizeof(task), "/proc/self/task/%d",
			 atoi(key + strlen("{ common_pid:")));
		*own += !access(task, F_OK);
	}
	if (hist)
		fclose(hist);
	return nr;
}

/*
 * A workqueue is made under a lock of the whole system, whose holder a cgroup may
 * throttle: a queue's run does not wait for it.
 */
TEST_F_TIMEOUT(tenant, queues_are_made_elsewhere, TIMEOUT)
{
	struct client_config config = { };
	struct client *c = &self->c;
	const char *why;
	int nr, own;

	/* To be opened is to run. */
	why = probe_on();
	if (why) {
		probe_off();
		SKIP(return, "%s", why);
	}
	EXPECT_EQ(0, client_open(c, &config));
	EXPECT_EQ(0, client_warm_up(c));
	nr = probe_threads(&own);
	probe_off();
	EXPECT_LE(1, nr);
	EXPECT_EQ(0, own);
	client_close(c);
}

/*
 * Who and where is root's to know. To seek would be to format all of a file in one hold
 * of a lock.
 */
TEST_F(tenant, debugfs_is_for_root)
{
	static const char *const files[] = {
		"/sys/kernel/debug/vhost_ring_mirror",
		"/sys/kernel/debug/mmu_range_mirror",
	};
	struct stat st;
	char c;
	int fd;

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		ASSERT_EQ(0, stat(files[i], &st));
		EXPECT_EQ(0400, st.st_mode & 07777);
		fd = open(files[i], O_RDONLY);
		ASSERT_LE(0, fd);
		EXPECT_EQ(-1, pread(fd, &c, 1, 1));
		EXPECT_EQ(ESPIPE, errno);
		EXPECT_EQ(-1, lseek(fd, 1, SEEK_SET));
		EXPECT_EQ(ESPIPE, errno);
		EXPECT_LE(0, read(fd, &c, 1));
		close(fd);
	}
}

int main(int argc, char **argv)
{
	const char *reason = why_skip();

	if (reason)
		ksft_exit_skip("%s\n", reason);
	return test_harness_run(argc, argv);
}
