// SPDX-License-Identifier: GPL-2.0
/*
 * vhost's rings through windows, and guest memory through caches, make no difference
 * to hostile user space: each
 * program (fuzz.c) is run with windows and without, and must be seen to do the
 * same. One that is not is made as short as it can be, and printed. A third run,
 * with windows, does not wait for the device, and only has to survive that.
 *
 *	ring_fuzz			some seeds that are always the same
 *	ring_fuzz -m MINUTES		as many as there is time for, of chance
 *	ring_fuzz -s SEED [-n NUMBER]	these; with one only, what it does
 *	ring_fuzz -s SEED -o 0,3,7	only these operations of it
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "../kselftest.h"
#include "fuzz.h"

#define FEW_SEEDS 24
#define PROGRESS_MS 10000
/* How many seeds at a time are told to the console. */
#define SEEDS_TOLD 16
/* Enough to see what is wrong. */
#define MAX_FAILURES 3
/* Of a hundred seeds, those that have to have come to a window. */
#define SHARE 80
/* How often a program is tried without one more operation. */
#define TRIES 2
/* How often a run is repeated because it was torn. */
#define MAX_TORN 8
#define MINIMISE_MS 60000

struct verdict {
	bool differs;
	unsigned int record;
	unsigned int value;
	/* A run has fewer operations than the other. */
	bool short_of;
};

static struct fuzz_site site;
static struct fuzz_trace *trace[2];

static struct {
	unsigned long seeds;
	unsigned long vsock;
	unsigned long hit;
	unsigned long differ;
	unsigned long hung;
	unsigned long ops;
	unsigned long dies;
	unsigned long stuck;
	unsigned long packets;
	unsigned long torn;
	unsigned long refused;
	/* In runs without windows. */
	unsigned long astray;
	struct stats part[NR_COUNTED];
	bool tainted;
	bool broken;
} sum;

static unsigned long taint(void)
{
	FILE *file = fopen("/proc/sys/kernel/tainted", "r");
	unsigned long value = 0;

	if (file) {
		if (fscanf(file, "%lu", &value) != 1)
			value = 0;
		fclose(file);
	}
	return value;
}

static struct verdict compare(const struct fuzz_trace *a,
			      const struct fuzz_trace *b)
{
	struct verdict verdict = { .differs = true };
	unsigned int *n = &verdict.record;

	for (*n = 0; *n < a->nr && *n < b->nr; ++*n) {
		for (unsigned int v = 0; v < NR_VALUES; v++) {
			if (a->record[*n].value[v] == b->record[*n].value[v])
				continue;
			verdict.value = v;
			return verdict;
		}
	}
	verdict.short_of = a->nr != b->nr || a->hung || b->hung;
	verdict.differs = verdict.short_of;
	return verdict;
}

/* Accesses so far, while no device is open. */
static int closed_stats(struct stats *part)
{
	if (stats_gone(getpid()))
		return -1;
	for (int p = 0; p < NR_COUNTED; p++)
		if (stats_read(&part[p], CLOSED, ANY, p))
			return -1;
	return 0;
}

/* Run it until nothing has come in between, within reason. */
static int run_whole(const struct fuzz_program *program, bool mirror,
		     struct fuzz_trace *t)
{
	for (int i = 0; i < MAX_TORN; i++) {
		if (fuzz_run(&site, program, mirror, t))
			return -1;
		if (!t->torn)
			break;
		sum.torn++;
	}
	return 0;
}

/* With windows into trace[0], without into trace[1] (or both without). */
static struct verdict run_both(const struct fuzz_program *program, bool mirror)
{
	if (run_whole(program, mirror, trace[0]) ||
	    run_whole(program, false, trace[1]))
		sum.broken = true;
	return compare(trace[0], trace[1]);
}

/*
 * Whether a worker ever rests is told from so many looks at it, and may come out
 * differently twice when the machine is short of time. What windows do to a
 * worker, they do to it each time.
 */
static struct verdict compare_steady(const struct fuzz_program *program)
{
	struct verdict verdict = compare(trace[0], trace[1]);

	for (int i = 0; i < MAX_TORN; i++) {
		if (!verdict.differs || verdict.short_of ||
		    verdict.value != V_STUCK)
			break;
		sum.torn++;
		verdict = run_both(program, true);
	}
	return verdict;
}

