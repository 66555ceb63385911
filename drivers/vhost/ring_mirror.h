/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vhost's rings and its dirty log through kernel pointers: the accesses, which
 * are inline.
 *
 * ring_mirror.c opens and closes the windows. Where there is none, vhost.c makes
 * its user access, as before.
 */
#ifndef _VHOST_RING_MIRROR_H
#define _VHOST_RING_MIRROR_H

#include "mem_mirror.h"
#include "vhost.h"

/* Descriptors of a chain that are read in one section. */
#define VHOST_RING_CHAIN	4

/* How far ahead of itself, in packets, a worker prefetches descriptors. */
#define VHOST_RING_AHEAD	8

/*
 * Accesses that go through uaccess at once after one that missed. A fill takes
 * longer than that many, and a miss costs several times what it saves.
 */
#define VHOST_RING_SKIP		7

#ifdef CONFIG_VHOST_RING_MIRROR

#include <linux/bitops.h>
#include <linux/cache.h>
#include <linux/list.h>
#include <linux/mmu_mirror_cache.h>
#include <linux/mmu_mirror_load.h>
#include <linux/mmu_mirror_window.h>
#include <linux/moduleparam.h>
#include <linux/nospec.h>
#include <linux/percpu.h>
#include <linux/prefetch.h>
#include <linux/spinlock.h>
#include <linux/tracepoint-defs.h>
#include <linux/workqueue.h>

/* The dirty log is one more part, beside those of the ring itself. */
#define VHOST_RING_LOG		VHOST_NUM_ADDRS
#define VHOST_RING_NUM_PARTS	(VHOST_NUM_ADDRS + 1)

/* And so are the kinds of guest memory, where parts are counted and named. */
#define VHOST_RING_MEM		VHOST_RING_NUM_PARTS
#define VHOST_RING_NUM_COUNTED	(VHOST_RING_MEM + VHOST_MEM_NUM_KINDS)

/**
 * struct vhost_ring_span - where a ring part is in the owner's address space
 * @uaddr: its first byte; already translated, where there is an IOTLB
 * @size: its bytes; 0: nowhere that a window could be opened on
 *
 * With the mm, which a mirror never changes, and the access, which follows from
 * the part, this is all that a window depends on. The ring's own base is no
 * part of it: accesses are made by their offset from the base of the moment.
 */
struct vhost_ring_span {
	unsigned long uaddr;
	unsigned long size;
};

/**
 * enum vhost_ring_why - why an access goes through uaccess
 * @VHOST_RING_OFF: the parameter ring_mirror, or for guest memory mem_mirror, is off
 * @VHOST_RING_NOWHERE: the part is not aligned, or in several pieces
 * @VHOST_RING_RESET: its address or translation may have changed, and the queue
 *	has not run since
 * @VHOST_RING_OPENING: the work has not opened the window, or the process's cache, yet
 * @VHOST_RING_FAILED: it could not
 * @VHOST_RING_UNFILLED: no fill has looked at the page yet, or the cache has no
 *	window there
 * @VHOST_RING_INVALIDATED: the page was taken away
 * @VHOST_RING_UNMAPPED: the fill found nothing there that could be mapped
 * @VHOST_RING_OUTSIDE: it is not in the window
 * @VHOST_RING_POISONED: a load from the page met a memory error
 * @VHOST_RING_NUM_WHYS: how many there are
 */
enum vhost_ring_why {
	VHOST_RING_OFF,
	VHOST_RING_NOWHERE,
	VHOST_RING_RESET,
	VHOST_RING_OPENING,
	VHOST_RING_FAILED,
	VHOST_RING_UNFILLED,
	VHOST_RING_INVALIDATED,
	VHOST_RING_UNMAPPED,
	VHOST_RING_OUTSIDE,
	VHOST_RING_POISONED,
	VHOST_RING_NUM_WHYS,
};

/**
 * struct vhost_ring_stats - what the windows of one ring part have seen
 * @mirrored: accesses through a window
 * @shared: those of them that had no section of their own
 * @fallback: accesses through uaccess, by &enum vhost_ring_why
 * @fills: runs of the windows' fill work
 * @collisions: lookups that an invalidation made void
 * @installed: pages installed
 * @drops: invalidations that dropped a page, by event
 * @worst_wait_ns: longest wait for the process's readers
 */
struct vhost_ring_stats {
	unsigned long mirrored;
	unsigned long shared;
	unsigned long fallback[VHOST_RING_NUM_WHYS];
	unsigned long fills;
	unsigned long collisions;
	unsigned long installed;
	unsigned long drops[MMU_MIRROR_NR_EVENTS];
	long worst_wait_ns;
};

