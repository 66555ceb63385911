// SPDX-License-Identifier: GPL-2.0
/*
 * What a packet costs vhost's worker, natively: the ring path of drivers/vhost, as
 * the kernel's own build compiles it (kernel.c, build.sh), runs here. A driver on
 * another CPU fills the queues, then the worker empties them, and the time is the
 * worker's.
 *
 *	ringpath ROUNDS		rows for lab/bench.sh, of so many rounds in which the variants
 *				take turns
 *	ringpath pieces ROUNDS	the same of small pieces of guest memory (pieces.c)
 *	ringpath check		KTAP: does each variant move every packet, by as many
 *				user accesses as it has to?
 *
 * The code is patched as at boot, for this CPU, but for STAC and CLAC, which user
 * space may not use: nothing is in their place. Their pairs are counted. Also left
 * out: the check that hardened usercopy makes of used elements (not of small pieces),
 * mitigations of indirect jumps and returns, and the packet itself, with all that a
 * socket does.
 */
#include <asm/prctl.h>
#include <cpuid.h>
#include <linux/types.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "bench.h"

#define MAX_QUEUES	512
#define MAX_HANDOFFS	256
#define MAX_VARIANTS	16
#define PAGE		4096UL
#define LARGE_PAGE	0x200000UL
#define RING_SIZE	(2 * PAGE)
/* Behind the descriptors, as a guest's driver has them. */
#define USED_OFFSET	(PAGE + 576)
/* Descriptors of an indirect table: the header with what is linear, two pages. */
#define INDIRECT	3
/* Packets that are there at once, at most. */
#define BATCH		64
#define MEMORY		0x40000000UL
/* The kernel's task_struct is no larger. */
#define TASK_SIZE	(4 * PAGE)

#define READ(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE(x, v)	__atomic_store_n(&(x), v, __ATOMIC_RELAXED)

/*
 * What the kernel provides to that path, beside what only ends the program when
 * it is called. First its variables of a CPU, which are found through %gs: 6.12
 * has them in one structure.
 */
char pcpu_hot[64];
unsigned long this_cpu_off;
unsigned int __preempt_count;
unsigned long __ref_stack_chk_guard = 0x5eed;
void *const_current_task;

unsigned long USER_PTR_MAX = 0x7ffffffff000;

/* Without preemption, and without the check that hardened usercopy makes. */
void __SCT__might_resched(void)
{
}

void __SCT__cond_resched(void)
{
}

static void (*check_object_size)(const void *p, unsigned long n, bool to_user);

void __check_object_size(const void *p, unsigned long n, bool to_user)
{
	if (check_object_size)
		check_object_size(p, n, to_user);
}

/* Once for each queue, before the driver has asked for anything. */
void eventfd_signal_mask(void)
{
}

int __list_add_valid_or_report(void)
{
	return 1;
}

/* Zeroes, each in lines of its own, from one large mapping. */
static char *memory, *memory_next;

void *ringpath_alloc(unsigned long size)
{
	char *p = memory_next;

	size = (size + 63) & ~63UL;
	memory_next += size;
	if (memory_next > memory + MEMORY)
		abort();
	return p;
}

static void *alloc_pages(unsigned long size)
{
	memory_next += -(uintptr_t)memory_next & (PAGE - 1);
	return ringpath_alloc(size);
}

static const __u8 stac[] = { 0x0f, 0x01, 0xcb };
static const __u8 clac[] = { 0x0f, 0x01, 0xca };
static const __u8 lfence[] = { 0x0f, 0xae, 0xe8 };
static const __u8 nops[6][5] = {
	{ }, { 0x90 }, { 0x66, 0x90 }, { 0x0f, 0x1f, 0x00 },
	{ 0x0f, 0x1f, 0x40, 0x00 }, { 0x0f, 0x1f, 0x44, 0x00, 0x00 },
};

/* Where an offset from itself leads to. */
static void *at(void *offset)
{
	__s32 value;

	memcpy(&value, offset, sizeof(value));
	return (char *)offset + value;
}

static bool is(struct alternative *alt, const __u8 *what)
{
	return alt->replacement_length == 3 &&
	       !memcmp(at(&alt->replacement), what, 3);
}

