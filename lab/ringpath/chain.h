/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Other ways to read and write the rings in the places where vhost.c, patched,
 * asks drivers/vhost/ring_mirror.h first. For the bench only.
 *
 *	CHAIN_BEGIN	the simple rival of windows: one section of
 *			user_access_begin() for each chain, and one for used elements
 *			and their index; what is accessed alone stays as it is
 *	CHAIN_MASKED	the same with the address masked in place of the speculation
 *			barrier, and get_user(), which does so too, for the rest
 *	CHAIN_PLAIN	the limit: plain loads and stores, and no guard
 *
 * The rival is for an owner's own memory only; not with an IOTLB.
 */
#ifndef _VHOST_RING_MIRROR_H
#define _VHOST_RING_MIRROR_H

#include <linux/prefetch.h>

/* Without our option: it reads tables as user memory. */
#include CHAIN_MEM_H

#define VHOST_RING_CHAIN	4
#define VHOST_RING_AHEAD	8

static __always_inline bool section_begin(const void __user *ptr, size_t size)
{
#if defined(CHAIN_PLAIN)
	return true;
#elif defined(CHAIN_MASKED)
	__uaccess_begin();
	return true;
#else
	return user_access_begin(ptr, size);
#endif
}

static __always_inline void section_end(void)
{
#ifndef CHAIN_PLAIN
	user_access_end();
#endif
}

static __always_inline void __user *masked(void __user *ptr)
{
#ifdef CHAIN_MASKED
	return mask_user_address(ptr);
#else
	return ptr;
#endif
}

#ifdef CHAIN_PLAIN
static __always_inline bool ring_get16(u16 *to, const u16 __user *from)
{
	*to = READ_ONCE(*(__force const u16 *)from);
	return true;
}

static __always_inline bool ring_get64(u64 *to, const u64 __user *from)
{
	*to = READ_ONCE(*(__force const u64 *)from);
	return true;
}

static __always_inline bool ring_put16(u16 from, u16 __user *to)
{
	WRITE_ONCE(*(__force u16 *)to, from);
	return true;
}

static __always_inline bool ring_put32(u32 from, u32 __user *to)
{
	WRITE_ONCE(*(__force u32 *)to, from);
	return true;
}
#else
static __always_inline bool ring_get16(u16 *to, const u16 __user *from)
{
	unsafe_get_user(*to, from, fault);
	return true;
fault:
	return false;
}

static __always_inline bool ring_get64(u64 *to, const u64 __user *from)
{
	unsafe_get_user(*to, from, fault);
	return true;
fault:
	return false;
}

static __always_inline bool ring_put16(u16 from, u16 __user *to)
{
	unsafe_put_user(from, to, fault);
	return true;
fault:
	return false;
}

static __always_inline bool ring_put32(u32 from, u32 __user *to)
{
	unsafe_put_user(from, to, fault);
	return true;
fault:
	return false;
}
#endif

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

static __always_inline bool vhost_ring_get16(struct vhost_virtqueue *vq,
					     int type, __virtio16 *val,
					     const __virtio16 __user *ptr)
{
#ifdef CHAIN_PLAIN
	*val = READ_ONCE(*(__force const __virtio16 *)ptr);
	return true;
#elif defined(CHAIN_MASKED)
	return !vq->iotlb && !get_user(*val, ptr);
#else
	return false;
#endif
}

static __always_inline bool vhost_ring_put16(struct vhost_virtqueue *vq,
					     __virtio16 val,
					     __virtio16 __user *ptr)
{
#ifdef CHAIN_PLAIN
	WRITE_ONCE(*(__force __virtio16 *)ptr, val);
	return true;
#else
	return false;
#endif
}

static __always_inline bool vhost_ring_get_desc(struct vhost_virtqueue *vq,
						struct vring_desc *desc,
						const void __user *ptr,
						unsigned int size)
{
	return false;
}

static __always_inline bool vhost_ring_put_used(struct vhost_virtqueue *vq,
						const void __user *ptr,
						const void *from,
						unsigned int size)
{
	return false;
}

static __always_inline bool vhost_ring_set_bit(struct vhost_virtqueue *vq,
					       int nr, const void __user *ptr)
{
	return false;
}

