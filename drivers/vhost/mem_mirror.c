// SPDX-License-Identifier: GPL-2.0-only
/*
 * vhost's small accesses to guest memory through kernel pointers.
 *
 * A process has one cache of pointers to its memory, for all queues of its devices.
 * The first such access of a queue asks for the cache, and goes through uaccess, as
 * does each that the cache has no pointer for at the moment. The work on the mm's
 * queue opens the cache, and closes it when the last queue has left it, so nobody
 * who holds vq->mutex waits for an invalidation.
 *
 * The results are those of uaccess: what the cache has, the process may read, or
 * write, and where it does not have all, uaccess moves the rest, and fails where it
 * always did. What was written is logged by whoever logged it before.
 */
#include <linux/jiffies.h>
#include <linux/module.h>

#include "ring_mirror.h"

/* Chunks of 2 MiB that a cache has at most, with a page of pointers each. */
#define MEM_CHUNKS	256

/* How long to wait before an opening is tried again. */
#define MEM_REST	HZ

bool vhost_mem_mirror_on __read_mostly = true;
EXPORT_SYMBOL_GPL(vhost_mem_mirror_on);

/* ring_mirror=0 has guest memory accessed by uaccess as well. */
static bool mem_on(void)
{
	return READ_ONCE(vhost_mem_mirror_on) && READ_ONCE(vhost_ring_mirror_on);
}

/*
 * Say whether the queue wants the cache, and use it if it is there. Nothing of the
 * queue goes through it any more when the work learns that it is not wanted.
 */
static noinline struct mmu_mirror_cache *mem_want(struct vhost_ring_mirror *mirror)
{
	struct vhost_mem_queue *mem = &mirror->mem;
	bool on = mem_on(), queue = !on;

	if (!on && !mem->want)
		return NULL;
	spin_lock(&mirror->lock);
	/* Once, and once more a while after it could not be opened. */
	if (on && !mem->have && (!mem->want ||
				 (mem->error &&
				  time_after_eq(jiffies, mem->retry_at)))) {
		mem->error = 0;
		queue = true;
	}
	mem->want = on;
	mem->use = on ? mem->have : NULL;
	spin_unlock(&mirror->lock);
	if (queue)
		vhost_mirror_queue_work(mirror);
	return mem->use;
}

/* The cache that an access can go through, or NULL. Under vq->mutex. */
static __always_inline struct mmu_mirror_cache *
mem_cache(struct vhost_ring_mirror *mirror)
{
	if (likely(mirror->mem.use && mem_on()))
		return mirror->mem.use;
	return mem_want(mirror);
}

static enum vhost_ring_why mem_why(struct vhost_ring_mirror *mirror,
				   struct mmu_mirror_cache *cache,
				   unsigned long uaddr, bool write)
{
	if (cache)
		return vhost_ring_absence(mmu_mirror_cache_absence(cache, uaddr,
								   write));
	if (!mirror->mem.want)
		return VHOST_RING_OFF;
	return READ_ONCE(mirror->mem.error) ? VHOST_RING_FAILED :
					      VHOST_RING_OPENING;
}

/* Count an access that goes through uaccess, at least from @uaddr on. */
static noinline void mem_missed(struct vhost_virtqueue *vq,
				enum vhost_mem_kind kind,
				struct mmu_mirror_cache *cache,
				unsigned long uaddr, bool write)
{
	struct vhost_ring_mirror *mirror = vq->mirror;
	enum vhost_ring_why why = mem_why(mirror, cache, uaddr, write);
	unsigned long *count = &mirror->mem.kind[kind].fallback[why];

	WRITE_ONCE(*count, *count + 1);
	if (tracepoint_enabled(vhost_ring_fallback))
		vhost_ring_trace(vq, VHOST_RING_MEM + kind, why,
				 (const void __user *)uaddr);
}

static void mem_count(struct vhost_ring_mirror *mirror,
		      enum vhost_mem_kind kind, bool shared)
{
	struct vhost_mem_counts *counts = &mirror->mem.kind[kind];

	WRITE_ONCE(counts->mirrored, counts->mirrored + 1);
	if (shared)
		WRITE_ONCE(counts->shared, counts->shared + 1);
}

/* Move up to @size bytes of what the cache has, and @iter with them. */
static size_t mem_copy(struct mmu_mirror_cache *cache, void *buf, size_t size,
		       struct iov_iter *iter, bool write)
{
	size_t done = 0;

	while (done < size) {
		unsigned long uaddr = (unsigned long)iter_iov_addr(iter);
		size_t n = min3(size - done, iter_iov_len(iter),
				PAGE_SIZE - offset_in_page(uaddr));
		size_t moved = 0;

		if (likely(n))
			moved = mmu_mirror_cache_copy(cache, uaddr, buf + done,
						      n, write);
		iov_iter_advance(iter, moved);
		done += moved;
		if (moved < n || !n)
			break;
	}
	return done;
}

