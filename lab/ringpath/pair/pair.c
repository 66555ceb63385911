// SPDX-License-Identifier: GPL-2.0
/*
 * What a pair of STAC and CLAC costs on this machine, which user space cannot
 * measure: says so in the kernel's log, and is not loaded then. See pair.sh.
 */
#include <linux/irqflags.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/sort.h>
#include <linux/timekeeping.h>
#include <asm/cpufeature.h>
#include <asm/smap.h>

#define NR_TIMES	21
#define NR_PAIRS	10000

static unsigned long word;

/* Picoseconds of a load, between STAC and CLAC or not. */
static noinline u64 one_load(bool pair)
{
	u64 began = ktime_get_ns();
	int i;

	for (i = 0; i < NR_PAIRS; i++) {
		if (pair)
			stac();
		(void)READ_ONCE(word);
		if (pair)
			clac();
	}
	return div_u64((ktime_get_ns() - began) * 1000, NR_PAIRS);
}

static int by_value(const void *a, const void *b)
{
	s64 x = *(const s64 *)a, y = *(const s64 *)b;

	return (x > y) - (x < y);
}

static int __init pair_init(void)
{
	static s64 ps[NR_TIMES];
	unsigned long flags;
	int i;

	if (!boot_cpu_has(X86_FEATURE_SMAP)) {
		pr_info("pair: this machine has no SMAP: a pair costs nothing\n");
		return -EAGAIN;
	}
	for (i = 0; i < NR_TIMES; i++) {
		local_irq_save(flags);
		ps[i] = one_load(true) - one_load(false);
		local_irq_restore(flags);
	}
	sort(ps, NR_TIMES, sizeof(*ps), by_value, NULL);
	pr_info("pair: STAC and CLAC: %lld ps, quartiles %lld and %lld\n",
		ps[NR_TIMES / 2], ps[NR_TIMES / 4], ps[NR_TIMES * 3 / 4]);
	return -EAGAIN;
}
module_init(pair_init);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("The cost of a pair of STAC and CLAC");
