// SPDX-License-Identifier: GPL-2.0
/*
 * vhost-ring-mirror-report: what mirrored rings save, or cost, on this host with
 * the traffic that it has.
 *
 * It switches vhost's parameter ring_mirror off and on in turn, and compares the
 * CPU time that vhost's workers take for a packet. It changes nothing else, and a
 * process of its own restores the parameter, whatever becomes of this one.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PARAMETER	"/sys/module/vhost/parameters/ring_mirror"
#define MAX_PAIRS	1000
#define MAX_WORKERS	4096

static struct {
	int pairs;
	double seconds;
	double settle;
	const char *output;
	const char *debugfs;
} opt = { 10, 5, 1, NULL, "/sys/kernel/debug" };

/* The time on a CPU of one thread. */
struct worker {
	int tid;
	unsigned long long ns;
};

/* What there has been so far. */
struct sample {
	struct worker worker[MAX_WORKERS];
	int nr_workers;
	unsigned long long packets;
	unsigned long long mirrored;
	unsigned long long fallback;
	unsigned long long worst_wait_ns;
	double time;
};

/* What there was in a slice. */
struct slice {
	double cpu_ns;
	double packets;
	double mirrored;
	double fallback;
	double seconds;
	int workers;
};

static struct sample before, after;
/* By pair, and whether the rings were mirrored. */
static struct slice slices[MAX_PAIRS][2];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void pause_for(double seconds)
{
	struct timespec t = {
		.tv_sec = (time_t)seconds,
		.tv_nsec = (long)((seconds - (time_t)seconds) * 1e9),
	};

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

/* The first line of a file, without its end, or false. */
static bool read_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");
	bool ok = file && fgets(line, size, file);

	if (file)
		fclose(file);
	if (ok)
		line[strcspn(line, "\n")] = 0;
	return ok;
}

static int parameter(void)
{
	char line[16];

	if (!read_line(PARAMETER, line, sizeof(line)))
		err(1, "%s", PARAMETER);
	return *line == 'Y' || *line == '1';
}

static bool try_switch(bool on)
{
	int fd = open(PARAMETER, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, on ? "Y\n" : "N\n", 2) == 2;

	if (fd >= 0)
		close(fd);
	return ok;
}

/*
 * Two at a time would each take what the other has set for what it was. The guard
 * inherits the lock: it is there until the parameter is what it was.
 */
static void be_alone(void)
{
	int fd = open(PARAMETER, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		err(1, "%s", PARAMETER);
	/* The guard of one that has just ended has a moment to go. */
	for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB); tries++) {
		if (errno != EWOULDBLOCK)
			err(1, "%s", PARAMETER);
		if (tries == 20)
			errx(1, "another report is running");
		usleep(50000);
	}
}

/*
 * A child that sets the parameter back when the other end of the pipe closes,
 * which is when this process ends, however it does.
 */
static pid_t guard(int *pipe_end)
{
	bool was = parameter();
	int fds[2], sig;
	pid_t child;
	char byte;

	if (pipe(fds))
		err(1, "pipe");
	child = fork();
	if (child < 0)
		err(1, "fork");
	if (child) {
		close(fds[0]);
		*pipe_end = fds[1];
		return child;
	}
	setsid();
	for (sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_IGN);
	close(fds[1]);
	/* Whoever reads what we print is not to wait for this one. */
	close(0);
	close(1);
	while (read(fds[0], &byte, 1) < 0 && errno == EINTR)
		;
	if (!try_switch(was)) {
		warn("%s: was %c", PARAMETER, was ? 'Y' : 'N');
		_exit(1);
	}
	_exit(0);
}

/* Threads that vhost has made are called so, in the owner or by themselves. */
static void add_task(struct sample *sample, const char *pid, const char *tid)
{
	char path[600], line[200];
	unsigned long long ns;

	snprintf(path, sizeof(path), "/proc/%.200s/task/%.200s/comm", pid, tid);
	if (!read_line(path, line, sizeof(line)) ||
	    strncmp(line, "vhost-", 6))
		return;
	snprintf(path, sizeof(path), "/proc/%.200s/task/%.200s/schedstat", pid,
		 tid);
	if (!read_line(path, line, sizeof(line)) ||
	    sscanf(line, "%llu", &ns) != 1 ||
	    sample->nr_workers == MAX_WORKERS)
		return;
	sample->worker[sample->nr_workers].tid = atoi(tid);
	sample->worker[sample->nr_workers++].ns = ns;
}

