// SPDX-License-Identifier: GPL-2.0
/*
 * mirrorstat: what of vhost's accesses is mirrored, and why the others fell back.
 *
 * It reads two files of debugfs, vhost_ring_mirror and mmu_range_mirror, of
 * lines of "name=value", and counts nothing itself. Names that it does not know
 * are left alone.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#ifndef DEBUGFS_MAGIC
#define DEBUGFS_MAGIC	0x64626720
#endif

#define MAX_COUNTERS	16
#define NAME_SIZE	24
/* More than the kernel's 16, as two characters may stand for one. */
#define COMM_SIZE	32

/* A list of the form "name:value,name:value". */
struct counters {
	unsigned int n;
	struct {
		char name[NAME_SIZE];
		unsigned long value;
	} at[MAX_COUNTERS];
};

enum what {
	PART,	/* of a queue */
	DEVICE,	/* the sum of its parts */
	CACHE,	/* of a process */
	MIRROR,
};

/* What has columns in common. */
struct row {
	enum what what;
	int pid;
	char comm[COMM_SIZE];
	unsigned long start;
	unsigned long pages;
	unsigned long mapped;
	unsigned long fills;
	unsigned long collisions;
	unsigned long installed;
	/* Of all but a mirror. */
	bool closed;
	unsigned long dev;
	unsigned long vq;
	char part[NAME_SIZE];
	unsigned long mirrored;
	unsigned long shared;
	unsigned long fallback;
	unsigned long worst_wait_ns;
	struct counters drops;
	struct counters why;
	/* Of a cache. */
	unsigned long chunks;
	unsigned long opened;
	unsigned long evicted;
	/* Of a mirror. */
	char id[NAME_SIZE];
	char kind[NAME_SIZE];
	char driver[96];
	unsigned long end;
	unsigned long dirtied;
	struct counters tlb;
};

struct table {
	size_t n;
	size_t room;
	struct row *row;
};

static struct {
	const char *debugfs;
	double interval;
	unsigned long count;
	const char *sort;
	int pid;
	bool once;
	bool json;
	bool mirrors;
	bool reverse;
	bool all;
} opt = { .interval = 2 };

/* Reading. */

static unsigned long sum(const struct counters *counters)
{
	unsigned long sum = 0;

	for (unsigned int i = 0; i < counters->n; i++)
		sum += counters->at[i].value;
	return sum;
}

static void add_counter(struct counters *counters, const char *name,
			unsigned long value)
{
	if (counters->n == MAX_COUNTERS)
		return;
	snprintf(counters->at[counters->n].name, NAME_SIZE, "%s", name);
	counters->at[counters->n++].value = value;
}

static void parse_counters(struct counters *counters, char *text)
{
	char *save, *item;

	for (item = strtok_r(text, ",", &save); item;
	     item = strtok_r(NULL, ",", &save)) {
		char *colon = strchr(item, ':');

		if (!colon)
			continue;
		*colon = 0;
		add_counter(counters, item, strtoul(colon + 1, NULL, 0));
	}
}

static const struct {
	const char *name;
	size_t offset;
} numbers[] = {
#define NUMBER(name) { #name, offsetof(struct row, name) }
	NUMBER(dev), NUMBER(vq), NUMBER(mirrored), NUMBER(shared),
	NUMBER(fallback),
	NUMBER(fills), NUMBER(collisions), NUMBER(installed), NUMBER(mapped),
	NUMBER(worst_wait_ns), NUMBER(start), NUMBER(end), NUMBER(pages),
	NUMBER(dirtied), NUMBER(chunks), NUMBER(opened), NUMBER(evicted), { }
};

static const char * const tlb_names[] = {
	"ranges", "commands", "full", "syncs", "refills", NULL
};

static unsigned long *number_of(struct row *row, const char *name)
{
	for (size_t i = 0; numbers[i].name; i++)
		if (!strcmp(numbers[i].name, name))
			return (void *)((char *)row + numbers[i].offset);
	return NULL;
}

