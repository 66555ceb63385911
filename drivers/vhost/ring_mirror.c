// SPDX-License-Identifier: GPL-2.0-only
/*
 * vhost's rings and its dirty log through kernel pointers: opening, closing and
 * counting.
 *
 * Each virtqueue has a domain, its worker being the reader, and a window onto
 * each ring part: descriptors, available and used ring; and onto the log, while
 * writes are logged. The accesses are in ring_mirror.h and go through a window
 * where there is one, else through uaccess.
 *
 * Opening and closing a window waits for invalidations to end, and vq->mutex is
 * held across faults that an invalidation may be all that ends. So neither is
 * ever done under it: vhost_ring_mirror_want() only says what is wanted, and a
 * work item, which takes neither vq->mutex nor the device's, sees to it.
 * Meanwhile the worker uses uaccess. The invalidator takes none of the locks
 * here.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "ring_mirror.h"

#define CREATE_TRACE_POINTS
#include <trace/events/vhost_ring_mirror.h>

/* How long to wait before an opening is tried again. */
#define OPEN_REST_MIN	max(1UL, HZ / 100UL)
#define OPEN_REST_MAX	(4UL * HZ)

bool vhost_ring_mirror_on __read_mostly = true;
EXPORT_SYMBOL_GPL(vhost_ring_mirror_on);

static struct workqueue_struct *mirror_wq;
static struct dentry *mirror_debugfs;

/* All mirrors, the sums over those that are gone, and the device numbers. */
static DEFINE_MUTEX(mirrors_lock);
static LIST_HEAD(mirrors);
static struct vhost_ring_stats mirrors_closed[VHOST_RING_NUM_PARTS];
static unsigned int mirrors_last_id;

/*
 * Not param_set_bool() on the variable: workers read it meanwhile. Each access
 * looks, and both ways lead to the same memory, so nothing else need be done;
 * the next vhost_ring_mirror_want() closes or reopens the windows.
 */
static int param_set_on(const char *val, const struct kernel_param *kp)
{
	bool on;
	int ret;

	ret = kstrtobool(val, &on);
	if (!ret)
		WRITE_ONCE(*(bool *)kp->arg, on);
	return ret;
}

const struct kernel_param_ops vhost_ring_mirror_param_ops = {
	.set = param_set_on,
	.get = param_get_bool,
};
EXPORT_SYMBOL_GPL(vhost_ring_mirror_param_ops);

/* The accesses rely on this; vhost.c holds user space to part of it only. */
static unsigned long part_align(int type)
{
	switch (type) {
	case VHOST_ADDR_DESC:
		return VRING_DESC_ALIGN_SIZE;
	case VHOST_ADDR_AVAIL:
		return VRING_AVAIL_ALIGN_SIZE;
	case VHOST_ADDR_USED:
		return VRING_USED_ALIGN_SIZE;
	default:
		return 1;
	}
}

static bool span_equal(struct vhost_ring_span a, struct vhost_ring_span b)
{
	return a.size == b.size && (!a.size || a.uaddr == b.uaddr);
}

/* Might opening the same window work another time? */
static bool part_may_retry(struct vhost_ring_part *part)
{
	return part->error == -EINTR || part->error == -ENOMEM;
}

static bool part_retry_due(struct vhost_ring_part *part)
{
	return part_may_retry(part) && time_after_eq(jiffies, part->retry_at);
}

/* Add to @stats what @window has seen. */
static void stats_add_window(struct vhost_ring_stats *stats,
			     struct mmu_mirror_window *window)
{
	int event;

	if (!window)
		return;
	stats->fills += READ_ONCE(window->fills);
	stats->collisions += READ_ONCE(window->collisions);
	stats->installed += READ_ONCE(window->installed);
	for (event = 0; event < MMU_MIRROR_NR_EVENTS; event++)
		stats->drops[event] += READ_ONCE(window->drops[event]);
}

static void stats_add(struct vhost_ring_stats *sum,
		      const struct vhost_ring_stats *stats)
{
	int event, why;

	sum->mirrored += stats->mirrored;
	sum->shared += stats->shared;
	for (why = 0; why < VHOST_RING_NUM_WHYS; why++)
		sum->fallback[why] += stats->fallback[why];
	sum->fills += stats->fills;
	sum->collisions += stats->collisions;
	sum->installed += stats->installed;
	for (event = 0; event < MMU_MIRROR_NR_EVENTS; event++)
		sum->drops[event] += stats->drops[event];
	sum->worst_wait_ns = max(sum->worst_wait_ns, stats->worst_wait_ns);
}