static bool has(unsigned int feature)
{
	unsigned int a, b = 0, c = 0, d = 0;

	if (feature == RINGPATH_FEATURE_PREFETCHW) {
		__get_cpuid(0x80000001, &a, &b, &c, &d);
		return c & 1U << 8;
	}
	__get_cpuid_count(7, 0, &a, &b, &c, &d);
	if (feature == RINGPATH_FEATURE_ERMS)
		return b & 1U << 9;
	if (feature == RINGPATH_FEATURE_FSRM)
		return d & 1U << 4;
	return feature == RINGPATH_FEATURE_ALWAYS ||
	       feature == RINGPATH_FEATURE_SSE;
}

static void patch(__u8 *site, const __u8 *code, int length)
{
	__u8 *page = site - ((uintptr_t)site & (PAGE - 1));

	if (mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC))
		abort();
	memcpy(site, code, length);
}

static void patch_nops(__u8 *site, int length)
{
	while (length > 0) {
		int n = length < 5 ? length : 5;

		patch(site, nops[n], n);
		site += n;
		length -= n;
	}
}

static void patch_alternative(struct alternative *alt)
{
	__u8 *site = at(&alt->site), code[256];
	int i, n = alt->replacement_length;

	if (is(alt, lfence) ||
	    (!is(alt, stac) && !is(alt, clac) &&
	     has(alt->feature) == !(alt->flags & RINGPATH_ALT_NOT))) {
		memcpy(code, at(&alt->replacement), n);
		if (n == 5 && (code[0] == 0xe8 || code[0] == 0xe9)) {
			__s32 target;

			memcpy(&target, code + 1, 4);
			target += (__u8 *)at(&alt->replacement) - site;
			memcpy(code + 1, &target, 4);
		}
		patch(site, code, n);
		patch_nops(site + n, alt->length - n);
		return;
	}
	for (i = 0; i < alt->length && site[i] == 0x90; i++)
		;
	if (i == alt->length)
		patch_nops(site, i);
}

/*
 * As at boot: for this CPU, but for STAC and CLAC, which are not for user space:
 * nothing is in their place. All static keys are off.
 */
static void patch_all(void)
{
	struct alternative *alt;
	struct jump *jump;

	for (alt = __start_altinstructions; alt < __stop_altinstructions; alt++)
		patch_alternative(alt);
	for (jump = __start___jump_table; jump < __stop___jump_table; jump++) {
		__u8 *code = at(&jump->code);

		if (!(jump->key & 1) && (*code == 0xeb || *code == 0xe9))
			patch_nops(code, *code == 0xeb ? 2 : 5);
	}
}

/* Have hardened usercopy check what is moved from and to @buf, or no longer. */
void harden(const struct ringpath *path, void *buf)
{
	struct jump *jump;
	void *key = NULL;

	check_object_size = path ? path->harden(buf, &key) : NULL;
	for (jump = __start___jump_table; key && jump < __stop___jump_table; jump++) {
		__u8 *code = at(&jump->code);

		if ((char *)&jump->key + (jump->key & ~3L) == key &&
		    (*code == 0xeb || *code == 0xe9))
			patch_nops(code, *code == 0xeb ? 2 : 5);
	}
}

/* A breakpoint in place of each STAC, to count them. */
static atomic_long stacs;

static void on_breakpoint(int signal)
{
	(void)signal;
	stacs++;
}

long count_stacs(bool on)
{
	struct alternative *alt;

	signal(SIGTRAP, on ? on_breakpoint : SIG_DFL);
	for (alt = __start_altinstructions; alt < __stop_altinstructions;
	     alt++) {
		__u8 *site = at(&alt->site);

		if (!is(alt, stac))
			continue;
		if (on)
			patch(site, (__u8[]){ 0xcc, 0x90, 0x90 }, 3);
		else
			patch_nops(site, 3);
	}
	return atomic_exchange(&stacs, 0);
}

struct queue {
	void *vq;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct vring_desc *tables;
	__u16 idx;
	__u16 seen;
};

struct variant {
	const struct ringpath *path;
	struct queue queues[MAX_QUEUES];
	double ns[MAX_ROUNDS];
};

static struct variant *variants[MAX_VARIANTS];
static int nr_variants;
static int turn[MAX_QUEUES];

/*
 * What is measured: so many packets in a run, direct or indirect. One by one comes
 * last: before that, check() has no batch whose used elements wrap.
 */