static void parse_pair(struct row *row, const char *name, char *value)
{
	unsigned long *number = number_of(row, name);

	if (number)
		*number = strtoul(value, NULL, 0);
	else if (!strcmp(name, "pid"))
		row->pid = atoi(value);
	else if (!strcmp(name, "part"))
		snprintf(row->part, sizeof(row->part), "%s", value);
	else if (!strcmp(name, "kind"))
		snprintf(row->kind, sizeof(row->kind), "%s", value);
	else if (!strcmp(name, "mirror"))
		snprintf(row->id, sizeof(row->id), "%s", value);
	else if (!strcmp(name, "drops") || !strcmp(name, "cache_drops"))
		parse_counters(&row->drops, value);
	else if (!strcmp(name, "why"))
		parse_counters(&row->why, value);
	for (size_t i = 0; tlb_names[i]; i++)
		if (!strcmp(name, tlb_names[i]))
			add_counter(&row->tlb, name, strtoul(value, NULL, 0));
}

static void parse_line(struct row *row, char *line)
{
	char *driver = strstr(line, " driver=");
	char *save, *word;

	/* The last, and the only one with a space in it. */
	if (driver) {
		*driver = 0;
		driver += strlen(" driver=");
		driver[strcspn(driver, "\n")] = 0;
		snprintf(row->driver, sizeof(row->driver), "%s", driver);
	}
	for (word = strtok_r(line, "\n ", &save); word;
	     word = strtok_r(NULL, "\n ", &save)) {
		char *equals = strchr(word, '=');

		if (!strcmp(word, "closed"))
			row->closed = true;
		if (!strcmp(word, "cache"))
			row->what = CACHE;
		if (!equals)
			continue;
		*equals = 0;
		parse_pair(row, word, equals + 1);
	}
	if (opt.mirrors) {
		row->what = MIRROR;
		row->pages = (row->end - row->start) / sysconf(_SC_PAGESIZE);
	}
}

static void read_comm(struct row *row)
{
	char path[64];
	FILE *file;

	strcpy(row->comm, "?");
	if (row->pid <= 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/comm", row->pid);
	file = fopen(path, "r");
	if (!file)
		return;
	if (fgets(row->comm, sizeof(row->comm), file))
		row->comm[strcspn(row->comm, "\n")] = 0;
	fclose(file);
}

/* Where debugfs is mounted, or where it would be. */
static const char *find_debugfs(void)
{
	static char dir[256];
	char line[1024], type[32];
	FILE *mounts = fopen("/proc/mounts", "r");
	bool found = false;

	while (mounts && !found && fgets(line, sizeof(line), mounts))
		found = sscanf(line, "%*s %255s %31s", dir, type) == 2 &&
			!strcmp(type, "debugfs");
	if (mounts)
		fclose(mounts);
	return found ? dir : "/sys/kernel/debug";
}

static FILE *open_file(const char *name, const char *missing)
{
	struct statfs fs;
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", opt.debugfs, name);
	file = fopen(path, "r");
	if (file)
		return file;
	if (errno == EACCES)
		errx(1, "%s: %s: it takes root", path, strerror(errno));
	if (errno == EPERM)
		errx(1, "%s: %s: the kernel is locked down", path,
		     strerror(errno));
	if (errno != ENOENT)
		errx(1, "%s: %s", path, strerror(errno));
	if (statfs(opt.debugfs, &fs) ||
	    (unsigned long)fs.f_type != DEBUGFS_MAGIC)
		errx(1, "no debugfs at %s: mount -t debugfs none %s",
		     opt.debugfs, opt.debugfs);
	errx(1, "no %s: %s", path, missing);
}

static bool wanted(const struct row *row)
{
	return !opt.pid || row->pid == opt.pid;
}

/* A row that is zero but for what it is. */
static struct row *add_row(struct table *table)
{
	if (table->n == table->room) {
		table->room = table->room * 2 + 64;
		table->row = realloc(table->row,
				     table->room * sizeof(*table->row));
		if (!table->row)
			errx(1, "out of memory");
	}
	return memset(&table->row[table->n], 0, sizeof(*table->row));
}

static int compare_devices(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->closed != y->closed)
		return x->closed - y->closed;
	if (x->pid != y->pid)
		return (x->pid > y->pid) - (x->pid < y->pid);
	return (x->dev > y->dev) - (x->dev < y->dev);
}