/**
 * struct vhost_ring_hot - all that an access to the ring touches of the mirror
 * @kaddr: the first byte of each part that lies in one page, while that is
 *	mapped: a shadow of its window's pointer, cleared with it. Written under
 *	the window's lock, read in a section; see mmu_mirror_window_shadow().
 * @cpu: the readers' state in the process's domain
 * @size: bytes of each part that accesses find a window for; 0: they do not try
 * @uaddr: where that part is
 * @mirrored: accesses through a window; of descriptors only those read in a chain's
 *	section. &vhost_ring_part has the others
 * @avail_shared: those of the available ring that had no section of their own
 * @used_shared: those of the used ring
 *
 * One line that is read for each access, and one that counts and is read once
 * in a run of the queue: invalidators write the first, nobody else the second.
 * All but @kaddr belongs to vq->mutex.
 */
struct vhost_ring_hot {
	void *kaddr[VHOST_NUM_ADDRS];
	struct mmu_mirror_cpu __percpu *cpu;
	u32 size[VHOST_NUM_ADDRS];
	unsigned long uaddr[VHOST_NUM_ADDRS] ____cacheline_aligned;
	unsigned long mirrored[VHOST_NUM_ADDRS];
	unsigned long avail_shared;
	unsigned long used_shared;
};

/**
 * struct vhost_ring_part - the rest of what is known of a ring part
 * @use: the window that accesses go through if &vhost_ring_hot.size says so, or
 *	NULL. Never one that the work is about to close: only the holder of
 *	vq->mutex changes @want, and @use is NULL unless @want is what @window was
 *	opened for.
 * @mirrored: accesses through a window that &vhost_ring_hot does not count
 * @fallback: accesses through uaccess, by @why or what the window knows
 * @why: why an access finds no window to go through
 * @skip: accesses that are not to look for a window, after a miss
 * @missed: why that missed
 * @want: what a window is wanted on
 * @have: what @window was opened on, or could not be opened on
 * @window: the open window, or NULL
 * @counts: its numbers are this part's; those of a log that queues share are of
 *	the one that had it opened
 * @error: why there is none
 * @retry_at: jiffies before which a failed opening is not repeated
 * @backoff: how far @retry_at was last pushed
 * @closed: what the closed windows of this part have seen
 *
 * @use, @why, @skip, @missed and the counters of accesses belong to vq->mutex;
 * the rest to the mirror's lock, and @want is changed under both.
 */
struct vhost_ring_part {
	struct mmu_mirror_window *use;
	unsigned long mirrored;
	unsigned long fallback[VHOST_RING_NUM_WHYS];
	enum vhost_ring_why why;
	unsigned int skip;
	enum vhost_ring_why missed;
	struct vhost_ring_span want;
	struct vhost_ring_span have;
	struct mmu_mirror_window *window;
	bool counts;
	int error;
	unsigned long retry_at;
	unsigned long backoff;
	struct vhost_ring_stats closed;
};

struct vhost_ring_device;
struct vhost_ring_mirror;

/**
 * struct vhost_mem_counts - what has become of accesses to guest memory of a kind
 * @mirrored: those through the cache
 * @shared: those of them that had no section of their own
 * @fallback: those through uaccess, by &enum vhost_ring_why
 */
struct vhost_mem_counts {
	unsigned long mirrored;
	unsigned long shared;
	unsigned long fallback[VHOST_RING_NUM_WHYS];
};

/**
 * struct vhost_mem_stats - what the caches of a process have seen
 * @chunks: windows that the cache has at the moment
 * @mapped: pages that they have at the moment
 * @opened: windows opened
 * @evicted: windows that made way for another
 * @ring: the rest, as of a ring part. No access is counted there
 */
struct vhost_mem_stats {
	unsigned long chunks;
	unsigned long mapped;
	unsigned long opened;
	unsigned long evicted;
	struct vhost_ring_stats ring;
};

/**
 * struct vhost_mem_queue - what a queue has to do with the cache of its process
 * @use: the cache, or NULL: accesses go through uaccess
 * @kind: what has become of its accesses
 * @want: it is to have the cache
 * @have: the cache, which it holds, or NULL
 * @error: why it could not be opened
 * @retry_at: jiffies before which that is not repeated
 *
 * @use, @kind and, for reading, @want belong to vq->mutex; the rest, and changes of
 * @want, to the mirror's lock.
 */
struct vhost_mem_queue {
	struct mmu_mirror_cache *use;
	struct vhost_mem_counts kind[VHOST_MEM_NUM_KINDS];
	bool want;
	struct mmu_mirror_cache *have;
	int error;
	unsigned long retry_at;
};

/**
 * struct vhost_ring_process - what all devices of a process share
 * @node: among all processes
 * @mm: the process's, held
 * @users: the mirrors of its queues, and @start; under mirrors_lock
 * @mirrors: these mirrors, under mirrors_lock
 * @queue: the background work of @mm; NULL until @start has got it
 * @start: gets @queue
 * @start_at: not before that, in jiffies, where it could not
 * @starting: it has been asked to, under mirrors_lock
 * @lock: protects @cache and @closed against readers of debugfs
 * @cache: of its memory, while queues hold it
 * @holders: these queues
 * @closed: what its closed caches have seen
 *
 * From @cache on, all of it changes on the mm's queue only.
 */