static const struct load {
	const char *name;
	int packets;
	bool indirect;
} loads[] = {
	{ "64 at once", BATCH, false },
	{ "64 indirect at once", BATCH, true },
	{ "one by one", 1, false },
};

#define NR_LOADS	3

/* The driver's half: what it does, between two hand-offs. */
static struct {
	struct variant *variant;
	const struct load *load;
	int nr_queues;
	int go;
	int stop;
} driver;

static void fill(struct queue *q, const struct load *load)
{
	int i;

	/* It takes back what the device has used. */
	for (; q->seen != READ(q->used->idx); q->seen++)
		if (READ(q->used->ring[q->seen % RINGPATH_NUM].id) !=
		    q->seen % RINGPATH_NUM)
			abort();
	if (q->seen != q->idx)
		abort();
	for (i = 0; i < load->packets; i++, q->idx++) {
		int head = q->idx % RINGPATH_NUM;
		struct vring_desc *desc = &q->desc[head];

		/* Of what the packet is in, only the address is of interest. */
		desc->addr = (uintptr_t)memory + head * 2048;
		desc->len = RINGPATH_LEN;
		desc->flags = 0;
		if (load->indirect) {
			struct vring_desc *table = q->tables +
						   head % BATCH * INDIRECT;

			for (int j = 0; j < INDIRECT; j++) {
				table[j].addr = desc->addr + j;
				table[j].len = RINGPATH_LEN;
				table[j].flags = j == INDIRECT - 1 ?
						 0 : VRING_DESC_F_NEXT;
				table[j].next = j + 1;
			}
			desc->addr = (uintptr_t)table;
			desc->len = INDIRECT * sizeof(*table);
			desc->flags = VRING_DESC_F_INDIRECT;
		}
		q->avail->ring[head] = head;
	}
	/* No interrupt for any of these, please. */
	WRITE(q->avail->ring[RINGPATH_NUM], q->idx + 0x4000);
	__atomic_store_n(&q->avail->idx, q->idx, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	/* Whether to kick. */
	(void)READ(*(__u16 *)&q->used->ring[RINGPATH_NUM]);
}

static void wait_for(int *flag, int value)
{
	for (int i = 0; __atomic_load_n(flag, __ATOMIC_ACQUIRE) != value; i++) {
		_mm_pause();
		if (i > 5000)
			sched_yield();
	}
}

static void bind(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		abort();
}

static void *drive(void *cpu)
{
	bind(*(int *)cpu);
	for (;;) {
		wait_for(&driver.go, 1);
		if (driver.stop)
			return NULL;
		for (int i = 0; i < driver.nr_queues; i++)
			fill(&driver.variant->queues[turn[i]], driver.load);
		__atomic_store_n(&driver.go, 0, __ATOMIC_RELEASE);
	}
}

unsigned long long clock_now(void)
{
	unsigned long long t;

	_mm_lfence();
	t = __rdtsc();
	_mm_lfence();
	return t;
}

double tsc_ns;
static double empty;

static void calibrate(void)
{
	struct timespec from, to;
	unsigned long long began;
	double best = 1e9;

	clock_gettime(CLOCK_MONOTONIC, &from);
	began = clock_now();
	do {
		clock_gettime(CLOCK_MONOTONIC, &to);
	} while (to.tv_sec * 1e9 + to.tv_nsec <
		 from.tv_sec * 1e9 + from.tv_nsec + 2e8);
	tsc_ns = (to.tv_sec * 1e9 + to.tv_nsec - from.tv_sec * 1e9 -
		  from.tv_nsec) / (clock_now() - began);
	for (int i = 0; i < 1000; i++) {
		double t;

		began = clock_now();
		t = (clock_now() - began) * tsc_ns;
		best = t < best ? t : best;
	}
	empty = best;
}

/* One hand-off: nanoseconds of the worker. */
static double handoff(struct variant *v, const struct load *load, int nr_queues)
{
	unsigned long expected = load->packets * RINGPATH_LEN *
				 (load->indirect ? INDIRECT : 1);
	unsigned long long began;
	unsigned long sum = 0;
	double ns;

	driver.variant = v;
	driver.load = load;
	driver.nr_queues = nr_queues;
	__atomic_store_n(&driver.go, 1, __ATOMIC_RELEASE);
	wait_for(&driver.go, 0);
	began = clock_now();
	for (int i = 0; i < nr_queues; i++)
		sum += v->path->run(v->queues[turn[i]].vq, load->packets,
				    load->packets, 1);
	ns = (clock_now() - began) * tsc_ns - empty;
	/* They were all there. */
	if (sum != expected * nr_queues)
		abort();
	return ns;
}

int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/*
 * A slice of one variant, by the packet: the mean of the middle half of its
 * hand-offs, since the clock has steps, and others want the CPU now and then.
 */
static double slice(struct variant *v, const struct load *load, int nr_queues)
{
	static double ns[MAX_HANDOFFS];
	int n = 20000 / (nr_queues * load->packets);
	double sum = 0;

	n = n > MAX_HANDOFFS ? MAX_HANDOFFS : n < 4 ? 4 : n & ~3;
	for (int i = -2; i < n; i++) {
		double t = handoff(v, load, nr_queues);

		if (i >= 0)
			ns[i] = t / nr_queues / load->packets;
	}
	qsort(ns, n, sizeof(*ns), by_value);
	for (int i = n / 4; i < n * 3 / 4; i++)
		sum += ns[i];
	return sum / (n / 2);
}

/* Pairs of STAC and CLAC in so many runs of one queue. */
static int pairs(struct variant *v, const struct load *load, int runs)
{
	handoff(v, load, 1);
	count_stacs(true);
	for (int i = 0; i < runs; i++)
		handoff(v, load, 1);
	return count_stacs(false);
}

void print_row(const char *name, const char *series, int x,
	       const char *unit, double *values, int n, bool drawn, const char *note)
{
	double *sorted = malloc(n * sizeof(*sorted));

	memcpy(sorted, values, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), by_value);
	printf("row\tname=%s\tseries=%s\tx=%d\tunit=%s\t", name, series, x,
	       unit);
	printf("median=%.3f\tlo=%.3f\thi=%.3f\t", sorted[n / 2],
	       sorted[n / 4], sorted[n * 3 / 4]);
	printf("spread=quartiles\tdrawn=%s\tnote=%s\n", drawn ? "" : "no",
	       note);
	fflush(stdout);
	free(sorted);
}