/* A row for each device: its accesses are those of all its parts. */
static void sum_devices(struct table *table)
{
	size_t parts = table->n;
	struct row *sorted = calloc(parts + 1, sizeof(*sorted)), *device = NULL;

	if (!sorted)
		errx(1, "out of memory");
	memcpy(sorted, table->row, parts * sizeof(*sorted));
	qsort(sorted, parts, sizeof(*sorted), compare_devices);
	for (size_t i = 0; i < parts; i++) {
		const struct row *part = &sorted[i];

		if (part->what != PART)
			continue;
		if (!device || compare_devices(device, part)) {
			device = add_row(table);
			device->what = DEVICE;
			device->closed = part->closed;
			device->pid = part->pid;
			device->dev = part->dev;
			memcpy(device->comm, part->comm, sizeof(part->comm));
			table->n++;
		}
		device->mirrored += part->mirrored;
		device->fallback += part->fallback;
	}
	free(sorted);
}

static void read_table(struct table *table)
{
	static const char * const names[] = {
		"vhost_ring_mirror", "mmu_range_mirror",
	};
	static const char * const missing[] = {
		"vhost_ring_mirror is not loaded, or vhost is built without CONFIG_VHOST_RING_MIRROR",
		"mmu_range_mirror is not loaded, or built without CONFIG_MMU_RANGE_MIRROR_DEBUGFS",
	};
	const char *name = names[opt.mirrors];
	FILE *file = open_file(name, missing[opt.mirrors]);
	char *line = NULL;
	size_t size = 0;

	table->n = 0;
	while (getline(&line, &size, file) > 0) {
		struct row *row = add_row(table);

		parse_line(row, line);
		if (!wanted(row))
			continue;
		read_comm(row);
		table->n++;
	}
	if (ferror(file))
		errx(1, "%s: %s", name, strerror(errno));
	free(line);
	fclose(file);
	sum_devices(table);
}

/* What happened since. */

static bool same(const struct row *a, const struct row *b)
{
	if (opt.mirrors)
		return !strcmp(a->id, b->id) && a->pid == b->pid &&
		       a->start == b->start;
	return a->closed == b->closed && a->what == b->what &&
	       a->pid == b->pid && a->dev == b->dev && a->vq == b->vq &&
	       !strcmp(a->part, b->part);
}

static void subtract_counters(struct counters *now, const struct counters *old)
{
	for (unsigned int i = 0; i < now->n && i < old->n; i++)
		now->at[i].value -= old->at[i].value;
}

/* How much is mapped, where and how much at worst, is as of now. */
static void subtract(struct row *now, const struct row *old)
{
	now->mirrored -= old->mirrored;
	now->shared -= old->shared;
	now->fallback -= old->fallback;
	now->fills -= old->fills;
	now->collisions -= old->collisions;
	now->installed -= old->installed;
	now->dirtied -= old->dirtied;
	now->opened -= old->opened;
	now->evicted -= old->evicted;
	subtract_counters(&now->drops, &old->drops);
	subtract_counters(&now->why, &old->why);
	subtract_counters(&now->tlb, &old->tlb);
}

static void copy_table(struct table *to, const struct table *from)
{
	to->row = realloc(to->row, (from->n + 1) * sizeof(*to->row));
	if (!to->row)
		errx(1, "out of memory");
	memcpy(to->row, from->row, from->n * sizeof(*to->row));
	to->n = from->n;
	to->room = from->n + 1;
}

/* Mirrors that come and go are many; they keep their order. */
static void subtract_table(struct table *now, const struct table *old)
{
	size_t guess = 0;

	for (size_t i = 0; i < now->n; i++) {
		for (size_t tried = 0; tried < old->n; tried++) {
			size_t j = (guess + tried) % old->n;

			if (!same(&now->row[i], &old->row[j]))
				continue;
			subtract(&now->row[i], &old->row[j]);
			guess = j + 1;
			break;
		}
	}
}

/* Sorting. */

static int compare_numbers(unsigned long a, unsigned long b)
{
	return (a > b) - (a < b);
}

static int by_pid(const struct row *a, const struct row *b)
{
	return (a->pid > b->pid) - (a->pid < b->pid);
}

static int by_comm(const struct row *a, const struct row *b)
{
	return strcmp(a->comm, b->comm);
}

static int by_start(const struct row *a, const struct row *b)
{
	return compare_numbers(a->start, b->start);
}

static int by_pages(const struct row *a, const struct row *b)
{
	return compare_numbers(b->pages, a->pages);
}

