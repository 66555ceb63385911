/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One hostile program against a vhost device: operations that follow from a
 * seed, what each of them is seen to do, and nothing of how that is judged.
 *
 * A program runs in a process of its own, always at the same addresses, so that
 * two runs of it see the same unless the kernel differs. An operation follows
 * from the seed and its number alone: any of them can be left out.
 */
#ifndef SELFTESTS_VHOST_FUZZ_H
#define SELFTESTS_VHOST_FUZZ_H

#include <stdbool.h>
#include <stdint.h>

#include "client.h"

#define FUZZ_MAX_OPS 40
/* Bytes of each piece of memory that a program plays with. */
#define FUZZ_REGION (8 * PAGE)

enum fuzz_region {
	/* Packets, on anonymous memory. */
	R_PACKETS,
	R_ANON,
	R_MEMFD,
	/* Private to the process until it is written. */
	R_COW,
	R_FILE,
	R_READ_ONLY,
	R_NO_ACCESS,
	R_HOLE,
	/* Never written: the page of zeroes. */
	R_ZERO,
	R_SECRET,
	/* Memory of a device, without struct pages that one could refer to. */
	R_DEVICE,
	/* Pages that a driver has mapped. */
	R_DRIVER,
	R_ANON_TOO,
	R_THP,
	R_HUGETLB,
	NR_REGIONS,
};

/* What is seen of the device after each operation. */
enum fuzz_value {
	/* 0 or more, or a negative errno; of more than one call, a digest. */
	V_RESULT,
	V_DETAIL,
	/* The worker went on for ever, and the device had to be stopped. */
	V_STUCK,
	V_BASE,
	V_CALLS = V_BASE + NR_QUEUES,
	V_ERRORS = V_CALLS + NR_QUEUES,
	V_LOGGED = V_ERRORS + NR_QUEUES,
	V_MISSES,
	V_MISS_CONTENTS,
	V_PACKETS,
	V_PACKET_CONTENTS,
	V_MEMORY,
	NR_VALUES = V_MEMORY + NR_REGIONS,
};

struct fuzz_record {
	int op;
	char what[168];
	int64_t value[NR_VALUES];
};

/* What a program was seen to do; shared by whoever runs it and who judges. */
struct fuzz_trace {
	unsigned int nr;
	bool hung;
	/* The worker ran in the middle of an operation. */
	bool torn;
	/* Some mappings that could not be had. */
	uint32_t missing;
	/* After the operation of record @dump_at, region @dump is kept. */
	unsigned int dump_at;
	unsigned int dump;
	unsigned char dumped[FUZZ_REGION];
	/* One more for what is done to the device when its owner is dead. */
	struct fuzz_record record[FUZZ_MAX_OPS + 1];
};

struct fuzz_program {
	uint64_t seed;
	bool left_out[FUZZ_MAX_OPS];
	/* Do not wait for the device: nothing can be compared then. */
	bool hasty;
};

/* What all programs need and none may change. */
struct fuzz_site {
	/* Of this only the tap and the socket behind it. */
	struct client c;
	bool vsock;
	/* Where the files of R_FILE are. */
	const char *dir;
	/* Restored at the end. */
	int nr_hugepages;
	int rcu_expedited;
};

int fuzz_site_open(struct fuzz_site *site, const char *dir);
void fuzz_site_close(struct fuzz_site *site);

unsigned int fuzz_nr_ops(uint64_t seed);
bool fuzz_is_vsock(const struct fuzz_site *site, uint64_t seed);

/*
 * Run a program, with the kernel's ring_mirror on or off, into @trace, which is
 * memory shared with child processes. Return 0, or -1 if it could not be run.
 */
int fuzz_run(struct fuzz_site *site, const struct fuzz_program *program,
	     bool mirror, struct fuzz_trace *trace);

/* The name of a value, in a static buffer. */
const char *fuzz_value_name(unsigned int value);

#endif