static void shuffle(int n)
{
	for (int i = 0; i < n; i++)
		turn[i] = i;
	for (int i = n - 1; i > 0; i--) {
		int other = rand() % (i + 1), t = turn[i];

		turn[i] = turn[other];
		turn[other] = t;
	}
}

/*
 * What is said of windows, beside another variant: the ratio, and the difference
 * with the pairs that it leaves out. A target is of small packets with STAC and
 * CLAC at zero.
 */
static void compare(struct variant *v, struct variant *to,
		    const struct load *load, int nr_queues, int rounds)
{
	static double ratio[MAX_ROUNDS], less[MAX_ROUNDS];
	char name[100], note[100];

	for (int i = 0; i < rounds; i++) {
		ratio[i] = v->ns[i] / to->ns[i];
		less[i] = to->ns[i] - v->ns[i];
	}
	snprintf(name, sizeof(name), "%s: windows to %s", v->path->kernel,
		 to->path->name);
	snprintf(note, sizeof(note), "STAC and CLAC free; %.2f pairs more a packet",
		 (double)(pairs(to, load, 16) - pairs(v, load, 16)) / 16 /
		 load->packets);
	print_row(name, load->name, nr_queues, "ratio", ratio, rounds, false, note);
	if (strcmp(to->path->name, "plain")) {
		snprintf(name, sizeof(name), "%s: %s less windows",
			 v->path->kernel, to->path->name);
		print_row(name, load->name, nr_queues, "ns saved", less,
			  rounds, false, note);
		return;
	}
	for (int i = 0; i < rounds; i++)
		less[i] = -less[i];
	snprintf(name, sizeof(name), "%s: windows less plain",
		 v->path->kernel);
	print_row(name, load->name, nr_queues, "ns of guard", less, rounds, false,
		  "sections, lookups, counts");
}