static void print_ops(const struct fuzz_program *program)
{
	bool first = true;

	for (unsigned int i = 0; i < fuzz_nr_ops(program->seed); i++) {
		if (program->left_out[i])
			continue;
		printf("%s%u", first ? "" : ",", i);
		first = false;
	}
	printf("\n");
}

static void print_trace(const struct fuzz_trace *t)
{
	for (unsigned int i = 0; i < t->nr; i++)
		ksft_print_msg("%5d  %s = %lld%s\n", t->record[i].op,
			       t->record[i].what,
			       (long long)t->record[i].value[V_RESULT],
			       t->record[i].value[V_STUCK] ? ", stuck" : "");
}

static void print_difference(const struct fuzz_program *program,
			     const struct verdict *verdict)
{
	const struct fuzz_record *a = &trace[0]->record[verdict->record];
	const struct fuzz_record *b = &trace[1]->record[verdict->record];
	unsigned int at;

	if (verdict->short_of) {
		ksft_print_msg("%u operations mirrored%s, %u with uaccess%s\n",
			       trace[0]->nr, trace[0]->hung ? ", hung" : "",
			       trace[1]->nr, trace[1]->hung ? ", hung" : "");
		return;
	}
	ksft_print_msg("after %d: %s: %lld mirrored, %lld with uaccess\n",
		       a->op, fuzz_value_name(verdict->value),
		       (long long)a->value[verdict->value],
		       (long long)b->value[verdict->value]);
	if (verdict->value < V_MEMORY || a->op == FUZZ_MAX_OPS)
		return;

	for (int i = 0; i < 2; i++) {
		trace[i]->dump_at = verdict->record;
		trace[i]->dump = verdict->value - V_MEMORY;
	}
	run_both(program, true);
	for (int i = 0; i < 2; i++)
		trace[i]->dump_at = FUZZ_MAX_OPS + 1;
	for (at = 0; at < FUZZ_REGION; at++)
		if (trace[0]->dumped[at] != trace[1]->dumped[at])
			break;
	at &= ~7U;
	for (int i = 0; i < 2 && at < FUZZ_REGION; i++) {
		ksft_print_msg("%s at %#x:", i ? "uaccess" : "mirrored", at);
		for (int k = 0; k < 16; k++)
			printf(" %02x", trace[i]->dumped[at + k]);
		printf("\n");
	}
}

/* Does it still differ? Chance decides when a window is open. */
static bool still_differs(const struct fuzz_program *program)
{
	for (int i = 0; i < TRIES; i++)
		if (run_both(program, true).differs)
			return true;
	return false;
}

/* Leave out what can be left out, many operations at a time and then fewer. */
static void minimise(struct fuzz_program *program)
{
	unsigned int n = fuzz_nr_ops(program->seed);
	long long deadline = now_ms() + MINIMISE_MS;

	for (unsigned int chunk = n / 2; chunk; chunk /= 2) {
		for (unsigned int i = n; i > 0 && now_ms() < deadline;) {
			struct fuzz_program shorter = *program;
			unsigned int from = i > chunk ? i - chunk : 0;

			memset(&shorter.left_out[from], true, i - from);
			if (memcmp(&shorter, program, sizeof(shorter)) &&
			    still_differs(&shorter))
				*program = shorter;
			i = from;
		}
	}
}

static void report(struct fuzz_program *program)
{
	struct verdict verdict;

	/* Then the test, or vhost itself, is to blame. */
	for (int i = 0; i < TRIES; i++) {
		if (!run_both(program, false).differs)
			continue;
		ksft_print_msg("two runs with uaccess differ, too\n");
		break;
	}
	minimise(program);
	for (int i = 0; i < 2 * TRIES; i++) {
		verdict = run_both(program, true);
		if (verdict.differs)
			break;
	}
	if (!verdict.differs)
		ksft_print_msg("it does not differ each time\n");
	ksft_print_msg("again: ring_fuzz -s %llu -o ",
		       (unsigned long long)program->seed);
	print_ops(program);
	print_trace(trace[0]);
	if (verdict.differs)
		print_difference(program, &verdict);
}

