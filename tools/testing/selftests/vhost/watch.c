// SPDX-License-Identifier: GPL-2.0
/*
 * What can be seen of vhost's rings from outside: the tracepoint of accesses
 * that fell back, the counters in debugfs, and what is to be beside this program:
 * tools/mm/mirrorstat and tools/mm/vhost-ring-mirror-report.
 *
 * The three are compared with each other, and with what was done to the rings.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/const.h>
#include <linux/virtio_config.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../kselftest_harness.h"
#include "../mm/mmu_mirror_trace.h"
#include "client.h"

#ifndef __NR_memfd_secret
#define __NR_memfd_secret 447
#endif

#define TIMEOUT 120
#define MIRRORSTAT "./mirrorstat"
#define REPORT "./vhost-ring-mirror-report"
#define PARAMETER "/sys/module/vhost/parameters/ring_mirror"
#define DEBUGFS "/sys/kernel/debug"

static const char * const parts[] = {
	"desc", "avail", "used", "log", "indirect", "header", "payload"
};

static const char * const whys[] = {
	"off", "nowhere", "reset", "opening", "failed", "unfilled",
	"invalidated", "unmapped", "outside", "poisoned", NULL
};

static long why_number(int q, int part, const char *why)
{
	char key[32];

	snprintf(key, sizeof(key), "%s:", why);
	return stats_number(getpid(), q, part, key);
}

FIXTURE(watch)
{
	struct client c;
};

FIXTURE_SETUP(watch)
{
}

FIXTURE_TEARDOWN(watch)
{
	trace_stop();
	ring_mirror_set(true);
	client_close(&self->c);
}

/* Each access that was counted was also traced, for the same reason. */
static void expect_traced(struct __test_metadata *_metadata)
{
	for (int q = 0; q < NR_QUEUES; q++) {
		for (int p = 0; p < NR_COUNTED; p++) {
			long all = 0;

			for (int i = 0; whys[i]; i++) {
				long n = why_number(q, p, whys[i]);

				EXPECT_EQ(n, trace_count("vhost_ring_fallback",
							 "pid=%d vq=%d part=%s why=%s",
							 getpid(), q, parts[p],
							 whys[i]))
					TH_LOG("%d %s %s", q, parts[p],
					       whys[i]);
				all += n;
			}
			EXPECT_EQ(all, stats_number(getpid(), q, p,
						    " fallback="));
		}
	}
}

/* The worker read the index of this available ring, whose page was gone. */
static bool index_is_traced(void *avail)
{
	return trace_count("vhost_ring_fallback",
			   "vq=1 part=avail why=invalidated addr=0x%lx",
			   (unsigned long)avail +
			   offsetof(struct vring_avail, idx));
}

