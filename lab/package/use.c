// SPDX-License-Identifier: GPL-2.0-only
/*
 * use vdpa NAME | use vsock
 *
 * Use what the package installed, in the machine of lab/tiers/package.sh:
 *   vdpa NAME  make a VDUSE device, have "vdpa dev add" put it on the bus, and
 *              map memory to it through /dev/vhost-vdpa-0
 *   vsock      be a guest of /dev/vhost-vsock whose driver has one buffer, and
 *              find in it the request of a connection from the host
 * Says what failed, and fails.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vduse.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <linux/vm_sockets.h>

#define PAGE 4096UL
#define MEMORY (16 * PAGE)
#define IOVA 0x100000UL
#define CID 77
#define PORT 1234
#define PATIENCE_MS 30000

#define do_ioctl(fd, request, arg) do {			\
	if (ioctl(fd, request, arg) < 0)		\
		err(1, "%s", #request);			\
} while (0)

static void *memory(void)
{
	int fd = memfd_create("memory", 0);
	void *mem;

	if (fd < 0 || ftruncate(fd, MEMORY))
		err(1, "memfd");
	mem = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		err(1, "mmap");
	return mem;
}

static int open_file(const char *path)
{
	int fd = open(path, O_RDWR);

	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

/* A device that agrees to everything. */
static void *answer(void *arg)
{
	struct vduse_dev_response response = { .result = VDUSE_REQ_RESULT_OK };
	struct vduse_dev_request request;
	int fd = *(int *)arg;

	while (read(fd, &request, sizeof(request)) == sizeof(request)) {
		response.request_id = request.request_id;
		if (write(fd, &response, sizeof(response)) < 0)
			err(1, "answer");
	}
	return NULL;
}

static int vduse_device(const char *name)
{
	struct vduse_vq_config queue = { .max_size = 256 };
	struct vduse_dev_config *config;
	unsigned long long version = 0;
	char text[128];
	int control, fd;

	config = calloc(1, sizeof(*config) + PAGE);
	snprintf(config->name, sizeof(config->name), "%s", name);
	config->device_id = VIRTIO_ID_BLOCK;
	config->features = 1ULL << VIRTIO_F_VERSION_1 |
			   1ULL << VIRTIO_F_ACCESS_PLATFORM;
	config->vq_num = 1;
	config->vq_align = PAGE;
	config->config_size = 64;
	control = open_file("/dev/vduse/control");
	do_ioctl(control, VDUSE_SET_API_VERSION, &version);
	do_ioctl(control, VDUSE_CREATE_DEV, config);
	snprintf(text, sizeof(text), "/dev/vduse/%s", name);
	fd = open_file(text);
	do_ioctl(fd, VDUSE_VQ_SETUP, &queue);
	snprintf(text, sizeof(text), "vdpa dev add name %s mgmtdev vduse", name);
	if (system(text))
		errx(1, "%s", text);
	return fd;
}

static void map_memory(const char *name)
{
	struct vhost_msg_v2 msg = { .type = VHOST_IOTLB_MSG_V2 };
	unsigned long long features = 1ULL << VHOST_BACKEND_F_IOTLB_MSG_V2;
	struct vduse_iotlb_entry entry = { 0 };
	pthread_t device;
	int fd, vhost;

	fd = vduse_device(name);
	if (pthread_create(&device, NULL, answer, &fd))
		errx(1, "no thread");
	vhost = open_file("/dev/vhost-vdpa-0");
	do_ioctl(vhost, VHOST_SET_OWNER, NULL);
	do_ioctl(vhost, VHOST_SET_BACKEND_FEATURES, &features);
	msg.iotlb.iova = IOVA;
	msg.iotlb.size = MEMORY;
	msg.iotlb.uaddr = (uintptr_t)memory();
	msg.iotlb.perm = VHOST_ACCESS_RW;
	msg.iotlb.type = VHOST_IOTLB_UPDATE;
	if (write(vhost, &msg, sizeof(msg)) != sizeof(msg))
		err(1, "map");
	entry.start = IOVA;
	entry.last = IOVA + 1;
	do_ioctl(fd, VDUSE_IOTLB_GET_FD, &entry);
	if (entry.start != IOVA || entry.last != IOVA + MEMORY - 1)
		errx(1, "mapped %#llx to %#llx", entry.start, entry.last);
	msg.iotlb.type = VHOST_IOTLB_INVALIDATE;
	if (write(vhost, &msg, sizeof(msg)) != sizeof(msg))
		err(1, "unmap");
}