static void add_process(struct sample *sample, const char *pid)
{
	struct dirent *entry;
	char path[300];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%.200s/task", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (isdigit(*entry->d_name))
			add_task(sample, pid, entry->d_name);
	if (dir)
		closedir(dir);
}

static unsigned long long statistic(const char *device, const char *name)
{
	char path[600], line[32];

	snprintf(path, sizeof(path), "/sys/class/net/%.200s/statistics/%s",
		 device, name);
	return read_line(path, line, sizeof(line)) ? strtoull(line, NULL, 10)
						   : 0;
}

/* What taps have moved. What XDP drops counts as dropped only. */
static void add_packets(struct sample *sample)
{
	DIR *dir = opendir("/sys/class/net");
	struct dirent *entry;
	char path[300];

	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/sys/class/net/%.200s/tun_flags",
			 entry->d_name);
		if (access(path, F_OK))
			continue;
		sample->packets += statistic(entry->d_name, "rx_packets") +
				   statistic(entry->d_name, "rx_dropped") +
				   statistic(entry->d_name, "tx_packets");
	}
	if (dir)
		closedir(dir);
}

static unsigned long long value(const char *line, const char *name)
{
	const char *at = strstr(line, name);

	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* vhost counts accesses of each part, guest memory too, and what closed queues had. */
static void add_accesses(struct sample *sample)
{
	size_t size = 0;
	char path[300], *line = NULL;
	FILE *file;

	snprintf(path, sizeof(path), "%.200s/vhost_ring_mirror", opt.debugfs);
	file = fopen(path, "re");
	if (!file)
		err(1, "%s", path);
	while (getline(&line, &size, file) > 0) {
		unsigned long long wait = value(line, " worst_wait_ns=");

		sample->mirrored += value(line, " mirrored=");
		sample->fallback += value(line, " fallback=");
		if (wait > sample->worst_wait_ns)
			sample->worst_wait_ns = wait;
	}
	free(line);
	fclose(file);
}

static void take(struct sample *sample)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	memset(sample, 0, sizeof(*sample));
	sample->time = now();
	while (dir && (entry = readdir(dir)))
		if (isdigit(*entry->d_name))
			add_process(sample, entry->d_name);
	if (dir)
		closedir(dir);
	add_packets(sample);
	add_accesses(sample);
}

/* Workers that were there all the time. */
static double cpu_ns(int *workers)
{
	double sum = 0;

	*workers = 0;
	for (int i = 0; i < after.nr_workers; i++) {
		for (int j = 0; j < before.nr_workers; j++) {
			if (after.worker[i].tid != before.worker[j].tid)
				continue;
			sum += after.worker[i].ns - before.worker[j].ns;
			++*workers;
		}
	}
	return sum;
}

static void run_slice(struct slice *slice, bool on)
{
	if (!try_switch(on))
		err(1, "%s", PARAMETER);
	/* Queues open or close their windows when they run next. */
	pause_for(opt.settle);
	take(&before);
	pause_for(opt.seconds);
	take(&after);
	if (parameter() != on)
		errx(1, "somebody else has changed %s", PARAMETER);
	slice->cpu_ns = cpu_ns(&slice->workers);
	slice->packets = after.packets - before.packets;
	slice->mirrored = after.mirrored - before.mirrored;
	slice->fallback = after.fallback - before.fallback;
	slice->seconds = after.time - before.time;
	if (!slice->workers)
		errx(1, "no worker of vhost is there");
	if (slice->packets + slice->mirrored + slice->fallback < 100 ||
	    slice->cpu_ns <= 0)
		errx(1, "vhost moved nothing that could be measured, within %g s",
		     opt.seconds);
}

/* Without a tap, as with vhost-vsock, it is the access. */
static bool by_packet(void)
{
	for (int i = 0; i < opt.pairs; i++)
		for (int on = 0; on < 2; on++)
			if (slices[i][on].packets < 100)
				return false;
	return true;
}

