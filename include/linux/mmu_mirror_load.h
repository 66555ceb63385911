/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Loads through a window's pointer that survive a memory error.
 *
 * On x86 each of them has an entry in the exception table, by which the handler
 * of machine checks recovers, as it does for a load from a user address. It costs
 * nothing but a test of a register while there is no error. Other architectures
 * have no such loads; there these are plain ones.
 *
 * copy_mc_to_kernel() is no such load on every CPU: where it knows neither that the
 * CPU is fragile nor that "rep movsb" is fast, it is a plain memcpy().
 */
#ifndef _LINUX_MMU_MIRROR_LOAD_H
#define _LINUX_MMU_MIRROR_LOAD_H

#include <linux/compiler.h>
#include <linux/instrumented.h>
#include <linux/string.h>
#include <linux/types.h>

#ifdef CONFIG_X86_MCE

#include <linux/minmax.h>
#include <linux/mm.h>
#include <asm/asm.h>

/*
 * The exception-table entry of the load at label @from. If the load fails, the CPU
 * goes on at @to with the A register cleared. That register had the address, so zero
 * tells the caller. The second section, which is not linked, lists the loads for
 * lab/lib/loads.awk.
 */
#define MMU_MIRROR_LOAD_AT(from, to)					\
	_ASM_EXTABLE_TYPE(from, to,					\
			  EX_TYPE_DEFAULT_MCE_SAFE | EX_FLAG_CLEAR_AX)	\
	".pushsection .discard.mmu_mirror_load\n\t"			\
	".long " #from " - .\n\t"					\
	".popsection\n\t"

/**
 * mmu_mirror_load16 - load a 16-bit field
 * @p: its address, from mmu_mirror_window_ptr()
 * @val: where to put it
 *
 * Once and in one piece, and not ordered against anything, as READ_ONCE().
 *
 * Context: as the access to the window.
 * Cost: as READ_ONCE(), and on x86 a test.
 * Return: true; false: the load met a memory error, and @val is undefined. Call
 * mmu_mirror_window_forget() when outside the section.
 */
static __always_inline bool mmu_mirror_load16(const u16 *p, u16 *val)
{
	const void *ok = p;
	u32 got;

	instrument_atomic_read(p, sizeof(*p));
	asm volatile("1:	movzwl %[from], %[to]\n"
		     "2:\n"
		     MMU_MIRROR_LOAD_AT(1b, 2b)
		     : "+a" (ok), [to] "=r" (got)
		     : [from] "m" (*p));
	*val = got;
	return ok;
}

/**
 * mmu_mirror_load_pair - load two words
 * @p: their address, from mmu_mirror_window_ptr()
 * @val: where to put them
 *
 * Each once and in one piece, in no order.
 *
 * Context: as the access to the window.
 * Cost: as two of READ_ONCE(), and on x86 a test.
 * Return: as mmu_mirror_load16().
 */
static __always_inline bool mmu_mirror_load_pair(const unsigned long *p,
						 unsigned long *val)
{
	const void *ok = p;
	unsigned long first, second;

	instrument_atomic_read(p, 2 * sizeof(*p));
	asm volatile("1:	mov %[from0], %[to0]\n"
		     "2:	mov %[from1], %[to1]\n"
		     "3:\n"
		     MMU_MIRROR_LOAD_AT(1b, 3b)
		     MMU_MIRROR_LOAD_AT(2b, 3b)
		     : "+a" (ok), [to0] "=&r" (first), [to1] "=&r" (second)
		     : [from0] "m" (p[0]), [from1] "m" (p[1]));
	val[0] = first;
	val[1] = second;
	return ok;
}

/* private: one word, at any address */
static __always_inline bool mmu_mirror_load_word(const void *p,
						 unsigned long *val)
{
	const void *ok = p;
	unsigned long got;

	instrument_atomic_read(p, sizeof(got));
	asm volatile("1:	mov %[from], %[to]\n"
		     "2:\n"
		     MMU_MIRROR_LOAD_AT(1b, 2b)
		     : "+a" (ok), [to] "=r" (got)
		     : [from] "m" (*(const unsigned long *)p));
	*val = got;
	return ok;
}

/* private: @n bytes, less than two words */
static __always_inline size_t mmu_mirror_load_few(void *buf, const void *p,
						  size_t n)
{
	size_t size = min(n, sizeof(long)), done = 0, skip = 0;
	unsigned long word;

	/* All of the page is mapped: a word that would end beyond it begins earlier. */
	if (offset_in_page(p) + sizeof(word) > PAGE_SIZE)
		skip = offset_in_page(p) + sizeof(word) - PAGE_SIZE;
	if (size == sizeof(word))
		skip = 0;
	while (done < n) {
		/* The last word overlaps the one before. */
		size_t at = min(done, n - size);

		if (!mmu_mirror_load_word(p + at - skip, &word))
			break;
		if (size == sizeof(word))
			memcpy(buf + at, &word, sizeof(word));
		else
			memcpy(buf, (void *)&word + skip, n);
		done = at + size;
	}
	return done;
}

/**
 * mmu_mirror_load_bytes - copy what a window's pointer leads to
 * @buf: where to
 * @p: from mmu_mirror_window_ptr(); any alignment
 * @n: bytes, all in the page
 *
 * In no order, and some bytes perhaps twice, of which @buf gets one. What the process
 * writes meanwhile may be there in part.
 *
 * Context: as the access to the window.
 * Cost: as memcpy(); on x86 two words at a time, with a test. Up to some 128 bytes
 * that is as fast, for a page four times as slow where memcpy() is one instruction.
 * Return: bytes copied; fewer than @n at a memory error. Call
 * mmu_mirror_window_forget() when outside the section.
 */
static __always_inline size_t mmu_mirror_load_bytes(void *buf, const void *p,
						    size_t n)
{
	unsigned long pair[2];
	size_t done = 0;

	if (n < sizeof(pair))
		return mmu_mirror_load_few(buf, p, n);
	while (done < n) {
		/* The last pair overlaps the one before. */
		size_t at = min(done, n - sizeof(pair));

		if (!mmu_mirror_load_pair(p + at, pair))
			return done;
		memcpy(buf + at, pair, sizeof(pair));
		done = at + sizeof(pair);
	}
	return done;
}

#else /* !CONFIG_X86_MCE */

static __always_inline bool mmu_mirror_load16(const u16 *p, u16 *val)
{
	*val = READ_ONCE(*p);
	return true;
}

static __always_inline bool mmu_mirror_load_pair(const unsigned long *p,
						 unsigned long *val)
{
	val[0] = READ_ONCE(p[0]);
	val[1] = READ_ONCE(p[1]);
	return true;
}

static __always_inline size_t mmu_mirror_load_bytes(void *buf, const void *p,
						    size_t n)
{
	/* The process may be writing there at the same time. */
	data_race(memcpy(buf, p, n));
	return n;
}

#endif /* CONFIG_X86_MCE */

#endif /* _LINUX_MMU_MIRROR_LOAD_H */