/* Sum up what the windows of a ring part have seen so far. */
static void part_stats(struct vhost_ring_mirror *mirror,
		       int type,
		       struct vhost_ring_stats *stats)
{
	struct vhost_ring_part *part = &mirror->part[type];
	int why;

	/* The lock keeps the window from being closed, and counted twice. */
	spin_lock(&mirror->lock);
	*stats = part->closed;
	stats_add_window(stats, part->window);
	if (mirror->domain)
		stats->worst_wait_ns =
			atomic_long_read(&mirror->domain->worst_wait_ns);
	spin_unlock(&mirror->lock);
	stats->mirrored = READ_ONCE(part->mirrored);
	stats->shared = READ_ONCE(part->shared);
	for (why = 0; why < VHOST_RING_NUM_WHYS; why++)
		stats->fallback[why] = READ_ONCE(part->fallback[why]);
}

static struct mmu_mirror_window *part_open(struct vhost_ring_mirror *mirror,
					   int type,
					   struct vhost_ring_span span)
{
	struct mmu_mirror_domain *domain = mirror->domain;
	struct mmu_mirror_window *window;

	if (!domain) {
		domain = mmu_mirror_domain_alloc();
		if (!domain)
			return ERR_PTR(-ENOMEM);
		spin_lock(&mirror->lock);
		mirror->domain = domain;
		spin_unlock(&mirror->lock);
	}
	window = mmu_mirror_window_open(domain, mirror->mm, span.uaddr,
					span.size, type >= VHOST_ADDR_USED);
	if (!IS_ERR(window))
		mmu_mirror_window_prefetch(window);
	return window;
}

/*
 * Have @part's window be @window, opened on @span, or an error. Return the
 * window to close, which is @window itself if something else is wanted by now.
 */
static struct mmu_mirror_window *part_publish(struct vhost_ring_part *part,
					      struct vhost_ring_span span,
					      struct mmu_mirror_window *window)
{
	struct mmu_mirror_window *old = part->window;

	if (!span_equal(part->want, span))
		return IS_ERR(window) ? NULL : window;

	stats_add_window(&part->closed, old);
	part->have = span;
	part->error = PTR_ERR_OR_ZERO(window);
	part->window = part->error ? NULL : window;
	if (part_may_retry(part))
		part->backoff = clamp(part->backoff * 2, OPEN_REST_MIN,
				      OPEN_REST_MAX);
	else
		part->backoff = 0;
	part->retry_at = jiffies + part->backoff;
	return old;
}

/* Make what is wanted of a ring part so. Without vq->mutex. */
static void part_settle(struct vhost_ring_mirror *mirror,
			int type)
{
	struct vhost_ring_part *part = &mirror->part[type];
	struct mmu_mirror_window *window = NULL;
	struct vhost_ring_span span;
	bool settled;

	spin_lock(&mirror->lock);
	span = part->want;
	settled = span_equal(part->have, span) && !part_retry_due(part);
	spin_unlock(&mirror->lock);
	if (settled)
		return;

	if (span.size)
		window = part_open(mirror, type, span);
	spin_lock(&mirror->lock);
	window = part_publish(part, span, window);
	spin_unlock(&mirror->lock);
	/* No access goes through it: the change of @want has cleared @use. */
	mmu_mirror_window_close(window);
}

static void mirror_work(struct work_struct *work)
{
	struct vhost_ring_mirror *mirror =
		container_of(work, struct vhost_ring_mirror, work);
	int type;

	for (type = 0; type < VHOST_RING_NUM_PARTS; type++)
		part_settle(mirror, type);
}

/* A number for the device: one that another of its queues has, or the next. */
static unsigned int mirror_device_id(struct vhost_dev *dev)
{
	struct vhost_ring_mirror *mirror;

	list_for_each_entry(mirror, &mirrors, list)
		if (mirror->dev == dev)
			return mirror->id;
	return ++mirrors_last_id;
}

static struct vhost_ring_mirror *mirror_alloc(struct vhost_virtqueue *vq)
{
	struct vhost_dev *dev = vq->dev;
	struct vhost_ring_mirror *mirror;
	int type;