static int by_mapped(const struct row *a, const struct row *b)
{
	return compare_numbers(b->mapped, a->mapped);
}

static int by_fills(const struct row *a, const struct row *b)
{
	return compare_numbers(b->fills, a->fills);
}

static int by_mirrored(const struct row *a, const struct row *b)
{
	return compare_numbers(b->mirrored, a->mirrored);
}

static int by_fallback(const struct row *a, const struct row *b)
{
	return compare_numbers(b->fallback, a->fallback);
}

static int by_drops(const struct row *a, const struct row *b)
{
	return compare_numbers(sum(&b->drops), sum(&a->drops));
}

static int by_dirtied(const struct row *a, const struct row *b)
{
	return compare_numbers(b->dirtied, a->dirtied);
}

/* The first of a view is what it is sorted by unless told otherwise. */
static const struct key {
	const char *name;
	int (*compare)(const struct row *a, const struct row *b);
	bool rings;
	bool mirrors;
} keys[] = {
	{ "fallback", by_fallback, true, false },
	{ "pid", by_pid, true, true },
	{ "comm", by_comm, true, true },
	{ "start", by_start, true, true },
	{ "pages", by_pages, true, true },
	{ "mapped", by_mapped, true, true },
	{ "fills", by_fills, true, true },
	{ "mirrored", by_mirrored, true, false },
	{ "drops", by_drops, true, false },
	{ "dirtied", by_dirtied, false, true },
	{ }
};

static const struct key *find_key(void)
{
	for (size_t i = 0; keys[i].name; i++)
		if ((opt.mirrors ? keys[i].mirrors : keys[i].rings) &&
		    (!opt.sort || !strcmp(keys[i].name, opt.sort)))
			return &keys[i];
	return NULL;
}

/* Equal rows stay in the kernel's order, which is that of their addresses. */
static int compare_rows(const void *a, const void *b, void *arg)
{
	const struct row *const *x = a, *const *y = b;
	const struct key *key = arg;
	int order = key->compare(*x, *y);

	if (opt.reverse)
		order = -order;
	return order ?: (*x > *y) - (*x < *y);
}

/* Printing. */

/* Those that are not zero, the largest first. */
static void print_counters(const struct counters *counters)
{
	bool printed[MAX_COUNTERS] = { };
	const char *comma = "";

	for (;;) {
		unsigned int most = counters->n;

		for (unsigned int i = 0; i < counters->n; i++)
			if (!printed[i] && counters->at[i].value &&
			    (most == counters->n || counters->at[i].value >
						    counters->at[most].value))
				most = i;
		if (most == counters->n)
			break;
		printed[most] = true;
		printf("%s%s %lu", comma, counters->at[most].name,
		       counters->at[most].value);
		comma = ", ";
	}
}

/* Anybody may call himself what he likes; not so to a terminal. */
static const char *printable(const char *comm)
{
	static char text[COMM_SIZE];
	size_t i;

	for (i = 0; comm[i]; i++)
		text[i] = comm[i] >= ' ' && comm[i] <= '~' ? comm[i] : '?';
	text[i] = 0;
	return text;
}

static void print_owner(const struct row *row)
{
	if (row->closed)
		printf("%7s %-15s", "-", "(closed)");
	else
		printf("%7d %-15s", row->pid, printable(row->comm));
}

static void print_dev(const struct row *row)
{
	print_owner(row);
	if (row->closed)
		printf(" %3s", "-");
	else
		printf(" %3lu", row->dev);
}

static double percent(unsigned long part, unsigned long all)
{
	return all ? 100.0 * part / all : 0.0;
}

static void print_device(const struct row *row)
{
	unsigned long accesses = row->mirrored + row->fallback;

	print_dev(row);
	printf(" %11lu %9.2f\n", accesses, percent(row->mirrored, accesses));
}

static void print_cache(const struct row *row)
{
	print_owner(row);
	printf(" %6lu %8lu %6lu %7lu %6lu %6lu\n", row->chunks, row->mapped,
	       row->opened, row->evicted, sum(&row->drops), row->fills);
}

