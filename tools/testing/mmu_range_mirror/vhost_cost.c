// SPDX-License-Identifier: GPL-2.0
/*
 * What a packet costs vhost-net's worker by windows and by uaccess, and a bit of
 * the dirty log: nanoseconds that it ran, in rounds that take turns. Meant for a
 * virtual machine with one CPU whose clock counts instructions.
 *
 *	vhost_cost ROUNDS		with windows and without
 *	vhost_cost ROUNDS hidden	with windows in which every access misses,
 *					and without
 *	vhost_cost ROUNDS flips		with windows and without, while all rings
 *					are invalidated between packets
 *	vhost_cost ROUNDS maps		the same, while a vIOMMU maps and unmaps
 *					something else
 *	vhost_cost ROUNDS pieces	with windows and caches, and without, for each
 *					device (vhost_pieces.c)
 *
 * A line of the output is what was measured, how, the median, the quartiles, and,
 * after an empty field, how often something was done in 1000 packets, if it was.
 */
#include <dirent.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../selftests/vhost/client.h"
#include "vhost_cost.h"

#define NR_MODES 4
/* Packets of one round, in each direction. */
#define NR_PACKETS (8 * BATCH)

/* Bits of a mode. */
#define MIRRORED 1
#define LOGGED 2

static double rx[NR_MODES][MAX_ROUNDS], tx[NR_MODES][MAX_ROUNDS];
static double single[NR_MODES][MAX_ROUNDS], bits[NR_MODES][MAX_ROUNDS];
static double accesses[NR_QUEUES][MAX_ROUNDS], sections[NR_QUEUES][MAX_ROUNDS];

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void report(const char *what, const char *how, double *values, int n)
{
	qsort(values, n, sizeof(*values), by_value);
	printf("%s\t%s\t%.2f\t%.2f\t%.2f\n", what, how, values[n / 2],
	       values[n / 4], values[n * 3 / 4]);
}

static void report_ratio(const char *what, double *one, double *other, int n)
{
	static double ratio[MAX_ROUNDS];

	for (int round = 0; round < n; round++)
		ratio[round] = one[round] / other[round];
	qsort(ratio, n, sizeof(*ratio), by_value);
	printf("%s\tratio\t%.3f\t%.3f\t%.3f\n", what, ratio[n / 2],
	       ratio[n / 4], ratio[n * 3 / 4]);
}

void check(int ret)
{
	if (ret)
		exit(1);
}

/* The thread of ours that is the device's worker. */
const char *worker(void)
{
	DIR *dir = opendir("/proc/self/task");
	static char path[300];
	struct dirent *entry;
	char comm[32];
	FILE *file;

	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/self/task/%s/comm",
			 entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (fgets(comm, sizeof(comm), file) &&
		    !strncmp(comm, "vhost-", 6)) {
			snprintf(path, sizeof(path),
				 "/proc/self/task/%s/schedstat", entry->d_name);
			fclose(file);
			closedir(dir);
			return path;
		}
		fclose(file);
	}
	errx(1, "the device has no thread");
}

/* How long it has run. */
double ran(const char *path)
{
	FILE *file = fopen(path, "r");
	unsigned long long ns;

	if (!file || fscanf(file, "%llu", &ns) != 1)
		err(1, "%s", path);
	fclose(file);
	return ns;
}

static unsigned long bits_logged(void)
{
	struct stats stats;

	check(stats_read(&stats, ANY, TX, LOG));
	return stats.mirrored + stats.fallback;
}

/* Minus the accesses and sections of queue @q so far, or plus. */
static void count(int q, int round, int sign)
{
	struct stats stats;

	check(stats_read(&stats, ANY, q, ANY));
	if (sign < 0) {
		accesses[q][round] = 0;
		sections[q][round] = 0;
	}
	accesses[q][round] += sign * (double)stats.mirrored / NR_PACKETS;
	sections[q][round] += sign * (double)(stats.mirrored - stats.shared) /
			      NR_PACKETS;
}

static void send_by(struct client *c, unsigned int batch)
{
	for (int n = 0; n < NR_PACKETS; n += batch) {
		check(client_send(c, batch));
		check(client_sent(c, batch));
	}
	check(client_settle(c));
}

