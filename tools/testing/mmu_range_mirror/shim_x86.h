/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What x86's kernel provides to include/linux/mmu_mirror_load.h: a table of
 * exceptions, for loads.c to look an instruction up in.
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

#define instrument_atomic_read(p, size)

#endif /* _MMU_RANGE_MIRROR_SHIM_X86_H */