TEST_F_TIMEOUT(watch, fallbacks_are_traced, TIMEOUT)
{
	const char *reason = trace_start("vhost_ring_mirror");
	struct client_config config = { };
	struct client *c = &self->c;
	void *avail, *page;

	if (reason)
		SKIP(return, "%s", reason);
	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_warm_up(c));
	ASSERT_EQ(0, client_settle(c));
	/* The first run of this queue looks at its ring, before the window. */
	EXPECT_LT(0, why_number(TX, AVAIL, "opening"));
	EXPECT_EQ(0, why_number(ANY, ANY, "off"));
	EXPECT_EQ(0, why_number(ANY, ANY, "nowhere"));

	/* Another page that looks the same, where the available ring is. */
	EXPECT_EQ(0, why_number(TX, AVAIL, "reset"));
	avail = c->queue[TX].part[AVAIL];
	/*
	 * A fill may be faster than the worker, and what the worker finds gone
	 * may be the flags or an entry, but hardly every time.
	 */
	for (int i = 0; i < 100; i++) {
		page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, page);
		memcpy(page, avail, PAGE);
		ASSERT_EQ(avail, mremap(page, PAGE, PAGE,
					MREMAP_MAYMOVE | MREMAP_FIXED, avail));
		ASSERT_EQ(0, client_round(c, 1));
		ASSERT_EQ(0, client_settle(c));
		if (index_is_traced(avail))
			break;
	}
	EXPECT_LT(0, why_number(TX, AVAIL, "invalidated"));
	EXPECT_TRUE(index_is_traced(avail));

	/* A device that starts looks at the used ring before it runs. */
	ASSERT_EQ(0, client_backend(c, false));
	for (int q = 0; q < NR_QUEUES; q++)
		ASSERT_EQ(0, client_set_queue(c, q));
	ASSERT_EQ(0, client_backend(c, true));
	ASSERT_EQ(0, client_round(c, 1));
	EXPECT_LT(0, why_number(TX, USED, "reset"));
	ASSERT_EQ(0, client_warm_up(c));

	ASSERT_EQ(0, ring_mirror_set(false));
	ASSERT_EQ(0, client_round(c, BATCH));
	ASSERT_EQ(0, client_settle(c));
	EXPECT_LE(BATCH, why_number(TX, DESC, "off"));
	expect_traced(_metadata);

	/* What goes through a window is no event, nor is anything now. */
	trace_pause();
	ASSERT_EQ(0, client_round(c, BATCH));
	ASSERT_EQ(0, client_settle(c));
	EXPECT_LT(trace_count("vhost_ring_fallback", "part=desc why=off"),
		  why_number(ANY, DESC, "off"));
}

/* A part that no window can be opened on. */
TEST_F_TIMEOUT(watch, nowhere, TIMEOUT)
{
	struct client_config config = { .skew = 8 };
	struct client *c = &self->c;

	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_round(c, 2 * c->num));
	ASSERT_EQ(0, client_settle(c));
	for (int q = 0; q < NR_QUEUES; q++) {
		EXPECT_EQ(stats_number(getpid(), q, DESC, " fallback="),
			  why_number(q, DESC, "nowhere"));
		EXPECT_LE(2 * c->num, why_number(q, DESC, "nowhere"));
		EXPECT_EQ(0, why_number(q, AVAIL, "nowhere"));
		EXPECT_EQ(0, stats_number(getpid(), q, DESC, " pages="));
	}
}

/* Memory that only its process may reach. */
TEST_F_TIMEOUT(watch, unmapped, TIMEOUT)
{
	size_t room = NR_QUEUES * NR_PARTS * PART_ROOM;
	struct client_config config = { .extra = room };
	int fd = syscall(__NR_memfd_secret, 0);
	struct client *c = &self->c;

	if (fd < 0)
		SKIP(return, "no secret memory");
	ASSERT_EQ(0, ftruncate(fd, room));
	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_warm_up(c));
	ASSERT_EQ(0, client_settle(c));
	ASSERT_EQ(c->extra, mmap(c->extra, room, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_FIXED, fd, 0));
	close(fd);
	for (int q = 0; q < NR_QUEUES; q++) {
		for (int p = 0; p < NR_PARTS; p++) {
			char *part = c->extra + (q * NR_PARTS + p) * PART_ROOM;

			memcpy(part, c->queue[q].part[p], PART_ROOM);
			c->queue[q].part[p] = part;
		}
		ASSERT_EQ(0, client_set_rings(c, q));
	}
	/* Some time the first fill has found that out. */
	for (long long end = now_ms() + PATIENCE_MS; now_ms() < end;) {
		ASSERT_EQ(0, client_round(c, BATCH));
		if (why_number(TX, DESC, "unmapped") &&
		    why_number(RX, USED, "unmapped"))
			break;
	}
	EXPECT_LT(0, why_number(TX, DESC, "unmapped"));
	EXPECT_LT(0, why_number(RX, USED, "unmapped"));
	EXPECT_EQ(0, stats_number(getpid(), TX, DESC, " mapped="));
	EXPECT_LT(0, stats_number(getpid(), TX, DESC, " pages="));
}

/* JSON, as far as it takes to see that it is some, and what it says. */

