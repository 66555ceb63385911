/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory that vhost reads and writes in small pieces: tables of indirect
 * descriptors, headers, short payloads.
 *
 * mem_mirror.c makes these accesses through kernel pointers, where the process's cache
 * has them, and the rest through uaccess. Without CONFIG_VHOST_RING_MIRROR all of them
 * are what they were before.
 */
#ifndef _VHOST_MEM_MIRROR_H
#define _VHOST_MEM_MIRROR_H

#include <linux/skbuff.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "vhost.h"

/* Indirect descriptors that are read in one section. */
#define VHOST_MEM_TABLE		4

/*
 * Longer payloads go through uaccess. Up to this size a read takes no longer than by
 * uaccess, a write hardly, and both save a pair of STAC and CLAC.
 * Documentation/admin-guide/mm/vhost_ring_mirror.rst has the figures.
 */
#define VHOST_MEM_PAYLOAD_MAX	128

/**
 * enum vhost_mem_kind - what vhost accesses guest memory for
 * @VHOST_MEM_INDIRECT: a table of indirect descriptors
 * @VHOST_MEM_HEADER: a request, a response, an event, or what comes before a payload
 * @VHOST_MEM_PAYLOAD: a payload of up to %VHOST_MEM_PAYLOAD_MAX bytes, with the header
 *	where vhost reads both at once
 * @VHOST_MEM_NUM_KINDS: how many there are
 */
enum vhost_mem_kind {
	VHOST_MEM_INDIRECT,
	VHOST_MEM_HEADER,
	VHOST_MEM_PAYLOAD,
	VHOST_MEM_NUM_KINDS,
};

/**
 * struct vhost_mem_table - descriptors of a table that have been read
 * @read: how many, at once
 * @left: how many of them nobody has asked for yet: the last
 * @desc: the descriptors
 */
struct vhost_mem_table {
	unsigned int read;
	unsigned int left;
	struct vring_desc desc[VHOST_MEM_TABLE];
};

static inline void vhost_mem_table_init(struct vhost_mem_table *table)
{
	table->left = 0;
}

#ifdef CONFIG_VHOST_RING_MIRROR

extern bool vhost_mem_mirror_on;

size_t vhost_mem_from_iter(struct vhost_virtqueue *vq, enum vhost_mem_kind kind,
			   void *to, size_t size, struct iov_iter *iter);
size_t vhost_mem_to_iter(struct vhost_virtqueue *vq, enum vhost_mem_kind kind,
			 const void *from, size_t size, struct iov_iter *iter);
bool vhost_mem_next_desc(struct vhost_virtqueue *vq,
			 struct vhost_mem_table *table,
			 struct vring_desc *desc, struct iov_iter *iter);

#else /* !CONFIG_VHOST_RING_MIRROR */

static inline size_t vhost_mem_from_iter(struct vhost_virtqueue *vq,
					 enum vhost_mem_kind kind, void *to,
					 size_t size, struct iov_iter *iter)
{
	return copy_from_iter(to, size, iter);
}

static inline size_t vhost_mem_to_iter(struct vhost_virtqueue *vq,
				       enum vhost_mem_kind kind,
				       const void *from, size_t size,
				       struct iov_iter *iter)
{
	return copy_to_iter(from, size, iter);
}

static inline bool vhost_mem_next_desc(struct vhost_virtqueue *vq,
				       struct vhost_mem_table *table,
				       struct vring_desc *desc,
				       struct iov_iter *iter)
{
	return copy_from_iter_full(desc, sizeof(*desc), iter);
}

#endif /* CONFIG_VHOST_RING_MIRROR */

/* As copy_from_iter_full(): all of it, or nothing. */
static inline bool vhost_mem_from_iter_full(struct vhost_virtqueue *vq,
					    enum vhost_mem_kind kind, void *to,
					    size_t size, struct iov_iter *iter)
{
	size_t copied = vhost_mem_from_iter(vq, kind, to, size, iter);

	if (likely(copied == size))
		return true;
	iov_iter_revert(iter, copied);
	return false;
}

/* As __copy_to_user(): the bytes that were not written. */
static inline size_t vhost_mem_to_user(struct vhost_virtqueue *vq,
				       enum vhost_mem_kind kind,
				       void __user *to, const void *from,
				       size_t size)
{
	struct iovec iov = { .iov_base = to, .iov_len = size };
	struct iov_iter iter;

	iov_iter_init(&iter, ITER_DEST, &iov, 1, size);
	return size - vhost_mem_to_iter(vq, kind, from, size, &iter);
}

/* As skb_copy_datagram_iter(). */
static inline int vhost_mem_to_iter_skb(struct vhost_virtqueue *vq,
					const struct sk_buff *skb, int offset,
					struct iov_iter *iter, int len)
{
	if (len > VHOST_MEM_PAYLOAD_MAX || offset + len > skb_headlen(skb))
		return skb_copy_datagram_iter(skb, offset, iter, len);
	return vhost_mem_to_iter(vq, VHOST_MEM_PAYLOAD, skb->data + offset, len,
				 iter) == len ? 0 : -EFAULT;
}

/* As skb_copy_datagram_from_iter(). */
static inline int vhost_mem_from_iter_skb(struct vhost_virtqueue *vq,
					  struct sk_buff *skb, int offset,
					  struct iov_iter *iter, int len)
{
	if (len > VHOST_MEM_PAYLOAD_MAX || offset + len > skb_headlen(skb))
		return skb_copy_datagram_from_iter(skb, offset, iter, len);
	return vhost_mem_from_iter(vq, VHOST_MEM_PAYLOAD, skb->data + offset,
				   len, iter) == len ? 0 : -EFAULT;
}

#endif /* _VHOST_MEM_MIRROR_H */