static void one_round(struct client *c, void *log, int mode, int round)
{
	const char *path = worker();
	unsigned long before;
	double began;

	check(ring_mirror_set(mode & MIRRORED));
	check(client_set_log(c, mode & LOGGED ? log : NULL));
	if (mode & MIRRORED && !c->config.secret)
		check(client_warm_up(c));
	else
		check(client_round(c, c->num));
	check(client_settle(c));

	if (mode == MIRRORED)
		count(RX, round, -1);
	began = ran(path);
	for (int n = 0; n < NR_PACKETS; n += BATCH)
		check(client_received(c, BATCH));
	check(client_settle(c));
	rx[mode][round] = (ran(path) - began) / NR_PACKETS;
	if (mode == MIRRORED)
		count(RX, round, 1);

	if (mode == MIRRORED)
		count(TX, round, -1);
	began = ran(path);
	send_by(c, BATCH);
	tx[mode][round] = (ran(path) - began) / NR_PACKETS;
	if (mode == MIRRORED)
		count(TX, round, 1);

	/* The used ring is logged for each batch: here for each packet. */
	before = bits_logged();
	began = ran(path);
	send_by(c, 1);
	single[mode][round] = ran(path) - began;
	bits[mode][round] = bits_logged() - before;
}

static void with_windows(struct client *c, int nr_rounds)
{
	static const char * const how[] = { "uaccess", "mirrored" };
	static double cost[2][MAX_ROUNDS];
	void *log = client_alloc_log(c, -1);

	if (!log)
		exit(1);
	/* The first is for the caches, and for the mirror to be made. */
	for (int mode = NR_MODES - 1; mode >= 0; mode--)
		one_round(c, log, mode, 0);
	for (int round = 0; round < nr_rounds; round++) {
		for (int mode = 0; mode < NR_MODES; mode++)
			one_round(c, log, (mode + round) % NR_MODES, round);
		for (int on = 0; on < 2; on++)
			cost[on][round] = (single[on | LOGGED][round] -
					   single[on][round]) /
					  bits[on | LOGGED][round];
	}
	report_ratio("a logged bit, uaccess to mirrored", cost[0], cost[1],
		     nr_rounds);
	for (int on = 0; on < 2; on++) {
		report("packet received", how[on], rx[on], nr_rounds);
		report("packet sent", how[on], tx[on], nr_rounds);
		report("bit logged", how[on], cost[on], nr_rounds);
	}
	for (int q = 0; q < NR_QUEUES; q++) {
		const char *what = q == RX ? "per packet received" :
					     "per packet sent";

		report(what, "accesses", accesses[q], nr_rounds);
		report(what, "sections", sections[q], nr_rounds);
	}
}

static void with_misses(struct client *c, int nr_rounds)
{
	struct stats stats;

	for (int mode = MIRRORED; mode >= 0; mode--)
		one_round(c, NULL, mode, 0);
	for (int round = 0; round < nr_rounds; round++) {
		one_round(c, NULL, round & 1, round);
		one_round(c, NULL, !(round & 1), round);
	}
	check(stats_read(&stats, ANY, ANY, ANY));
	if (stats.mirrored)
		errx(1, "%lu accesses did not miss", stats.mirrored);
	report_ratio("packet received, uaccess to missed", rx[0], rx[MIRRORED],
		     nr_rounds);
	report_ratio("packet sent, uaccess to missed", tx[0], tx[MIRRORED],
		     nr_rounds);
	report("packet received", "missed", rx[MIRRORED], nr_rounds);
	report("packet sent", "missed", tx[MIRRORED], nr_rounds);
}

/* Packets of one round between one disturbance and the next; 0: for good. */
#define NR_RATES 5
static const int every[NR_RATES] = { 0, 512, 64, 8, 1 };

#define NR_DISTURBED 512

static double worked[NR_RATES][2][MAX_ROUNDS];
static double cost_of[NR_RATES][2][MAX_ROUNDS];

/* All rings' pages are invalidated; nobody is kept from using them. */
static void flip(struct client *c, int n)
{
	if (mprotect(c->mem, c->mem_size,
		     PROT_READ | PROT_WRITE | (n % 2 ? 0 : PROT_EXEC)))
		err(1, "mprotect");
}

/* As a strict guest does for each of its buffers. */
static void map_and_unmap(struct client *c, int n)
{
	check(client_iotlb(c, VHOST_IOTLB_UPDATE, c->mem_size + n * PAGE, PAGE,
			   c->mem));
	check(client_iotlb(c, VHOST_IOTLB_INVALIDATE, c->mem_size + n * PAGE,
			   PAGE, NULL));
}