static const char *json_space(const char *at)
{
	return at + strspn(at, "\n\t\r ");
}

static const char *json_skip(const char *at);

static const char *json_skip_string(const char *at)
{
	for (at++; *at && *at != '"'; at++) {
		if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x80)
			return NULL;
		if (*at != '\\')
			continue;
		at++;
		if (*at == 'u') {
			if (strspn(at + 1, "0123456789abcdef") < 4)
				return NULL;
			at += 4;
		} else if (!*at || !strchr("\"\\/bfnrt", *at)) {
			return NULL;
		}
	}
	return *at ? at + 1 : NULL;
}

static const char *json_skip_list(const char *at)
{
	char close = *at == '{' ? '}' : ']';
	bool object = *at == '{';

	at = json_space(at + 1);
	if (*at == close)
		return at + 1;
	for (;;) {
		if (object) {
			if (*at != '"')
				return NULL;
			at = json_skip_string(at);
			if (!at)
				return NULL;
			at = json_space(at);
			if (*at++ != ':')
				return NULL;
		}
		at = json_skip(at);
		if (!at)
			return NULL;
		if (*at == close)
			return at + 1;
		if (*at++ != ',')
			return NULL;
		at = json_space(at);
	}
}

/* Beyond a value and the space behind it; NULL if it is none. */
static const char *json_skip(const char *at)
{
	char *end;

	at = json_space(at);
	if (*at == '{' || *at == '[') {
		at = json_skip_list(at);
	} else if (*at == '"') {
		at = json_skip_string(at);
	} else if (!strncmp(at, "true", 4)) {
		at += 4;
	} else if (!strncmp(at, "false", 5)) {
		at += 5;
	} else {
		strtod(at, &end);
		at = end == at ? NULL : end;
	}
	return at ? json_space(at) : NULL;
}

/* The value of a member of an object, or NULL. */
static const char *json_member(const char *object, const char *name)
{
	size_t len = strlen(name);
	const char *at = json_space(object + 1);

	while (*at == '"') {
		bool found = !strncmp(at + 1, name, len) && at[len + 1] == '"';

		at = json_space(json_skip_string(at)) + 1;
		if (found)
			return json_space(at);
		at = json_skip(at);
		if (*at == ',')
			at = json_space(at + 1);
	}
	return NULL;
}

static long json_number(const char *object, const char *name)
{
	const char *value = json_member(object, name);

	return value ? strtol(value, NULL, 10) : -1;
}

/* Element @i of an array, or NULL. */
static const char *json_element(const char *array, int i)
{
	const char *at = json_space(array + 1);

	while (*at && *at != ']' && i--) {
		at = json_skip(at);
		if (*at == ',')
			at = json_space(at + 1);
	}
	return *at && *at != ']' ? at : NULL;
}

static const char *find_ring(const char *rings, int q, int part)
{
	const char *ring;

	for (int i = 0; (ring = json_element(rings, i)); i++) {
		const char *name = json_member(ring, "part");

		if (json_number(ring, "pid") == getpid() &&
		    json_number(ring, "vq") == q && name &&
		    !strncmp(name + 1, parts[part], strlen(parts[part])))
			return ring;
	}
	return NULL;
}

