// SPDX-License-Identifier: GPL-2.0
/*
 * Hostile programs against vhost devices; see fuzz.h.
 *
 * What makes two runs comparable:
 * - The process that runs a program and the device's worker are on one CPU, and
 *   the process goes first (SCHED_FIFO), so what a driver does in one operation
 *   is in one piece to the worker. Where it is not, since the process slept over
 *   a lock or its CPU did not exist for a second, the run is torn, and repeated.
 * - After each operation it waits until the worker is idle: an ioctl of the
 *   device that is refused still flushes the worker, and the worker's state is
 *   in /proc. A worker that goes on for ever (vhost-net does, over a packet to
 *   send that it cannot read) is stopped, and that is one of the results.
 * - Everything is mapped at fixed addresses.
 * - Its own accesses to rings are system calls, so none of them kills it.
 *
 * Left out is what follows the clock: busy polling.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_packet.h>
#include <linux/vhost.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz_run.h"

#ifndef __NR_memfd_secret
#define __NR_memfd_secret 447
#endif
#ifndef __NR_pidfd_open
#define __NR_pidfd_open 434
#endif

/* Below one MiB and nobody's; its contents survive a run, so it is filled. */
#define DEVICE_AT 0xd0000
#define HOST_PORT 1234
/*
 * Flushes after which the worker must have come to rest, and those in a row. It
 * takes 256 entries of a ring at a time, and there are 32768 at most.
 */
#define MAX_FLUSHES 160
#define IDLE_FLUSHES 2
/* Time for windows to be opened and filled meanwhile. */
#define BREATH_US 500
#define HUGEPAGES "/proc/sys/vm/nr_hugepages"
#define EXPEDITED "/sys/kernel/rcu_expedited"

unsigned int fuzz_nr_ops(uint64_t seed)
{
	return 12 + mix(seed, 1001) % (FUZZ_MAX_OPS - 12 + 1);
}

bool fuzz_is_vsock(const struct fuzz_site *site, uint64_t seed)
{
	return site->vsock && mix(seed, 1002) % 4 == 0;
}

/* What is said and seen. */

void say(struct run *r, const char *fmt, ...)
{
	char *what = r->record->what;
	size_t len = strlen(what);
	va_list args;

	va_start(args, fmt);
	vsnprintf(what + len, sizeof(r->record->what) - len, fmt, args);
	va_end(args);
}

int64_t seen(struct run *r, int64_t ret)
{
	if (ret < 0)
		ret = -errno;
	if (ret < 0 && !r->first_error)
		r->first_error = ret;
	r->last = ret;
	r->detail = mix(r->detail, ret);
	return ret;
}

int64_t call(struct run *r, unsigned long cmd, const void *arg)
{
	return seen(r, ioctl(r->fd, cmd, arg));
}

uint64_t region_at(enum fuzz_region region)
{
	switch (region) {
	case R_THP:
		return THP_AT;
	case R_HUGETLB:
		return HUGETLB_AT;
	default:
		return ARENA + region * FUZZ_REGION;
	}
}

const char * const region_names[NR_REGIONS] = {
	[R_PACKETS] = "packets", [R_ANON] = "anon", [R_MEMFD] = "memfd",
	[R_COW] = "cow", [R_FILE] = "file", [R_READ_ONLY] = "read-only",
	[R_NO_ACCESS] = "no-access", [R_HOLE] = "hole", [R_ZERO] = "zero",
	[R_SECRET] = "secret", [R_DEVICE] = "device", [R_DRIVER] = "driver",
	[R_ANON_TOO] = "anon-too", [R_THP] = "thp", [R_HUGETLB] = "hugetlb",
};

const char *at(uint64_t addr)
{
	static char texts[4][48];
	static unsigned int next;
	char *text = texts[next++ % 4];

	for (int i = 0; i < NR_REGIONS; i++) {
		uint64_t start = region_at(i);

		if (addr >= start && addr < start + FUZZ_REGION) {
			snprintf(text, sizeof(texts[0]), "%s+%#llx",
				 region_names[i],
				 (unsigned long long)(addr - start));
			return text;
		}
	}
	snprintf(text, sizeof(texts[0]), "%#llx", (unsigned long long)addr);
	return text;
}