static void measure(const struct load *load, int nr_queues, int rounds)
{
	char name[100], unit[100];

	for (int round = -1; round < rounds; round++) {
		for (int i = 0; i < nr_variants; i++) {
			struct variant *v =
				variants[(i + round + 1) % nr_variants];
			double ns = slice(v, load, nr_queues);

			if (round >= 0)
				v->ns[round] = ns;
		}
	}
	snprintf(unit, sizeof(unit), "ns a packet, by queues, %s", load->name);
	for (int i = 0; i < nr_variants; i++) {
		struct variant *v = variants[i];

		snprintf(name, sizeof(name), "%s: %s", v->path->kernel,
			 v->path->name);
		print_row(name, load->name, nr_queues, unit, v->ns, rounds,
			  !load->indirect, "STAC and CLAC free");
	}
	for (int i = 0; i < nr_variants; i++)
		for (int j = 0; j < nr_variants; j++)
			if (i != j &&
			    !strcmp(variants[i]->path->name, "windows") &&
			    !strcmp(variants[i]->path->kernel,
				    variants[j]->path->kernel))
				compare(variants[i], variants[j], load,
					nr_queues, rounds);
}

/* Small pieces: uaccess and windows of each kernel take turns. */
static void measure_pieces(int rounds)
{
	struct variant *uaccess = NULL;

	for (int i = 0; i < nr_variants; i++) {
		struct variant *v = variants[i];

		if (!strcmp(v->path->name, "uaccess"))
			uaccess = v;
		else if (v->path->piece)
			pieces_measure(uaccess->path, uaccess->queues[0].vq,
				       v->path, v->queues[0].vq, rounds);
	}
}

static void measure_all(int rounds)
{
	static const int counts[] = { 1, 8, 64, MAX_QUEUES };
	int done = 0;

	for (int i = 0; i < NR_LOADS; i++) {
		for (int j = 0; j < 4; j++) {
			/*
			 * So many tables compete for the last cache with whatever
			 * else the machine does: that is no figure.
			 */
			if (loads[i].indirect && counts[j] == MAX_QUEUES)
				continue;
			shuffle(counts[j]);
			measure(&loads[i], counts[j], rounds);
			printf("progress\t%d\t%d\n", ++done,
			       4 * NR_LOADS - 1);
			fflush(stdout);
		}
	}
}

/*
 * Pairs in a run, which are the accesses that are not of windows or plain. The
 * index, a head, a descriptor, an element, the index, whether to signal; none
 * more, please notify, the index again. With a section for a chain and for the
 * elements with their index, three less. A descriptor of an indirect table is one
 * more in all of them but windows, which have it in a cache.
 */
static int pairs_expected(const char *name, const struct load *load)
{
	int n = load->indirect ? load->packets * INDIRECT : 0;

	if (!strcmp(name, "windows"))
		return 0;
	if (!strcmp(name, "plain"))
		return n;
	if (!strcmp(name, "uaccess"))
		return n + 2 * load->packets + 7;
	return n + load->packets + 5;
}

static void checked(int n, const struct variant *v, const char *what, int size,
		    int got, int wanted)
{
	printf("%sok %d ringpath: %s, %s, %s: %d at a time, %d user accesses",
	       got == wanted ? "" : "not ", n, v->path->kernel, v->path->name,
	       what, size, got);
	if (got != wanted)
		printf(", not %d", wanted);
	printf("\n");
}

/* Twice around the ring, so that all of it is used. */
static int check(void)
{
	int failed = 0, n = 0, wanted, got, pieces = 0;

	setlinebuf(stdout);
	for (int i = 0; i < nr_variants; i++)
		pieces += !!variants[i]->path->piece;
	printf("TAP version 13\n1..%d\n", nr_variants * NR_LOADS + pieces);
	shuffle(8);
	for (int i = 0; i < nr_variants; i++) {
		struct variant *v = variants[i];

		for (int j = 0; j < NR_LOADS; j++) {
			const struct load *load = &loads[j];

			for (int k = 0; k < 2 * RINGPATH_NUM / load->packets;
			     k++)
				handoff(v, load, 8);
			wanted = pairs_expected(v->path->name, load);
			got = pairs(v, load, 1);
			failed += got != wanted;
			checked(++n, v, load->name, load->packets, got, wanted);
		}
		if (!v->path->piece)
			continue;
		/* Without a cache one for each, and with one none. */
		wanted = strcmp(v->path->name, "windows") ? PIECES_CHECKED : 0;
		got = pieces_check(v->path, v->queues[0].vq);
		failed += got != wanted;
		checked(++n, v, "pieces", PIECES_CHECKED, got, wanted);
	}
	return failed != 0;
}