	mirror = kzalloc(sizeof(*mirror), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!mirror)
		return NULL;
	/* There has been none for the parts wanted before: they are nowhere. */
	for (type = 0; type < VHOST_RING_NUM_PARTS; type++)
		mirror->part[type].why = VHOST_RING_NOWHERE;
	spin_lock_init(&mirror->lock);
	INIT_WORK(&mirror->work, mirror_work);
	mirror->mm = dev->mm;
	mirror->dev = dev;
	mirror->pid = task_tgid_nr(current);
	while (dev->vqs[mirror->index] != vq)
		mirror->index++;

	mutex_lock(&mirrors_lock);
	mirror->id = mirror_device_id(dev);
	list_add_tail(&mirror->list, &mirrors);
	mutex_unlock(&mirrors_lock);
	return mirror;
}

/*
 * Windows are for workers that run on the mm that the device holds. A device
 * without workers holds none, and has no rings that vhost reads either.
 */
static bool mirror_possible(struct vhost_dev *dev)
{
	return READ_ONCE(vhost_ring_mirror_on) && dev->use_worker && dev->mm &&
	       dev->mm == current->mm;
}

/**
 * vhost_ring_mirror_want - say where a ring part is
 * @vq: the queue
 * @type: the ring part, or %VHOST_RING_LOG
 * @uaddr: its first byte, translated; NULL if it is not in one piece
 * @size: its bytes
 *
 * Called before each run of a queue. If a window is open on just that, accesses
 * use it from now on; else the work is asked to open one, and they use uaccess.
 * To want the present window again takes back what was asked for meanwhile.
 *
 * Context: under vq->mutex, by somebody on the owner's mm. Never waits for an
 * invalidation.
 * Cost: two comparisons while nothing changes.
 */
void vhost_ring_mirror_want(struct vhost_virtqueue *vq, int type,
			    const void __user *uaddr, size_t size)
{
	struct vhost_ring_mirror *mirror = vq->mirror;
	struct vhost_ring_span span = { (unsigned long)uaddr, size };
	struct vhost_ring_part *part;
	bool queue;

	if (!mirror_possible(vq->dev) || !uaddr ||
	    !IS_ALIGNED(span.uaddr, part_align(type)))
		span.size = 0;
	if (!mirror) {
		if (!span.size)
			return;
		mirror = mirror_alloc(vq);
		if (!mirror)
			return;
		vq->mirror = mirror;
	}
	part = &mirror->part[type];
	if (likely(part->use && part->use->uaddr == span.uaddr &&
		   part->use->size == span.size))
		return;

	spin_lock(&mirror->lock);
	if (!span_equal(part->want, span))
		part->backoff = 0;
	part->want = span;
	if (span_equal(part->have, span)) {
		part->use = part->window;
		/* With a window, it is found unless the parameter says no. */
		part->why = part->use ? VHOST_RING_OFF : VHOST_RING_FAILED;
		queue = part_retry_due(part);
	} else {
		part->use = NULL;
		part->why = VHOST_RING_OPENING;
		queue = true;
	}
	if (!span.size)
		part->why = READ_ONCE(vhost_ring_mirror_on) ?
			    VHOST_RING_NOWHERE : VHOST_RING_OFF;
	spin_unlock(&mirror->lock);
	if (queue)
		queue_work(mirror_wq, &mirror->work);
}
EXPORT_SYMBOL_GPL(vhost_ring_mirror_want);

/*
 * Bytes of log that have a bit for each page of the guest's memory. It can be
 * large and is mostly not there, but a window takes a pointer for every 128 MiB
 * of the guest, and is filled only where bits are set.
 */
static size_t log_size(struct vhost_virtqueue *vq)
{
	struct rb_node *root;
	u64 last;

	if (!vq->umem || list_empty(&vq->umem->list))
		return 0;
	root = vq->umem->root.rb_root.rb_node;
	last = rb_entry(root, struct vhost_iotlb_map, rb)->__subtree_last;
	last /= VHOST_PAGE_SIZE * BITS_PER_BYTE;
	return min_t(u64, last, SIZE_MAX - 1) + 1;
}

/* private: the rare half of vhost_ring_mirror_want_log() */
void __vhost_ring_mirror_want_log(struct vhost_virtqueue *vq, bool logging)
{
	vhost_ring_mirror_want(vq, VHOST_RING_LOG, vq->log_base,
			       logging ? log_size(vq) : 0);
}
EXPORT_SYMBOL_GPL(__vhost_ring_mirror_want_log);

