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
#include <linux/virtio_config.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "client.h"

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

/* Who and where is root's to know. */
TEST_F(tenant, debugfs_is_for_root)
{
	struct stat st;

	ASSERT_EQ(0, stat("/sys/kernel/debug/vhost_ring_mirror", &st));
	EXPECT_EQ(0400, st.st_mode & 07777);
	ASSERT_EQ(0, stat("/sys/kernel/debug/mmu_range_mirror", &st));
	EXPECT_EQ(0400, st.st_mode & 07777);
}

int main(int argc, char **argv)
{
	const char *reason = why_skip();

	if (reason)
		ksft_exit_skip("%s\n", reason);
	return test_harness_run(argc, argv);
}