static double cost(const struct slice *slice, bool packets)
{
	return slice->cpu_ns / (packets ? slice->packets :
				slice->mirrored + slice->fallback);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double quantile(const double *sorted, int n, double q)
{
	double at = q * (n - 1);
	int low = (int)at;

	return sorted[low] + (low + 1 < n ? (at - low) * (sorted[low + 1] -
							   sorted[low]) : 0);
}

/*
 * The rank, from either end, of the values between which the median of all is with
 * a probability of 95 %, whatever they are distributed like; -1: too few.
 */
static int rank_of_95(int n)
{
	double p = 1, sum = 0;
	int k;

	for (k = 0; k < n; k++)
		p /= 2;
	for (k = 0; k < n / 2; k++) {
		sum += p;
		if (2 * sum > 0.05)
			break;
		p = p * (n - k) / (k + 1);
	}
	return k - 1;
}

static const char *cpu_model(bool *smap)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	static char model[200] = "unknown";
	char line[8192];

	*smap = false;
	while (file && fgets(line, sizeof(line), file)) {
		char *colon = strchr(line, ':');

		if (!colon)
			break;
		line[strcspn(line, "\n")] = 0;
		if (!strncmp(line, "model name", 10))
			snprintf(model, sizeof(model), "%.190s", colon + 2);
		if (!strncmp(line, "flags", 5) && strstr(colon, " smap"))
			*smap = true;
	}
	if (file)
		fclose(file);
	for (char *at = model; *at; at++)
		if (*at == '"' || *at == '\\' || !isprint((unsigned char)*at))
			*at = '?';
	return model;
}

static void report_json(FILE *file, const char *unit, double *ratio, int rank,
			bool packets)
{
	struct utsname name;
	const char *model;
	bool smap;
	int n = opt.pairs;

	uname(&name);
	model = cpu_model(&smap);
	fprintf(file, "{\"report\": \"vhost-ring-mirror-report\", \"kernel\": \"%s\", ",
		name.release);
	fprintf(file, "\"cpu\": \"%s\", \"smap\": %s, \"seconds\": %g, ", model,
		smap ? "true" : "false", opt.seconds);
	fprintf(file, "\"unit\": \"ns of a worker's CPU for a %s\", \"pairs\": %d, ",
		unit, n);
	fprintf(file, "\"ratio\": {\"median\": %.4f, \"quartiles\": [%.4f, %.4f]",
		quantile(ratio, n, 0.5), quantile(ratio, n, 0.25),
		quantile(ratio, n, 0.75));
	if (rank >= 0)
		fprintf(file, ", \"confidence_95\": [%.4f, %.4f]", ratio[rank],
			ratio[n - 1 - rank]);
	fprintf(file, "}, \"worst_wait_ns\": %llu, \"slices\": [",
		after.worst_wait_ns);
	for (int i = 0; i < n; i++) {
		for (int on = 0; on < 2; on++) {
			const struct slice *s = &slices[i][on];

			fprintf(file, "%s\n {\"ring_mirror\": %s, \"cost_ns\": %.1f, ",
				i || on ? "," : "", on ? "true" : "false",
				cost(s, packets));
			fprintf(file, "\"workers\": %d, \"cpu_ns\": %.0f, \"packets\": %.0f, ",
				s->workers, s->cpu_ns, s->packets);
			fprintf(file, "\"mirrored\": %.0f, \"fallback\": %.0f, \"seconds\": %.3f}",
				s->mirrored, s->fallback, s->seconds);
		}
	}
	fprintf(file, "\n]}\n");
}

static double median_cost(bool on, bool packets)
{
	static double values[MAX_PAIRS];

	for (int i = 0; i < opt.pairs; i++)
		values[i] = cost(&slices[i][on], packets);
	qsort(values, opt.pairs, sizeof(*values), by_value);
	return quantile(values, opt.pairs, 0.5);
}