static const char * const part_names[] = {
	[VHOST_ADDR_DESC] = "desc",
	[VHOST_ADDR_AVAIL] = "avail",
	[VHOST_ADDR_USED] = "used",
	[VHOST_RING_LOG] = "log",
};

static const char * const why_names[] = {
	[VHOST_RING_OFF] = "off",
	[VHOST_RING_NOWHERE] = "nowhere",
	[VHOST_RING_RESET] = "reset",
	[VHOST_RING_OPENING] = "opening",
	[VHOST_RING_FAILED] = "failed",
	[VHOST_RING_UNFILLED] = "unfilled",
	[VHOST_RING_INVALIDATED] = "invalidated",
	[VHOST_RING_UNMAPPED] = "unmapped",
	[VHOST_RING_OUTSIDE] = "outside",
};

static_assert(ARRAY_SIZE(why_names) == VHOST_RING_NUM_WHYS);

static enum vhost_ring_why part_why(struct mmu_mirror_window *window, int type,
				    const void __user *ptr)
{
	/* Other parts' windows are as large as the part. */
	if (type == VHOST_RING_LOG &&
	    (unsigned long)ptr - window->uaddr >= window->size)
		return VHOST_RING_OUTSIDE;
	switch (mmu_mirror_window_absence(window)) {
	case MMU_MIRROR_UNFILLED:
		return VHOST_RING_UNFILLED;
	case MMU_MIRROR_INVALIDATED:
		return VHOST_RING_INVALIDATED;
	default:
		return VHOST_RING_UNMAPPED;
	}
}

/**
 * vhost_ring_missed - account for an access that its window had no page for
 * @vq: the queue
 * @type: the ring part, or %VHOST_RING_LOG
 * @ptr: what is accessed, as vhost.c knows it
 *
 * Context: under vq->mutex, outside the section.
 */
void vhost_ring_missed(struct vhost_virtqueue *vq, int type,
		       const void __user *ptr)
{
	struct vhost_ring_part *part = &vq->mirror->part[type];
	enum vhost_ring_why why = part_why(part->use, type, ptr);

	part->skip = VHOST_RING_SKIP;
	part->missed = why;
	WRITE_ONCE(part->fallback[why], part->fallback[why] + 1);
	if (tracepoint_enabled(vhost_ring_fallback))
		vhost_ring_trace(vq, type, why, ptr);
}
EXPORT_SYMBOL_GPL(vhost_ring_missed);

/**
 * vhost_ring_trace - trace an access that goes through uaccess
 * @vq: the queue
 * @type: the ring part, or %VHOST_RING_LOG
 * @why: the reason
 * @ptr: what is accessed, as vhost.c knows it
 *
 * Context: under vq->mutex.
 */
void vhost_ring_trace(struct vhost_virtqueue *vq, int type,
		      enum vhost_ring_why why, const void __user *ptr)
{
	struct vhost_ring_mirror *mirror = vq->mirror;

	trace_vhost_ring_fallback(mirror->pid, mirror->id, mirror->index,
				  part_names[type], why_names[why], ptr);
}
EXPORT_SYMBOL_GPL(vhost_ring_trace);
EXPORT_TRACEPOINT_SYMBOL_GPL(vhost_ring_fallback);

static void mirror_free(struct vhost_ring_mirror *mirror)
{
	struct vhost_ring_stats stats[VHOST_RING_NUM_PARTS];
	int type;

	cancel_work_sync(&mirror->work);
	for (type = 0; type < VHOST_RING_NUM_PARTS; type++)
		part_stats(mirror, type, &stats[type]);

	mutex_lock(&mirrors_lock);
	list_del(&mirror->list);
	for (type = 0; type < VHOST_RING_NUM_PARTS; type++)
		stats_add(&mirrors_closed[type], &stats[type]);
	mutex_unlock(&mirrors_lock);

	for (type = 0; type < VHOST_RING_NUM_PARTS; type++)
		mmu_mirror_window_close(mirror->part[type].window);
	mmu_mirror_domain_destroy(mirror->domain);
	kfree(mirror);
}

/**
 * vhost_ring_mirror_cleanup - close all windows of a device
 * @dev: the device: its workers have stopped, it still holds the mm
 *
 * Also of one that never had any, or an mm.
 *
 * Context: process context; sleeps until the invalidations in progress end.
 */
