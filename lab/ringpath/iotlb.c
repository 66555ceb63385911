// SPDX-License-Identifier: GPL-2.0
/* The map of the guest's memory, of memory of ours. */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/rbtree_augmented.h>
#include "ringpath.h"

#undef kmalloc
#define kmalloc(size, flags)	((void)(flags), ringpath_alloc(size))
#undef kmalloc_obj
#define kmalloc_obj(type, ...)	ringpath_alloc(sizeof(type))

#include IOTLB_C
#include RBTREE_C
