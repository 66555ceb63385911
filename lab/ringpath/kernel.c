// SPDX-License-Identifier: GPL-2.0
/*
 * One variant of vhost's ring path, compiled by the kernel's own build: all of
 * drivers/vhost/vhost.c as a tree has it (VHOST_C), and a worker that calls it as
 * handle_tx() of vhost-net does. The ring accesses are
 *
 *	WINDOWS		those of ring_mirror.h, in a patched tree, and of mem_mirror.c
 *			and the cache, which are here as well
 *	CHAIN		of chain.h in place of it, in the same places
 *	neither		uaccess, in a tree without our patches
 */
#include <linux/module.h>
#include <linux/uaccess.h>
#include <asm/alternative.h>

#ifdef CHAIN
#include CHAIN_VHOST_H
#include "chain.h"
#endif
#include VHOST_C
#ifdef WINDOWS
#include MEM_C
#endif
#include "ringpath.h"

#define NAME_(a, b)	ringpath_##a##_##b
#define NAME(a, b)	NAME_(a, b)
#define STR_(a)		#a
#define STR(a)		STR_(a)

static struct vhost_dev dev;
static struct vhost_iotlb umem;
/* Whom to signal; nobody ever is, as the guest asks for nothing. */
static long eventfd;

#ifdef WINDOWS
bool vhost_ring_mirror_on = true;

#define CHUNKS	512UL

/* A cache with room for @chunks that are read and as many that are written. */
static struct mmu_mirror_cache *cache_alloc(unsigned long chunks, int ways,
					    void *percpu)
{
	unsigned long sets = 2 * chunks / ways;
	struct mmu_mirror_cache *cache =
		ringpath_alloc(struct_size(cache, set, sets));

	cache->cpu = (void __percpu *)percpu;
	cache->mask = sets - 1;
	return cache;
}

/* As after some use: have the chunk at @uaddr, which is at @kaddr as well. */
static void cache_map(struct mmu_mirror_cache *cache, unsigned long uaddr,
		      unsigned long kaddr, bool write)
{
	struct mmu_mirror_cache_set *set = mmu_mirror_cache_set(cache, uaddr,
								write);
	struct mmu_mirror_window *window =
		ringpath_alloc(struct_size(window, kaddr, MMU_MIRROR_CHUNK));
	unsigned long page;
	int way = 0;

	while (set->window[way])
		way++;
	window->uaddr = uaddr;
	set->tag[way] = uaddr / MMU_MIRROR_CACHE_CHUNK;
	set->young[way] = 1;
	set->window[way] = window;
	for (page = 0; page < MMU_MIRROR_CHUNK; page++, kaddr += PAGE_SIZE)
		window->kaddr[page] = (void *)kaddr;
}

/* A cache that has all of the memory from about @p on. */
static struct mmu_mirror_cache *ringpath_cache(unsigned long p, void *percpu)
{
	static struct mmu_mirror_cache *cache;
	unsigned long i;

	if (cache)
		return cache;
	cache = cache_alloc(CHUNKS, 1, percpu);
	p = round_down(p, MMU_MIRROR_CACHE_CHUNK);
	for (i = 0; i < CHUNKS; i++, p += MMU_MIRROR_CACHE_CHUNK)
		cache_map(cache, p, p, false);
	return cache;
}

/* A cache as large as a process's, and full. */
static void ringpath_map(void *queue, unsigned long uaddr, unsigned long kaddr)
{
	struct vhost_ring_mirror *mirror = ((struct vhost_virtqueue *)queue)->mirror;
	struct mmu_mirror_cache *cache;
	unsigned long at;

	cache = cache_alloc(MEM_CHUNKS / 2, MMU_MIRROR_CACHE_WAYS,
			    (__force void *)mirror->hot.cpu);
	for (at = 0; at < RINGPATH_PIECES; at += MMU_MIRROR_CACHE_CHUNK) {
		cache_map(cache, uaddr + at, kaddr + at, false);
		cache_map(cache, uaddr + at, kaddr + at, true);
	}
	mirror->mem.use = cache;
}

static void ringpath_mirror(void *queue, void *percpu)
{
	struct vhost_virtqueue *vq = queue;
	struct vhost_ring_mirror *mirror = ringpath_alloc(sizeof(*mirror));
	int type;

	vq->mirror = mirror;
	mirror->mem.want = true;
	mirror->mem.use = ringpath_cache((unsigned long)queue, percpu);
	mirror->hot.cpu = (void __percpu *)percpu;
	mirror->hot.kaddr[VHOST_ADDR_DESC] = (void *)vq->desc;
	mirror->hot.kaddr[VHOST_ADDR_AVAIL] = (void *)vq->avail;
	mirror->hot.kaddr[VHOST_ADDR_USED] = (void *)vq->used;
	mirror->hot.size[VHOST_ADDR_DESC] = vhost_get_desc_size(vq, vq->num);
	mirror->hot.size[VHOST_ADDR_AVAIL] = vhost_get_avail_size(vq, vq->num);
	mirror->hot.size[VHOST_ADDR_USED] = vhost_get_used_size(vq, vq->num);
	for (type = 0; type < VHOST_NUM_ADDRS; type++)
		mirror->hot.uaddr[type] = (unsigned long)mirror->hot.kaddr[type];
}
#else
static void ringpath_mirror(void *queue, void *percpu)
{
}

static void ringpath_map(void *queue, unsigned long uaddr, unsigned long kaddr)
{
}
#endif

/*
 * What net.c, vsock.c and scsi.c do with a piece of guest memory. Of kind header,
 * which has no limit: a payload takes the same way, but for a comparison.
 */