struct vhost_ring_process {
	struct hlist_node node;
	struct mm_struct *mm;
	unsigned int users;
	struct list_head mirrors;
	struct mmu_mirror_queue *queue;
	struct work_struct start;
	unsigned long start_at;
	bool starting;
	spinlock_t lock; /* against readers of debugfs */
	struct mmu_mirror_cache *cache;
	unsigned int holders;
	struct vhost_mem_stats closed;
};

/**
 * struct vhost_ring_entry - a place in the list of all mirrors
 * @list: the list
 * @mirror: what is there, or NULL: somebody who reads the list
 */
struct vhost_ring_entry {
	struct list_head list;
	struct vhost_ring_mirror *mirror;
};

/**
 * struct vhost_ring_mirror - a queue's windows
 * @hot: what accesses touch
 * @part: its ring parts, and the log
 * @lock: see &struct vhost_ring_part
 * @mm: the owner's, which @process holds; its memory may go before the mirror does
 * @work: opens and closes windows
 * @retire: closes them for good, once the queue is no more, and frees this
 * @entry: among all mirrors, for reporting
 * @device: what it shares with the other queues of its device
 * @process: what it shares with the other queues of its process
 * @of_process: among the mirrors of that
 * @closed: the queue is no more, under mirrors_lock
 * @mem: what it has to do with guest memory
 * @pid: the owner's thread group
 * @index: the queue's number
 */
struct vhost_ring_mirror {
	struct vhost_ring_hot hot ____cacheline_aligned;
	struct vhost_ring_part part[VHOST_RING_NUM_PARTS];
	spinlock_t lock; /* innermost, never taken by the invalidator */
	struct mm_struct *mm;
	struct work_struct work;
	struct work_struct retire;
	struct vhost_ring_entry entry;
	struct vhost_ring_device *device;
	struct vhost_ring_process *process;
	struct list_head of_process;
	bool closed;
	struct vhost_mem_queue mem;
	pid_t pid;
	int index;
};

extern bool vhost_ring_mirror_on;
extern const struct kernel_param_ops vhost_ring_mirror_param_ops;

void __vhost_ring_mirror_want(struct vhost_virtqueue *vq, int type,
			      const void __user *uaddr, size_t size);
void __vhost_ring_mirror_want_log(struct vhost_virtqueue *vq, bool logging);
void vhost_ring_mirror_cleanup(struct vhost_dev *dev);
void vhost_mirror_queue_work(struct vhost_ring_mirror *mirror);
void vhost_ring_missed(struct vhost_virtqueue *vq, int type,
		       const void __user *ptr);
void vhost_ring_trace(struct vhost_virtqueue *vq, int type,
		      enum vhost_ring_why why, const void __user *ptr);
void __cold vhost_ring_poisoned(struct vhost_ring_mirror *mirror, int type,
				unsigned long offset);
enum vhost_ring_why vhost_ring_absence(enum mmu_mirror_absence absence);

/* Of mem_mirror.c, for ring_mirror.c. */
void vhost_mem_settle(struct vhost_ring_mirror *mirror);
void vhost_mem_leave(struct vhost_ring_mirror *mirror);
void vhost_mem_stats(struct vhost_ring_mirror *mirror, enum vhost_mem_kind kind,
		     struct vhost_ring_stats *stats);
void vhost_mem_process_stats(struct vhost_ring_process *process,
			     struct vhost_mem_stats *stats);

/* Before anything else is done to a queue. */
static inline void vhost_ring_mirror_init(struct vhost_virtqueue *vq)
{
	vq->mirror = NULL;
	vq->mirror_retry_at = 0;
}

/*
 * The ring's address, translation or size may have changed: no access goes
 * through a window before the next vhost_ring_mirror_want(). Windows stay open,
 * because it may well ask for the same ones. The log is at no such address.
 */
static inline void vhost_ring_mirror_reset(struct vhost_virtqueue *vq)
{
	struct vhost_ring_mirror *mirror = vq->mirror;
	int type;

	if (!mirror)
		return;
	for (type = 0; type < VHOST_NUM_ADDRS; type++) {
		mirror->hot.size[type] = 0;
		mirror->part[type].skip = 0;
		mirror->part[type].why = VHOST_RING_RESET;
	}
}

/*
 * Have the lines on the way that a run touches of a ring part, and that the guest's
 * CPU wrote last: all at once, where the run would wait for one after the other. The
 * page may just be gone, and a prefetch does not mind: this takes no section.
 */
static __always_inline void vhost_ring_prefetch(struct vhost_virtqueue *vq,
						enum vhost_uaddr_type type)
{
	struct vhost_ring_hot *hot = &vq->mirror->hot;
	char *kaddr = READ_ONCE(hot->kaddr[type]);
	unsigned int slot;