/* Of a ring of one: the descriptors, the rest in the following pages. */
static void ring(int vhost, unsigned int index, char *mem)
{
	struct vhost_vring_state state = { .index = index, .num = 1 };
	struct vhost_vring_file file = { .index = index };
	struct vhost_vring_addr addr = {
		.index = index,
		.desc_user_addr = (uintptr_t)mem,
		.avail_user_addr = (uintptr_t)mem + PAGE,
		.used_user_addr = (uintptr_t)mem + 2 * PAGE,
	};

	do_ioctl(vhost, VHOST_SET_VRING_NUM, &state);
	state.num = 0;
	do_ioctl(vhost, VHOST_SET_VRING_BASE, &state);
	do_ioctl(vhost, VHOST_SET_VRING_ADDR, &addr);
	file.fd = eventfd(0, 0);
	do_ioctl(vhost, VHOST_SET_VRING_CALL, &file);
	file.fd = eventfd(0, 0);
	do_ioctl(vhost, VHOST_SET_VRING_KICK, &file);
}

static void be_a_guest(void)
{
	struct sockaddr_vm addr = { .svm_family = AF_VSOCK, .svm_cid = CID,
				    .svm_port = PORT };
	unsigned long long features = 1ULL << VIRTIO_F_VERSION_1, cid = CID;
	struct {
		struct vhost_memory mem;
		struct vhost_memory_region region;
	} table = { .mem.nregions = 1 };
	char *mem = memory(), *buffer = mem + 8 * PAGE;
	struct vring_desc *desc = (void *)mem;
	struct vring_avail *avail = (void *)(mem + PAGE);
	struct vring_used *used = (void *)(mem + 2 * PAGE);
	struct virtio_vsock_hdr *hdr = (void *)buffer;
	int vhost = open_file("/dev/vhost-vsock"), on = 1, fd, waited;

	do_ioctl(vhost, VHOST_SET_OWNER, NULL);
	do_ioctl(vhost, VHOST_SET_FEATURES, &features);
	table.region.memory_size = MEMORY;
	table.region.userspace_addr = (uintptr_t)mem;
	do_ioctl(vhost, VHOST_SET_MEM_TABLE, &table);
	desc->addr = buffer - mem;
	desc->len = PAGE;
	desc->flags = VRING_DESC_F_WRITE;
	avail->idx = 1;
	ring(vhost, 0, mem);
	ring(vhost, 1, mem + 3 * PAGE);
	do_ioctl(vhost, VHOST_VSOCK_SET_GUEST_CID, &cid);
	do_ioctl(vhost, VHOST_VSOCK_SET_RUNNING, &on);

	fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (fd < 0)
		err(1, "socket");
	connect(fd, (void *)&addr, sizeof(addr));
	for (waited = 0; !__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE); waited++) {
		if (waited == PATIENCE_MS)
			errx(1, "no packet arrives");
		poll(NULL, 0, 1);
	}
	if (hdr->op != VIRTIO_VSOCK_OP_REQUEST || hdr->dst_port != PORT ||
	    hdr->dst_cid != CID)
		errx(1, "op %u, port %u, cid %llu", hdr->op, hdr->dst_port,
		     hdr->dst_cid);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "vdpa"))
		map_memory(argv[2]);
	else if (argc == 2 && !strcmp(argv[1], "vsock"))
		be_a_guest();
	else
		errx(2, "usage: %s vdpa NAME | vsock", argv[0]);
	return 0;
}