const char *fuzz_value_name(unsigned int value)
{
	static const char * const names[] = {
		[V_RESULT] = "result", [V_DETAIL] = "results of all calls",
		[V_STUCK] = "worker stuck",
		[V_BASE + RX] = "rx base", [V_BASE + TX] = "tx base",
		[V_CALLS + RX] = "rx calls", [V_CALLS + TX] = "tx calls",
		[V_ERRORS + RX] = "rx errors", [V_ERRORS + TX] = "tx errors",
		[V_LOGGED] = "log events", [V_MISSES] = "IOTLB misses",
		[V_MISS_CONTENTS] = "what the IOTLB missed",
		[V_PACKETS] = "packets", [V_PACKET_CONTENTS] = "packet contents",
	};
	static char text[48];

	if (value < V_MEMORY)
		return names[value];
	snprintf(text, sizeof(text), "contents of %s",
		 region_names[value - V_MEMORY]);
	return text;
}

/* The program's memory. */

void put(struct run *r, uint64_t addr, const void *data, size_t size)
{
	ssize_t ret;

	memcpy(r->stage, data, size);
	ret = pread(r->stage_fd, (void *)addr, size, 0);
	(void)ret;
}

void put16(struct run *r, uint64_t addr, uint16_t value)
{
	put(r, addr, &value, sizeof(value));
}

static uint64_t digest(const void *data, size_t size, uint64_t h)
{
	const char *p = data;
	uint64_t word;

	for (; size >= sizeof(word); size -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		h = (h ^ word) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 29;
	}
	word = 0;
	memcpy(&word, p, size);
	return mix(h, word);
}

/* What is in a region, page by page where not all of it can be read. */
static uint64_t digest_region(struct run *r, enum fuzz_region region)
{
	char *from = (char *)region_at(region);
	uint64_t h = 0;

	if (pwrite(r->stage_fd, from, FUZZ_REGION, 0) == FUZZ_REGION)
		return digest(r->stage, FUZZ_REGION, h);
	for (size_t page = 0; page < FUZZ_REGION; page += PAGE) {
		ssize_t n = pwrite(r->stage_fd, from + page, PAGE, page);

		if (n != PAGE)
			memset(r->stage + page, 0xee, PAGE);
		h = digest(r->stage + page, PAGE, h);
	}
	return h;
}

static void keep(struct run *r, enum fuzz_region region)
{
	digest_region(r, region);
	memcpy(r->trace->dumped, r->stage, FUZZ_REGION);
}

