// SPDX-License-Identifier: GPL-2.0-only
/*
 * vhost's rings and its dirty log through kernel pointers: opening, closing and
 * counting.
 *
 * Each virtqueue has a window onto each ring part: descriptors, available and used
 * ring. While writes are logged, the queues of a device share a window onto the
 * log. What they access beside these is mem_mirror.c's. All windows of a process are in
 * one domain, which its workers read in: an invalidation that hits many of them, such as
 * that of a huge page, waits once. The accesses are in ring_mirror.h and go through a
 * window where there is one, else through uaccess.
 *
 * Opening and closing a window waits for invalidations to end, and vq->mutex is
 * held across faults that an invalidation may be all that ends. So neither is
 * ever done under it: vhost_ring_mirror_want() only says what is wanted, and a
 * work item, which takes neither vq->mutex nor the device's, sees to it. It is
 * the mm's only one at a time, so what it waits for holds up no other owner.
 * Meanwhile the worker uses uaccess. The invalidator takes none of the locks
 * here.
 */
#include <linux/debugfs.h>
#include <linux/hashtable.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "ring_mirror.h"

#define CREATE_TRACE_POINTS
#include <trace/events/vhost_ring_mirror.h>

/* How long to wait before an opening is tried again. */
#define OPEN_REST_MIN	max(1UL, HZ / 100UL)
#define OPEN_REST_MAX	(4UL * HZ)
/*
 * How long a closing device waits for its windows to be closed. They need nothing
 * of the device, so they may be closed later: when the owner lets them.
 */
#define CLOSE_PATIENCE	max(1UL, HZ / 10UL)
/* How long to do without a mirror, or a queue of the mm's, for which there was no memory. */
#define ALLOC_REST	((unsigned long)HZ)

bool vhost_ring_mirror_on __read_mostly = true;
EXPORT_SYMBOL_GPL(vhost_ring_mirror_on);

static struct dentry *mirror_debugfs;
static struct workqueue_struct *starts_wq;

/**
 * struct vhost_ring_log - a log that queues of a device share
 * @list: of the device's
 * @span: where it is
 * @window: the window onto it
 * @users: the queues
 */
struct vhost_ring_log {
	struct list_head list;
	struct vhost_ring_span span;
	struct mmu_mirror_window *window;
	unsigned int users;
};

/**
 * struct vhost_ring_device - what the mirrors of a device share
 * @node: among all devices
 * @dev: the device, to tell queues of one device by; not dereferenced
 * @id: its number
 * @users: its mirrors, plus one while it is being closed, under mirrors_lock
 * @gone: woken when there are fewer
 * @logs: more than one only while the log is being moved. The mm's queue's
 */
struct vhost_ring_device {
	struct hlist_node node;
	struct vhost_dev *dev;
	unsigned int id;
	unsigned int users;
	wait_queue_head_t gone;
	struct list_head logs;
};

/*
 * All mirrors, devices and processes, the sums over those that are gone, and the device
 * numbers. A queue's first run takes the lock: nothing long is done under it. It is no
 * mutex: a task may be throttled by its cgroup while it holds one, and then others wait.
 */
static DEFINE_SPINLOCK(mirrors_lock);
static LIST_HEAD(mirrors);
static DEFINE_HASHTABLE(devices, 8);
static DEFINE_HASHTABLE(processes, 8);
static struct vhost_ring_stats mirrors_closed[VHOST_RING_NUM_COUNTED];
static struct vhost_mem_stats caches_closed;
static unsigned int mirrors_last_id;
static unsigned long mirrors_left;
static DECLARE_WAIT_QUEUE_HEAD(mirrors_gone);

/*
 * Not param_set_bool() on the variable: workers read it meanwhile. Each access
 * looks, and both ways lead to the same memory, so nothing else need be done;
 * the next vhost_ring_mirror_want() closes or reopens the windows.
 */
static int param_set_on(const char *val, const struct kernel_param *kp)
{
	bool on;
	int ret;

	/* The name alone switches it on, as of any bool. */
	ret = kstrtobool(val ?: "1", &on);
	if (!ret)
		WRITE_ONCE(*(bool *)kp->arg, on);
	return ret;
}