static const struct disturbance {
	const char *name;
	uint64_t features;
	void (*once)(struct client *c, int n);
} disturbances[] = {
	{ "flips", 0, flip },
	{ "maps", 1ULL << VIRTIO_F_ACCESS_PLATFORM, map_and_unmap },
	{ }
};

/* How long it took us. */
static double disturb(struct client *c, const struct disturbance *by, int n)
{
	struct timespec began, ended;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &began);
	by->once(c, n);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ended);
	return (ended.tv_sec - began.tv_sec) * 1e9 + ended.tv_nsec -
	       began.tv_nsec;
}

static void disturbed_round(struct client *c, const struct disturbance *by,
			    int rate, bool on, int round)
{
	const char *path = worker();
	double before, cost = 0, work = 0;
	int n, done = 0;

	check(ring_mirror_set(on));
	check(on ? client_warm_up(c) : client_round(c, c->num));
	for (n = 0; n < NR_DISTURBED; n++) {
		if (every[rate] && n % every[rate] == 0)
			cost += disturb(c, by, done++);
		before = ran(path);
		check(client_send(c, 1));
		check(client_sent(c, 1));
		check(client_settle(c));
		work += ran(path) - before;
	}
	worked[rate][on][round] = work / NR_DISTURBED;
	cost_of[rate][on][round] = done ? cost / done : 0;
}

static void report_disturbed(const char *what, const struct disturbance *by,
			     const char *how, double *values, int n, int rate)
{
	qsort(values, n, sizeof(*values), by_value);
	printf("%s, %s\t%s\t%.2f\t%.2f\t%.2f\t\t%.2f\n", what, how,
	       by->name, values[n / 2], values[n / 4], values[n * 3 / 4],
	       every[rate] ? 1000.0 / every[rate] : 0);
}

static void with_disturbance(struct client *c, const struct disturbance *by,
			     int nr_rounds)
{
	static const char * const how[] = { "uaccess", "mirrored" };
	static char what[100];

	for (int rate = 0; rate < NR_RATES; rate++)
		for (int on = 1; on >= 0; on--)
			disturbed_round(c, by, rate, on, 0);
	for (int round = 0; round < nr_rounds; round++)
		for (int rate = 0; rate < NR_RATES; rate++)
			for (int i = 0; i < 2; i++)
				disturbed_round(c, by, rate, (i + round) & 1,
						round);

	for (int rate = 0; rate < NR_RATES; rate++) {
		snprintf(what, sizeof(what),
			 "packet sent, uaccess to mirrored, %.0f %s in 1000",
			 every[rate] ? 1000.0 / every[rate] : 0, by->name);
		report_ratio(what, worked[rate][0], worked[rate][1], nr_rounds);
	}
	for (int on = 0; on < 2; on++)
		for (int rate = 0; rate < NR_RATES; rate++)
			report_disturbed("packet sent", by, how[on],
					 worked[rate][on], nr_rounds, rate);
	for (int on = 0; on < 2; on++)
		for (int rate = 1; rate < NR_RATES; rate++)
			report_disturbed("each of them", by, how[on],
					 cost_of[rate][on], nr_rounds, rate);
}

int main(int argc, char **argv)
{
	int nr_rounds = argc > 1 ? atoi(argv[1]) : 0;
	const struct disturbance *by = disturbances;
	struct client_config config = {
		.secret = argc == 3 && !strcmp(argv[2], "hidden"),
	};
	bool of_pieces = argc == 3 && !strcmp(argv[2], "pieces");
	const char *reason = why_skip();
	struct client c;

	while (by->name && (argc != 3 || strcmp(argv[2], by->name)))
		by++;
	config.features = by->features;
	if (nr_rounds < 1 || nr_rounds > MAX_ROUNDS ||
	    argc != 2 + config.secret + of_pieces + !!by->name)
		errx(2, "usage: vhost_cost ROUNDS [hidden|flips|maps|pieces], at most %d rounds",
		     MAX_ROUNDS);
	if (reason)
		errx(4, "%s", reason);
	if (of_pieces) {
		pieces(nr_rounds);
		return 0;
	}
	check(client_open(&c, &config));
	if (config.secret)
		with_misses(&c, nr_rounds);
	else if (by->name)
		with_disturbance(&c, by, nr_rounds);
	else
		with_windows(&c, nr_rounds);
	client_close(&c);
	return 0;
}