static int new_memfd(const char *name)
{
	int fd = memfd_create(name, 0);

	if (fd >= 0 && ftruncate(fd, FUZZ_REGION)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

void map_region(struct run *r, enum fuzz_region region)
{
	void *where = (void *)region_at(region);
	int prot = PROT_READ | PROT_WRITE, flags = MAP_FIXED;
	size_t size = FUZZ_REGION;
	char path[PATH_MAX];
	void *got = MAP_FAILED;
	off_t offset = 0;
	int fd = -1;

	munmap(where, region == R_THP || region == R_HUGETLB ? HUGE_SIZE : size);
	switch (region) {
	case R_HOLE:
		return;
	case R_MEMFD:
		fd = dup(r->memfd);
		flags |= MAP_SHARED;
		break;
	case R_COW:
		fd = new_memfd("cow");
		flags |= MAP_PRIVATE;
		break;
	case R_FILE:
		snprintf(path, sizeof(path), "%s/fuzz-file", r->site->dir);
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
		if (fd >= 0 && ftruncate(fd, size))
			fd = -1;
		flags |= MAP_SHARED;
		break;
	case R_READ_ONLY:
		fd = new_memfd("read-only");
		flags |= MAP_SHARED;
		prot = PROT_READ;
		break;
	case R_SECRET:
		fd = syscall(__NR_memfd_secret, 0);
		if (fd >= 0 && ftruncate(fd, size))
			fd = -1;
		flags |= MAP_SHARED;
		break;
	case R_DEVICE:
		fd = open("/dev/mem", O_RDWR);
		offset = DEVICE_AT;
		flags |= MAP_SHARED;
		break;
	case R_DRIVER: {
		struct tpacket_req req = {
			.tp_block_size = FUZZ_REGION,
			.tp_block_nr = 1,
			.tp_frame_size = SLOT,
			.tp_frame_nr = NR_SLOTS,
		};

		fd = socket(AF_PACKET, SOCK_RAW, 0);
		setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req));
		flags |= MAP_SHARED;
		break;
	}
	case R_THP:
		size = HUGE_SIZE;
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
		break;
	case R_HUGETLB:
		size = HUGE_SIZE;
		flags |= MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
		break;
	case R_NO_ACCESS:
		prot = PROT_NONE;
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
		break;
	case R_ZERO:
		prot = PROT_READ;
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
		break;
	default:
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
	}
	if (fd >= 0 || flags & MAP_ANONYMOUS)
		got = mmap(where, size, prot, flags, fd, offset);
	if (fd >= 0)
		close(fd);
	if (got == MAP_FAILED) {
		r->trace->missing |= 1U << region;
		return;
	}
	if (region == R_THP)
		madvise(where, size, MADV_HUGEPAGE);
	else if (region != R_HUGETLB)
		madvise(where, size, MADV_NOHUGEPAGE);
	if (region == R_DEVICE) {
		char zeroes[SLOT] = { };

		for (size_t i = 0; i < size; i += SLOT)
			put(r, (uint64_t)where + i, zeroes, SLOT);
	}
}

void fill_packets(struct run *r)
{
	static const uint8_t ops[] = {
		VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RESPONSE,
		VIRTIO_VSOCK_OP_RST, VIRTIO_VSOCK_OP_SHUTDOWN,
		VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_OP_CREDIT_REQUEST,
		VIRTIO_VSOCK_OP_RW, 77,
	};

	for (unsigned int i = 0; i < NR_SLOTS / 2; i++) {
		char packet[SLOT] = { };

		if (r->vsock) {
			struct virtio_vsock_hdr hdr = {
				.src_cid = GUEST_CID,
				.dst_cid = VMADDR_CID_HOST,
				.src_port = 1 + i / 4,
				.dst_port = i % 3 ? HOST_PORT : 4321,
				.len = i * 30,
				.type = i == 6 ? 9 : VIRTIO_VSOCK_TYPE_STREAM,
				.op = ops[i],
				.buf_alloc = 65536,
			};

			memcpy(packet, &hdr, sizeof(hdr));
			memset(packet + sizeof(hdr), '0' + i, i * 30);
		} else {
			client_make_packet(packet, i);
		}
		put(r, region_at(R_PACKETS) + i * SLOT, packet, SLOT);
	}
}

uint32_t packet_size(struct run *r, unsigned int slot)
{
	char packet[SLOT];

	if (r->vsock)
		return sizeof(struct virtio_vsock_hdr) + slot * 30;
	return client_make_packet(packet, slot);
}

size_t part_size(unsigned int num, enum part part)
{
	switch (part) {
	case DESC:
		return num * sizeof(struct vring_desc);
	case AVAIL:
		return sizeof(struct vring_avail) + 2 * num;
	default:
		return sizeof(struct vring_used) +
		       num * sizeof(struct vring_used_elem);
	}
}

/* The worker. */

void find_workers(struct run *r)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;

	while (r->nr_workers) {
		close(r->worker[--r->nr_workers]);
		close(r->schedstat[r->nr_workers]);
	}
	while (dir && (entry = readdir(dir))) {
		char path[64];
		int tid = atoi(entry->d_name);

		if (!tid || tid == getpid() || r->nr_workers == 8)
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
		r->worker[r->nr_workers] = open(path, O_RDONLY);
		snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat",
			 tid);
		r->schedstat[r->nr_workers] = open(path, O_RDONLY);
		if (r->worker[r->nr_workers] >= 0)
			r->nr_workers++;
	}
	if (dir)
		closedir(dir);
}