	if (type == VHOST_ADDR_DESC) {
		/* The first section comes soon, and may be on this CPU. */
		prefetchw(raw_cpu_ptr(hot->cpu));
		return;
	}
	if (unlikely(!kaddr))
		return;
	if (type == VHOST_ADDR_AVAIL) {
		slot = vq->last_avail_idx & (vq->num - 1);
		prefetch(kaddr + offsetof(struct vring_avail, idx));
		prefetch(kaddr + offsetof(struct vring_avail, ring[slot]));
		/* The used event. */
		prefetch(kaddr + hot->size[type] - sizeof(__virtio16));
	} else {
		slot = vq->last_used_idx & (vq->num - 1);
		prefetchw(kaddr + offsetof(struct vring_used, ring[slot]));
		prefetchw(kaddr + offsetof(struct vring_used, idx));
		/* The available event. */
		prefetchw(kaddr + hot->size[type] - sizeof(__virtio16));
	}
}

/**
 * vhost_ring_mirror_want - say where a ring part is
 * @vq: the queue
 * @type: the ring part
 * @uaddr: its first byte, translated; NULL if it is not in one piece
 * @size: its bytes
 *
 * Called before each run of a queue. If a window is open on just that, accesses
 * use it from now on; else the work is asked to open one, and they use uaccess.
 * To want the present window again takes back what was asked for meanwhile.
 *
 * Context: under vq->mutex, by somebody on the owner's mm. Never waits for an
 * invalidation.
 * Cost: two comparisons while nothing changes, and prefetches of what the run will
 * touch.
 */
static __always_inline void
vhost_ring_mirror_want(struct vhost_virtqueue *vq, enum vhost_uaddr_type type,
		       const void __user *uaddr, size_t size)
{
	struct vhost_ring_mirror *mirror = vq->mirror;

	if (likely(mirror && READ_ONCE(vhost_ring_mirror_on) &&
		   mirror->hot.size[type] && mirror->hot.size[type] == size &&
		   mirror->hot.uaddr[type] == (unsigned long)uaddr)) {
		vhost_ring_prefetch(vq, type);
		return;
	}
	__vhost_ring_mirror_want(vq, type, uaddr, size);
}

/**
 * vhost_ring_mirror_want_log - say whether writes are logged
 * @vq: the queue
 *
 * Called before each run of a queue, like vhost_ring_mirror_want(), and with
 * the same effect.
 *
 * Context: under vq->mutex, by somebody on the owner's mm.
 */
static inline void vhost_ring_mirror_want_log(struct vhost_virtqueue *vq)
{
	bool logging = vq->log_used || vhost_has_feature(vq, VHOST_F_LOG_ALL);

	if (unlikely(logging ||
		     (vq->mirror &&
		      vq->mirror->part[VHOST_RING_LOG].want.size)))
		__vhost_ring_mirror_want_log(vq, logging);
}

static __always_inline unsigned long
vhost_ring_offset(struct vhost_virtqueue *vq, enum vhost_uaddr_type type,
		  const void __user *ptr)
{
	unsigned long base;

	if (type == VHOST_ADDR_DESC)
		base = (unsigned long)vq->desc;
	else if (type == VHOST_ADDR_AVAIL)
		base = (unsigned long)vq->avail;
	else
		base = (unsigned long)vq->used;
	return (unsigned long)ptr - base;
}

DECLARE_TRACEPOINT(vhost_ring_fallback);

/*
 * Is there a window for the object, as far as one can tell without a section?
 * Under vq->mutex.
 */
static __always_inline bool vhost_ring_has(struct vhost_ring_mirror *mirror,
					   enum vhost_uaddr_type type,
					   unsigned long offset,
					   unsigned long size)
{
	unsigned long end;

	if (!mirror || !READ_ONCE(vhost_ring_mirror_on))
		return false;
	end = mirror->hot.size[type];
	return likely(offset < end && size <= end - offset);
}

/*
 * Ring memory as a window shows it. Sparse sees to it that only the functions
 * below load from there, which survive a memory error, or store.
 */
#ifdef __CHECKER__
#define __window __attribute__((noderef, address_space(__window)))
#else
#define __window
#endif

/*
 * The kernel address of what vhost_ring_has() has said yes to, inside a section,
 * or NULL. @fill: ask for a fill then.
 */
static __always_inline void __window *
vhost_ring_ptr(struct vhost_ring_mirror *mirror, enum vhost_uaddr_type type,
	       unsigned long offset, unsigned long size, bool fill)
{
	void *kaddr = READ_ONCE(mirror->hot.kaddr[type]);

	if (likely(kaddr))
		kaddr += array_index_nospec(offset, mirror->hot.size[type]);
	else
		kaddr = __mmu_mirror_window_ptr(mirror->part[type].use, offset,
						size, fill);
	return (void __window __force *)kaddr;
}

/*
 * Load a field of what vhost_ring_has() has said yes to, inside a section. Return
 * false if there is no page, or none any more.
 */
static __always_inline bool
vhost_ring_load16(struct vhost_ring_mirror *mirror, enum vhost_uaddr_type type,
		  unsigned long offset, bool fill, __virtio16 *val)
{
	const void __window *p = vhost_ring_ptr(mirror, type, offset,
						sizeof(*val), fill);

	if (unlikely(!p))
		return false;
	if (likely(mmu_mirror_load16((const u16 __force *)p,
				     (u16 __force *)val)))
		return true;
	vhost_ring_poisoned(mirror, type, offset);
	return false;
}