const struct kernel_param_ops vhost_ring_mirror_param_ops = {
	.flags = KERNEL_PARAM_OPS_FL_NOARG,
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

/* Add to @stats what the window of @part has seen. */
static void stats_add_window(struct vhost_ring_stats *stats,
			     struct vhost_ring_part *part)
{
	struct mmu_mirror_window *window = part->window;
	int event;

	if (!window)
		return;
	stats->worst_wait_ns =
		max(stats->worst_wait_ns,
		    atomic_long_read(&window->domain->worst_wait_ns));
	if (!part->counts)
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

static void mem_stats_add(struct vhost_mem_stats *sum,
			  const struct vhost_mem_stats *stats)
{
	sum->chunks += stats->chunks;
	sum->mapped += stats->mapped;
	sum->opened += stats->opened;
	sum->evicted += stats->evicted;
	stats_add(&sum->ring, &stats->ring);
}

/* Sum up what the windows of a ring part have seen so far. */
static void part_stats(struct vhost_ring_mirror *mirror,
		       int type,
		       struct vhost_ring_stats *stats)
{
	struct vhost_ring_part *part = &mirror->part[type];
	struct vhost_ring_hot *hot = &mirror->hot;
	int why;

	/* The lock keeps the window from being closed, and counted twice. */
	spin_lock(&mirror->lock);
	*stats = part->closed;
	stats_add_window(stats, part);
	spin_unlock(&mirror->lock);
	stats->mirrored = READ_ONCE(part->mirrored);
	if (type < VHOST_NUM_ADDRS)
		stats->mirrored += READ_ONCE(hot->mirrored[type]);
	if (type == VHOST_ADDR_DESC)
		stats->shared = READ_ONCE(hot->mirrored[type]);
	else if (type == VHOST_ADDR_AVAIL)
		stats->shared = READ_ONCE(hot->avail_shared);
	else if (type == VHOST_ADDR_USED)
		stats->shared = READ_ONCE(hot->used_shared);
	for (why = 0; why < VHOST_RING_NUM_WHYS; why++)
		stats->fallback[why] = READ_ONCE(part->fallback[why]);
}

static struct mmu_mirror_window *window_open(struct vhost_ring_mirror *mirror,
					     struct vhost_ring_span span,
					     bool writable)
{
	struct mmu_mirror_domain *domain;
	struct mmu_mirror_window *window;

	domain = mmu_mirror_queue_domain(mirror->process->queue);
	if (!domain)
		return ERR_PTR(-ENOMEM);
	window = mmu_mirror_window_open(domain, mirror->mm, span.uaddr,
					span.size, writable);
	if (!IS_ERR(window))
		mmu_mirror_window_prefetch(window);
	return window;
}

static struct mmu_mirror_window *log_open(struct vhost_ring_mirror *mirror,
					  struct vhost_ring_span span,
					  bool *counts)
{
	struct vhost_ring_device *device = mirror->device;
	struct mmu_mirror_window *window;
	struct vhost_ring_log *log;

	*counts = false;
	list_for_each_entry(log, &device->logs, list) {
		if (!span_equal(log->span, span))
			continue;
		log->users++;
		return log->window;
	}
	log = kzalloc(sizeof(*log), MMU_MIRROR_GFP);
	if (!log)
		return ERR_PTR(-ENOMEM);
	window = window_open(mirror, span, true);
	if (IS_ERR(window)) {
		kfree(log);
		return window;
	}
	*counts = true;
	log->span = span;
	log->window = window;
	log->users = 1;
	list_add(&log->list, &device->logs);
	return window;
}

static void log_close(struct vhost_ring_device *device,
		      struct mmu_mirror_window *window)
{
	struct vhost_ring_log *log, *next;

	list_for_each_entry_safe(log, next, &device->logs, list) {
		if (log->window != window || --log->users)
			continue;
		list_del(&log->list);
		mmu_mirror_window_close(window);
		kfree(log);
	}
}

static struct mmu_mirror_window *part_open(struct vhost_ring_mirror *mirror,
					   int type,
					   struct vhost_ring_span span,
					   bool *counts)
{
	*counts = true;
	if (type == VHOST_RING_LOG)
		return log_open(mirror, span, counts);
	return window_open(mirror, span, type >= VHOST_ADDR_USED);
}

static void part_close(struct vhost_ring_mirror *mirror, int type,
		       struct mmu_mirror_window *window)
{
	if (type == VHOST_RING_LOG)
		log_close(mirror->device, window);
	else
		mmu_mirror_window_close(window);
}

/*
 * Have @part's window be @window, opened on @span, or an error. Return the
 * window to close, which is @window itself if something else is wanted by now.
 */
static struct mmu_mirror_window *part_publish(struct vhost_ring_part *part,
					      struct vhost_ring_span span,
					      struct mmu_mirror_window *window,
					      bool counts)
{
	struct mmu_mirror_window *old = part->window;

	if (!span_equal(part->want, span))
		return IS_ERR(window) ? NULL : window;

	stats_add_window(&part->closed, part);
	part->have = span;
	part->error = PTR_ERR_OR_ZERO(window);
	part->window = part->error ? NULL : window;
	part->counts = counts;
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
	bool settled, counts = false;

	spin_lock(&mirror->lock);
	span = part->want;
	settled = span_equal(part->have, span) && !part_retry_due(part);
	spin_unlock(&mirror->lock);
	if (settled)
		return;

	if (span.size)
		window = part_open(mirror, type, span, &counts);
	spin_lock(&mirror->lock);
	window = part_publish(part, span, window, counts);
	spin_unlock(&mirror->lock);
	/* No access goes through it: the change of @want has cleared @use. */
	part_close(mirror, type, window);
}

/* On the mm's queue, like all that is done to the logs of its devices. */
static void mirror_work(struct work_struct *work)
{
	struct vhost_ring_mirror *mirror =
		container_of(work, struct vhost_ring_mirror, work);
	struct mmu_mirror_charge charge;
	int type;

	mmu_mirror_queue_rest(mirror->process->queue);
	/* The device may have let go of it by now. */
	if (!mmget_not_zero(mirror->mm))
		return;
	mmu_mirror_charge_begin(&charge, mirror->mm);
	for (type = 0; type < VHOST_RING_NUM_PARTS; type++)
		part_settle(mirror, type);
	vhost_mem_settle(mirror);
	mmu_mirror_charge_end(&charge);
	mmput_async(mirror->mm);
}

static void mirror_retire(struct work_struct *work);

/* Under mirrors_lock. Woken in it, too: then the device is not freed. */
static void device_put(struct vhost_ring_device *device)
{
	if (--device->users) {
		wake_up(&device->gone);
		return;
	}
	hash_del(&device->node);
	kfree(device);
}

/* Hold the object of @dev, which is @new if it has none. Under mirrors_lock. */
static struct vhost_ring_device *device_get(struct vhost_dev *dev,
					    struct vhost_ring_device *new)
{
	struct vhost_ring_device *device;

	hash_for_each_possible(devices, device, node, (unsigned long)dev) {
		if (device->dev != dev)
			continue;
		device->users++;
		kfree(new);
		return device;
	}
	new->dev = dev;
	new->id = ++mirrors_last_id;
	new->users = 1;
	init_waitqueue_head(&new->gone);
	INIT_LIST_HEAD(&new->logs);
	hash_add(devices, &new->node, (unsigned long)dev);
	return new;
}

/* Under mirrors_lock. Return true for the last: without a cache any more, to be freed. */
static bool process_put(struct vhost_ring_process *process)
{
	if (--process->users)
		return false;
	hash_del(&process->node);
	mem_stats_add(&caches_closed, &process->closed);
	return true;
}

static void process_free(struct vhost_ring_process *process)
{
	mmu_mirror_queue_put(process->queue);
	mmdrop(process->mm);
	kfree(process);
}

static void process_start_work(struct work_struct *work);

/* Hold the object of @mm, which is @new if it has none. Under mirrors_lock. */
static struct vhost_ring_process *process_get(struct mm_struct *mm,
					      struct vhost_ring_process *new)
{
	struct vhost_ring_process *process;

	hash_for_each_possible(processes, process, node, (unsigned long)mm) {
		if (process->mm != mm)
			continue;
		process->users++;
		kfree(new);
		return process;
	}
	mmgrab(mm);
	new->mm = mm;
	new->users = 1;
	new->start_at = jiffies;
	INIT_WORK(&new->start, process_start_work);
	INIT_LIST_HEAD(&new->mirrors);
	spin_lock_init(&new->lock);
	hash_add(processes, &new->node, (unsigned long)mm);
	return new;
}

/* Under mirrors_lock. The work holds @process. */
static void process_start(struct vhost_ring_process *process)
{
	if (process->starting)
		return;
	process->starting = true;
	process->users++;
	queue_work(starts_wq, &process->start);
}

/*
 * Have @mirror->work done on the mm's queue. It takes a lock of the whole system to make
 * one, whose holder may be throttled by its cgroup: no queue's run waits for that.
 */
void vhost_mirror_queue_work(struct vhost_ring_mirror *mirror)
{
	struct vhost_ring_process *process = mirror->process;
	/* Pairs with the release in process_started(). */
	struct mmu_mirror_queue *queue = smp_load_acquire(&process->queue);

	if (queue) {
		mmu_mirror_queue_work(queue, &mirror->work);
		return;
	}
	spin_lock(&mirrors_lock);
	if (process->queue)
		mmu_mirror_queue_work(process->queue, &mirror->work);
	else if (time_after_eq(jiffies, process->start_at))
		process_start(process);
	spin_unlock(&mirrors_lock);
}

/* The queue is no more: have it freed. */
static void mirror_close(struct vhost_ring_mirror *mirror)
{
	struct vhost_ring_process *process = mirror->process;

	spin_lock(&mirrors_lock);
	mirror->closed = true;
	if (process->queue)
		mmu_mirror_queue_work(process->queue, &mirror->retire);
	else
		process_start(process);
	spin_unlock(&mirrors_lock);
}

static bool process_wants_queue(struct vhost_ring_process *process)
{
	struct vhost_ring_mirror *mirror;
	bool wants = false;

	spin_lock(&mirrors_lock);
	list_for_each_entry(mirror, &process->mirrors, of_process)
		wants |= !mirror->closed;
	spin_unlock(&mirrors_lock);
	return wants;
}

/*
 * Pass on to @queue what has been asked for meanwhile. Without one, return a mirror that
 * is closed and has opened nothing, until there are no more.
 */
static struct vhost_ring_mirror *process_started(struct vhost_ring_process *process,
						 struct mmu_mirror_queue *queue)
{
	struct vhost_ring_mirror *mirror, *closed = NULL;

	spin_lock(&mirrors_lock);
	/*
	 * Before the work, which looks for it. Pairs with the acquire in
	 * vhost_mirror_queue_work().
	 */
	smp_store_release(&process->queue, queue);
	list_for_each_entry(mirror, &process->mirrors, of_process) {
		if (queue) {
			mmu_mirror_queue_work(queue, mirror->closed ?
						     &mirror->retire :
						     &mirror->work);
		} else if (mirror->closed) {
			closed = mirror;
			break;
		}
	}
	if (closed) {
		list_del_init(&closed->of_process);
	} else {
		process->starting = false;
		process->start_at = jiffies + ALLOC_REST;
	}
	spin_unlock(&mirrors_lock);
	return closed;
}

/* Hold the mm's queue, if any of its mirrors has a use for it. */
static void process_start_work(struct work_struct *work)
{
	struct vhost_ring_process *process =
		container_of(work, struct vhost_ring_process, start);
	struct mmu_mirror_queue *queue = NULL;
	struct vhost_ring_mirror *mirror;
	bool last;

	if (process_wants_queue(process))
		queue = mmu_mirror_queue_get(process->mm);
	while ((mirror = process_started(process, queue)))
		mirror_retire(&mirror->retire);
	spin_lock(&mirrors_lock);
	last = process_put(process);
	spin_unlock(&mirrors_lock);
	if (last)
		process_free(process);
}

static struct vhost_ring_mirror *mirror_alloc(struct vhost_virtqueue *vq)
{
	struct vhost_ring_device *device = NULL;
	struct vhost_ring_process *process = NULL;
	struct vhost_dev *dev = vq->dev;
	struct vhost_ring_mirror *mirror;
	struct mmu_mirror_charge charge;
	int type;

	/* The worker may be a kernel thread, which is charged nothing. */
	mmu_mirror_charge_begin(&charge, dev->mm);
	mirror = kzalloc(sizeof(*mirror), MMU_MIRROR_GFP);
	if (mirror)
		device = kzalloc(sizeof(*device), MMU_MIRROR_GFP);
	if (device)
		process = kzalloc(sizeof(*process), MMU_MIRROR_GFP);
	mmu_mirror_charge_end(&charge);
	if (!process)
		goto free;
	/* There has been none for the parts wanted before: they are nowhere. */
	for (type = 0; type < VHOST_RING_NUM_PARTS; type++)
		mirror->part[type].why = VHOST_RING_NOWHERE;
	spin_lock_init(&mirror->lock);
	INIT_WORK(&mirror->work, mirror_work);
	INIT_WORK(&mirror->retire, mirror_retire);
	mirror->mm = dev->mm;
	mirror->pid = mmu_range_mirror_mm_owner(dev->mm) ?:
		      task_tgid_nr(current);
	mirror->entry.mirror = mirror;
	while (dev->vqs[mirror->index] != vq)
		mirror->index++;

	spin_lock(&mirrors_lock);
	mirror->device = device_get(dev, device);
	process = process_get(dev->mm, process);
	mirror->process = process;
	list_add_tail(&mirror->of_process, &process->mirrors);
	list_add_tail(&mirror->entry.list, &mirrors);
	mirrors_left++;
	spin_unlock(&mirrors_lock);
	return mirror;

free:
	kfree(device);
	kfree(mirror);
	return NULL;
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

/*
 * Stop using the window of a part, and take its shadow pointer back. Call this
 * before what is wanted changes: from then on the work may close the window.
 */
static void part_leave(struct vhost_ring_mirror *mirror, int type)
{
	struct vhost_ring_part *part = &mirror->part[type];

	if (part->use && type < VHOST_NUM_ADDRS) {
		mmu_mirror_window_shadow(part->use, NULL);
		mirror->hot.size[type] = 0;
	}
	part->use = NULL;
	part->skip = 0;
}

/* Have accesses go through a part's window. */
static void part_enter(struct vhost_ring_mirror *mirror, int type,
		       struct mmu_mirror_window *window)
{
	struct vhost_ring_part *part = &mirror->part[type];
	struct vhost_ring_hot *hot = &mirror->hot;

	part->use = window;
	if (!window || type >= VHOST_NUM_ADDRS)
		return;
	hot->cpu = window->domain->cpu;
	hot->uaddr[type] = window->uaddr;
	if (!part->skip)
		hot->size[type] = window->size;
	mmu_mirror_window_shadow(window, &hot->kaddr[type]);
}

/* private: the rare half of vhost_ring_mirror_want(), and for the log */
void __vhost_ring_mirror_want(struct vhost_virtqueue *vq, int type,
			      const void __user *uaddr, size_t size)
{
	struct vhost_ring_mirror *mirror = vq->mirror;
	struct vhost_ring_span span = { (unsigned long)uaddr, size };
	struct mmu_mirror_window *window = NULL;
	struct vhost_ring_part *part;
	bool same, queue;

	if (!mirror_possible(vq->dev) || !uaddr ||
	    !IS_ALIGNED(span.uaddr, part_align(type)))
		span.size = 0;
	if (!mirror) {
		if (!span.size || (vq->mirror_retry_at &&
				   time_before(jiffies, vq->mirror_retry_at)))
			return;
		mirror = mirror_alloc(vq);
		if (!mirror) {
			/* To fail may have taken reclaim of the owner's cgroup. */
			vq->mirror_retry_at = (jiffies + ALLOC_REST) ?: 1;
			return;
		}
		vq->mirror = mirror;
	}
	part = &mirror->part[type];
	same = part->use && part->use->uaddr == span.uaddr &&
	       part->use->size == span.size;
	/* Skipping, or the log. */
	if (same && (type == VHOST_RING_LOG || part->skip))
		return;
	if (!same)
		part_leave(mirror, type);

	spin_lock(&mirror->lock);
	if (!span_equal(part->want, span))
		part->backoff = 0;
	part->want = span;
	if (span_equal(part->have, span)) {
		window = part->window;
		/* With a window, it is found unless the parameter says no. */
		part->why = window ? VHOST_RING_OFF : VHOST_RING_FAILED;
		queue = part_retry_due(part);
	} else {
		part->why = VHOST_RING_OPENING;
		queue = true;
	}
	if (!span.size)
		part->why = READ_ONCE(vhost_ring_mirror_on) ?
			    VHOST_RING_NOWHERE : VHOST_RING_OFF;
	spin_unlock(&mirror->lock);
	part_enter(mirror, type, window);
	if (queue)
		vhost_mirror_queue_work(mirror);
}
EXPORT_SYMBOL_GPL(__vhost_ring_mirror_want);

/*
 * Bytes of log that have a bit for each page of the guest's memory. It can be
 * large and is mostly not there, but a window takes memory for what is, and is
 * filled only where bits are set.
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
	__vhost_ring_mirror_want(vq, VHOST_RING_LOG, vq->log_base,
				 logging ? log_size(vq) : 0);
}
EXPORT_SYMBOL_GPL(__vhost_ring_mirror_want_log);

static const char * const part_names[] = {
	[VHOST_ADDR_DESC] = "desc",
	[VHOST_ADDR_AVAIL] = "avail",
	[VHOST_ADDR_USED] = "used",
	[VHOST_RING_LOG] = "log",
	[VHOST_RING_MEM + VHOST_MEM_INDIRECT] = "indirect",
	[VHOST_RING_MEM + VHOST_MEM_HEADER] = "header",
	[VHOST_RING_MEM + VHOST_MEM_PAYLOAD] = "payload",
};

static_assert(ARRAY_SIZE(part_names) == VHOST_RING_NUM_COUNTED);

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
	[VHOST_RING_POISONED] = "poisoned",
};

static_assert(ARRAY_SIZE(why_names) == VHOST_RING_NUM_WHYS);

/* Why an access goes through uaccess whose page is absent. */
enum vhost_ring_why vhost_ring_absence(enum mmu_mirror_absence absence)
{
	switch (absence) {
	case MMU_MIRROR_UNFILLED:
		return VHOST_RING_UNFILLED;
	case MMU_MIRROR_INVALIDATED:
		return VHOST_RING_INVALIDATED;
	case MMU_MIRROR_FORGOTTEN:
		return VHOST_RING_POISONED;
	default:
		return VHOST_RING_UNMAPPED;
	}
}

static enum vhost_ring_why part_why(struct mmu_mirror_window *window, int type,
				    const void __user *ptr)
{
	/* Other parts' windows are as large as the part. */
	if (type == VHOST_RING_LOG &&
	    (unsigned long)ptr - window->uaddr >= window->size)
		return VHOST_RING_OUTSIDE;
	return vhost_ring_absence(mmu_mirror_window_absence(window));
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
	if (type < VHOST_NUM_ADDRS)
		vq->mirror->hot.size[type] = 0;
	part->missed = why;
	WRITE_ONCE(part->fallback[why], part->fallback[why] + 1);
	if (tracepoint_enabled(vhost_ring_fallback))
		vhost_ring_trace(vq, type, why, ptr);
}
EXPORT_SYMBOL_GPL(vhost_ring_missed);

/**
 * vhost_ring_poisoned - a load through a window met a memory error
 * @mirror: the queue's windows
 * @type: the ring part
 * @offset: what was loaded
 *
 * The page leaves its window, so that uaccess meets the error, and does about it
 * what it always did.
 *
 * Context: under vq->mutex, in a section, which this leaves for a moment: a
 * pointer that was looked up before is void.
 */
void vhost_ring_poisoned(struct vhost_ring_mirror *mirror, int type,
			 unsigned long offset)
{
	mmu_mirror_exit_cpu(mirror->hot.cpu);
	mmu_mirror_window_forget(mirror->part[type].use, offset);
	mmu_mirror_enter_cpu(mirror->hot.cpu);
}
EXPORT_SYMBOL_GPL(vhost_ring_poisoned);

/**
 * vhost_ring_trace - trace an access that goes through uaccess
 * @vq: the queue
 * @type: the ring part, %VHOST_RING_LOG, or a kind of memory after %VHOST_RING_MEM
 * @why: the reason
 * @ptr: what is accessed, as vhost.c knows it
 *
 * Context: under vq->mutex.
 */
void vhost_ring_trace(struct vhost_virtqueue *vq, int type,
		      enum vhost_ring_why why, const void __user *ptr)
{
	struct vhost_ring_mirror *mirror = vq->mirror;

	trace_vhost_ring_fallback(mirror->pid, mirror->device->id,
				  mirror->index,
				  part_names[type], why_names[why], ptr);
}
EXPORT_SYMBOL_GPL(vhost_ring_trace);
EXPORT_TRACEPOINT_SYMBOL_GPL(vhost_ring_fallback);

/* What has become of the accesses to a part, or to a kind of guest memory. */
static void counted_stats(struct vhost_ring_mirror *mirror, int type,
			  struct vhost_ring_stats *stats)
{
	if (type < VHOST_RING_MEM)
		part_stats(mirror, type, stats);
	else
		vhost_mem_stats(mirror, type - VHOST_RING_MEM, stats);
}

/* After the last of @work, on the same queue; or there has been none. */
static void mirror_retire(struct work_struct *work)
{
	struct vhost_ring_mirror *mirror =
		container_of(work, struct vhost_ring_mirror, retire);
	struct vhost_ring_process *process = mirror->process;
	struct vhost_ring_stats stats;
	bool last;
	int type;

	vhost_mem_leave(mirror);
	spin_lock(&mirrors_lock);
	list_del(&mirror->entry.list);
	list_del(&mirror->of_process);
	for (type = 0; type < VHOST_RING_NUM_COUNTED; type++) {
		counted_stats(mirror, type, &stats);
		stats_add(&mirrors_closed[type], &stats);
	}
	last = process_put(process);
	spin_unlock(&mirrors_lock);

	/* The logs are the mm's queue's. */
	for (type = 0; type < VHOST_RING_NUM_PARTS; type++) {
		if (mirror->part[type].window)
			part_close(mirror, type, mirror->part[type].window);
	}
	if (last)
		process_free(process);

	spin_lock(&mirrors_lock);
	device_put(mirror->device);
	if (!--mirrors_left)
		wake_up_all(&mirrors_gone);
	spin_unlock(&mirrors_lock);
	kfree(mirror);
}

static bool device_closed(struct vhost_ring_device *device)
{
	return READ_ONCE(device->users) == 1;
}

/**
 * vhost_ring_mirror_cleanup - close all windows of a device
 * @dev: the device: its workers have stopped, it still holds the mm
 *
 * Also of one that never had any, or an mm. Whatever the owner does meanwhile,
 * such as a long munmap(), this waits for it no longer than a moment; the rest is
 * done, and the memory freed, when it can be.
 *
 * Context: process context; sleeps.
 */
void vhost_ring_mirror_cleanup(struct vhost_dev *dev)
{
	struct vhost_ring_device *device = NULL;
	int i;

	for (i = 0; i < dev->nvqs; i++) {
		struct vhost_virtqueue *vq = dev->vqs[i];
		struct vhost_ring_mirror *mirror = vq->mirror;

		vq->mirror = NULL;
		if (!mirror)
			continue;
		if (!device) {
			device = mirror->device;
			spin_lock(&mirrors_lock);
			device->users++;
			/* The next device may be where this one was. */
			device->dev = NULL;
			spin_unlock(&mirrors_lock);
		}
		mirror_close(mirror);
	}
	if (!device)
		return;
	wait_event_timeout(device->gone, device_closed(device),
			   CLOSE_PATIENCE);
	spin_lock(&mirrors_lock);
	device_put(device);
	spin_unlock(&mirrors_lock);
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

static void show_pages(struct seq_file *seq, const char *drops,
		       const struct vhost_ring_stats *stats)
{
	int event;

	seq_printf(seq, " %s=", drops);
	for (event = 0; event < MMU_MIRROR_NR_EVENTS; event++)
		seq_printf(seq, "%s%s:%lu", event ? "," : "",
			   event_names[event], stats->drops[event]);
	seq_printf(seq,
		   " fills=%lu collisions=%lu installed=%lu worst_wait_ns=%ld",
		   stats->fills, stats->collisions, stats->installed,
		   stats->worst_wait_ns);
}

static void show_stats(struct seq_file *seq, int type,
		       const struct vhost_ring_stats *stats)
{
	unsigned long fallback = 0;
	int why;

	for (why = 0; why < VHOST_RING_NUM_WHYS; why++)
		fallback += stats->fallback[why];
	seq_printf(seq, " part=%s mirrored=%lu shared=%lu fallback=%lu",
		   part_names[type], stats->mirrored, stats->shared, fallback);
	show_pages(seq, "drops", stats);
	seq_puts(seq, " why=");
	for (why = 0; why < VHOST_RING_NUM_WHYS; why++)
		seq_printf(seq, "%s%s:%lu", why ? "," : "", why_names[why],
			   stats->fallback[why]);
}

/* Where the part is, and how much of it is mapped, if there is a window. */
static void show_window(struct seq_file *seq, struct vhost_ring_mirror *mirror,
			int type)
{
	unsigned long start = 0, pages = 0, mapped = 0;
	struct mmu_mirror_window *window = NULL;

	/* The lock keeps the window from being closed. */
	spin_lock(&mirror->lock);
	if (type < VHOST_RING_NUM_PARTS)
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

/* A process's cache of its memory, or what has been closed of all of them. */
static void show_cache(struct seq_file *seq, const struct vhost_mem_stats *stats)
{
	seq_printf(seq, " cache chunks=%lu mapped=%lu opened=%lu evicted=%lu",
		   stats->chunks, stats->mapped, stats->opened, stats->evicted);
	show_pages(seq, "cache_drops", &stats->ring);
	seq_putc(seq, '\n');
}

/*
 * One line for each part of each queue, and one for each process, after its first
 * queue's; last, what has been closed. Queues come and go between two reads, and there
 * may be many: a reader's place is an entry of the list, before what it shows next.
 */
static struct vhost_ring_entry mirrors_end;

static struct vhost_ring_entry *mirrors_after(struct list_head *node)
{
	struct vhost_ring_entry *entry;

	for (node = node->next; node != &mirrors; node = node->next) {
		entry = list_entry(node, struct vhost_ring_entry, list);
		if (entry->mirror)
			return entry;
	}
	return &mirrors_end;
}

static void *mirrors_start(struct seq_file *seq, loff_t *pos)
	__acquires(&mirrors_lock)
{
	struct vhost_ring_entry *place = seq->private;

	spin_lock(&mirrors_lock);
	if (!*pos)
		return mirrors_after(&mirrors);
	/* At the end it has none. */
	return list_empty(&place->list) ? NULL : mirrors_after(&place->list);
}

static void *mirrors_next(struct seq_file *seq, void *v, loff_t *pos)
{
	struct vhost_ring_entry *entry = v;

	++*pos;
	return entry == &mirrors_end ? NULL : mirrors_after(&entry->list);
}

static void mirrors_stop(struct seq_file *seq, void *v)
	__releases(&mirrors_lock)
{
	struct vhost_ring_entry *place = seq->private;
	struct vhost_ring_entry *entry = v;

	list_del_init(&place->list);
	if (entry)
		list_add_tail(&place->list, entry == &mirrors_end ?
			      &mirrors : &entry->list);
	spin_unlock(&mirrors_lock);
}

static void show_mirror(struct seq_file *seq, struct vhost_ring_mirror *mirror)
{
	struct vhost_ring_process *process = mirror->process;
	struct vhost_mem_stats cache;
	struct vhost_ring_stats stats;
	int type;

	for (type = 0; type < VHOST_RING_NUM_COUNTED; type++) {
		counted_stats(mirror, type, &stats);
		seq_printf(seq, "pid=%d dev=%u vq=%d", mirror->pid,
			   mirror->device->id, mirror->index);
		show_stats(seq, type, &stats);
		show_window(seq, mirror, type);
		seq_putc(seq, '\n');
	}
	if (!list_is_first(&mirror->of_process, &process->mirrors))
		return;
	vhost_mem_process_stats(process, &cache);
	seq_printf(seq, "pid=%d", mirror->pid);
	show_cache(seq, &cache);
}

static int mirrors_show(struct seq_file *seq, void *v)
{
	struct vhost_ring_entry *entry = v;
	int type;

	if (entry != &mirrors_end) {
		show_mirror(seq, entry->mirror);
		return 0;
	}
	for (type = 0; type < VHOST_RING_NUM_COUNTED; type++) {
		seq_puts(seq, "pid=0 closed");
		show_stats(seq, type, &mirrors_closed[type]);
		seq_putc(seq, '\n');
	}
	seq_puts(seq, "pid=0 closed");
	show_cache(seq, &caches_closed);
	return 0;
}

static const struct seq_operations mirrors_seq_ops = {
	.start = mirrors_start,
	.next = mirrors_next,
	.stop = mirrors_stop,
	.show = mirrors_show,
};

static int mirrors_open(struct inode *inode, struct file *file)
{
	struct vhost_ring_entry *place;

	place = __seq_open_private(file, &mirrors_seq_ops, sizeof(*place));
	if (!place)
		return -ENOMEM;
	INIT_LIST_HEAD(&place->list);
	/* As in mmu_range_mirror's file: to seek is to show it all, in the lock. */
	return nonseekable_open(inode, file);
}

static int mirrors_release(struct inode *inode, struct file *file)
{
	struct seq_file *seq = file->private_data;
	struct vhost_ring_entry *place = seq->private;

	spin_lock(&mirrors_lock);
	list_del(&place->list);
	spin_unlock(&mirrors_lock);
	return seq_release_private(inode, file);
}

static const struct file_operations mirrors_fops = {
	.owner = THIS_MODULE,
	.open = mirrors_open,
	.read = seq_read,
	.release = mirrors_release,
};

static int __init vhost_ring_mirror_module_init(void)
{
	/* Many at a time: one may wait for its memory. */
	starts_wq = alloc_workqueue("vhost_mirror", WQ_UNBOUND, 0);
	if (!starts_wq)
		return -ENOMEM;
	mirror_debugfs = debugfs_create_file("vhost_ring_mirror", 0400, NULL,
					     NULL, &mirrors_fops);
	return 0;
}
module_init(vhost_ring_mirror_module_init);

static void __exit vhost_ring_mirror_module_exit(void)
{
	debugfs_remove(mirror_debugfs);
	/* Of devices that are closed, what an owner still holds up. */
	wait_event(mirrors_gone, !READ_ONCE(mirrors_left));
	destroy_workqueue(starts_wq);
	mmu_mirror_queue_barrier();
}
module_exit(vhost_ring_mirror_module_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("vhost's rings through kernel pointers");