static void stay_on_one_cpu(void)
{
	cpu_set_t all, one;
	int cpu = 0;

	sched_getaffinity(0, sizeof(all), &all);
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

/* What runs on this CPU, the worker for one, does so when we sleep; or not. */
static void go_first(bool first)
{
	struct sched_param param = { .sched_priority = first };

	sched_setscheduler(0, (first ? SCHED_FIFO : SCHED_OTHER) |
			   SCHED_RESET_ON_FORK, &param);
}

/* One that waits for a lock is not interruptible, so S is idle. */
static bool workers_idle(struct run *r)
{
	for (unsigned int i = 0; i < r->nr_workers; i++) {
		char text[256];
		ssize_t len = pread(r->worker[i], text, sizeof(text) - 1, 0);
		char *state;

		if (len <= 0)
			continue;
		text[len] = 0;
		state = strrchr(text, ')');
		if (state && state[2] != 'S')
			return false;
	}
	return true;
}

unsigned long workers_ran(struct run *r)
{
	unsigned long sum = 0;

	for (unsigned int i = 0; i < r->nr_workers; i++) {
		char text[128];
		ssize_t len = pread(r->schedstat[i], text, sizeof(text) - 1, 0);
		unsigned long times;

		if (len <= 0)
			continue;
		text[len] = 0;
		if (sscanf(text, "%*u %*u %lu", &times) == 1)
			sum += times;
	}
	return sum;
}

/*
 * Return true when the worker has nothing to do any more. Work that it queues
 * for itself comes after the flush, and so does what that queues.
 */
bool settle(struct run *r)
{
	int idle = 0;

	if (r->hasty)
		return true;
	for (int i = 0; i < MAX_FLUSHES && idle < IDLE_FLUSHES; i++) {
		ioctl(r->fd, VHOST_SET_LOG_FD, NULL);
		/* It is still on its way to sleep. */
		go_first(false);
		sched_yield();
		go_first(true);
		idle = workers_idle(r) ? idle + 1 : 0;
	}
	return idle == IDLE_FLUSHES;
}

int64_t set_backend(struct run *r, int q, int fd)
{
	struct vhost_vring_file file = { .index = q, .fd = fd };

	return call(r, VHOST_NET_SET_BACKEND, &file);
}

void breathe(struct run *r)
{
	if (r->mirror && !r->hasty)
		usleep(BREATH_US);
}

void run_device(struct run *r, bool on)
{
	int running = on;

	if (r->vsock) {
		call(r, VHOST_VSOCK_SET_RUNNING, &running);
		return;
	}
	for (int q = 0; q < NR_QUEUES; q++)
		set_backend(r, q, on ? r->site->c.tap : -1);
}

void kick(struct run *r, int q)
{
	uint64_t one = 1;
	ssize_t ret = write(r->kick[q], &one, sizeof(one));

	(void)ret;
}

static int64_t counted(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static void look_at_messages(struct run *r, int64_t *value)
{
	struct vhost_msg msg;
	ssize_t len;

	while ((len = read(r->fd, &msg, sizeof(msg))) > 0) {
		value[V_MISSES]++;
		/* There is padding in it that nobody has cleared. */
		value[V_MISS_CONTENTS] = mix(value[V_MISS_CONTENTS],
					     mix(msg.iotlb.iova,
						 msg.iotlb.perm << 8 |
						 msg.iotlb.type));
	}
}

static void look_at_packets(struct run *r, int64_t *value)
{
	char frame[4 * SLOT];
	ssize_t len;

	while ((len = recv(r->site->c.peer, frame, sizeof(frame),
			   MSG_DONTWAIT)) >= 0) {
		value[V_PACKETS]++;
		value[V_PACKET_CONTENTS] = digest(frame, len,
						  value[V_PACKET_CONTENTS]);
	}
}

/* After an operation. */
static void look(struct run *r)
{
	int64_t *value = r->record->value;
	bool stuck;

	if (r->hasty)
		return;
	stuck = !settle(r);

	value[V_RESULT] = r->first_error ?: r->last;
	value[V_DETAIL] = r->detail;
	if (stuck) {
		value[V_STUCK] = 1;
		run_device(r, false);
		settle(r);
	}
	for (int q = 0; q < NR_QUEUES; q++) {
		struct vhost_vring_state state = { .index = q };

		value[V_BASE + q] = ioctl(r->fd, VHOST_GET_VRING_BASE, &state) ?
				    -errno : state.num;
		value[V_CALLS + q] = counted(r->call[q]);
		value[V_ERRORS + q] = counted(r->error[q]);
	}
	value[V_LOGGED] = counted(r->logged);
	look_at_messages(r, value);
	look_at_packets(r, value);
	/* How often it went round before it was stopped is a matter of time. */
	if (stuck)
		memset(&value[V_CALLS], 0, (V_PACKETS - V_CALLS) *
		       sizeof(*value));
	for (int i = 0; i < NR_REGIONS; i++)
		value[V_MEMORY + i] = digest_region(r, i);
	if (r->trace->nr == r->trace->dump_at)
		keep(r, r->trace->dump);
	breathe(r);
}

/* The process that runs a program. Returns only to exit. */
static void run_here(struct run *r, const struct fuzz_program *program)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!r->hasty) {
		stay_on_one_cpu();
		go_first(true);
	}
	r->stage_fd = new_memfd("stage");
	r->stage = mmap(NULL, FUZZ_REGION, PROT_READ | PROT_WRITE, MAP_SHARED,
			r->stage_fd, 0);
	for (int i = 0; i < NR_REGIONS; i++)
		map_region(r, i);
	fill_packets(r);
	for (int q = 0; q < NR_QUEUES; q++) {
		r->kick[q] = eventfd(0, EFD_NONBLOCK);
		r->call[q] = eventfd(0, EFD_NONBLOCK);
		r->error[q] = eventfd(0, EFD_NONBLOCK);
	}
	r->logged = eventfd(0, EFD_NONBLOCK);

	for (unsigned int n = 0; n < fuzz_nr_ops(program->seed); n++) {
		if (program->left_out[n])
			continue;
		r->record = &r->trace->record[r->trace->nr];
		r->record->op = n;
		r->first_error = 0;
		r->last = 0;
		r->detail = 0;
		r->look = true;
		run_op(r, program->seed, n);
		if (r->dies) {
			r->trace->nr++;
			kill(getpid(), SIGKILL);
		}
		if (r->look || !settle(r))
			look(r);
		r->trace->nr++;
	}
	while (r->nr_forked) {
		pid_t pid = r->forked[--r->nr_forked];

		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

/* The last record, of a device whose owner is gone. */
static void after_owner(struct run *r, bool contents)
{
	r->record = &r->trace->record[r->trace->nr++];
	memset(r->record, 0, sizeof(*r->record));
	r->record->op = FUZZ_MAX_OPS;
	say(r, "after the owner");
	r->first_error = 0;
	r->detail = 0;
	run_strange_ops(r);
	r->record->value[V_RESULT] = r->first_error;
	r->record->value[V_DETAIL] = r->detail;
	if (contents) {
		char *mem = mmap(NULL, FUZZ_REGION, PROT_READ, MAP_SHARED,
				 r->memfd, 0);

		if (ftruncate(r->memfd, FUZZ_REGION) || mem == MAP_FAILED)
			return;
		r->record->value[V_MEMORY + R_MEMFD] =
			digest(mem, FUZZ_REGION, 0);
		munmap(mem, FUZZ_REGION);
	}
}

/* Wait for the process, but not for ever, and for those that it left behind. */
static bool gone(pid_t pid)
{
	struct pollfd pfd = {
		.fd = syscall(__NR_pidfd_open, pid, 0),
		.events = POLLIN,
	};
	bool ended = poll(&pfd, 1, PATIENCE_MS) == 1;

	close(pfd.fd);
	if (!ended)
		kill(pid, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
	return ended;
}

static int listen_for_guests(void)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_ANY,
		.svm_port = HOST_PORT,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 4))
		note("vsock port %d: %s", HOST_PORT, strerror(errno));
	return fd;
}

