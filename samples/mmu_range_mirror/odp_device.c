// SPDX-License-Identifier: GPL-2.0
/*
 * The ODP sample: a device as an RDMA adapter with on-demand paging is, in two
 * forms. What is here has nothing to do with mirroring: regions that a process
 * registers, the device's page table and TLB, and its threads, which have no
 * address space. The forms are odp_mirror.c, which uses mmu_range_mirror, and
 * odp_direct.c, which uses mmu_interval_notifier and HMM; they are to be
 * compared.
 *
 * The CPU is the device: a thread walks the table and uses the page under
 * dev->lock. A flush takes that lock, so that it is complete when it returns.
 */
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/kref.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "odp.h"

/* The page table. */

static struct odp_block *odp_block(struct odp_region *region,
				   unsigned long addr)
{
	return &region->block[addr / ODP_BLOCK_SIZE -
			      region->start / ODP_BLOCK_SIZE];
}

static unsigned long odp_nr_blocks(struct odp_region *region)
{
	return (region->end - 1) / ODP_BLOCK_SIZE -
	       region->start / ODP_BLOCK_SIZE + 1;
}

static unsigned long odp_leaf(unsigned long addr)
{
	return (addr % ODP_BLOCK_SIZE) >> PAGE_SHIFT;
}

/* Of a huge entry, the page's own. 0: there is none. Needs no lock. */
unsigned long odp_table_entry(struct odp_region *region, unsigned long addr)
{
	struct odp_block *block = odp_block(region, addr);
	unsigned long huge = READ_ONCE(block->huge);
	unsigned long *leaf = READ_ONCE(block->leaf);

	if (huge)
		return huge + odp_leaf(addr);
	return leaf ? READ_ONCE(leaf[odp_leaf(addr)]) : 0;
}

/* Have tables for the leaves of one block. They stay as long as the region. */
static int odp_table_reserve(struct odp_region *region, unsigned long addr)
{
	struct odp_block *block = odp_block(region, addr);
	unsigned long *leaf;

	if (READ_ONCE(block->leaf))
		return 0;
	leaf = kcalloc(1 << ODP_BLOCK_ORDER, sizeof(*leaf), GFP_KERNEL_ACCOUNT);
	if (!leaf)
		return -ENOMEM;
	if (cmpxchg(&block->leaf, NULL, leaf))
		kfree(leaf);
	return 0;
}

static void odp_set_huge(struct odp_region *region, struct odp_block *block,
			 unsigned long entry)
{
	if (!block->huge) {
		atomic_long_inc(&region->dev->nr_huge);
		atomic_long_inc(&region->dev->nr_entries);
	}
	WRITE_ONCE(block->huge, entry);
}

static void odp_clear_huge(struct odp_region *region, struct odp_block *block)
{
	if (!block->huge)
		return;
	atomic_long_dec(&region->dev->nr_huge);
	atomic_long_dec(&region->dev->nr_entries);
	WRITE_ONCE(block->huge, 0);
}

static void odp_put_leaf(struct odp_region *region, struct odp_block *block,
			 unsigned long i, unsigned long entry)
{
	unsigned long *leaf = &READ_ONCE(block->leaf)[i];

	if (!*leaf) {
		block->nr++;
		atomic_long_inc(&region->dev->nr_entries);
	}
	WRITE_ONCE(*leaf, entry);
}

/*
 * A huge entry comes first. If it is in the way it becomes small ones, of which
 * the device may have some.
 */
static void odp_set_leaf(struct odp_region *region, unsigned long addr,
			 unsigned long entry)
{
	struct odp_block *block = odp_block(region, addr);
	unsigned long i;

	if (block->huge && (block->huge & HMM_PFN_WRITE || !(entry & HMM_PFN_WRITE)))
		return;
	for (i = 0; block->huge && i < 1 << ODP_BLOCK_ORDER; i++)
		odp_put_leaf(region, block, i, block->huge + i);
	odp_clear_huge(region, block);
	odp_put_leaf(region, block, odp_leaf(addr), entry);
}