/* Run a tool. Its status, and what it says on stdout or on stderr. */
static int tool(const char *name, const char *args, char *out, size_t size,
		bool errors)
{
	char command[512];
	size_t len = 0, got;
	FILE *file;
	int status;

	snprintf(command, sizeof(command), "%s %s %s", name, args,
		 errors ? "2>&1 >/dev/null" : "2>/dev/null");
	file = popen(command, "r");
	if (!file)
		return -1;
	while ((got = fread(out + len, 1, size - 1 - len, file)))
		len += got;
	out[len] = 0;
	status = pclose(file);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int mirrorstat(const char *args, char *out, size_t size, bool errors)
{
	return tool(MIRRORSTAT, args, out, size, errors);
}

#define OUT_SIZE _BITUL(20)

static void expect_same(struct __test_metadata *_metadata, const char *ring,
			int q, int p)
{
	static const char * const numbers[] = {
		"mirrored", "shared", "fallback", "fills", "collisions",
		"installed", "worst_wait_ns", "start", "pages", "mapped", NULL
	};
	char key[32];

	for (int i = 0; numbers[i]; i++) {
		snprintf(key, sizeof(key), " %s=", numbers[i]);
		EXPECT_EQ(stats_number(getpid(), q, p, key),
			  json_number(ring, numbers[i]))
			TH_LOG("%d %s %s", q, parts[p], numbers[i]);
	}
	for (int i = 0; whys[i]; i++) {
		EXPECT_EQ(why_number(q, p, whys[i]),
			  json_number(json_member(ring, "why"), whys[i]))
			TH_LOG("%d %s %s", q, parts[p], whys[i]);
	}
	EXPECT_EQ(stats_number(getpid(), q, p, ",clear:"),
		  json_number(json_member(ring, "drops"), "clear"));
}

static long sum_of_parts(const char *key)
{
	long sum = 0;

	for (int p = 0; p < NR_COUNTED; p++)
		sum += stats_number(getpid(), ANY, p, key);
	return sum;
}

TEST_F_TIMEOUT(watch, mirrorstat_says_the_same, TIMEOUT)
{
	struct client_config config = { };
	struct client *c = &self->c;
	const char *json, *end, *comm, *device, *cache;
	char *out = malloc(OUT_SIZE);
	char args[64];

	ASSERT_EQ(0, prctl(PR_SET_NAME, "a \"b\\ \x1b\xff"));
	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_warm_up(c));
	ASSERT_EQ(0, madvise(c->queue[TX].part[AVAIL], PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, client_settle(c));

	snprintf(args, sizeof(args), "--once --json --pid=%d", getpid());
	ASSERT_EQ(0, mirrorstat(args, out, OUT_SIZE, false));
	end = json_skip(out);
	ASSERT_NE(NULL, end);
	EXPECT_EQ(0, *end);
	json = json_member(out, "rings");
	ASSERT_NE(NULL, json);
	for (int q = 0; q < NR_QUEUES; q++) {
		for (int p = 0; p < NR_COUNTED; p++) {
			const char *ring = find_ring(json, q, p);

			ASSERT_NE(NULL, ring);
			expect_same(_metadata, ring, q, p);
		}
	}
	EXPECT_EQ(NULL, json_element(json, NR_QUEUES * NR_COUNTED));
	device = json_element(json_member(out, "devices"), 0);
	ASSERT_NE(NULL, device);
	EXPECT_EQ(NULL, json_element(json_member(out, "devices"), 1));
	EXPECT_EQ(sum_of_parts(" mirrored="), json_number(device, "mirrored"));
	EXPECT_EQ(sum_of_parts(" fallback="), json_number(device, "fallback"));
	cache = json_element(json_member(out, "caches"), 0);
	ASSERT_NE(NULL, cache);
	EXPECT_EQ(NULL, json_element(json_member(out, "caches"), 1));
	EXPECT_EQ(cache_number(getpid(), " chunks="),
		  json_number(cache, "chunks"));
	EXPECT_EQ(cache_number(getpid(), " mapped="),
		  json_number(cache, "mapped"));
	comm = json_member(json_element(json, 0), "comm");
	ASSERT_NE(NULL, comm);
	EXPECT_EQ(0, strncmp(comm, "\"a \\\"b\\\\ \\u001b\\u00ff\"", 22));

	/* The text has the same process, and nothing that a terminal heeds. */
	snprintf(args, sizeof(args), "--once --pid=%d", getpid());
	ASSERT_EQ(0, mirrorstat(args, out, OUT_SIZE, false));
	EXPECT_NE(NULL, strstr(out, "WHY\n"));
	snprintf(args, sizeof(args), "%7d a \"b\\ ??", getpid());
	EXPECT_NE(NULL, strstr(out, args));
	EXPECT_EQ(NULL, strchr(out, 0x1b));
	free(out);
}

TEST_F_TIMEOUT(watch, mirrorstat_subtracts, TIMEOUT)
{
	struct client_config config = { };
	struct client *c = &self->c;
	char *first = malloc(OUT_SIZE), *second = malloc(OUT_SIZE);
	long before, after;
	char command[128];
	FILE *file;

	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_warm_up(c));
	ASSERT_EQ(0, client_settle(c));
	before = stats_number(getpid(), TX, DESC, " mirrored=");
	snprintf(command, sizeof(command), MIRRORSTAT " -j -n 2 -i 4 -p %d",
		 getpid());
	file = popen(command, "r");
	ASSERT_NE(NULL, file);
	ASSERT_NE(NULL, fgets(first, OUT_SIZE, file));
	ASSERT_EQ(0, client_round(c, BATCH));
	ASSERT_EQ(0, client_settle(c));
	after = stats_number(getpid(), TX, DESC, " mirrored=");
	ASSERT_NE(NULL, fgets(second, OUT_SIZE, file));
	EXPECT_EQ(0, pclose(file));
	ASSERT_NE(NULL, json_skip(first));
	ASSERT_NE(NULL, json_skip(second));
	EXPECT_LT(before, after);
	EXPECT_EQ(before, json_number(find_ring(json_member(first, "rings"),
						TX, DESC), "mirrored"));
	EXPECT_EQ(after - before,
		  json_number(find_ring(json_member(second, "rings"), TX, DESC),
			      "mirrored"));
	EXPECT_EQ(NULL, json_member(first, "seconds"));
	EXPECT_LE(4, json_number(second, "seconds"));
	free(first);
	free(second);
}

