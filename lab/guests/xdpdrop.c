// SPDX-License-Identifier: GPL-2.0-only
/*
 * xdpdrop INTERFACE
 *
 * Drop whatever comes in through the interface, by XDP, for as long as this
 * runs. "ready" says that it has begun.
 */
#include <linux/bpf.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

static int bpf(enum bpf_cmd cmd, union bpf_attr *attr)
{
	return syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

static __u64 to_u64(const void *ptr)
{
	return (unsigned long)ptr;
}

int main(int argc, char **argv)
{
	const struct bpf_insn drop[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0,
		  .imm = XDP_DROP },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr;
	int prog;

	if (argc != 2) {
		fprintf(stderr, "usage: %s INTERFACE\n", argv[0]);
		return 2;
	}
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.expected_attach_type = BPF_XDP;
	attr.insns = to_u64(drop);
	attr.insn_cnt = ARRAY_SIZE(drop);
	attr.license = to_u64("GPL");
	prog = bpf(BPF_PROG_LOAD, &attr);
	if (prog < 0) {
		perror("BPF_PROG_LOAD");
		return 1;
	}
	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = prog;
	attr.link_create.target_ifindex = if_nametoindex(argv[1]);
	attr.link_create.attach_type = BPF_XDP;
	/* The link goes, and the program with it, when its descriptor does. */
	if (bpf(BPF_LINK_CREATE, &attr) < 0) {
		perror("BPF_LINK_CREATE");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}