static void drain(struct fuzz_site *site)
{
	char frame[4 * SLOT];

	while (read(site->c.tap, frame, sizeof(frame)) > 0)
		;
	while (recv(site->c.peer, frame, sizeof(frame), MSG_DONTWAIT) >= 0)
		;
}

int fuzz_run(struct fuzz_site *site, const struct fuzz_program *program,
	     bool mirror, struct fuzz_trace *trace)
{
	struct run r = {
		.site = site,
		.trace = trace,
		.mirror = mirror,
		.vsock = fuzz_is_vsock(site, program->seed),
		.hasty = program->hasty,
		.gentle = program->seed % 2,
	};
	struct fuzz_record *last;
	int listener = -1;
	pid_t pid;

	memset(trace->record, 0, sizeof(trace->record));
	trace->nr = 0;
	trace->hung = false;
	trace->torn = false;
	drain(site);
	if (ring_mirror_set(mirror))
		return -1;
	r.memfd = new_memfd("memfd");
	r.fd = open(r.vsock ? "/dev/vhost-vsock" : "/dev/vhost-net",
		    O_RDWR | O_NONBLOCK);
	if (r.fd < 0 || r.memfd < 0) {
		note("cannot open a device: %s", strerror(errno));
		return -1;
	}
	/* Connections go when the device does, and then their listener. */
	if (r.vsock)
		listener = listen_for_guests();
	pid = fork();
	if (pid < 0)
		return -1;
	if (!pid) {
		run_here(&r, program);
		_exit(0);
	}
	trace->hung = !gone(pid);
	last = &trace->record[trace->nr];
	after_owner(&r, !(trace->nr && !strncmp(last[-1].what, "die with", 8)));
	close(r.fd);
	close(r.memfd);
	if (listener >= 0)
		close(listener);
	return 0;
}

