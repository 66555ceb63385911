/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What drivers/vhost/vhost.h provides to ring_mirror.h. The queue itself is the
 * kernel's; of what it is made of, only the size is kept here, as of a kernel
 * without debugging on a 64-bit machine.
 */
#ifndef _MMU_RANGE_MIRROR_SHIM_VHOST_H
#define _MMU_RANGE_MIRROR_SHIM_VHOST_H

#include <linux/kernel.h>
#include <linux/bitops.h>
#include <linux/list.h>
#include <linux/mmu_mirror_window.h>
#include <linux/virtio_ring.h>
#include <sys/uio.h>

#define CONFIG_VHOST_RING_MIRROR	1

#ifndef __user
#define __user
#endif
#define __rcu
#define VIRTIO_DECLARE_FEATURES(name)	u64 name##_array[2]
#define VHOST_F_LOG_ALL			26

typedef void (*vhost_work_fn_t)(void *work);

/* A file, and a producer of irqbypass. */
struct vhost_vring_call {
	void *unused[8];
};

/* A poll table, a wait entry, work, and three words. */
struct vhost_poll {
	void *unused[14];
};

#include <vhost_virtqueue.h>

static inline u16 vhost16_to_cpu(struct vhost_virtqueue *vq, __virtio16 val)
{
	return val;
}

static inline __virtio16 cpu_to_vhost16(struct vhost_virtqueue *vq, u16 val)
{
	return val;
}

static inline bool vhost_has_feature(struct vhost_virtqueue *vq, int bit)
{
	return vq->acked_features_array[0] & (1ULL << bit);
}

/* What set_bit() is there. */
static inline int test_and_set_bit(unsigned long nr, void *addr)
{
	unsigned long *word = (unsigned long *)addr + nr / BITS_PER_LONG;
	unsigned long bit = 1UL << nr % BITS_PER_LONG;

	return !!(__atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST) & bit);
}

struct kernel_param_ops;

#endif /* _MMU_RANGE_MIRROR_SHIM_VHOST_H */
