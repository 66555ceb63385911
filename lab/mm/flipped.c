// SPDX-License-Identifier: GPL-2.0-only
/*
 * LD_PRELOAD for a user of vhost that knows nothing of it: a thread disturbs the
 * pages of each ring that the process tells vhost of, until the process ends.
 * Pages become executable and are so no longer, which is seen by notifiers and
 * by nobody else; and children are made that die at once or keep the pages for a
 * while, so that the next writes go to copies.
 */
#define _GNU_SOURCE
#include <linux/vhost.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define NR_PARTS 3
/* Of this many rounds, one is a fork. */
#define FORK_EVERY 16
/* A window is filled when it is missed: time for some accesses in between. */
#define PAUSE_US 2000

/* Nobody moves a ring once there is one. */
static void *pages[NR_PARTS];
static pthread_t thread;
static atomic_bool started, over;

static void pause_us(long us)
{
	struct timespec ts = { .tv_nsec = us * 1000 };

	nanosleep(&ts, NULL);
}

/* Not by fork(), which has handlers that other libraries register. */
static void copy_on_write(void)
{
	pid_t pid = syscall(SYS_fork);

	if (!pid) {
		pause_us(PAUSE_US);
		syscall(SYS_exit_group, 0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static void protect(int prot)
{
	for (int i = 0; i < NR_PARTS; i++)
		if (mprotect(pages[i], PAGE, PROT_READ | PROT_WRITE | prot))
			abort();
}

static void *disturb(void *unused)
{
	(void)unused;
	for (unsigned int round = 0; !over; round++) {
		if (round % FORK_EVERY) {
			protect(PROT_EXEC);
			protect(0);
		} else {
			copy_on_write();
		}
		pause_us(PAUSE_US);
	}
	return NULL;
}

static void *page_of(uint64_t address)
{
	return (void *)(uintptr_t)(address & -PAGE);
}

static void ring_is_at(const struct vhost_vring_addr *addr)
{
	pages[0] = page_of(addr->desc_user_addr);
	pages[1] = page_of(addr->avail_user_addr);
	pages[2] = page_of(addr->used_user_addr);
	if (atomic_exchange(&started, true))
		return;
	if (pthread_create(&thread, NULL, disturb, NULL))
		abort();
}

/* No child outlives the process, and holds its devices open. */
__attribute__((destructor)) static void end(void)
{
	over = true;
	if (started)
		pthread_join(thread, NULL);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	void *arg;
	int ret;

	va_start(arguments, request);
	arg = va_arg(arguments, void *);
	va_end(arguments);
	ret = syscall(SYS_ioctl, fd, request, arg);
	if (!ret && request == VHOST_SET_VRING_ADDR)
		ring_is_at(arg);
	return ret;
}
