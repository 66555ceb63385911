/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What x86's kernel provides to include/linux/mmu_mirror_load.h: a table of
 * exceptions, for loads.c to look an instruction up in, and whether the CPU has erms.
 */
#ifndef _MMU_RANGE_MIRROR_SHIM_X86_H
#define _MMU_RANGE_MIRROR_SHIM_X86_H

#include "shim.h"

#include <linux/kernel.h>
#include <linux/kconfig.h>

/* Addresses, where the kernel's has distances. */
struct shim_extable {
	unsigned long from;
	unsigned long to;
};

extern const struct shim_extable __start_shim_extable[], __stop_shim_extable[];

#define _ASM_EXTABLE_TYPE(from, to, type)		\
	".pushsection shim_extable, \"aw\"\n\t"		\
	".quad " #from ", " #to "\n\t"			\
	".popsection\n\t"

#define X86_FEATURE_ERMS	0
extern bool shim_erms;
#define cpu_feature_enabled(feature)	((void)(feature), shim_erms)

#define instrument_atomic_read(p, size)

unsigned long copy_mc_to_kernel(void *to, const void *from, unsigned int n);

#endif /* _MMU_RANGE_MIRROR_SHIM_X86_H */
