// SPDX-License-Identifier: GPL-2.0
/*
 * The least driver with translations of its own: a device whose content is
 * memory of its user, as hardware with page tables would see it.
 *
 * The page table is an array, and the lock is held while an entry is used.
 * Where uses go on without the lock, ops->wait has to wait for them.
 */
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/miscdevice.h>
#include <linux/mmu_range_mirror.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "mirror_sample.h"

struct shadow {
	struct mmu_range_mirror mirror;
	struct page *entry[MIRROR_SAMPLE_PAGES];	/* no references */
};

/* The invalidator, with the lock held: no entry can be used after this. */
static void shadow_invalidate(struct mmu_range_mirror *mirror,
			      const struct mmu_notifier_range *range,
			      struct mmu_mirror_gather *gather)
{
	struct shadow *shadow = container_of(mirror, struct shadow, mirror);
	unsigned long addr = max(range->start, mirror->start);
	unsigned long end = min(range->end, mirror->end);

	for (; addr < end; addr += PAGE_SIZE)
		shadow->entry[(addr - mirror->start) >> PAGE_SHIFT] = NULL;
}

static const struct mmu_range_mirror_ops shadow_ops = {
	.invalidate = shadow_invalidate,
};

/* The maker, with the lock held and after the retry check. */
static int shadow_install(struct mmu_range_mirror *mirror, unsigned long addr,
			  struct page *page, void *ctx)
{
	struct shadow *shadow = container_of(mirror, struct shadow, mirror);

	shadow->entry[(addr - mirror->start) >> PAGE_SHIFT] = page;
	return 0;
}

/* The user. False: there is no entry. */
static bool shadow_use(struct shadow *shadow, unsigned long offset, u32 *word,
		       bool write)
{
	struct page *page;

	mmu_range_mirror_lock(&shadow->mirror);
	page = shadow->entry[offset >> PAGE_SHIFT];
	if (page) {
		u32 *p = kmap_local_page(page) + offset_in_page(offset);

		if (write)
			WRITE_ONCE(*p, *word);
		else
			*word = READ_ONCE(*p);
		kunmap_local(p);
	}
	mmu_range_mirror_unlock(&shadow->mirror);
	return page;
}

static int shadow_access(struct file *file, size_t size, loff_t pos, u32 *word,
			 bool write)
{
	struct mmu_range_mirror *mirror;
	struct shadow *shadow;
	int ret;

	/* Pairs with the release of shadow_ioctl(). */
	shadow = smp_load_acquire(&file->private_data);
	if (!shadow)
		return -ENXIO;
	mirror = &shadow->mirror;
	if (size != sizeof(*word) || !IS_ALIGNED(pos, sizeof(*word)) ||
	    pos >= mirror->end - mirror->start)
		return -EINVAL;
	/* What hardware would report as a page fault. */
	while (!shadow_use(shadow, pos, word, write)) {
		ret = mmu_range_mirror_populate(mirror, mirror->start +
						(pos & PAGE_MASK), 1,
						FOLL_WRITE, shadow_install,
						NULL);
		if (ret)
			return ret;
	}
	return 0;
}

static ssize_t shadow_read(struct file *file, char __user *buf, size_t size,
			   loff_t *pos)
{
	u32 word;
	int ret = shadow_access(file, size, *pos, &word, false);

	if (!ret && put_user(word, (u32 __user *)buf))
		ret = -EFAULT;
	return ret ?: sizeof(word);
}

static ssize_t shadow_write(struct file *file, const char __user *buf,
			    size_t size, loff_t *pos)
{
	u32 word;
	int ret;

	if (get_user(word, (const u32 __user *)buf))
		return -EFAULT;
	ret = shadow_access(file, size, *pos, &word, true);
	return ret ?: sizeof(word);
}

static long shadow_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct mirror_sample_range range;
	struct shadow *shadow;
	int ret;

	if (cmd != MIRROR_SAMPLE_RANGE)
		return -ENOTTY;
	if (copy_from_user(&range, (void __user *)arg, sizeof(range)))
		return -EFAULT;
	if (range.length > MIRROR_SAMPLE_PAGES * PAGE_SIZE)
		return -E2BIG;
	shadow = kzalloc(sizeof(*shadow), GFP_KERNEL_ACCOUNT);
	if (!shadow)
		return -ENOMEM;
	ret = mmu_range_mirror_insert(&shadow->mirror, current->mm, range.start,
				      range.length, &shadow_ops, NULL);
	if (ret)
		goto free;
	/* Pairs with the acquire of shadow_access(). */
	if (!cmpxchg_release(&file->private_data, NULL, shadow))
		return 0;
	ret = -EBUSY;
	mmu_range_mirror_remove(&shadow->mirror);
free:
	kfree(shadow);
	return ret;
}

static int shadow_open(struct inode *inode, struct file *file)
{
	file->private_data = NULL;
	return 0;
}

static int shadow_release(struct inode *inode, struct file *file)
{
	struct shadow *shadow = file->private_data;

	if (shadow)
		mmu_range_mirror_remove(&shadow->mirror);
	kfree(shadow);
	return 0;
}

static const struct file_operations shadow_fops = {
	.owner = THIS_MODULE,
	.open = shadow_open,
	.release = shadow_release,
	.read = shadow_read,
	.write = shadow_write,
	.unlocked_ioctl = shadow_ioctl,
};

static struct miscdevice shadow_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "mirror_shadow",
	.fops = &shadow_fops,
};
module_misc_device(shadow_device);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Sample: shadow entries of user memory");
