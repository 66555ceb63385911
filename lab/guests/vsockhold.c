// SPDX-License-Identifier: GPL-2.0-only
/*
 * vsockhold PORT
 * vsockhold PORT CID
 *
 * Hold one end of a vsock connection and say how it ends. With a CID connect to
 * it, without one accept, one connection after the other. A byte goes there and
 * back, "held" says that it did; then nothing is sent any more. When the
 * connection ends: "reset" if the socket has ECONNRESET, else "not reset", and
 * what poll, the socket, a read and a write had to say.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

static int fail(const char *what)
{
	perror(what);
	return -1;
}

/* There and back, seen from the end that connected, or from the other. */
static int echo(int fd, int connected)
{
	char byte = 'e';

	if (connected && write(fd, &byte, 1) != 1)
		return fail("write");
	if (read(fd, &byte, 1) != 1)
		return fail("read");
	if (!connected && write(fd, &byte, 1) != 1)
		return fail("write");
	return 0;
}

static const char *outcome(ssize_t ret)
{
	return ret < 0 ? strerrorname_np(errno) : ret ? "data" : "end";
}

static int hold(int fd, int connected)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN | POLLRDHUP };
	socklen_t size = sizeof(int);
	int error = 0;
	char byte;

	if (echo(fd, connected))
		return -1;
	puts("held");
	if (poll(&pollfd, 1, -1) != 1)
		return fail("poll");
	/* Reading it takes it away: before anything else does. */
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size))
		return fail("getsockopt");
	printf("%s: events %#x, error %s,", error == ECONNRESET ?
	       "reset" : "not reset", pollfd.revents,
	       error ? strerrorname_np(error) : "none");
	printf(" read %s,", outcome(recv(fd, &byte, 1, MSG_DONTWAIT)));
	printf(" write %s\n", outcome(send(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL)));
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_vm addr = { .svm_family = AF_VSOCK };
	int fd, connection;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: %s PORT [CID]\n", argv[0]);
		return 2;
	}
	setlinebuf(stdout);
	addr.svm_port = strtoul(argv[1], NULL, 0);
	addr.svm_cid = argc == 3 ? strtoul(argv[2], NULL, 0) : VMADDR_CID_ANY;
	fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (fd < 0)
		return fail("socket");
	if (argc == 3) {
		if (connect(fd, (void *)&addr, sizeof(addr)))
			return fail("connect");
		return hold(fd, 1) ? 1 : 0;
	}
	if (bind(fd, (void *)&addr, sizeof(addr)) || listen(fd, 1))
		return fail("listen");
	for (;;) {
		connection = accept(fd, NULL, NULL);
		if (connection < 0)
			return fail("accept");
		hold(connection, 0);
		close(connection);
	}
}