/*
 * Load a descriptor inside a section, by words, as it is read afterwards: several
 * fields do not forward to one load. Return false if it met a memory error.
 */
static __always_inline bool
vhost_ring_copy_desc(const unsigned long *word, struct vring_desc *desc)
{
	unsigned long *copy = (unsigned long *)desc;
	int i;

	for (i = 0; i < sizeof(*desc) / sizeof(*copy); i += 2) {
		if (unlikely(!mmu_mirror_load_pair(&word[i], &copy[i])))
			return false;
	}
	return true;
}

/* The same of one in the ring, as vhost_ring_load16(). */
static __always_inline bool
vhost_ring_load_desc(struct vhost_ring_mirror *mirror, unsigned long offset,
		     bool fill, struct vring_desc *desc)
{
	const void __window *p = vhost_ring_ptr(mirror, VHOST_ADDR_DESC, offset,
						sizeof(*desc), fill);

	if (unlikely(!p))
		return false;
	if (likely(vhost_ring_copy_desc((const unsigned long __force *)p,
					desc)))
		return true;
	vhost_ring_poisoned(mirror, VHOST_ADDR_DESC, offset);
	return false;
}

/* Store @n halves of used elements, inside a section. */
static __always_inline void vhost_ring_store32(void __window *p,
					       const u32 *half, unsigned int n)
{
	u32 *to = (u32 __force *)p;

	while (n--)
		WRITE_ONCE(*to++, *half++);
}

static __always_inline void vhost_ring_store16(void __window *p, __virtio16 val)
{
	WRITE_ONCE(*(__virtio16 __force *)p, val);
}

/* Count an access without a window. The reader of the counts holds no lock. */
static __always_inline bool
vhost_ring_unmirrored(struct vhost_virtqueue *vq, int type,
		      const void __user *ptr)
{
	struct vhost_ring_part *part;
	enum vhost_ring_why why;
	unsigned long *count;

	if (unlikely(!vq->mirror))
		return false;
	part = &vq->mirror->part[type];
	why = part->why;
	if (part->skip) {
		why = part->missed;
		part->skip--;
		if (!part->skip && type < VHOST_NUM_ADDRS)
			vq->mirror->hot.size[type] = part->use->size;
	} else if (type < VHOST_NUM_ADDRS && vq->mirror->hot.size[type] &&
		   READ_ONCE(vhost_ring_mirror_on)) {
		why = VHOST_RING_OUTSIDE;
	}
	count = &part->fallback[why];
	WRITE_ONCE(*count, *count + 1);
	if (tracepoint_enabled(vhost_ring_fallback))
		vhost_ring_trace(vq, type, why, ptr);
	return false;
}

/* Count an access with a window, which had the page of @ptr or not. */
static __always_inline bool
vhost_ring_count(struct vhost_virtqueue *vq, int type, const void __user *ptr,
		 bool mirrored)
{
	struct vhost_ring_mirror *mirror = vq->mirror;
	unsigned long *count = &mirror->part[type].mirrored;

	if (type == VHOST_ADDR_AVAIL || type == VHOST_ADDR_USED)
		count = &mirror->hot.mirrored[type];
	if (likely(mirrored))
		WRITE_ONCE(*count, *count + 1);
	else
		vhost_ring_missed(vq, type, ptr);
	return mirrored;
}

/**
 * vhost_ring_get16 - read a field of a ring
 * @vq: the queue
 * @type: the ring part
 * @val: where to put it
 * @ptr: its address, as vhost.c knows it
 *
 * Like all of these, once and in one piece, and not ordered against anything:
 * vhost.c's own barriers do that, for uaccess as for this.
 *
 * Context: under vq->mutex.
 * Cost: a section, see mmu_mirror_enter_cpu(), and one increment. Of a part that
 * lies in one page it touches two lines of the mirror, and the readers' state.
 * Return: true if done; false: use uaccess.
 */
static __always_inline bool
vhost_ring_get16(struct vhost_virtqueue *vq, enum vhost_uaddr_type type,
		 __virtio16 *val, const __virtio16 __user *ptr)
{
	struct vhost_ring_mirror *mirror = vq->mirror;
	unsigned long offset = vhost_ring_offset(vq, type, ptr);
	bool done;

	if (unlikely(!vhost_ring_has(mirror, type, offset, sizeof(*val))))
		return vhost_ring_unmirrored(vq, type, ptr);
	mmu_mirror_enter_cpu(mirror->hot.cpu);
	done = vhost_ring_load16(mirror, type, offset, true, val);
	mmu_mirror_exit_cpu(mirror->hot.cpu);
	return vhost_ring_count(vq, type, ptr, done);
}

/**
 * vhost_ring_put16 - write a field of the used ring
 * @vq: the queue
 * @val: the value
 * @ptr: the field's address, as vhost.c knows it
 *
 * Context: under vq->mutex.
 * Return: true if done; false: use uaccess.
 */