/* The same for an access of vhost's, which is counted. Return the bytes moved. */
static size_t mem_move(struct vhost_virtqueue *vq, enum vhost_mem_kind kind,
		       void *buf, size_t size, struct iov_iter *iter, bool write)
{
	struct vhost_ring_mirror *mirror = vq->mirror;
	struct mmu_mirror_cache *cache;
	size_t done = 0;

	size = min(size, iov_iter_count(iter));
	if (unlikely(!mirror || !size || !iter_is_iovec(iter)))
		return 0;
	if (kind == VHOST_MEM_PAYLOAD && size > VHOST_MEM_PAYLOAD_MAX)
		return 0;
	cache = mem_cache(mirror);
	if (likely(cache))
		done = mem_copy(cache, buf, size, iter, write);
	if (likely(done == size))
		mem_count(mirror, kind, false);
	else
		mem_missed(vq, kind, cache, (unsigned long)iter_iov_addr(iter),
			   write);
	return done;
}

/**
 * vhost_mem_from_iter - read guest memory
 * @vq: the queue
 * @kind: what for
 * @to: where to put it
 * @size: bytes
 * @iter: user memory, of vq->iov or the like
 *
 * As copy_from_iter(): moves @iter, and returns less than @size where @iter ends or
 * the memory faults.
 *
 * Context: under vq->mutex, by the queue's worker; may sleep in a fault.
 * Cost: the cache's, a test and an increment.
 * Return: bytes read.
 */
size_t vhost_mem_from_iter(struct vhost_virtqueue *vq, enum vhost_mem_kind kind,
			   void *to, size_t size, struct iov_iter *iter)
{
	size_t done = mem_move(vq, kind, to, size, iter, false);

	if (likely(done == size))
		return done;
	return done + copy_from_iter(to + done, size - done, iter);
}
EXPORT_SYMBOL_GPL(vhost_mem_from_iter);

/**
 * vhost_mem_to_iter - write guest memory
 * @vq: the queue
 * @kind: what for
 * @from: what to write
 * @size: bytes
 * @iter: user memory, of vq->iov or the like
 *
 * As copy_to_iter(). The caller logs the write.
 *
 * Context and cost: as vhost_mem_from_iter().
 * Return: bytes written.
 */
size_t vhost_mem_to_iter(struct vhost_virtqueue *vq, enum vhost_mem_kind kind,
			 const void *from, size_t size, struct iov_iter *iter)
{
	size_t done = mem_move(vq, kind, (void *)from, size, iter, true);

	if (likely(done == size))
		return done;
	return done + copy_to_iter(from + done, size - done, iter);
}
EXPORT_SYMBOL_GPL(vhost_mem_to_iter);

/*
 * Read @n descriptors, all in one page. Return how many, which is none where there is
 * no page, or a memory error.
 */
static unsigned int mem_read_table(struct mmu_mirror_cache *cache,
				   unsigned long uaddr, struct vring_desc *desc,
				   unsigned int n)
{
	unsigned int i = 0;
	void *p;

	mmu_mirror_enter_cpu(cache->cpu);
	p = mmu_mirror_cache_ptr(cache, uaddr, n * sizeof(*desc), false);
	while (p && i < n &&
	       vhost_ring_copy_desc(p + i * sizeof(*desc), &desc[i]))
		i++;
	mmu_mirror_exit_cpu(cache->cpu);
	if (unlikely(p && i < n))
		mmu_mirror_cache_forget(cache, uaddr + i * sizeof(*desc), false);
	return i;
}

/* The descriptors that one section can read: no page and no region ends in them. */
static unsigned int mem_table_room(struct iov_iter *iter)
{
	unsigned long uaddr = (unsigned long)iter_iov_addr(iter);
	size_t room = min3(iov_iter_count(iter), iter_iov_len(iter),
			   PAGE_SIZE - offset_in_page(uaddr));

	if (unlikely(!IS_ALIGNED(uaddr, sizeof(long))))
		return 0;
	return min(room / sizeof(struct vring_desc), (size_t)VHOST_MEM_TABLE);
}

/**
 * vhost_mem_next_desc - read the next descriptor of a table
 * @vq: the queue
 * @table: what has been read of it; vhost_mem_table_init() is for the first
 * @desc: where to put the descriptor
 * @iter: the rest of the table, which moves by a descriptor
 *
 * One section reads up to %VHOST_MEM_TABLE of them. Each field is read once: the copy
 * is what vhost checks and uses. If the last read was ahead of the chain's end, nobody
 * asks for the rest of it.
 *
 * Context and cost: as vhost_mem_from_iter().
 * Return: true; false: the memory faults, and @iter has not moved.
 */
bool vhost_mem_next_desc(struct vhost_virtqueue *vq,
			 struct vhost_mem_table *table,
			 struct vring_desc *desc, struct iov_iter *iter)
{
	struct vhost_ring_mirror *mirror = vq->mirror;
	struct mmu_mirror_cache *cache;
	unsigned int room;
	bool shared = true;