static bool odp_is_huge(struct odp_region *region, unsigned long addr,
			unsigned long npages, unsigned long pfn)
{
	return pfn & HMM_PFN_VALID &&
	       hmm_pfn_to_map_order(pfn) >= ODP_BLOCK_ORDER &&
	       IS_ALIGNED(addr, ODP_BLOCK_SIZE) &&
	       npages == 1 << ODP_BLOCK_ORDER;
}

/* Make the entries of pages of one block, under the form's lock. */
void odp_table_set(struct odp_region *region, unsigned long start,
		   unsigned long npages, const unsigned long *pfns)
{
	unsigned long i;

	if (odp_is_huge(region, start, npages, pfns[0])) {
		odp_set_huge(region, odp_block(region, start), pfns[0]);
		return;
	}
	for (i = 0; i < npages; i++) {
		if (pfns[i] & HMM_PFN_VALID)
			odp_set_leaf(region, start + i * PAGE_SIZE, pfns[i]);
	}
}

/*
 * Clear the entries of [start, end), and say which there were. A huge one goes
 * as a whole.
 */
void odp_table_clear(struct odp_region *region, unsigned long start,
		     unsigned long end,
		     void (*dropped)(unsigned long start, unsigned long end,
				     void *ctx),
		     void *ctx)
{
	while (start < end) {
		unsigned long next = ALIGN(start + 1, ODP_BLOCK_SIZE);
		struct odp_block *block = odp_block(region, start);

		if (block->huge) {
			odp_clear_huge(region, block);
			dropped(next - ODP_BLOCK_SIZE, next, ctx);
		}
		for (; start < min(next, end) && block->nr; start += PAGE_SIZE) {
			unsigned long *leaf = &READ_ONCE(block->leaf)[odp_leaf(start)];

			if (!*leaf)
				continue;
			WRITE_ONCE(*leaf, 0);
			block->nr--;
			atomic_long_dec(&region->dev->nr_entries);
			dropped(start, start + PAGE_SIZE, ctx);
		}
		start = next;
	}
}

/* The device. */

static struct odp_cached *odp_cached(struct odp_device *dev, unsigned long addr)
{
	return &dev->cached[(addr >> PAGE_SHIFT) % ODP_TLB_ENTRIES];
}

/* Flush what the device has cached of [start, end). */
void odp_flush(struct odp_device *dev, unsigned long start, unsigned long end)
{
	int i;

	spin_lock(&dev->lock);
	for (i = 0; i < ODP_TLB_ENTRIES; i++) {
		struct odp_cached *cached = &dev->cached[i];

		if (cached->addr >= start && cached->addr < end)
			*cached = (struct odp_cached){};
	}
	spin_unlock(&dev->lock);
}

static bool odp_may(unsigned long entry, bool write)
{
	return (entry & HMM_PFN_VALID) && (!write || (entry & HMM_PFN_WRITE));
}

/* The translation of a page, or 0. A page that becomes writable is not flushed. */
static unsigned long odp_walk(struct odp_region *region, unsigned long addr,
			      bool write)
{
	struct odp_cached *cached = odp_cached(region->dev, addr);

	if (cached->region == region && cached->addr == addr &&
	    odp_may(cached->entry, write))
		return cached->entry;
	cached->region = region;
	cached->addr = addr;
	cached->entry = odp_table_entry(region, addr);
	return odp_may(cached->entry, write) ? cached->entry : 0;
}

/* Of one page. False: there is no entry for it. */
static bool odp_access(struct odp_region *region, unsigned long addr, void *buf,
		       size_t n, bool write)
{
	unsigned long entry;

	spin_lock(&region->dev->lock);
	entry = odp_walk(region, addr & PAGE_MASK, write);
	if (entry) {
		void *p = kmap_local_page(hmm_pfn_to_page(entry));

		/* The process may be using it at the same time. */
		data_race(memcpy(write ? p + offset_in_page(addr) : buf,
				 write ? buf : p + offset_in_page(addr), n));
		kunmap_local(p);
	}
	spin_unlock(&region->dev->lock);
	return entry;
}

/* Requests, and the threads that work on them. */

struct odp_work {
	struct work_struct work;
	struct kref users;
	struct completion done;
	struct odp_region *region;
	struct odp_request arg;
	void *data;
	unsigned long *pfns;
	long ret;
};