static __always_inline bool
vhost_ring_put16(struct vhost_virtqueue *vq, __virtio16 val,
		 __virtio16 __user *ptr)
{
	enum vhost_uaddr_type type = VHOST_ADDR_USED;
	struct vhost_ring_mirror *mirror = vq->mirror;
	unsigned long offset = vhost_ring_offset(vq, type, ptr);
	void __window *p;

	if (unlikely(!vhost_ring_has(mirror, type, offset, sizeof(val))))
		return vhost_ring_unmirrored(vq, type, ptr);
	mmu_mirror_enter_cpu(mirror->hot.cpu);
	p = vhost_ring_ptr(mirror, type, offset, sizeof(val), true);
	if (likely(p))
		vhost_ring_store16(p, val);
	mmu_mirror_exit_cpu(mirror->hot.cpu);
	return vhost_ring_count(vq, type, ptr, p);
}

/**
 * vhost_ring_get_desc - read a descriptor
 * @vq: the queue
 * @desc: where to put it
 * @ptr: its address, as vhost.c knows it
 * @size: its size
 *
 * Each field is read once: the copy is what vhost checks and uses.
 *
 * Context: under vq->mutex.
 * Return: true if done; false: use uaccess.
 */
static __always_inline bool
vhost_ring_get_desc(struct vhost_virtqueue *vq, struct vring_desc *desc,
		    const void __user *ptr, unsigned int size)
{
	enum vhost_uaddr_type type = VHOST_ADDR_DESC;
	struct vhost_ring_mirror *mirror = vq->mirror;
	unsigned long offset = vhost_ring_offset(vq, type, ptr);
	bool done;

	if (unlikely(size != sizeof(*desc) ||
		     !vhost_ring_has(mirror, type, offset, size)))
		return vhost_ring_unmirrored(vq, type, ptr);
	mmu_mirror_enter_cpu(mirror->hot.cpu);
	done = vhost_ring_load_desc(mirror, offset, true, desc);
	mmu_mirror_exit_cpu(mirror->hot.cpu);
	return vhost_ring_count(vq, type, ptr, done);
}

/* The chain that begins with descriptor @i, as far as there is room and pages. */
static __always_inline int
vhost_ring_copy_chain(struct vhost_virtqueue *vq, unsigned int i,
		      struct vring_desc *chain)
{
	struct vhost_ring_mirror *mirror = vq->mirror;
	int n = 0;

	while (i < vq->num) {
		unsigned long offset = i * sizeof(*chain);

		if (unlikely(!vhost_ring_has(mirror, VHOST_ADDR_DESC, offset,
					     sizeof(*chain)) ||
			     !vhost_ring_load_desc(mirror, offset, false,
						   &chain[n])))
			break;
		i = vhost16_to_cpu(vq, chain[n].next);
		if (!(chain[n++].flags &
		      cpu_to_vhost16(vq, VRING_DESC_F_NEXT)) ||
		    n == VHOST_RING_CHAIN)
			break;
	}
	return n;
}

/*
 * Have the descriptor on the way that is some packets ahead, if the guest has made so
 * many available: the line is where the guest's CPU wrote it. In a section. Nothing
 * that the guest may have written there is used but as a hint, clamped.
 */
static __always_inline void vhost_ring_prefetch_ahead(struct vhost_virtqueue *vq,
						      u16 avail_idx)
{
	unsigned int slot = (vq->last_avail_idx + VHOST_RING_AHEAD) &
			    (vq->num - 1);
	unsigned long offset = offsetof(struct vring_avail, ring[slot]);
	struct vhost_ring_mirror *mirror = vq->mirror;
	struct vring_desc *desc;
	__virtio16 head;

	if ((u16)(avail_idx - vq->last_avail_idx) <= VHOST_RING_AHEAD)
		return;
	desc = READ_ONCE(mirror->hot.kaddr[VHOST_ADDR_DESC]);
	if (likely(desc && vhost_ring_has(mirror, VHOST_ADDR_AVAIL, offset,
					  sizeof(head)) &&
		   vhost_ring_load16(mirror, VHOST_ADDR_AVAIL, offset, false,
				     &head)))
		prefetch(&desc[vhost16_to_cpu(vq, head) & (vq->num - 1)]);
}

/**
 * vhost_ring_get_chain - read the available index, a head and its descriptors
 * @vq: the queue
 * @head: where to put the head
 * @chain: where to put up to %VHOST_RING_CHAIN descriptors, each the one that
 *	the one before names
 *
 * One section in place of one for each access: the index if vhost knows of nothing
 * new, and then the head and its descriptors. Returns 0, without side effects,
 * unless the pages of all but the later descriptors are mapped, and the index is
 * one that vhost accepts: the caller then makes each access alone, which counts it
 * and asks for a fill. The constant bounds the section whatever the guest writes,
 * and no code of vhost.c runs in it.
 *
 * Context: under vq->mutex.
 * Cost: a section, and three additions; a load and a prefetch, if more packets wait.
 * Return: descriptors read; -1: the ring is empty; 0: read the index, the head
 * and each descriptor alone.
 */