/* A number that the kernel goes by, as it was; set it if @nr is not negative. */
static int setting(const char *path, int nr)
{
	FILE *file = fopen(path, "r+");
	int old = -1;

	if (!file)
		return -1;
	if (fscanf(file, "%d", &old) != 1)
		old = -1;
	rewind(file);
	if (nr >= 0)
		fprintf(file, "%d\n", nr);
	fclose(file);
	return old;
}

int fuzz_site_open(struct fuzz_site *site, const char *dir)
{
	void *arena = mmap((void *)ARENA, ARENA_SIZE, PROT_NONE, MAP_PRIVATE |
			   MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	memset(site, 0, sizeof(*site));
	site->dir = dir;
	if (arena != (void *)ARENA) {
		note("something is at %#lx", ARENA);
		return -1;
	}
	munmap(arena, ARENA_SIZE);
	if (access("/dev/vhost-vsock", F_OK))
		system("modprobe -q vhost_vsock");
	site->vsock = !access("/dev/vhost-vsock", R_OK | W_OK);
	/* Memory of theirs is to be free before the next run. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	/* A copy for each of the processes that are forked off. */
	site->nr_hugepages = setting(HUGEPAGES, 2 + NR_FORKS);
	/* Each run closes a device and two sockets: most of its time is theirs. */
	site->rcu_expedited = setting(EXPEDITED, 1);
	return client_open_tap(&site->c);
}

void fuzz_site_close(struct fuzz_site *site)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/fuzz-file", site->dir);
	unlink(path);
	if (site->nr_hugepages >= 0)
		setting(HUGEPAGES, site->nr_hugepages);
	if (site->rcu_expedited >= 0)
		setting(EXPEDITED, site->rcu_expedited);
	close(site->c.tap);
	close(site->c.peer);
}
