// SPDX-License-Identifier: GPL-2.0
/*
 * Packets through vhost-net's windows, while somebody injects machine checks into
 * the loads that are made there.
 *
 * traffic ERRORS SECONDS: move packets in every way that vhost has a load for,
 * until there were as many machine checks, or so long; then say whether
 * packets were right all the time, what fell back because of a memory error, and
 * whether the windows are whole again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"

#define NR_CLIENTS 2
/* More descriptors than vhost reads in one section. */
#define CHAIN 6
/* More packets at once than vhost looks ahead. */
#define BURST 12

/* There is one CPU. */
static long machine_checks(void)
{
	FILE *file = fopen("/proc/interrupts", "r");
	char line[1024];
	long n = -1;

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file)) {
		char *at = strstr(line, "MCE:");

		if (at)
			n = strtol(at + strlen("MCE:"), NULL, 10);
	}
	fclose(file);
	return n;
}

static int move(struct client *c)
{
	return client_round(c, BURST) || client_send_chain(c, CHAIN) ||
	       client_sent(c, 1);
}

/* A device that starts looks at the used index. */
static int restart(struct client *c)
{
	return client_backend(c, false) || client_backend(c, true);
}

static int warm_up(struct client *c)
{
	for (int i = 0; i < NR_CLIENTS; i++)
		if (client_warm_up(&c[i]))
			return -1;
	return 0;
}

static int start(struct client *c)
{
	static const struct client_config config[NR_CLIENTS] = {
		{ .num = 64 },
		{ .num = 64, .features = 1ULL << VIRTIO_RING_F_EVENT_IDX },
	};

	for (int i = 0; i < NR_CLIENTS; i++)
		if (client_open(&c[i], &config[i]))
			return -1;
	return warm_up(c);
}

static long nr_poisoned(int part)
{
	return stats_number(getpid(), ANY, part, "poisoned:");
}

int main(int argc, char **argv)
{
	struct client c[NR_CLIENTS] = { 0 };
	long errors, had, turns = 0;
	long long end;
	int ret = 0;

	if (argc != 3)
		return 2;
	errors = atol(argv[1]);
	setlinebuf(stdout);
	if (start(c))
		return 1;
	end = now_ms() + atol(argv[2]) * 1000;
	puts("# ready");
	do {
		for (int i = 0; i < NR_CLIENTS && !ret; i++)
			ret = move(&c[i]) || (turns % 8 == 0 && restart(&c[i]));
		had = machine_checks();
		turns++;
	} while (!ret && had < errors && now_ms() < end);
	printf("# errors: %ld\n", had);
	printf("# packets: %s after %ld turns\n", ret ? "wrong" : "right", turns);
	printf("# poisoned: desc %ld, avail %ld, used %ld, header %ld, payload %ld\n",
	       nr_poisoned(DESC), nr_poisoned(AVAIL), nr_poisoned(USED),
	       nr_poisoned(HEADER), nr_poisoned(PAYLOAD));
	if (!ret)
		printf("# windows: %s\n", warm_up(c) ? "not whole" : "whole");
	for (int i = 0; i < NR_CLIENTS; i++)
		client_close(&c[i]);
	return ret;
}