static void print_ring(const struct row *row)
{
	unsigned long accesses = row->mirrored + row->fallback;
	char mapped[32] = "-";

	print_dev(row);
	if (row->closed)
		printf(" %2s", "-");
	else
		printf(" %2lu", row->vq);
	if (row->pages)
		snprintf(mapped, sizeof(mapped), "%lu/%lu", row->mapped,
			 row->pages);
	printf(" %-8s %11lu %9lu %6.2f %8s %6lu %6lu ", row->part,
	       row->mirrored, row->fallback, percent(row->fallback, accesses),
	       mapped, sum(&row->drops), row->fills);
	print_counters(&row->why);
	putchar('\n');
}

static void print_mirror(const struct row *row)
{
	printf("%7d %-15s %-6s %#16lx %9lu ", row->pid, printable(row->comm),
	       row->kind, row->start, row->pages);
	if (!strcmp(row->kind, "window"))
		printf("%9lu ", row->mapped);
	else
		printf("%9s ", "-");
	printf("%9lu %6lu %s", row->dirtied, row->fills, row->driver);
	if (sum(&row->tlb)) {
		printf(": ");
		print_counters(&row->tlb);
	}
	putchar('\n');
}

/* Rows of the terminal, or 0 if it is none. */
static size_t screen_rows(void)
{
	struct winsize size;

	if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size))
		return 0;
	return size.ws_row;
}

static bool idle(const struct row *row)
{
	if (row->what == MIRROR)
		return false;
	if (row->what == CACHE)
		return row->closed || !(row->chunks + row->opened);
	return row->closed || !(row->mirrored + row->fallback);
}

static const char *interval(double seconds)
{
	static char text[64];

	if (seconds > 0)
		snprintf(text, sizeof(text), "in %.1f s", seconds);
	else
		snprintf(text, sizeof(text), "since %s",
			 opt.mirrors ? "insertion" : "the queues began");
	return text;
}

/* The rows of a kind, in @room lines, unless that is 0. Return the lines. */
static size_t print_rows(struct row *const *order, size_t n, enum what what,
			 size_t room, void (*print)(const struct row *row))
{
	size_t lines = 1;

	for (size_t i = 0; i < n; i++) {
		if (order[i]->what != what || (!opt.all && idle(order[i])))
			continue;
		if (room && ++lines > room)
			break;
		print(order[i]);
	}
	return lines;
}

static void print_mirrors(struct row *const *order, size_t n, size_t room)
{
	printf("%7s %-15s %-6s %16s %9s %9s %9s %6s %s\n", "PID", "COMM", "KIND",
	       "START", "PAGES", "MAPPED", "DIRTIED", "FILLS", "DRIVER");
	print_rows(order, n, MIRROR, room, print_mirror);
}

/* Devices and caches have a quarter of the screen each, at most. */
static void print_vhost(struct row *const *order, size_t n, size_t room)
{
	size_t lines;

	printf("%7s %-15s %3s %11s %9s\n", "PID", "COMM", "DEV", "ACCESSES",
	       "%MIRRORED");
	lines = print_rows(order, n, DEVICE, room / 4, print_device);
	printf("%7s %-15s %6s %8s %6s %7s %6s %6s\n", "PID", "COMM", "CHUNKS",
	       "MAPPED", "OPENED", "EVICTED", "DROPS", "FILLS");
	lines += print_rows(order, n, CACHE, room / 4, print_cache);
	printf("%7s %-15s %3s %2s %-8s %11s %9s %6s %8s %6s %6s %s\n", "PID",
	       "COMM", "DEV", "VQ", "PART", "MIRRORED", "FALLBACK", "%",
	       "MAPPED", "DROPS", "FILLS", "WHY");
	print_rows(order, n, PART, room ? room - lines : 0, print_ring);
}

static void print_text(struct row *const *order, size_t n, double seconds)
{
	size_t screen = opt.once ? 0 : screen_rows(), listed = 0;
	time_t now = time(NULL);
	char when[32];

	for (size_t i = 0; i < n; i++)
		listed += order[i]->what == PART || order[i]->what == MIRROR;
	strftime(when, sizeof(when), "%F %T", localtime(&now));
	if (screen)
		printf("\033[H\033[J");
	printf("%s  %s: %zu, %s\n", when,
	       opt.mirrors ? "mirrors" : "parts of queues", listed,
	       interval(seconds));
	/* Room for the line above, and the last, which stays empty. */
	screen -= screen > 2 ? 2 : 0;
	if (opt.mirrors)
		print_mirrors(order, n, screen);
	else
		print_vhost(order, n, screen);
}