void vhost_ring_mirror_cleanup(struct vhost_dev *dev)
{
	int i;

	for (i = 0; i < dev->nvqs; i++) {
		struct vhost_virtqueue *vq = dev->vqs[i];
		struct vhost_ring_mirror *mirror = vq->mirror;

		vq->mirror = NULL;
		if (mirror)
			mirror_free(mirror);
	}
}
EXPORT_SYMBOL_GPL(vhost_ring_mirror_cleanup);

static const char * const event_names[] = {
	[MMU_NOTIFY_UNMAP] = "unmap",
	[MMU_NOTIFY_CLEAR] = "clear",
	[MMU_NOTIFY_PROTECTION_VMA] = "protection_vma",
	[MMU_NOTIFY_PROTECTION_PAGE] = "protection_page",
	[MMU_NOTIFY_SOFT_DIRTY] = "soft_dirty",
	[MMU_NOTIFY_RELEASE] = "release",
	[MMU_NOTIFY_MIGRATE] = "migrate",
	[MMU_NOTIFY_EXCLUSIVE] = "exclusive",
};

static_assert(ARRAY_SIZE(event_names) == MMU_MIRROR_NR_EVENTS);

static void show_stats(struct seq_file *seq, int type,
		       const struct vhost_ring_stats *stats)
{
	unsigned long fallback = 0;
	int event, why;

	for (why = 0; why < VHOST_RING_NUM_WHYS; why++)
		fallback += stats->fallback[why];
	seq_printf(seq, " part=%s mirrored=%lu shared=%lu fallback=%lu drops=",
		   part_names[type], stats->mirrored, stats->shared, fallback);
	for (event = 0; event < MMU_MIRROR_NR_EVENTS; event++)
		seq_printf(seq, "%s%s:%lu", event ? "," : "",
			   event_names[event], stats->drops[event]);
	seq_printf(seq,
		   " fills=%lu collisions=%lu installed=%lu worst_wait_ns=%ld why=",
		   stats->fills, stats->collisions, stats->installed,
		   stats->worst_wait_ns);
	for (why = 0; why < VHOST_RING_NUM_WHYS; why++)
		seq_printf(seq, "%s%s:%lu", why ? "," : "", why_names[why],
			   stats->fallback[why]);
}

/* Where the part is, and how much of it is mapped, if there is a window. */
static void show_window(struct seq_file *seq, struct vhost_ring_mirror *mirror,
			int type)
{
	unsigned long start = 0, pages = 0, mapped = 0;
	struct mmu_mirror_window *window;

	/* The lock keeps the window from being closed. */
	spin_lock(&mirror->lock);
	window = mirror->part[type].window;
	if (window) {
		start = window->uaddr;
		pages = window->npages;
		mapped = mmu_mirror_window_mapped(window);
	}
	spin_unlock(&mirror->lock);
	seq_printf(seq, " start=0x%lx pages=%lu mapped=%lu", start, pages,
		   mapped);
}

/* One line for each part of each queue; last, the sums over closed ones. */
static int mirrors_show(struct seq_file *seq, void *unused)
{
	struct vhost_ring_mirror *mirror;
	struct vhost_ring_stats stats;
	int type;

	mutex_lock(&mirrors_lock);
	list_for_each_entry(mirror, &mirrors, list) {
		for (type = 0; type < VHOST_RING_NUM_PARTS; type++) {
			part_stats(mirror, type, &stats);
			seq_printf(seq, "pid=%d dev=%u vq=%d", mirror->pid,
				   mirror->id, mirror->index);
			show_stats(seq, type, &stats);
			show_window(seq, mirror, type);
			seq_putc(seq, '\n');
		}
	}
	for (type = 0; type < VHOST_RING_NUM_PARTS; type++) {
		seq_puts(seq, "pid=0 closed");
		show_stats(seq, type, &mirrors_closed[type]);
		seq_putc(seq, '\n');
	}
	mutex_unlock(&mirrors_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(mirrors);

static int __init vhost_ring_mirror_module_init(void)
{
	mirror_wq = alloc_workqueue("vhost_ring_mirror", WQ_UNBOUND, 0);
	if (!mirror_wq)
		return -ENOMEM;
	mirror_debugfs = debugfs_create_file("vhost_ring_mirror", 0444, NULL,
					     NULL, &mirrors_fops);
	return 0;
}
module_init(vhost_ring_mirror_module_init);

static void __exit vhost_ring_mirror_module_exit(void)
{
	debugfs_remove(mirror_debugfs);
	destroy_workqueue(mirror_wq);
}
module_exit(vhost_ring_mirror_module_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("vhost's rings through kernel pointers");