static int odp_fault(struct odp_work *work, unsigned long addr,
		     unsigned long end, unsigned int flags)
{
	struct odp_region *region = work->region;
	int ret = 0;

	while (addr < end && !ret) {
		unsigned long next = min(end, ALIGN(addr + 1, ODP_BLOCK_SIZE));

		atomic_long_inc(&region->dev->nr_faults);
		ret = odp_table_reserve(region, addr);
		if (!ret)
			ret = region->dev->form->fault(region, addr,
						       (next - addr) >> PAGE_SHIFT,
						       work->pfns, flags);
		addr = next;
		cond_resched();
	}
	return ret;
}

/* As much as can be had: a page fault is for the rest of the request. */
static long odp_move(struct odp_work *work, bool write)
{
	unsigned int flags = ODP_FAULT | (write ? ODP_FAULT_WRITE : 0);
	unsigned long end = work->arg.addr + work->arg.length;
	size_t done = 0;

	while (done < work->arg.length) {
		unsigned long addr = work->arg.addr + done;
		size_t n = min_t(size_t, work->arg.length - done,
				 PAGE_SIZE - offset_in_page(addr));
		int ret;

		if (odp_access(work->region, addr, work->data + done, n, write)) {
			done += n;
			continue;
		}
		ret = odp_fault(work, addr & PAGE_MASK, PAGE_ALIGN(end), flags);
		/* The first pages of it may be there all the same. */
		if (ret && ret != -EAGAIN)
			ret = odp_fault(work, addr & PAGE_MASK,
					(addr & PAGE_MASK) + PAGE_SIZE, flags);
		if (ret)
			return done ?: ret;
	}
	return done;
}

static long odp_run(struct odp_work *work)
{
	unsigned long start = work->arg.addr & PAGE_MASK;
	unsigned long end = PAGE_ALIGN(work->arg.addr + work->arg.length);

	switch (work->arg.op) {
	case ODP_READ:
		return odp_move(work, false);
	case ODP_WRITE:
		return odp_move(work, true);
	case ODP_PREFETCH:
		return odp_fault(work, start, end, ODP_FAULT);
	case ODP_PREFETCH_WRITE:
		return odp_fault(work, start, end, ODP_FAULT | ODP_FAULT_WRITE);
	case ODP_SNAPSHOT:
		return odp_fault(work, start, end, 0);
	case ODP_DROP:
		work->region->dev->form->drop(work->region, start, end);
		return 0;
	}
	return -EINVAL;
}

static void odp_region_put(struct odp_region *region)
{
	if (refcount_dec_and_test(&region->users))
		complete(&region->idle);
}

static void odp_work_free(struct kref *users)
{
	struct odp_work *work = container_of(users, struct odp_work, users);

	kvfree(work->data);
	kfree(work->pfns);
	kfree(work);
}

static void odp_work(struct work_struct *ws)
{
	struct odp_work *work = container_of(ws, struct odp_work, work);

	work->ret = odp_run(work);
	odp_region_put(work->region);
	complete(&work->done);
	kref_put(&work->users, odp_work_free);
}

static bool odp_moves_data(const struct odp_request *arg)
{
	return arg->op == ODP_READ || arg->op == ODP_WRITE;
}

static struct odp_work *odp_work_alloc(const struct odp_request *arg)
{
	struct odp_work *work = kzalloc(sizeof(*work), GFP_KERNEL_ACCOUNT);

	if (!work)
		return NULL;
	kref_init(&work->users);
	init_completion(&work->done);
	INIT_WORK(&work->work, odp_work);
	work->arg = *arg;
	work->pfns = kcalloc(1 << ODP_BLOCK_ORDER, sizeof(*work->pfns),
			     GFP_KERNEL_ACCOUNT);
	if (odp_moves_data(arg))
		work->data = kvzalloc(arg->length, GFP_KERNEL_ACCOUNT);
	if (work->pfns && (work->data || !odp_moves_data(arg)))
		return work;
	kref_put(&work->users, odp_work_free);
	return NULL;
}

/*
 * Whoever has to answer a thread's fault may be this very process. If it is killed, its
 * request is given up by giving up the region, for all who have the key.
 */