/* A string of JSON. Bytes that are no ASCII may be no UTF-8 either. */
static void json_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		unsigned char c = *text;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void json_counters(const char *name, const struct counters *counters)
{
	printf(", \"%s\": {", name);
	for (unsigned int i = 0; i < counters->n; i++) {
		printf("%s", i ? ", " : "");
		json_string(counters->at[i].name);
		printf(": %lu", counters->at[i].value);
	}
	putchar('}');
}

static void json_owner(const struct row *row)
{
	printf("\"closed\": %s", row->closed ? "true" : "false");
	if (row->closed)
		return;
	printf(", \"pid\": %d, \"comm\": ", row->pid);
	json_string(row->comm);
	if (row->what != CACHE)
		printf(", \"dev\": %lu", row->dev);
}

static void json_device(const struct row *row)
{
	json_owner(row);
	printf(", \"mirrored\": %lu, \"fallback\": %lu", row->mirrored,
	       row->fallback);
}

static void json_cache(const struct row *row)
{
	json_owner(row);
	printf(", \"chunks\": %lu, \"mapped\": %lu, \"opened\": %lu, \"evicted\": %lu",
	       row->chunks, row->mapped, row->opened, row->evicted);
	json_counters("drops", &row->drops);
	printf(", \"fills\": %lu, \"collisions\": %lu, \"installed\": %lu, \"worst_wait_ns\": %lu",
	       row->fills, row->collisions, row->installed,
	       row->worst_wait_ns);
}

static void json_ring(const struct row *row)
{
	json_owner(row);
	if (!row->closed) {
		printf(", \"vq\": %lu", row->vq);
		printf(", \"start\": %lu, \"pages\": %lu, \"mapped\": %lu",
		       row->start, row->pages, row->mapped);
	}
	printf(", \"part\": ");
	json_string(row->part);
	printf(", \"mirrored\": %lu, \"shared\": %lu, \"fallback\": %lu",
	       row->mirrored, row->shared, row->fallback);
	json_counters("why", &row->why);
	json_counters("drops", &row->drops);
	printf(", \"fills\": %lu, \"collisions\": %lu, \"installed\": %lu, \"worst_wait_ns\": %lu",
	       row->fills, row->collisions, row->installed,
	       row->worst_wait_ns);
}

static void json_mirror(const struct row *row)
{
	printf("\"mirror\": ");
	json_string(row->id);
	printf(", \"pid\": %d, \"comm\": ", row->pid);
	json_string(row->comm);
	printf(", \"kind\": ");
	json_string(row->kind);
	printf(", \"start\": %lu, \"end\": %lu, \"dirtied\": %lu", row->start,
	       row->end, row->dirtied);
	if (!strcmp(row->kind, "window"))
		printf(", \"mapped\": %lu, \"fills\": %lu, \"collisions\": %lu, \"installed\": %lu",
		       row->mapped, row->fills, row->collisions,
		       row->installed);
	if (row->tlb.n)
		json_counters("tlb", &row->tlb);
	printf(", \"driver\": ");
	json_string(row->driver);
}

static void json_rows(const char *name, struct row *const *order, size_t n,
		      enum what what, void (*print)(const struct row *row))
{
	const char *comma = "";

	printf("\"%s\": [", name);
	for (size_t i = 0; i < n; i++) {
		if (order[i]->what != what)
			continue;
		printf("%s{", comma);
		print(order[i]);
		putchar('}');
		comma = ", ";
	}
	putchar(']');
}

/* One line, so that each interval's is a document of its own. */
static void print_json(struct row *const *order, size_t n, double seconds)
{
	printf("{\"time\": %lld, ", (long long)time(NULL));
	if (seconds > 0)
		printf("\"seconds\": %.3f, ", seconds);
	if (opt.mirrors) {
		json_rows("mirrors", order, n, MIRROR, json_mirror);
	} else {
		json_rows("devices", order, n, DEVICE, json_device);
		printf(", ");
		json_rows("caches", order, n, CACHE, json_cache);
		printf(", ");
		json_rows("rings", order, n, PART, json_ring);
	}
	printf("}\n");
}