static __always_inline int vhost_ring_get_chain(struct vhost_virtqueue *vq,
						__virtio16 *head,
						struct vring_desc *chain)
{
	struct vhost_ring_mirror *mirror = vq->mirror;
	bool look = vq->avail_idx == vq->last_avail_idx;
	unsigned int slot = vq->last_avail_idx & (vq->num - 1);
	unsigned long offset = offsetof(struct vring_avail, ring[slot]);
	u16 avail_idx = vq->avail_idx;
	__virtio16 idx;
	int n = 0;

	/* The index comes before the slots. */
	if (unlikely(!vhost_ring_has(mirror, VHOST_ADDR_AVAIL, offset,
				     sizeof(*head))))
		return 0;
	mmu_mirror_enter_cpu(mirror->hot.cpu);
	if (look) {
		if (!vhost_ring_load16(mirror, VHOST_ADDR_AVAIL,
				       offsetof(struct vring_avail, idx),
				       false, &idx))
			goto out;
		avail_idx = vhost16_to_cpu(vq, idx);
		/* As in vhost_get_avail_idx(), for which this is done. */
		smp_rmb();
	}
	if (avail_idx == vq->last_avail_idx) {
		n = -1;
	} else if ((u16)(avail_idx - vq->last_avail_idx) <= vq->num &&
		   vhost_ring_load16(mirror, VHOST_ADDR_AVAIL, offset, false,
				     head)) {
		n = vhost_ring_copy_chain(vq, vhost16_to_cpu(vq, *head), chain);
		vhost_ring_prefetch_ahead(vq, avail_idx);
	}
out:
	mmu_mirror_exit_cpu(mirror->hot.cpu);
	if (unlikely(!n))
		return 0;

	vq->avail_idx = avail_idx;
	WRITE_ONCE(mirror->hot.mirrored[VHOST_ADDR_AVAIL],
		   mirror->hot.mirrored[VHOST_ADDR_AVAIL] + look + (n > 0));
	if (n < 0)
		return n;
	WRITE_ONCE(mirror->hot.avail_shared, mirror->hot.avail_shared + look);
	WRITE_ONCE(mirror->hot.mirrored[VHOST_ADDR_DESC],
		   mirror->hot.mirrored[VHOST_ADDR_DESC] + n);
	return n;
}

/**
 * vhost_ring_put_used - write used elements
 * @vq: the queue
 * @ptr: the first one's address, as vhost.c knows it
 * @from: the elements
 * @size: bytes of them
 *
 * The guest looks at none of them before the used index says so, so they may
 * be written in halves: an element can straddle two pages, and its halves,
 * which are aligned, cannot. Where a later page is absent, uaccess writes the
 * earlier elements once more.
 *
 * Context: under vq->mutex.
 * Return: true if all of them were written; false: use uaccess.
 */
static __always_inline bool
vhost_ring_put_used(struct vhost_virtqueue *vq, const void __user *ptr,
		    const void *from, unsigned int size)
{
	enum vhost_uaddr_type type = VHOST_ADDR_USED;
	struct vhost_ring_mirror *mirror = vq->mirror;
	unsigned long offset = vhost_ring_offset(vq, type, ptr);
	const u32 *half = from;

	if (unlikely(size % sizeof(*half) ||
		     !vhost_ring_has(mirror, type, offset, size)))
		return vhost_ring_unmirrored(vq, type, ptr);
	mmu_mirror_enter_cpu(mirror->hot.cpu);
	while (size) {
		unsigned int room = PAGE_SIZE -
				    offset_in_page(mirror->hot.uaddr[type] +
						   offset);
		unsigned int n = min(size, room);
		void __window *p = vhost_ring_ptr(mirror, type, offset, n,
						  true);

		if (unlikely(!p))
			break;
		offset += n;
		size -= n;
		n /= sizeof(*half);
		vhost_ring_store32(p, half, n);
		half += n;
	}
	mmu_mirror_exit_cpu(mirror->hot.cpu);
	return vhost_ring_count(vq, type, ptr, !size);
}

/**
 * vhost_ring_add_used - write used elements, and the index after them
 * @vq: the queue
 * @heads: the elements
 * @count: how many
 *
 * What vhost_add_used_n() does with one section: all of it, or nothing.
 *
 * Context: under vq->mutex.
 * Return: true if done; false: the ring wraps among them, or is logged, or they
 * are not in one page of a window.
 */