static void report(void)
{
	static double ratio[MAX_PAIRS];
	bool packets = by_packet();
	const char *unit = packets ? "packet" : "access";
	int n = opt.pairs, rank = rank_of_95(n);
	double mirrored = 0, all = 0;
	FILE *file;

	for (int i = 0; i < n; i++) {
		ratio[i] = cost(&slices[i][1], packets) /
			   cost(&slices[i][0], packets);
		mirrored += slices[i][1].mirrored;
		all += slices[i][1].mirrored + slices[i][1].fallback;
	}
	qsort(ratio, n, sizeof(*ratio), by_value);
	printf("a worker's CPU time for a %s: %.0f ns mirrored, %.0f ns not\n",
	       unit, median_cost(true, packets), median_cost(false, packets));
	printf("ratio %.3f, quartiles %.3f and %.3f, of %d pairs of slices\n",
	       quantile(ratio, n, 0.5), quantile(ratio, n, 0.25),
	       quantile(ratio, n, 0.75), n);
	if (rank < 0)
		printf("too few pairs to say how sure that is: at least 6\n");
	else
		printf("with 95 %% confidence from %.3f to %.3f: %s\n",
		       ratio[rank], ratio[n - 1 - rank],
		       ratio[n - 1 - rank] < 1 ? "mirrored rings cost less" :
		       ratio[rank] > 1 ? "mirrored rings cost more" :
		       "no difference can be told");
	printf("%.1f %% of the accesses were mirrored; worst wait so far %.0f us\n",
	       all ? 100 * mirrored / all : 0, after.worst_wait_ns / 1e3);
	if (!opt.output)
		return;
	file = fopen(opt.output, "we");
	if (!file)
		err(1, "%s", opt.output);
	report_json(file, unit, ratio, rank, packets);
	if (fclose(file))
		err(1, "%s", opt.output);
}

static void show_options(FILE *file)
{
	fprintf(file,
		"usage: vhost-ring-mirror-report [OPTION]...\n"
		"  -n, --pairs=N          pairs of slices, off and on (10)\n"
		"  -t, --seconds=SECONDS  of a slice (5)\n"
		"  -w, --settle=SECONDS   before each (1)\n"
		"  -o, --output=FILE      write JSON there\n"
		"  -d, --debugfs=DIR      where debugfs is (/sys/kernel/debug)\n"
		"  -h, --help             this\n");
}

static double number(const char *text, double least)
{
	char *end;
	double x = strtod(text, &end);

	if (end == text || *end || !(x >= least) || x > 86400)
		errx(2, "%s: not a value, or too small or large", text);
	return x;
}

static void options(int argc, char **argv)
{
	static const struct option all[] = {
		{ "pairs", required_argument, NULL, 'n' },
		{ "seconds", required_argument, NULL, 't' },
		{ "settle", required_argument, NULL, 'w' },
		{ "output", required_argument, NULL, 'o' },
		{ "debugfs", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	int c;

	while ((c = getopt_long(argc, argv, "n:t:w:o:d:h", all, NULL)) != -1) {
		switch (c) {
		case 'n':
			opt.pairs = (int)number(optarg, 1);
			break;
		case 't':
			opt.seconds = number(optarg, 0.01);
			break;
		case 'w':
			opt.settle = number(optarg, 0);
			break;
		case 'o':
			opt.output = optarg;
			break;
		case 'd':
			opt.debugfs = optarg;
			break;
		case 'h':
			show_options(stdout);
			exit(0);
		default:
			show_options(stderr);
			exit(2);
		}
	}
	if (optind < argc || opt.pairs > MAX_PAIRS) {
		show_options(stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	int pipe_end, status;
	pid_t child;

	options(argc, argv);
	if (access("/proc/self/schedstat", R_OK))
		err(1, "/proc/self/schedstat (needs CONFIG_SCHED_INFO)");
	/* Before anything is switched. */
	take(&before);
	if (!before.nr_workers)
		errx(1, "no worker of vhost is there");
	be_alone();
	child = guard(&pipe_end);
	for (int i = 0; i < opt.pairs; i++) {
		/* Either goes first as often: what drifts is no difference. */
		run_slice(&slices[i][i & 1], i & 1);
		run_slice(&slices[i][!(i & 1)], !(i & 1));
		fprintf(stderr, "pair %d of %d: %.3f\n", i + 1, opt.pairs,
			cost(&slices[i][1], slices[i][1].packets >= 100) /
			cost(&slices[i][0], slices[i][0].packets >= 100));
	}
	close(pipe_end);
	if (waitpid(child, &status, 0) != child || status)
		errx(1, "%s was not restored", PARAMETER);
	report();
	return 0;
}