static void print_table(const struct table *table, double seconds)
{
	struct row **order = calloc(table->n + 1, sizeof(*order));
	const struct key *key = find_key();

	if (!order)
		errx(1, "out of memory");
	for (size_t i = 0; i < table->n; i++)
		order[i] = &table->row[i];
	qsort_r(order, table->n, sizeof(*order), compare_rows, (void *)key);
	if (opt.json)
		print_json(order, table->n, seconds);
	else
		print_text(order, table->n, seconds);
	free(order);
	if (fflush(stdout))
		errx(1, "stdout: %s", strerror(errno));
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* First what there has been so far, then each interval. */
static void watch(void)
{
	struct table table = { }, last = { }, next = { };
	double then = now(), seconds = 0;

	read_table(&table);
	print_table(&table, 0);
	copy_table(&last, &table);
	for (unsigned long i = 1; !opt.once && i != opt.count; i++) {
		struct timespec pause = {
			.tv_sec = (time_t)opt.interval,
			.tv_nsec = (opt.interval - (time_t)opt.interval) * 1e9,
		};

		nanosleep(&pause, NULL);
		read_table(&table);
		seconds = now() - then;
		then += seconds;
		copy_table(&next, &table);
		subtract_table(&table, &last);
		print_table(&table, seconds);
		copy_table(&last, &next);
	}
	free(table.row);
	free(last.row);
	free(next.row);
}

static void print_help(void)
{
	static const char text[] =
		"usage: mirrorstat [OPTION]...\n"
		"Show what of vhost's accesses is mirrored, and why the others fell back.\n\n"
		"  -1, --once            what there has been so far, and exit\n"
		"  -i, --interval=SECS   between two screens, 2 unless told otherwise\n"
		"  -n, --count=N         exit after N screens\n"
		"  -j, --json            a line of JSON in place of a screen\n"
		"  -m, --mirrors         the mirrors of all drivers, not vhost's queues\n"
		"  -s, --sort=COLUMN     by this column: fallback, mirrored, drops, fills,\n"
		"                        pages, mapped, start, pid, comm; with -m dirtied\n"
		"  -r, --reverse         the other way round\n"
		"  -p, --pid=PID         of this process only\n"
		"  -a, --all             parts without an access, and closed queues, as well\n"
		"  -d, --debugfs=DIR     where debugfs is mounted\n"
		"  -h, --help            this\n";

	fputs(text, stdout);
}

static double positive(const char *text, const char *what)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value > 0) || value > 1e9)
		errx(2, "%s: %s", text, what);
	return value;
}

static void parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "once", no_argument, NULL, '1' },
		{ "interval", required_argument, NULL, 'i' },
		{ "count", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ "mirrors", no_argument, NULL, 'm' },
		{ "sort", required_argument, NULL, 's' },
		{ "reverse", no_argument, NULL, 'r' },
		{ "pid", required_argument, NULL, 'p' },
		{ "all", no_argument, NULL, 'a' },
		{ "debugfs", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	int c;

	while ((c = getopt_long(argc, argv, "1i:n:jms:rp:ad:h", options,
				NULL)) != -1) {
		switch (c) {
		case '1':
			opt.once = true;
			break;
		case 'i':
			opt.interval = positive(optarg, "no number of seconds");
			break;
		case 'n':
			opt.count = positive(optarg, "no number of screens");
			break;
		case 'j':
			opt.json = true;
			break;
		case 'm':
			opt.mirrors = true;
			break;
		case 's':
			opt.sort = optarg;
			break;
		case 'r':
			opt.reverse = true;
			break;
		case 'p':
			opt.pid = positive(optarg, "no PID");
			break;
		case 'a':
			opt.all = true;
			break;
		case 'd':
			opt.debugfs = optarg;
			break;
		case 'h':
			print_help();
			exit(0);
		default:
			fputs("Try 'mirrorstat --help'.\n", stderr);
			exit(2);
		}
	}
	if (optind < argc)
		errx(2, "%s: there is nothing to name beside the options",
		     argv[optind]);
	if (!find_key())
		errx(2, "%s: there is no such column to sort by", opt.sort);
}

int main(int argc, char **argv)
{
	parse_options(argc, argv);
	if (!opt.debugfs)
		opt.debugfs = find_debugfs();
	watch();
	return 0;
}