static void count(const struct fuzz_program *program, const struct stats *old,
		  const struct stats *new)
{
	unsigned long mirrored = 0;

	for (int p = 0; p < NR_COUNTED; p++) {
		sum.part[p].mirrored += new[p].mirrored - old[p].mirrored;
		sum.part[p].fallback += new[p].fallback - old[p].fallback;
		sum.part[p].drops += new[p].drops - old[p].drops;
		if (p < NR_PARTS)
			mirrored += new[p].mirrored - old[p].mirrored;
	}
	sum.seeds++;
	sum.hit += mirrored > 0;
	sum.vsock += fuzz_is_vsock(&site, program->seed);
	sum.ops += trace[0]->nr;
	for (unsigned int i = 0; i < trace[0]->nr; i++) {
		const struct fuzz_record *record = &trace[0]->record[i];

		sum.stuck += record->value[V_STUCK];
		sum.packets += record->value[V_PACKETS];
		sum.refused += record->value[V_RESULT] < 0;
		sum.dies += !strncmp(record->what, "die", 3);
	}
}

/* While the worker is at it, on another CPU. Last into trace[1]. */
static void hurry(struct fuzz_program *program)
{
	struct fuzz_program hasty = *program;

	hasty.hasty = true;
	if (fuzz_run(&site, &hasty, true, trace[1]))
		sum.broken = true;
	sum.hung += trace[1]->hung;
}

static void try_seed(struct fuzz_program *program, bool verbose)
{
	struct stats before[NR_COUNTED], between[NR_COUNTED], after[NR_COUNTED];
	struct verdict verdict;

	if (closed_stats(before) ||
	    run_whole(program, true, trace[0]) ||
	    closed_stats(between) ||
	    run_whole(program, false, trace[1]) ||
	    closed_stats(after)) {
		sum.broken = true;
		return;
	}
	count(program, before, between);
	for (int p = 0; p < NR_COUNTED; p++)
		sum.astray += after[p].mirrored - between[p].mirrored;
	if (verbose)
		print_trace(trace[0]);
	sum.hung += trace[0]->hung || trace[1]->hung;
	verdict = compare_steady(program);
	if (!verdict.differs) {
		hurry(program);
		return;
	}
	sum.differ++;
	ksft_print_msg("seed %llu differs\n",
		       (unsigned long long)program->seed);
	print_difference(program, &verdict);
	report(program);
}

static void print_progress(long long begun, long long end)
{
	double took = (now_ms() - begun) / 1000.0;

	ksft_print_msg("fuzz: %lu seeds, %.1f/s, %lu differ, %lu%% mirrored, %lld min left\n",
		       sum.seeds, sum.seeds / took, sum.differ,
		       sum.seeds ? 100 * sum.hit / sum.seeds : 0,
		       end > now_ms() ? (end - now_ms() + 59999) / 60000 : 0);
	fflush(stdout);
}

/* So that a console that ends in a crash says where to look. */
static void tell_console(uint64_t seed)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/dev/kmsg", O_WRONLY);
	dprintf(fd, "fuzz: seed %llu and on\n", (unsigned long long)seed);
}

/* Short enough to be typed. */
static uint64_t any_seed(void)
{
	uint32_t seed = 1;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		note("no chance: seed %u", seed);
	return seed;
}

static void keep_only(struct fuzz_program *program, const char *list)
{
	memset(program->left_out, true, sizeof(program->left_out));
	while (*list) {
		char *end;
		unsigned long op = strtoul(list, &end, 10);

		if (end == list || op >= FUZZ_MAX_OPS)
			ksft_exit_fail_msg("what operation is %s?\n", list);
		program->left_out[op] = false;
		list = *end ? end + 1 : end;
	}
}