	if (!table->left) {
		unsigned long uaddr = (unsigned long)iter_iov_addr(iter);

		if (unlikely(!mirror))
			return copy_from_iter_full(desc, sizeof(*desc), iter);
		room = mem_table_room(iter);
		if (unlikely(!room))
			return vhost_mem_from_iter_full(vq, VHOST_MEM_INDIRECT,
							desc, sizeof(*desc),
							iter);
		cache = mem_cache(mirror);
		table->read = 0;
		if (likely(cache))
			table->read = mem_read_table(cache, uaddr, table->desc,
						     room);
		table->left = table->read;
		if (unlikely(!table->left)) {
			mem_missed(vq, VHOST_MEM_INDIRECT, cache, uaddr, false);
			return copy_from_iter_full(desc, sizeof(*desc), iter);
		}
		shared = false;
	}
	*desc = table->desc[array_index_nospec(table->read - table->left,
					       VHOST_MEM_TABLE)];
	table->left--;
	iov_iter_advance(iter, sizeof(*desc));
	mem_count(mirror, VHOST_MEM_INDIRECT, shared);
	return true;
}
EXPORT_SYMBOL_GPL(vhost_mem_next_desc);

/* What the cache of the process has seen, which it still has. */
static void stats_add_cache(struct vhost_mem_stats *stats,
			    struct mmu_mirror_cache *cache)
{
	struct mmu_mirror_cache_stats now;
	int event;

	mmu_mirror_cache_get_stats(cache, &now);
	stats->chunks += now.chunks;
	stats->mapped += now.mapped;
	stats->opened += now.opened;
	stats->evicted += now.evicted;
	stats->ring.fills += now.fills;
	stats->ring.collisions += now.collisions;
	stats->ring.installed += now.installed;
	for (event = 0; event < MMU_MIRROR_NR_EVENTS; event++)
		stats->ring.drops[event] += now.drops[event];
	stats->ring.worst_wait_ns =
		max(stats->ring.worst_wait_ns,
		    atomic_long_read(&cache->domain->worst_wait_ns));
}

/* Hold the process's cache, which is opened if there is none. On the mm's queue. */
static struct mmu_mirror_cache *process_cache_get(struct vhost_ring_process *process)
{
	struct mmu_mirror_cache *cache = process->cache;

	if (!cache) {
		cache = mmu_mirror_cache_open(process->mm, MEM_CHUNKS);
		if (IS_ERR(cache))
			return cache;
		spin_lock(&process->lock);
		process->cache = cache;
		spin_unlock(&process->lock);
	}
	process->holders++;
	return cache;
}

static void process_cache_put(struct vhost_ring_process *process)
{
	struct mmu_mirror_cache *cache = process->cache;

	if (--process->holders)
		return;
	/* Nobody counts it twice, or looks at it later. */
	spin_lock(&process->lock);
	stats_add_cache(&process->closed, cache);
	process->closed.chunks = 0;
	process->closed.mapped = 0;
	process->cache = NULL;
	spin_unlock(&process->lock);
	mmu_mirror_cache_close(cache);
}

/* Have the queue not hold the process's cache. On the mm's queue. */
void vhost_mem_leave(struct vhost_ring_mirror *mirror)
{
	struct vhost_mem_queue *mem = &mirror->mem;

	if (!mem->have)
		return;
	mem->have = NULL;
	process_cache_put(mirror->process);
}

/* Make what the queue wants of the cache so. On the mm's queue, without vq->mutex. */
void vhost_mem_settle(struct vhost_ring_mirror *mirror)
{
	struct vhost_mem_queue *mem = &mirror->mem;
	struct mmu_mirror_cache *cache;
	bool leave, enter;

	spin_lock(&mirror->lock);
	leave = !mem->want && mem->have;
	enter = mem->want && !mem->have && !mem->error;
	/* No access goes through it: the change of @want has cleared @use. */
	if (leave)
		mem->have = NULL;
	spin_unlock(&mirror->lock);
	if (leave)
		process_cache_put(mirror->process);
	if (!enter)
		return;

	cache = process_cache_get(mirror->process);
	spin_lock(&mirror->lock);
	if (IS_ERR(cache)) {
		WRITE_ONCE(mem->error, PTR_ERR(cache));
		mem->retry_at = jiffies + MEM_REST;
	} else {
		mem->have = cache;
	}
	spin_unlock(&mirror->lock);
}

/* Sum up what the caches of a process have seen so far. */
void vhost_mem_process_stats(struct vhost_ring_process *process,
			     struct vhost_mem_stats *stats)
{
	/* The lock keeps the cache from being closed, and counted twice. */
	spin_lock(&process->lock);
	*stats = process->closed;
	if (process->cache)
		stats_add_cache(stats, process->cache);
	spin_unlock(&process->lock);
}

/* What has become of a queue's accesses of a kind. */
void vhost_mem_stats(struct vhost_ring_mirror *mirror, enum vhost_mem_kind kind,
		     struct vhost_ring_stats *stats)
{
	struct vhost_mem_counts *counts = &mirror->mem.kind[kind];
	int why;

	memset(stats, 0, sizeof(*stats));
	stats->mirrored = READ_ONCE(counts->mirrored);
	stats->shared = READ_ONCE(counts->shared);
	for (why = 0; why < VHOST_RING_NUM_WHYS; why++)
		stats->fallback[why] = READ_ONCE(counts->fallback[why]);
}
