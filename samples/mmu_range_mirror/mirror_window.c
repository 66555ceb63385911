// SPDX-License-Identifier: GPL-2.0
/*
 * The least driver that reads and writes user memory through a window: a device
 * whose content is memory of its user.
 *
 * Any number of tasks may be inside sections at once. Where the window has
 * nothing to offer, the user's own access is the way out, and brings the page
 * in for the next one.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mmu_mirror_window.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "mirror_sample.h"

struct view {
	struct mmu_mirror_domain *domain;
	struct mmu_mirror_window *window;
};

/* The user: nothing in the section sleeps or faults. False: no page there. */
static bool view_use(struct view *view, unsigned long offset, u32 *word,
		     bool write)
{
	u32 *p;

	mmu_mirror_enter(view->domain);
	p = mmu_mirror_window_ptr(view->window, offset, sizeof(*p));
	if (p && write)
		WRITE_ONCE(*p, *word);
	else if (p)
		*word = READ_ONCE(*p);
	mmu_mirror_exit(view->domain);
	return p;
}

static int view_access(struct file *file, size_t size, loff_t pos, u32 *word,
		       bool write)
{
	u32 __user *uptr;
	struct view *view;

	/* Pairs with the release of view_ioctl(). */
	view = smp_load_acquire(&file->private_data);
	if (!view)
		return -ENXIO;
	if (size != sizeof(*word) || !IS_ALIGNED(pos, sizeof(*word)) ||
	    pos >= view->window->size)
		return -EINVAL;
	if (view_use(view, pos, word, write))
		return 0;
	/* Of another process's memory there is nothing but the window. */
	if (current->mm != view->window->mirror.notifier.mm)
		return -EAGAIN;
	uptr = (u32 __user *)(view->window->uaddr + (unsigned long)pos);
	return write ? put_user(*word, uptr) : get_user(*word, uptr);
}

static ssize_t view_read(struct file *file, char __user *buf, size_t size,
			 loff_t *pos)
{
	u32 word;
	int ret = view_access(file, size, *pos, &word, false);

	if (!ret && put_user(word, (u32 __user *)buf))
		ret = -EFAULT;
	return ret ?: sizeof(word);
}

static ssize_t view_write(struct file *file, const char __user *buf,
			  size_t size, loff_t *pos)
{
	u32 word;
	int ret;

	if (get_user(word, (const u32 __user *)buf))
		return -EFAULT;
	ret = view_access(file, size, *pos, &word, true);
	return ret ?: sizeof(word);
}

/* No reader can find it any more; also of one that was not completed. */
static void view_free(struct view *view)
{
	if (!view)
		return;
	mmu_mirror_window_close(view->window);
	mmu_mirror_domain_destroy(view->domain);
	kfree(view);
}

static struct view *view_alloc(const struct mirror_sample_range *range)
{
	struct mmu_mirror_window *window;
	struct view *view;
	int ret = -ENOMEM;

	view = kzalloc(sizeof(*view), GFP_KERNEL_ACCOUNT);
	if (!view)
		return ERR_PTR(-ENOMEM);
	view->domain = mmu_mirror_domain_alloc();
	if (!view->domain)
		goto free;
	window = mmu_mirror_window_open(view->domain, current->mm, range->start,
					range->length, true);
	ret = PTR_ERR_OR_ZERO(window);
	if (ret)
		goto free;
	view->window = window;
	/*
	 * Whoever may sleep faults the pages in. Those that cannot be had now
	 * are for misses to ask for, which fault nothing in.
	 */
	ret = mmu_mirror_window_populate(window);
	if (ret == -EINTR)
		goto free;
	return view;
free:
	view_free(view);
	return ERR_PTR(ret);
}

static long view_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct mirror_sample_range range;
	struct view *view;

	if (cmd != MIRROR_SAMPLE_RANGE)
		return -ENOTTY;
	if (copy_from_user(&range, (void __user *)arg, sizeof(range)))
		return -EFAULT;
	if (range.length > MIRROR_SAMPLE_PAGES * PAGE_SIZE)
		return -E2BIG;
	if (!IS_ALIGNED(range.start | range.length, sizeof(u32)))
		return -EINVAL;
	view = view_alloc(&range);
	if (IS_ERR(view))
		return PTR_ERR(view);
	/* Pairs with the acquire of view_access(). */
	if (!cmpxchg_release(&file->private_data, NULL, view))
		return 0;
	view_free(view);
	return -EBUSY;
}

static int view_open(struct inode *inode, struct file *file)
{
	file->private_data = NULL;
	return 0;
}

static int view_release(struct inode *inode, struct file *file)
{
	view_free(file->private_data);
	return 0;
}

static const struct file_operations view_fops = {
	.owner = THIS_MODULE,
	.open = view_open,
	.release = view_release,
	.read = view_read,
	.write = view_write,
	.unlocked_ioctl = view_ioctl,
};

static struct miscdevice view_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "mirror_window",
	.fops = &view_fops,
};
module_misc_device(view_device);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Sample: kernel pointers to user memory");