static void print_sum(uint64_t first)
{
	static const char * const names[] = {
		"desc", "avail", "used", "log", "indirect", "header", "payload"
	};

	ksft_print_msg("%lu seeds from %llu, %lu of vsock\n", sum.seeds,
		       (unsigned long long)first, sum.vsock);
	ksft_print_msg("%lu operations, %lu refused, %lu packets\n", sum.ops,
		       sum.refused, sum.packets);
	ksft_print_msg("%lu owners died, %lu workers stuck, %lu runs torn\n",
		       sum.dies, sum.stuck, sum.torn);
	for (int p = 0; p < NR_COUNTED; p++)
		ksft_print_msg("%s: %lu accesses mirrored, %lu fell back, %lu drops\n",
			       names[p], sum.part[p].mirrored,
			       sum.part[p].fallback, sum.part[p].drops);
	for (int i = 0; i < NR_REGIONS; i++)
		if (trace[0]->missing & 1U << i)
			ksft_print_msg("not on this machine: %s\n",
				       fuzz_value_name(V_MEMORY + i));
}

int main(int argc, char **argv)
{
	long long begun = now_ms(), end = 0, shown = begun;
	const char *seed = NULL, *number = NULL, *only = NULL;
	unsigned long nr = FEW_SEEDS, tainted;
	const char *reason, *dir = "/tmp";
	uint64_t first = 1;
	int option;

	while ((option = getopt(argc, argv, "m:s:n:o:d:")) != -1) {
		switch (option) {
		case 'm':
			end = begun + 60000 * atoll(optarg);
			break;
		case 's':
			seed = optarg;
			break;
		case 'n':
			number = optarg;
			break;
		case 'o':
			only = optarg;
			break;
		case 'd':
			dir = optarg;
			break;
		default:
			ksft_exit_fail_msg("see the head of ring_fuzz.c\n");
		}
	}
	if (seed)
		first = strtoull(seed, NULL, 0);
	else if (end)
		first = any_seed();
	if (number)
		nr = strtoul(number, NULL, 0);
	else if (end)
		nr = ULONG_MAX;
	else if (seed)
		nr = 1;
	ksft_print_header();
	reason = why_skip();
	if (reason)
		ksft_exit_skip("%s\n", reason);
	ksft_set_plan(7);
	trace[0] = mmap(NULL, 2 * sizeof(*trace[0]), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (trace[0] == MAP_FAILED || fuzz_site_open(&site, dir))
		ksft_exit_fail_msg("no place to do it\n");
	trace[1] = trace[0] + 1;
	for (int i = 0; i < 2; i++)
		trace[i]->dump_at = FUZZ_MAX_OPS + 1;

	tainted = taint();
	while (sum.seeds < nr && !sum.broken && !sum.hung && !sum.tainted &&
	       sum.differ < (end ? MAX_FAILURES : 1) &&
	       (!end || now_ms() < end)) {
		struct fuzz_program program = { .seed = first + sum.seeds };

		if (only)
			keep_only(&program, only);
		if (sum.seeds % SEEDS_TOLD == 0)
			tell_console(program.seed);
		try_seed(&program, nr == 1);
		sum.tainted = taint() != tainted;
		if (sum.hung || sum.tainted)
			ksft_print_msg("seed %llu: %s\n",
				       (unsigned long long)program.seed,
				       sum.hung ? "hung" :
				       "the kernel complained");
		if (end && now_ms() - shown > PROGRESS_MS) {
			shown = now_ms();
			print_progress(begun, end);
		}
	}
	ring_mirror_set(true);
	print_sum(first);
	fuzz_site_close(&site);

	ksft_test_result(!sum.broken && sum.seeds, "fuzz.ran\n");
	ksft_test_result(!sum.differ, "fuzz.same_mirrored_as_with_uaccess\n");
	ksft_test_result(!sum.hung, "fuzz.nothing_hung\n");
	ksft_test_result(!sum.tainted, "fuzz.the_kernel_did_not_complain\n");
	ksft_test_result(sum.hit * 100 >= sum.seeds * SHARE && !sum.astray,
			 "fuzz.rings_were_mirrored in %lu of %lu, and in none of the others\n",
			 sum.hit, sum.seeds);
	ksft_test_result((sum.part[INDIRECT].mirrored &&
			  sum.part[HEADER].mirrored) || sum.seeds < FEW_SEEDS,
			 "fuzz.guest_memory_was_mirrored\n");
	if (site.vsock)
		ksft_test_result(sum.vsock || sum.seeds < FEW_SEEDS,
				 "fuzz.vsock_was_among_them\n");
	else
		ksft_test_result_skip("fuzz.vsock_was_among_them: no /dev/vhost-vsock\n");
	ksft_finished();
}