/* The list of all mirrors has a line for each window. */
TEST_F_TIMEOUT(watch, mirrorstat_lists_mirrors, TIMEOUT)
{
	struct client_config config = { };
	struct client *c = &self->c;
	char *out = malloc(OUT_SIZE);
	const char *mirrors, *mirror;
	int windows = 0;
	char args[64];

	if (access(DEBUGFS "/mmu_range_mirror", R_OK))
		SKIP(return, "the kernel does not list mirrors");
	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_warm_up(c));
	ASSERT_EQ(0, client_settle(c));
	snprintf(args, sizeof(args), "-1jm");
	ASSERT_EQ(0, mirrorstat(args, out, OUT_SIZE, false));
	ASSERT_NE(NULL, json_skip(out));
	mirrors = json_member(out, "mirrors");
	ASSERT_NE(NULL, mirrors);
	for (int i = 0; (mirror = json_element(mirrors, i)); i++) {
		long start = json_number(mirror, "start");
		const char *driver = json_member(mirror, "driver");

		/* One of the cache may begin where a part does. */
		if (json_number(mirror, "end") - start == CHUNK)
			continue;
		for (int q = 0; q < NR_QUEUES; q++) {
			for (int p = 0; p < NR_PARTS; p++) {
				if (start != (long)c->queue[q].part[p])
					continue;
				windows++;
				EXPECT_EQ(0, strncmp(json_member(mirror, "kind"),
						     "\"window\"", 8));
				EXPECT_EQ(stats_number(getpid(), q, p,
						       " mapped="),
					  json_number(mirror, "mapped"));
			}
		}
		ASSERT_NE(NULL, driver);
		if (access("/sys/module/vhost_ring_mirror/initstate", F_OK))
			continue;
		EXPECT_NE(NULL, strstr(driver, "[vhost_ring_mirror]"));
	}
	EXPECT_EQ(NR_QUEUES * NR_PARTS, windows);
	free(out);
}

