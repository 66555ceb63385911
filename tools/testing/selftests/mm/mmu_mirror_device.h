/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The commands of the test device of mm/mmu_range_mirror.c, as functions. They
 * return the ioctl's result, or a negative errno.
 */
#ifndef _MMU_MIRROR_DEVICE_H
#define _MMU_MIRROR_DEVICE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lib/test_mmu_range_mirror_uapi.h>

#define DEVICE		"/dev/test_mmu_range_mirror"
#define MODULE		"test_mmu_range_mirror"

int device_open(void);
long device_command(int fd, unsigned long cmd, void *arg);
bool device_injectable(int fd);

long mirror_open(int fd, const void *addr, size_t length, unsigned int kind,
		 unsigned int flags);
long mirror_close(int fd);
long mirror_populate(int fd, const void *addr, size_t length);
/* Return how many pages were found; @huge of them are mapped together. */
long mirror_lookup(int fd, const void *addr, size_t length, unsigned int flags,
		   uint64_t *huge);
long mirror_fill(int fd);
long mirror_io(int fd, unsigned long cmd, const void *addr, void *data,
	       size_t size);
/* Eight bytes: 0, or a negative errno. */
long mirror_read(int fd, const void *addr, uint64_t *value);
long mirror_write(int fd, const void *addr, uint64_t value);
/* How many entries there are. A read of what is absent would ask for a fill. */
long mirror_mapped(int fd, const void *addr, size_t length);
bool mirror_reaches(int fd, const void *addr);
struct test_mirror_stats mirror_stats(int fd);

long mirror_release(int fd);
long mirror_holding(int fd);
long mirror_stop_at(int fd, enum test_mirror_point point, int times);
bool mirror_stopped(int fd, enum test_mirror_point point);

/* What is established, the way that this kind does it. */
long lookup(int fd, enum test_mirror_kind kind, void *addr, size_t size);

/* Commands that another thread issues. */

struct job {
	pthread_t thread;
	long (*run)(struct job *job);
	int fd;
	int cpu;
	char *addr;
	size_t length;
	struct test_mirror_hold hold;
	long ret;
	uint64_t ended_ns;
	sem_t go;
	atomic_bool done;
};

void *job_main(void *arg);
void job_go(struct job *job);

long job_populate(struct job *job);
long job_look_up(struct job *job);
long job_fill(struct job *job);
long job_close(struct job *job);
long job_hold(struct job *job);
long job_discard(struct job *job);
long job_munmap(struct job *job);

#endif /* _MMU_MIRROR_DEVICE_H */
