/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/mirror_odp and /dev/direct_odp: a device that reads and writes registered
 * memory of the process that opened it. User programs include this as well.
 */
#ifndef _ODP_UAPI_H
#define _ODP_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The device may write to it, too. */
#define ODP_WRITABLE		1U
#define ODP_MAX_LENGTH		(4ULL << 30)
/* Bytes that a request moves at most. */
#define ODP_MAX_DATA		0x100000U

struct odp_range {
	__u64 start;
	__u64 length;
	__u32 flags;
	__u32 reserved;
};

enum odp_op {
	ODP_READ,	/* from registered memory to data */
	ODP_WRITE,	/* the other way */
	ODP_PREFETCH,	/* make entries, as if it was read */
	ODP_PREFETCH_WRITE,	/* ... or written */
	ODP_SNAPSHOT,	/* make entries for what is there */
	ODP_DROP,	/* drop them: the driver needs the room */
};

/* Do not wait for the end of it. Not for data. */
#define ODP_ASYNC		1U

/*
 * What a thread of the device does. A region is known by the key that its
 * registration returned.
 */
struct odp_request {
	__u32 key;
	__u32 op;
	__u32 flags;
	__u32 reserved;
	__u64 addr;
	__u64 length;
	__u64 data;
};

struct odp_stats {
	__u64 entries;	/* entries that there are */
	__u64 huge;	/* those of them of 2 MiB */
	__u64 faults;	/* page faults of the device */
	__u64 cached;	/* translations in its TLB */
};

/* Return a key, which is not 0. */
#define ODP_IOC_REGISTER	_IOW('Y', 0x40, struct odp_range)
#define ODP_IOC_DEREGISTER	_IO('Y', 0x41)
#define ODP_IOC_REQUEST		_IOW('Y', 0x42, struct odp_request)
#define ODP_IOC_STATS		_IOR('Y', 0x43, struct odp_stats)

#endif /* _ODP_UAPI_H */