static unsigned long ringpath_piece(void *queue, void *buf, unsigned long uaddr,
				    unsigned long size, int write)
{
	struct iovec iov = {
		.iov_base = (void __user *)uaddr,
		.iov_len = size,
	};
	struct iov_iter iter;

	iov_iter_init(&iter, write ? ITER_DEST : ITER_SOURCE, &iov, 1, size);
#ifdef WINDOWS
	if (write)
		return vhost_mem_to_iter(queue, VHOST_MEM_HEADER, buf, size,
					 &iter);
	return vhost_mem_from_iter(queue, VHOST_MEM_HEADER, buf, size, &iter);
#else
	if (write)
		return copy_to_iter(buf, size, &iter);
	return copy_from_iter(buf, size, &iter);
#endif
}

static void ringpath_init(unsigned long this_cpu_offset, void *memory,
			  unsigned long size)
{
	unsigned long start = (unsigned long)memory;

	BUILD_BUG_ON(sizeof(struct alt_instr) != 14);
	BUILD_BUG_ON(RINGPATH_FEATURE_ERMS != X86_FEATURE_ERMS);
	BUILD_BUG_ON(RINGPATH_FEATURE_FSRM != X86_FEATURE_FSRM);
	BUILD_BUG_ON(RINGPATH_FEATURE_SSE != X86_FEATURE_XMM);
	BUILD_BUG_ON(RINGPATH_FEATURE_PREFETCHW != X86_FEATURE_3DNOWPREFETCH);
	BUILD_BUG_ON(RINGPATH_FEATURE_ALWAYS != X86_FEATURE_ALWAYS);
	BUILD_BUG_ON(RINGPATH_ALT_NOT != ALT_FLAG_NOT);

	this_cpu_write(this_cpu_off, this_cpu_offset);
	clear_preempt_need_resched();
	/* Three regions, as a small guest has: below its hole, above, firmware. */
	vhost_iotlb_init(&umem, 64, 0);
	vhost_iotlb_add_range(&umem, 0, start - 1, 0, VHOST_MAP_RW);
	vhost_iotlb_add_range(&umem, start, start + size - 1, start,
			      VHOST_MAP_RW);
	vhost_iotlb_add_range(&umem, start + size, start + 2 * size - 1,
			      start + size, VHOST_MAP_RW);
	dev.umem = &umem;
}

static void ringpath_queue(void *queue, void *desc, void *avail, void *used,
			   unsigned short idx)
{
	struct vhost_virtqueue *vq = queue;
	u64 features = BIT_ULL(VIRTIO_F_VERSION_1) |
		       BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
		       BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);

	vq->dev = &dev;
	vq->num = RINGPATH_NUM;
	vq->desc = (vring_desc_t __user *)desc;
	vq->avail = (vring_avail_t __user *)avail;
	vq->used = (vring_used_t __user *)used;
	vq->last_avail_idx = idx;
	vq->avail_idx = idx;
	vq->last_used_idx = idx;
	vq->umem = &umem;
	vq->is_le = true;
	vq->acked_features = features;
	vq->indirect = ringpath_alloc(UIO_MAXIOV * sizeof(*vq->indirect));
	vq->heads = ringpath_alloc(UIO_MAXIOV * sizeof(*vq->heads));
#ifdef HAS_NHEADS
	vq->nheads = ringpath_alloc(UIO_MAXIOV * sizeof(*vq->nheads));
#endif
	vq->call_ctx.ctx = (void *)&eventfd;
}

static void done(struct vhost_virtqueue *vq, int n)
{
#ifdef HAS_NHEADS
	vhost_add_used_and_signal_n(&dev, vq, vq->heads, NULL, n);
#else
	vhost_add_used_and_signal_n(&dev, vq, vq->heads, n);
#endif
}

/* As handle_tx_copy() does it, without the packet itself. 0: it went wrong. */
static unsigned long ringpath_run(void *queue, int n, int batch, int dry)
{
	struct vhost_virtqueue *vq = queue;
	unsigned int out, in, i;
	unsigned long sum = 0;
	int head, ready = 0;

	/* vq->mutex, which the kernel does not inline either. */
	if (atomic_long_cmpxchg_acquire(&vq->mutex.owner, 0, 1))
		return 0;
	if (!vq_meta_prefetch(vq))
		return 0;
	vhost_disable_notify(&dev, vq);
	while (n || dry) {
		head = vhost_get_vq_desc(vq, vq->iov, ARRAY_SIZE(vq->iov), &out,
					 &in, NULL, NULL);
		if (head == vq->num) {
			if (n || vhost_enable_notify(&dev, vq))
				return 0;
			break;
		}
		if (head < 0 || !n || in)
			return 0;
		n--;
		for (i = 0; i < out; i++)
			sum += vq->iov[i].iov_len;
		vq->heads[ready].id = cpu_to_vhost32(vq, head);
		vq->heads[ready].len = 0;
		if (++ready == batch) {
			done(vq, ready);
			ready = 0;
		}
	}
	if (ready)
		done(vq, ready);
	atomic_long_set_release(&vq->mutex.owner, 0);
	return sum;
}

const struct ringpath NAME(KERNEL_ID, VARIANT) = {
	.kernel = STR(KERNEL),
	.name = TITLE,
	.queue_size = sizeof(struct vhost_virtqueue),
	.init = ringpath_init,
	.queue = ringpath_queue,
	.mirror = ringpath_mirror,
	.run = ringpath_run,
#ifndef CHAIN
	.map = ringpath_map,
	.piece = ringpath_piece,
	.harden = ringpath_harden,
#endif
#ifdef WINDOWS
	.payload_max = VHOST_MEM_PAYLOAD_MAX,
#endif
};

static const struct ringpath * const entry
	__used __section("ringpaths") = &NAME(KERNEL_ID, VARIANT);