/*
 * All variants have the same queues at the same places of a large page. Queues have
 * run for a while, each to somewhere else, unless it is to be known where.
 */
static void add_variant(const struct ringpath *path, unsigned long offset,
			bool anywhere)
{
	struct variant *v = calloc(1, sizeof(*v));
	char *percpu;

	if (!v || nr_variants == MAX_VARIANTS)
		abort();
	v->path = path;
	path->init(offset, memory, MEMORY);
	memory_next += -(uintptr_t)memory_next & (LARGE_PAGE - 1);
	percpu = alloc_pages(2752 + MAX_QUEUES * 32);
	srand(1);
	for (int i = 0; i < MAX_QUEUES; i++) {
		struct queue *q = &v->queues[i];
		char *ring = alloc_pages(RING_SIZE);

		q->desc = (void *)ring;
		q->avail = (void *)(ring + PAGE);
		q->used = (void *)(ring + USED_OFFSET);
		q->idx = anywhere ? rand() : 0;
		q->seen = q->idx;
		q->avail->idx = q->idx;
		q->used->idx = q->idx;
		q->tables = ringpath_alloc(BATCH * INDIRECT *
					   sizeof(*q->tables));
		q->vq = ringpath_alloc(path->queue_size);
		path->queue(q->vq, q->desc, q->avail, q->used, q->idx);
	}
	for (int i = 0; i < MAX_QUEUES; i++)
		path->mirror(v->queues[i].vq, percpu + 2752 + i * 32 - offset);
	variants[nr_variants++] = v;
}

/* Two CPUs; the worker's is the last, where fewer interrupts go. */
static int choose_cpus(int *cpus)
{
	cpu_set_t mine;
	int n = 0;

	sched_getaffinity(0, sizeof(mine), &mine);
	for (int cpu = CPU_SETSIZE - 1; cpu >= 0 && n < 2; cpu--)
		if (CPU_ISSET(cpu, &mine))
			cpus[n++] = cpu;
	return n;
}

int main(int argc, char **argv)
{
	bool checking = argc == 2 && !strcmp(argv[1], "check");
	bool pieces = argc == 3 && !strcmp(argv[1], "pieces");
	int rounds = argc == 2 + pieces ? atoi(argv[1 + pieces]) : 0;
	int cpus[2], failed = 0;
	unsigned long area;
	pthread_t thread;

	if (!checking && (rounds < 1 || rounds > MAX_ROUNDS)) {
		fprintf(stderr, "usage: ringpath check | ringpath [pieces] ROUNDS\n");
		return 2;
	}
	/* On one they take turns, which is good enough to see whether it works. */
	if (choose_cpus(cpus) < 2)
		cpus[1] = cpus[0];
	bind(cpus[0]);

	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	memory_next = memory + RINGPATH_NUM * 2048;
	/* This CPU's copy of those variables. */
	area = (uintptr_t)mmap(NULL, (uintptr_t)_end + PAGE,
			       PROT_READ | PROT_WRITE, MAP_PRIVATE |
			       MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED || (void *)area == MAP_FAILED)
		abort();
	madvise(memory, MEMORY, MADV_HUGEPAGE);
	/* A task without a stack, which hardened usercopy asks for. */
	*(void **)(area + (uintptr_t)pcpu_hot) = ringpath_alloc(TASK_SIZE);
	*(void **)(area + (uintptr_t)&const_current_task) =
		ringpath_alloc(TASK_SIZE);
	patch_all();
	if (syscall(SYS_arch_prctl, ARCH_SET_GS, area))
		abort();
	for (const struct ringpath * const *path = __start_ringpaths;
	     path < __stop_ringpaths; path++)
		add_variant(*path, area, !checking);
	calibrate();

	if (pthread_create(&thread, NULL, drive, &cpus[1]))
		abort();
	if (checking)
		failed = check();
	else if (pieces)
		measure_pieces(rounds);
	else
		measure_all(rounds);
	driver.stop = 1;
	__atomic_store_n(&driver.go, 1, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	return failed;
}
