// SPDX-License-Identifier: GPL-2.0-only
/*
 * ringflip MILLISECONDS INVALIDATIONS
 *
 * A client of /dev/vhost-net that pulls its own memory away between, and with fork
 * also during, the packets that it moves and verifies: munmap() and mmap() in the
 * same place, mremap() away and back, fork() and the copies that the next writes
 * then make. The memory is that of the rings, and of the next packets' buffers with
 * their tables of indirect descriptors, which vhost reaches through its cache. It
 * goes on for that long and until that many invalidations have found a live ring
 * page. It begins when it is told to, by a line on its standard input after its own
 * "ready". What an old page of a buffer would do is seen: the packet is another, or
 * nobody has written how many buffers it is in.
 *
 * The client itself is that of vhost's selftests.
 */
#define _GNU_SOURCE
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"

/* However few invalidations there are, and however slow the machine. */
#define GIVE_UP_MS 30000
/* With it, a third of the packets are short enough for the cache. */
#define SPREAD 128

static int fail(const char *what)
{
	perror(what);
	return -1;
}

/* A new page with the old one's contents. */
static int remap(void *addr)
{
	static char saved[PART_ROOM];
	void *again;

	memcpy(saved, addr, sizeof(saved));
	if (munmap(addr, sizeof(saved)))
		return fail("munmap");
	again = mmap(addr, sizeof(saved), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (again == MAP_FAILED)
		return fail("mmap");
	memcpy(addr, saved, sizeof(saved));
	return 0;
}

/* The same page, for a while elsewhere. */
static int move(void *addr)
{
	void *away = mmap(NULL, PART_ROOM, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (away == MAP_FAILED)
		return fail("mmap");
	if (mremap(addr, PART_ROOM, PART_ROOM, MREMAP_MAYMOVE | MREMAP_FIXED,
		   away) == MAP_FAILED ||
	    mremap(away, PART_ROOM, PART_ROOM, MREMAP_MAYMOVE | MREMAP_FIXED,
		   addr) == MAP_FAILED)
		return fail("mremap");
	return 0;
}

/* With a child that keeps the old pages, packets under way and to come. */
static int fork_and_go_on(struct client *c)
{
	int pipefd[2], status;
	char byte;
	pid_t pid;

	if (pipe(pipefd))
		return fail("pipe");
	if (client_send(c, BATCH))
		return -1;
	pid = fork();
	if (pid < 0)
		return fail("fork");
	if (!pid) {
		close(pipefd[1]);
		_exit(read(pipefd[0], &byte, 1) ? 1 : 0);
	}
	close(pipefd[0]);
	if (client_sent(c, BATCH) || client_round(c, BATCH))
		return -1;
	close(pipefd[1]);
	if (waitpid(pid, &status, 0) != pid || status)
		return fail("child");
	return 0;
}

/* Where the queue's next packets are, with the tables. */
static void *next_bufs(struct client *c, struct queue *queue)
{
	size_t next = queue->avail_idx % c->num * BUF_SIZE;

	return queue->bufs + next / PART_ROOM * PART_ROOM;
}

static int flip(struct client *c, unsigned int n)
{
	struct queue *queue = &c->queue[n % NR_QUEUES];
	void *part = queue->part[n / NR_QUEUES % NR_PARTS];
	void *bufs = next_bufs(c, queue);

	switch (n / (NR_QUEUES * NR_PARTS) % 3) {
	case 0:
		return client_settle(c) || remap(part) || remap(bufs) ? -1 : 0;
	case 1:
		return client_settle(c) || move(part) || move(bufs) ? -1 : 0;
	default:
		return fork_and_go_on(c);
	}
}

static unsigned long bytes(struct client *c, int q)
{
	const size_t header = sizeof(struct virtio_net_hdr_mrg_rxbuf);
	unsigned long sum = 0;
	char packet[BUF_SIZE];

	for (__u32 seq = 0; seq < c->next_seq[q]; seq++)
		sum += client_make_packet(packet, seq) - header;
	return sum;
}

int main(int argc, char **argv)
{
	struct client_config config = {
		.features = 1ULL << VIRTIO_RING_F_INDIRECT_DESC |
			    1ULL << VIRTIO_NET_F_MRG_RXBUF,
	};
	struct stats stats;
	struct client c;
	unsigned long first, wanted;
	long long start, took;
	unsigned int n;
	char byte;

	if (argc != 3) {
		fprintf(stderr, "usage: %s MILLISECONDS INVALIDATIONS\n",
			argv[0]);
		return 2;
	}
	wanted = strtoul(argv[2], NULL, 0);
	packet_spread = SPREAD;
	if (client_open(&c, &config) || client_warm_up(&c))
		return 1;
	puts("ready");
	fflush(stdout);
	if (read(STDIN_FILENO, &byte, 1) != 1 ||
	    stats_read(&stats, ANY, ANY, ANY))
		return 1;
	first = stats.drops;
	start = now_ms();
	for (n = 0;; n++) {
		if (flip(&c, n) || client_round(&c, 2 * BATCH) ||
		    stats_read(&stats, ANY, ANY, ANY))
			return 1;
		took = now_ms() - start;
		if (took > GIVE_UP_MS ||
		    (took > atoi(argv[1]) && stats.drops - first >= wanted))
			break;
	}
	printf("flips=%u to=%lu from=%lu ms=%lld\n", n, bytes(&c, RX),
	       bytes(&c, TX), took);
	client_close(&c);
	return 0;
}
