// SPDX-License-Identifier: GPL-2.0
/*
 * Linked into the kselftests in place of alarm(), by which kselftest_harness limits a
 * test: its seconds are those of a quiet machine, and SLOW is how much slower this
 * one is (slowness in lab/lib/env.sh).
 */
#include <stdlib.h>
#include <sys/time.h>

unsigned int __wrap_alarm(unsigned int seconds)
{
	const char *slow = getenv("SLOW");
	struct itimerval timer = { .it_value.tv_sec = seconds }, old;

	if (slow)
		timer.it_value.tv_sec *= atoi(slow);
	setitimer(ITIMER_REAL, &timer, &old);
	return old.it_value.tv_sec + (old.it_value.tv_usec > 0);
}