static long odp_work_wait(struct odp_work *work)
{
	struct odp_region *region = work->region;
	long ret;

	if (wait_for_completion_killable(&work->done)) {
		region->dev->form->stop(region);
		wait_for_completion(&work->done);
	}
	ret = work->ret;
	if (ret > 0 && work->arg.op == ODP_READ &&
	    copy_to_user(u64_to_user_ptr(work->arg.data), work->data, ret))
		ret = -EFAULT;
	return ret;
}

static struct odp_region *odp_region_get(struct odp_device *dev, u32 key)
{
	struct odp_region *region;

	xa_lock(&dev->regions);
	region = xa_load(&dev->regions, key);
	if (region)
		refcount_inc(&region->users);
	xa_unlock(&dev->regions);
	return region;
}

static bool odp_request_ok(const struct odp_request *arg)
{
	if (arg->reserved || arg->flags & ~ODP_ASYNC || arg->op > ODP_DROP ||
	    !arg->length)
		return false;
	return !odp_moves_data(arg) ||
	       (!(arg->flags & ODP_ASYNC) && arg->length <= ODP_MAX_DATA);
}

static bool odp_inside(struct odp_region *region, const struct odp_request *arg)
{
	return arg->addr >= region->start && arg->addr < region->end &&
	       arg->length <= region->end - arg->addr;
}

static bool odp_writes(const struct odp_request *arg)
{
	return arg->op == ODP_WRITE || arg->op == ODP_PREFETCH_WRITE;
}

static long odp_ioctl_request(struct odp_device *dev, void __user *uarg)
{
	struct odp_request arg;
	struct odp_work *work;
	long ret;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (!odp_request_ok(&arg))
		return -EINVAL;
	work = odp_work_alloc(&arg);
	if (!work)
		return -ENOMEM;
	ret = -EFAULT;
	if (arg.op == ODP_WRITE &&
	    copy_from_user(work->data, u64_to_user_ptr(arg.data), arg.length))
		goto put;
	ret = -ENOENT;
	work->region = odp_region_get(dev, arg.key);
	if (!work->region)
		goto put;
	ret = odp_inside(work->region, &arg) ? 0 : -EINVAL;
	if (!ret && odp_writes(&arg) && !work->region->writable)
		ret = -EPERM;
	if (ret) {
		odp_region_put(work->region);
		goto put;
	}
	/* The region stays until it is done, or nobody looks at it here. */
	if (!(arg.flags & ODP_ASYNC))
		refcount_inc(&work->region->users);
	kref_get(&work->users);
	queue_work(dev->wq, &work->work);
	if (!(arg.flags & ODP_ASYNC)) {
		ret = odp_work_wait(work);
		odp_region_put(work->region);
	}
put:
	kref_put(&work->users, odp_work_free);
	return ret;
}

/* Regions. */

static void odp_region_free(struct odp_region *region)
{
	unsigned long i;

	for (i = 0; i < odp_nr_blocks(region); i++)
		kfree(region->block[i].leaf);
	kvfree(region->block);
	kfree(region);
}

/* Nobody finds it any more. */
static void odp_region_close(struct odp_region *region)
{
	const struct odp_form *form = region->dev->form;

	form->stop(region);
	odp_region_put(region);
	wait_for_completion(&region->idle);
	form->drop(region, region->start, region->end);
	form->remove(region);
	odp_region_free(region);
}

static struct odp_region *odp_region_alloc(struct odp_device *dev,
					   const struct odp_range *range)
{
	struct odp_region *region = kzalloc(dev->form->size, GFP_KERNEL_ACCOUNT);

	if (!region)
		return NULL;
	region->dev = dev;
	region->start = range->start;
	region->end = range->start + range->length;
	region->writable = range->flags & ODP_WRITABLE;
	refcount_set(&region->users, 1);
	init_completion(&region->idle);
	region->block = kvcalloc(odp_nr_blocks(region), sizeof(*region->block),
				 GFP_KERNEL_ACCOUNT);
	if (region->block)
		return region;
	kfree(region);
	return NULL;
}

