/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between what the kernel's build makes of vhost's ring path (kernel.c), once for
 * each kernel and variant, and the program that runs it (user.c). For both, so
 * only types that need no header.
 */
#ifndef _MMU_RANGE_MIRROR_RINGPATH_H
#define _MMU_RANGE_MIRROR_RINGPATH_H

#define RINGPATH_NUM	256	/* descriptors of a queue */
#define RINGPATH_LEN	60	/* bytes of a packet */
/* Bytes of guest memory that all fit in a process's cache. */
#define RINGPATH_PIECES	(256UL << 20)

/**
 * struct ringpath - a variant of the ring path
 * @kernel: the series that it is of
 * @name: how it reads and writes the ring
 * @queue_size: bytes that one queue takes, beside the ring itself
 * @init: once, before all else: what is per CPU, and the guest's memory, which is
 *	at the address that the guest knows it by, too
 * @queue: make a queue of zeroed memory, of a ring whose parts are given and which
 *	has run until @idx
 * @mirror: mirror its ring, if that is what this variant is about; @percpu is what
 *	the kernel would have allocated per CPU for it
 * @run: one run of a queue's worker: @n packets, which are there, in batches, and
 *	then, if @dry, a look for more, which finds none and asks for notification.
 *	Returns the bytes of the packets.
 * @map: from now on the cache of that queue, if it has one, has %RINGPATH_PIECES
 *	of guest memory at @uaddr, which are at @kaddr as well
 * @piece: move @size bytes between @buf and guest memory; returns how many
 * @harden: returns hardened usercopy's check, which is to know of @buf, and its static
 *	key, if that has to be on
 * @payload_max: %VHOST_MEM_PAYLOAD_MAX, of windows
 *
 * Only windows and uaccess have the last three.
 */
struct ringpath {
	const char *kernel;
	const char *name;
	unsigned long queue_size;
	void (*init)(unsigned long this_cpu_off, void *memory,
		     unsigned long size);
	void (*queue)(void *queue, void *desc, void *avail, void *used,
		      unsigned short idx);
	void (*mirror)(void *queue, void *percpu);
	unsigned long (*run)(void *queue, int n, int batch, int dry);
	void (*map)(void *queue, unsigned long uaddr, unsigned long kaddr);
	unsigned long (*piece)(void *queue, void *buf, unsigned long uaddr,
			       unsigned long size, int write);
	void *(*harden)(void *buf, void **key);
	int payload_max;
};

/* Zeroed, for good; of user.c. */
void *ringpath_alloc(unsigned long size);

/* Of usercopy.c; see @harden. */
void *ringpath_harden(void *buf, void **key);

/* Features of the CPU, as the kernel numbers them, and a flag of alternatives. */
#define RINGPATH_FEATURE_ERMS		(9 * 32 + 9)
#define RINGPATH_FEATURE_FSRM		(18 * 32 + 4)
#define RINGPATH_FEATURE_SSE		25
#define RINGPATH_FEATURE_PREFETCHW	(6 * 32 + 8)
#define RINGPATH_FEATURE_ALWAYS		(3 * 32 + 21)
#define RINGPATH_ALT_NOT			1

#ifndef __KERNEL__
#include <linux/types.h>

#pragma pack(push, 1)
/* What the kernel replaces at boot, as it has it in its files. */
struct alternative {
	__s32 site;
	__s32 replacement;
	__u16 feature;
	__u16 flags;
	__u8 length;
	__u8 replacement_length;
};

#pragma pack(pop)

/* The jumps of its static keys. */
struct jump {
	__s32 code;
	__s32 target;
	__s64 key;
};

/* All of what is linked in; the linker makes the bounds. */
extern const struct ringpath * const __start_ringpaths[];
extern const struct ringpath * const __stop_ringpaths[];

extern struct alternative __start_altinstructions[];

extern struct alternative __stop_altinstructions[];

extern struct jump __start___jump_table[];

extern struct jump __stop___jump_table[];
extern char _end[];
#endif

#endif /* _MMU_RANGE_MIRROR_RINGPATH_H */