/* As ring_mirror.h does at the beginning of a run; within a section it may. */
static __always_inline void ring_prefetch(struct vhost_virtqueue *vq,
					  struct vring_avail __user *avail)
{
	struct vring_used *used = (__force struct vring_used *)masked(vq->used);
	struct vring_avail *at = (__force struct vring_avail *)avail;

	prefetch(&at->ring[vq->last_avail_idx & (vq->num - 1)]);
	prefetch(&at->ring[vq->num]);
	prefetchw(&used->ring[vq->last_used_idx & (vq->num - 1)]);
	prefetchw(&used->idx);
	prefetchw(&used->ring[vq->num]);
}

/* What it returns is as there. */
static __always_inline int vhost_ring_get_chain(struct vhost_virtqueue *vq,
						__virtio16 *head,
						struct vring_desc *chain)
{
	bool look = vq->avail_idx == vq->last_avail_idx;
	unsigned int i, slot = vq->last_avail_idx & (vq->num - 1);
	struct vring_avail __user *avail = masked(vq->avail);
	struct vring_desc __user *desc = masked(vq->desc);
	u16 avail_idx = vq->avail_idx;
	__virtio16 idx;
	int n = 0;

	if (vq->iotlb ||
	    !section_begin(vq->avail, struct_size(vq->avail, ring, vq->num)))
		return 0;
	if (look) {
		ring_prefetch(vq, avail);
		if (!ring_get16((u16 *)&idx, (u16 __user *)&avail->idx))
			goto fault;
		avail_idx = vhost16_to_cpu(vq, idx);
		smp_rmb(); /* as in vhost_get_avail_idx() */
	}
	if (avail_idx == vq->last_avail_idx) {
		section_end();
		vq->avail_idx = avail_idx;
		return -1;
	}
	if ((u16)(avail_idx - vq->last_avail_idx) > vq->num)
		goto fault;
	if (!ring_get16((u16 *)head, (u16 __user *)&avail->ring[slot]))
		goto fault;
	i = vhost16_to_cpu(vq, *head);
	while (i < vq->num) {
		struct vring_desc __user *from =
			&desc[array_index_nospec(i, vq->num)];
		u64 *to = (u64 *)&chain[n];

		if (!ring_get64(&to[0], (u64 __user *)from) ||
		    !ring_get64(&to[1], (u64 __user *)from + 1))
			goto fault;
		i = vhost16_to_cpu(vq, chain[n].next);
		if (!(chain[n++].flags &
		      cpu_to_vhost16(vq, VRING_DESC_F_NEXT)) ||
		    n == VHOST_RING_CHAIN)
			break;
	}
	if ((u16)(avail_idx - vq->last_avail_idx) > VHOST_RING_AHEAD) {
		u16 ahead = vq->last_avail_idx + VHOST_RING_AHEAD;
		u16 next;

		if (!ring_get16(&next, (u16 __user *)
				&avail->ring[ahead & (vq->num - 1)]))
			goto fault;
		prefetch((__force void *)&desc[next & (vq->num - 1)]);
	}
	section_end();
	if (n)
		vq->avail_idx = avail_idx;
	return n;

fault:
	section_end();
	return 0;
}

static __always_inline bool
vhost_ring_add_used(struct vhost_virtqueue *vq,
		    const struct vring_used_elem *heads, unsigned int count)
{
	unsigned int i, start = vq->last_used_idx & (vq->num - 1);
	struct vring_used __user *used = masked(vq->used);
	u16 old = vq->last_used_idx, new = old + count;
	u32 __user *half = (u32 __user *)&used->ring[start];
	const u32 *from = (const u32 *)heads;

	if (vq->log_used || vq->iotlb || count > vq->num - start ||
	    !section_begin(vq->used, struct_size(vq->used, ring, vq->num)))
		return false;
	for (i = 0; i < 2 * count; i++)
		if (!ring_put32(from[i], half + i))
			goto fault;
	smp_wmb(); /* as in vhost_add_used_n() */
	if (!ring_put16((__force u16)cpu_to_vhost16(vq, new),
			(u16 __user *)&used->idx))
		goto fault;
	section_end();

	vq->last_used_idx = new;
	if (unlikely((u16)(new - vq->signalled_used) < (u16)(new - old)))
		vq->signalled_used_valid = false;
	return true;

fault:
	section_end();
	return false;
}

#endif /* _VHOST_RING_MIRROR_H */