static __always_inline bool
vhost_ring_add_used(struct vhost_virtqueue *vq,
		    const struct vring_used_elem *heads, unsigned int count)
{
	struct vhost_ring_mirror *mirror = vq->mirror;
	unsigned int start = vq->last_used_idx & (vq->num - 1);
	unsigned long offset = offsetof(struct vring_used, ring[start]);
	u16 old = vq->last_used_idx, new = old + count;
	void __window *idx;
	void __window *p;

	if (unlikely(vq->log_used || count > vq->num - start) ||
	    unlikely(!vhost_ring_has(mirror, VHOST_ADDR_USED, offset,
				     count * sizeof(*heads))))
		return false;
	mmu_mirror_enter_cpu(mirror->hot.cpu);
	p = vhost_ring_ptr(mirror, VHOST_ADDR_USED, offset,
			   count * sizeof(*heads), false);
	idx = vhost_ring_ptr(mirror, VHOST_ADDR_USED,
			     offsetof(struct vring_used, idx), sizeof(new),
			     false);
	if (likely(p && idx)) {
		vhost_ring_store32(p, (const u32 *)heads, 2 * count);
		/* The elements before the index, as vhost_add_used_n() does. */
		smp_wmb();
		vhost_ring_store16(idx, cpu_to_vhost16(vq, new));
	}
	mmu_mirror_exit_cpu(mirror->hot.cpu);
	if (unlikely(!p || !idx))
		return false;

	vq->last_used_idx = new;
	/* See __vhost_add_used_n(). */
	if (unlikely((u16)(new - vq->signalled_used) < (u16)(new - old)))
		vq->signalled_used_valid = false;
	WRITE_ONCE(mirror->hot.mirrored[VHOST_ADDR_USED],
		   mirror->hot.mirrored[VHOST_ADDR_USED] + 2);
	WRITE_ONCE(mirror->hot.used_shared, mirror->hot.used_shared + 1);
	return true;
}

/**
 * vhost_ring_set_bit - set a bit of the dirty log
 * @vq: the queue
 * @nr: the bit, of the byte at @ptr
 * @ptr: its address
 *
 * The window is looked up by address, so it does not matter whether the log
 * has been moved since it was opened: a bit of the log of today that is not in
 * it goes through uaccess, and the log of yesterday is never asked for.
 *
 * The collector of the log takes bits out meanwhile, so this sets the bit
 * atomically; and in the whole word as in vhost.c, so that big-endian hosts agree.
 *
 * Context: under vq->mutex. The caller has ordered the logged write before.
 * Return: true if done; false: use uaccess.
 */
static __always_inline bool
vhost_ring_set_bit(struct vhost_virtqueue *vq, int nr, const void __user *ptr)
{
	struct vhost_ring_mirror *mirror = vq->mirror;
	struct mmu_mirror_window *window = NULL;
	void *p;

	if (mirror && READ_ONCE(vhost_ring_mirror_on) &&
	    !mirror->part[VHOST_RING_LOG].skip)
		window = mirror->part[VHOST_RING_LOG].use;
	if (unlikely(!window))
		return vhost_ring_unmirrored(vq, VHOST_RING_LOG, ptr);
	mmu_mirror_enter(window->domain);
	/* Below the window it wraps, to far beyond it. */
	p = mmu_mirror_window_ptr(window, (unsigned long)ptr - window->uaddr,
				  1);
	if (likely(p))
		set_bit(nr + offset_in_page(p) * BITS_PER_BYTE,
			p - offset_in_page(p));
	mmu_mirror_exit(window->domain);
	return vhost_ring_count(vq, VHOST_RING_LOG, ptr, p);
}

#else /* !CONFIG_VHOST_RING_MIRROR */

static inline void vhost_ring_mirror_want(struct vhost_virtqueue *vq, int type,
					  const void __user *uaddr, size_t size)
{
}

static inline void vhost_ring_mirror_want_log(struct vhost_virtqueue *vq)
{
}

static inline void vhost_ring_mirror_cleanup(struct vhost_dev *dev)
{
}

static inline void vhost_ring_mirror_init(struct vhost_virtqueue *vq)
{
}

static inline void vhost_ring_mirror_reset(struct vhost_virtqueue *vq)
{
}

static inline bool vhost_ring_get16(struct vhost_virtqueue *vq,
				    enum vhost_uaddr_type type,
				    __virtio16 *val,
				    const __virtio16 __user *ptr)
{
	return false;
}

static inline bool vhost_ring_put16(struct vhost_virtqueue *vq, __virtio16 val,
				    __virtio16 __user *ptr)
{
	return false;
}

static inline bool vhost_ring_get_desc(struct vhost_virtqueue *vq,
				       struct vring_desc *desc,
				       const void __user *ptr,
				       unsigned int size)
{
	return false;
}

static inline int vhost_ring_get_chain(struct vhost_virtqueue *vq,
				       __virtio16 *head,
				       struct vring_desc *chain)
{
	return 0;
}

static inline bool vhost_ring_add_used(struct vhost_virtqueue *vq,
				       const struct vring_used_elem *heads,
				       unsigned int count)
{
	return false;
}

static inline bool vhost_ring_put_used(struct vhost_virtqueue *vq,
				       const void __user *ptr,
				       const void *from, unsigned int size)
{
	return false;
}

static inline bool vhost_ring_set_bit(struct vhost_virtqueue *vq, int nr,
				      const void __user *ptr)
{
	return false;
}

#endif /* CONFIG_VHOST_RING_MIRROR */

#endif /* _VHOST_RING_MIRROR_H */