static long odp_ioctl_register(struct odp_device *dev, void __user *uarg)
{
	struct odp_region *region;
	struct odp_range range;
	u32 key;
	int ret;

	if (copy_from_user(&range, uarg, sizeof(range)))
		return -EFAULT;
	if (range.reserved || range.flags & ~ODP_WRITABLE || !range.length ||
	    !PAGE_ALIGNED(range.start | range.length) ||
	    range.length > ODP_MAX_LENGTH ||
	    range.start > ULONG_MAX - ODP_MAX_LENGTH)
		return -EINVAL;
	if (current->mm != dev->mm)
		return -EPERM;
	region = odp_region_alloc(dev, &range);
	if (!region)
		return -ENOMEM;
	ret = dev->form->insert(region);
	if (ret) {
		odp_region_free(region);
		return ret;
	}
	ret = xa_alloc(&dev->regions, &key, region, XA_LIMIT(1, INT_MAX),
		       GFP_KERNEL_ACCOUNT);
	if (ret) {
		odp_region_close(region);
		return ret;
	}
	return key;
}

static long odp_ioctl_deregister(struct odp_device *dev, unsigned long key)
{
	struct odp_region *region = xa_erase(&dev->regions, key);

	if (!region)
		return -ENOENT;
	odp_region_close(region);
	return 0;
}

/* The file. */

static long odp_ioctl_stats(struct odp_device *dev, void __user *uarg)
{
	struct odp_stats stats = {
		.entries = atomic_long_read(&dev->nr_entries),
		.huge = atomic_long_read(&dev->nr_huge),
		.faults = atomic_long_read(&dev->nr_faults),
	};
	int i;

	spin_lock(&dev->lock);
	for (i = 0; i < ODP_TLB_ENTRIES; i++)
		stats.cached += !!dev->cached[i].entry;
	spin_unlock(&dev->lock);
	return copy_to_user(uarg, &stats, sizeof(stats)) ? -EFAULT : 0;
}

static long odp_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct odp_device *dev = file->private_data;
	void __user *uarg = (void __user *)arg;

	switch (cmd) {
	case ODP_IOC_REGISTER:
		return odp_ioctl_register(dev, uarg);
	case ODP_IOC_DEREGISTER:
		return odp_ioctl_deregister(dev, arg);
	case ODP_IOC_REQUEST:
		return odp_ioctl_request(dev, uarg);
	case ODP_IOC_STATS:
		return odp_ioctl_stats(dev, uarg);
	}
	return -ENOTTY;
}

static int odp_open(struct inode *inode, struct file *file)
{
	/* misc_open() left the miscdevice there. */
	struct odp_form *form = container_of(file->private_data, struct odp_form,
					     device);
	struct odp_device *dev = kvzalloc(sizeof(*dev), GFP_KERNEL_ACCOUNT);

	if (!dev)
		return -ENOMEM;
	dev->wq = alloc_workqueue("odp", WQ_UNBOUND, 0);
	if (!dev->wq) {
		kvfree(dev);
		return -ENOMEM;
	}
	dev->form = form;
	dev->mm = current->mm;
	mmgrab(dev->mm);
	xa_init_flags(&dev->regions, XA_FLAGS_ALLOC);
	spin_lock_init(&dev->lock);
	if (form->init)
		form->init(dev);
	file->private_data = dev;
	return 0;
}

static int odp_release(struct inode *inode, struct file *file)
{
	struct odp_device *dev = file->private_data;
	struct odp_region *region;
	unsigned long key;

	xa_for_each(&dev->regions, key, region)
		dev->form->stop(region);
	destroy_workqueue(dev->wq);
	xa_for_each(&dev->regions, key, region)
		odp_region_close(region);
	xa_destroy(&dev->regions);
	mmdrop(dev->mm);
	kvfree(dev);
	return 0;
}

const struct file_operations odp_fops = {
	.owner = THIS_MODULE,
	.open = odp_open,
	.release = odp_release,
	.unlocked_ioctl = odp_ioctl,
};

static int __init odp_init(void)
{
	int ret = misc_register(&odp_mirror_form.device);

	if (ret)
		return ret;
	ret = misc_register(&odp_direct_form.device);
	if (ret)
		misc_deregister(&odp_mirror_form.device);
	return ret;
}
module_init(odp_init);

static void __exit odp_exit(void)
{
	misc_deregister(&odp_direct_form.device);
	misc_deregister(&odp_mirror_form.device);
}
module_exit(odp_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Sample: a device with on-demand paging, in two forms");
