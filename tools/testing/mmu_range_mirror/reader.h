/* SPDX-License-Identifier: GPL-2.0 */
/* Between the guards (guards.c) and what times them (reader.c). */
#ifndef _MMU_RANGE_MIRROR_READER_H
#define _MMU_RANGE_MIRROR_READER_H

enum guard {
	GUARD_NONE,
	GUARD_SECTION,
	GUARD_SECTION_NONE,	/* the same, from guards_none() */
	GUARD_NESTING,
	GUARD_NESTING_CALL,
	GUARD_FLAG_FENCE,
	GUARD_LFENCE,
	GUARD_SRCU,
	GUARD_SRCU_FAST,
	GUARD_HAZPTR,
	GUARD_URCU_MEMB,
	GUARD_URCU_BP,
	GUARD_URCU_MB,
	GUARD_URCU_QSBR,
	GUARD_CK_EPOCH,
	GUARD_CK_SPINLOCK,
	GUARD_CK_RWLOCK,
	GUARD_PTHREAD_SPINLOCK,
	GUARD_PTHREAD_RWLOCK,
	GUARD_PTHREAD_MUTEX,
	/* Not guards: with the section, and by user address. */
	GUARD_CACHE,
	GUARD_CACHE_FAR,
	NR_GUARDS,
};

/* @n guarded accesses by this thread, which is bound to a CPU. */
void guards_preempt(enum guard guard, unsigned long n);
/* The same, as if compiled for a kernel without preemption. */
void guards_none(enum guard guard, unsigned long n);

#endif /* _MMU_RANGE_MIRROR_READER_H */