/* A directory of debugfs in which the file is not. */
static bool other_debugfs(char *path, size_t size)
{
	DIR *dir = opendir(DEBUGFS);
	struct dirent *entry;
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		/* tracefs is mounted on that one. */
		found = entry->d_type == DT_DIR && entry->d_name[0] != '.' &&
			strcmp(entry->d_name, "tracing");
		if (found)
			snprintf(path, size, DEBUGFS "/%s", entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

TEST_F(watch, mirrorstat_objects)
{
	static const char * const misuse[] = {
		"--nonsense", "-x", "-1 more", "-s nonsense", "-1 -s dirtied",
		"-m -s fallback", "-i 0", "-i x", "-n -1", "-p", "-p 0", NULL
	};
	char out[4096], args[512], path[256];

	for (int i = 0; misuse[i]; i++) {
		EXPECT_EQ(2, mirrorstat(misuse[i], out, sizeof(out), true))
			TH_LOG("%s", misuse[i]);
		EXPECT_NE(NULL, strstr(out, "mirrorstat: "));
	}
	EXPECT_EQ(0, mirrorstat("--help", out, sizeof(out), false));
	EXPECT_NE(NULL, strstr(out, "--json"));
	EXPECT_EQ(0, mirrorstat("-1 -s pid -r", out, sizeof(out), false));

	EXPECT_EQ(1, mirrorstat("-1 -d /proc", out, sizeof(out), true));
	EXPECT_NE(NULL, strstr(out, "no debugfs at /proc"));
	if (other_debugfs(path, sizeof(path))) {
		snprintf(args, sizeof(args), "-1 -d %s", path);
		EXPECT_EQ(1, mirrorstat(args, out, sizeof(out), true));
		EXPECT_NE(NULL, strstr(out, "vhost_ring_mirror is not loaded"));
		snprintf(args, sizeof(args), "-1 -m -d %s", path);
		EXPECT_EQ(1, mirrorstat(args, out, sizeof(out), true));
		EXPECT_NE(NULL, strstr(out, "mmu_range_mirror is not loaded"));
	}
	ASSERT_EQ(0, setresuid(65534, 65534, 0));
	EXPECT_EQ(1, mirrorstat("-1", out, sizeof(out), true));
	EXPECT_NE(NULL, strstr(out, "it takes root"));
	ASSERT_EQ(0, setresuid(0, 0, 0));
}

static char parameter(void)
{
	int fd = open(PARAMETER, O_RDONLY);
	char c = 0;

	if (fd < 0 || read(fd, &c, 1) != 1)
		c = 0;
	close(fd);
	return c;
}

static bool parameter_becomes(char c)
{
	long long end = now_ms() + PATIENCE_MS;

	while (parameter() != c && now_ms() < end)
		usleep(1000);
	return parameter() == c;
}

struct traffic {
	pthread_t thread;
	struct client *c;
	atomic_bool stop;
	int status;
};

static void *flow(void *arg)
{
	struct traffic *traffic = arg;

	while (!atomic_load(&traffic->stop) && !traffic->status)
		traffic->status = client_round(traffic->c, BATCH);
	return NULL;
}

/* What the report measures; Debian's kernels have it. */
static bool has_cpu_time(void)
{
	return !access("/proc/self/schedstat", R_OK);
}

TEST_F_TIMEOUT(watch, report_measures, TIMEOUT)
{
	struct traffic traffic = { .c = &self->c };
	struct client_config config = { };
	char *out = malloc(OUT_SIZE);
	const char *ratio, *slice;
	size_t len;
	FILE *file;
	int status;

	if (!has_cpu_time())
		SKIP(return, "the kernel has no CONFIG_SCHED_INFO");
	ASSERT_EQ(0, client_open(&self->c, &config));
	ASSERT_EQ(0, client_warm_up(&self->c));
	ASSERT_EQ(0, pthread_create(&traffic.thread, NULL, flow, &traffic));
	status = tool(REPORT, "-n 6 -t 0.5 -w 0.5 -o report.json", out, OUT_SIZE,
		      false);
	atomic_store(&traffic.stop, true);
	pthread_join(traffic.thread, NULL);
	EXPECT_EQ(0, traffic.status);
	ASSERT_EQ(0, status);
	EXPECT_EQ('Y', parameter());
	EXPECT_NE(NULL, strstr(out, "CPU time for a packet"));
	EXPECT_NE(NULL, strstr(out, "with 95 % confidence"));

	file = fopen("report.json", "r");
	ASSERT_NE(NULL, file);
	len = fread(out, 1, OUT_SIZE - 1, file);
	fclose(file);
	unlink("report.json");
	out[len] = 0;
	ASSERT_NE(NULL, json_skip(out));
	EXPECT_EQ(0, *json_skip(out));
	ratio = json_member(out, "ratio");
	ASSERT_NE(NULL, ratio);
	ASSERT_NE(NULL, json_member(ratio, "confidence_95"));
	EXPECT_LT(0.05, strtod(json_member(ratio, "median"), NULL));
	EXPECT_GT(20, strtod(json_member(ratio, "median"), NULL));
	for (int i = 0; i < 12; i++) {
		slice = json_element(json_member(out, "slices"), i);
		ASSERT_NE(NULL, slice);
		EXPECT_EQ(i & 1, *json_member(slice, "ring_mirror") == 't');
		EXPECT_LE(1, json_number(slice, "workers"));
		EXPECT_LE(100, json_number(slice, "packets"));
		/* Whoever is switched off has nothing mirrored. */
		EXPECT_EQ(i & 1, json_number(slice, "mirrored") > 0);
		if (!(i & 1))
			EXPECT_LT(0, json_number(slice, "fallback"));
	}
	EXPECT_EQ(NULL, json_element(json_member(out, "slices"), 12));
	free(out);
}

/* Whatever becomes of it, and whatever the parameter was. */
TEST_F_TIMEOUT(watch, report_restores, TIMEOUT)
{
	static const int signals[] = { SIGKILL, SIGTERM };
	struct traffic traffic = { .c = &self->c };
	struct client_config config = { };
	char out[4096];

	if (!has_cpu_time())
		SKIP(return, "the kernel has no CONFIG_SCHED_INFO");
	ASSERT_EQ(0, client_open(&self->c, &config));
	ASSERT_EQ(0, client_warm_up(&self->c));
	EXPECT_EQ(1, tool(REPORT, "-n 1 -t 0.1 -w 1", out, sizeof(out), true));
	EXPECT_NE(NULL, strstr(out, "moved nothing"));
	EXPECT_TRUE(parameter_becomes('Y'));
	EXPECT_EQ(2, tool(REPORT, "-n 0", out, sizeof(out), true));

	ASSERT_EQ(0, pthread_create(&traffic.thread, NULL, flow, &traffic));
	for (int on = 0; on < 2; on++) {
		for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
			pid_t child;

			EXPECT_EQ(0, ring_mirror_set(on));
			child = fork();
			if (!child) {
				close(2);
				execl(REPORT, REPORT, "-t", "0.2", "-w", "0.2",
				      "-n", "1000", NULL);
				_exit(127);
			}
			EXPECT_TRUE(parameter_becomes(on ? 'N' : 'Y'));
			EXPECT_EQ(1, tool(REPORT, "", out, sizeof(out), true));
			EXPECT_NE(NULL, strstr(out, "another report is running"));
			kill(child, signals[i]);
			waitpid(child, NULL, 0);
			EXPECT_TRUE(parameter_becomes(on ? 'Y' : 'N'));
			/* For good. */
			usleep(500000);
			EXPECT_EQ(on ? 'Y' : 'N', parameter());
		}
	}
	atomic_store(&traffic.stop, true);
	pthread_join(traffic.thread, NULL);
	EXPECT_EQ(0, traffic.status);
}

int main(int argc, char **argv)
{
	const char *reason = why_skip();

	if (reason)
		ksft_exit_skip("%s\n", reason);
	if (access(MIRRORSTAT, X_OK) || access(REPORT, X_OK))
		ksft_exit_skip("no " MIRRORSTAT ", or no " REPORT "\n");
	return test_harness_run(argc, argv);
}
