// SPDX-License-Identifier: GPL-2.0-only
/*
 * events check SECONDS | memslots | pfnmap OFFSET | lazyfree | bench ROUNDS | hold
 *
 * A client of KVM's gfn_to_pfn_caches that needs no guest: Xen event channels
 * and runstate areas are written on behalf of ioctls, and what has arrived is
 * looked at through user addresses.
 *
 *   check     threads send events, from ioctls and from timer interrupts, and
 *             change runstates that straddle two pages, while another thread
 *             forks. "range START:LENGTH" says what to disturb from outside.
 *             No event and no runstate may be lost
 *   memslots  the page moves to other memory with its memslot, loses its memslot,
 *             and the cache is sent where there is none
 *   pfnmap    the same page, once, in memory that has no struct page: OFFSET in
 *             /dev/mem, and then the page behind it
 *   lazyfree  KVM writes to a page that the process has given to MADV_FREE:
 *             reclaim must not drop it
 *   bench     how long the ioctls take, for a clock that counts instructions
 *   hold      nothing: while it is there, KVM has a guest of either kind, with
 *             interrupt controllers and without, and switches no branch for others
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE		4096ul
#define MEMORY		(2ul << 20)
#define NR_VCPUS	2
#define NR_SENDERS	3

/* Where things are in the guest's memory. */
#define SHARED_INFO	(16 * PAGE)
#define VCPU_INFO	(20 * PAGE)
/* The state, the time of entry and one of the four times are in the first page. */
#define RUNSTATE	(32 * PAGE - 24)
#define RUNSTATE_STEP	(4 * PAGE)

#define NOWHERE		(~0ull)

#define RUNSTATE_RUNNABLE	1
#define RUNSTATE_BLOCKED	2
#define RUNSTATE_OFFLINE	3

/* Xen's, of 64-bit guests. */
#define PENDING		(64 * 32)	/* offset in struct shared_info */
struct vcpu_info_head {
	__u8 upcall_pending;
	__u8 upcall_mask;
	__u64 pending_sel;
};

static int vm;
static int vcpu[NR_VCPUS];
static char *memory;
static volatile int over;
static unsigned long nr_lost, nr_failed;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int try_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	do {
		ret = ioctl(fd, request, arg);
	} while (ret < 0 && errno == EINTR);
	return ret;
}

#define must_ioctl(fd, request, arg)				\
	do {							\
		if (try_ioctl(fd, request, arg) < 0)		\
			die(#request);				\
	} while (0)

static void map_slot(int slot, __u64 gpa, void *addr, size_t size)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)addr,
	};

	must_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static int try_shared_info(__u64 gpa)
{
	struct kvm_xen_hvm_attr attr = {
		.type = KVM_XEN_ATTR_TYPE_SHARED_INFO,
		.u.shared_info.gfn = gpa == NOWHERE ? gpa : gpa / PAGE,
	};

	return try_ioctl(vm, KVM_XEN_HVM_SET_ATTR, &attr);
}

static void set_shared_info(__u64 gpa)
{
	if (try_shared_info(gpa))
		die("KVM_XEN_ATTR_TYPE_SHARED_INFO");
}

static void set_vcpu_gpa(int i, int type, __u64 gpa)
{
	struct kvm_xen_vcpu_attr attr = { .type = type, .u.gpa = gpa };

	must_ioctl(vcpu[i], KVM_XEN_VCPU_SET_ATTR, &attr);
}

static __u64 runstate_at(int i)
{
	return RUNSTATE + i * RUNSTATE_STEP;
}

static void make_vm(void)
{
	struct kvm_xen_hvm_config config = {
		.flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL |
			 KVM_XEN_HVM_CONFIG_EVTCHN_SEND,
		.msr = 0x40000000,
	};
	struct kvm_xen_hvm_attr mode = {
		.type = KVM_XEN_ATTR_TYPE_LONG_MODE,
		.u.long_mode = 1,
	};
	int i, kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	char *area;

	if (kvm < 0)
		die("/dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		die("KVM_CREATE_VM");
	if (ioctl(vm, KVM_CREATE_IRQCHIP, 0))
		die("KVM_CREATE_IRQCHIP");
	/* Huge pages are to be collapsed: align. */
	area = mmap(NULL, 2 * MEMORY, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		die("mmap");
	memory = (char *)(((uintptr_t)area + MEMORY - 1) & -MEMORY);
	memset(memory, 0, MEMORY);
	map_slot(0, 0, memory, MEMORY);
	must_ioctl(vm, KVM_XEN_HVM_CONFIG, &config);
	must_ioctl(vm, KVM_XEN_HVM_SET_ATTR, &mode);
	set_shared_info(SHARED_INFO);
	for (i = 0; i < NR_VCPUS; i++) {
		vcpu[i] = ioctl(vm, KVM_CREATE_VCPU, i);
		if (vcpu[i] < 0)
			die("KVM_CREATE_VCPU");
		set_vcpu_gpa(i, KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO,
			     VCPU_INFO + i * PAGE);
		set_vcpu_gpa(i, KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR,
			     runstate_at(i));
	}
}

static __u64 *pending_word(char *shared_info, int port)
{
	return (__u64 *)(shared_info + PENDING) + port / 64;
}

static int send_event(int port, int target)
{
	struct kvm_irq_routing_xen_evtchn event = {
		.port = port,
		.vcpu = target,
		.priority = KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL,
	};

	return try_ioctl(vm, KVM_XEN_HVM_EVTCHN_SEND, &event);
}

/* Has it arrived? It is taken. */
static int take_event(char *shared_info, int port)
{
	__u64 bit = 1ull << (port & 63);

	return !!(__atomic_fetch_and(pending_word(shared_info, port), ~bit,
				     __ATOMIC_SEQ_CST) & bit);
}

static void take_upcall(int i)
{
	struct vcpu_info_head *info = (void *)(memory + VCPU_INFO + i * PAGE);

	__atomic_store_n(&info->upcall_pending, 0, __ATOMIC_SEQ_CST);
	__atomic_exchange_n(&info->pending_sel, 0, __ATOMIC_SEQ_CST);
}

static void count(unsigned long *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

static void *sender(void *arg)
{
	uintptr_t i = (uintptr_t)arg, sent = 0;
	int port = 64 * i + 7;

	while (!over) {
		/* What is invalidated comes back, as if the vCPU ran. */
		if (!(sent & 63))
			set_vcpu_gpa(i % NR_VCPUS, KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO,
				     VCPU_INFO + i % NR_VCPUS * PAGE);
		if (send_event(port, i % NR_VCPUS))
			count(&nr_failed);
		else if (!take_event(memory + SHARED_INFO, port))
			count(&nr_lost);
		take_upcall(i % NR_VCPUS);
		sent++;
	}
	return (void *)sent;
}

/* Delivered by a timer's interrupt, or else when the timer is asked for. */
static void *timer(void *arg)
{
	uintptr_t fired = 0;
	int port = 64 * NR_SENDERS + 9;
	struct kvm_xen_vcpu_attr attr;
	struct kvm_clock_data clock;

	(void)arg;
	while (!over) {
		must_ioctl(vm, KVM_GET_CLOCK, &clock);
		memset(&attr, 0, sizeof(attr));
		attr.type = KVM_XEN_VCPU_ATTR_TYPE_TIMER;
		attr.u.timer.port = port;
		attr.u.timer.priority = KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL;
		attr.u.timer.expires_ns = clock.clock + 200000;
		must_ioctl(vcpu[0], KVM_XEN_VCPU_SET_ATTR, &attr);
		do {
			usleep(500);
			memset(&attr, 0, sizeof(attr));
			attr.type = KVM_XEN_VCPU_ATTR_TYPE_TIMER;
			must_ioctl(vcpu[0], KVM_XEN_VCPU_GET_ATTR, &attr);
		} while (attr.u.timer.expires_ns);
		if (!take_event(memory + SHARED_INFO, port))
			count(&nr_lost);
		fired++;
	}
	return (void *)fired;
}

/*
 * The four times add up to the time of entry, whichever page they are in. Who
 * is preempted in the ioctl is runnable after it.
 */
static int runstate_is(int i, __u32 state)
{
	char *at = memory + runstate_at(i);
	__u64 times[5], sum = 0;
	__u32 is;
	int j;

	memcpy(&is, at, sizeof(is));
	memcpy(times, at + 8, sizeof(times));
	for (j = 1; j < 5; j++)
		sum += times[j];
	return (is == state || is == RUNSTATE_RUNNABLE) && sum == times[0];
}

static int set_runstate(int i, __u32 state)
{
	struct kvm_xen_vcpu_attr attr = {
		.type = KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_CURRENT,
		.u.runstate.state = state,
	};

	return try_ioctl(vcpu[i], KVM_XEN_VCPU_SET_ATTR, &attr);
}

static void *changer(void *arg)
{
	uintptr_t i = (uintptr_t)arg, changes = 0;

	while (!over) {
		__u32 state = changes & 1 ? RUNSTATE_BLOCKED : RUNSTATE_OFFLINE;

		if (set_runstate(i, state))
			count(&nr_failed);
		else if (!runstate_is(i, state))
			count(&nr_lost);
		changes++;
	}
	return (void *)changes;
}

/* The pages that are written next are copies. */
static void *forker(void *arg)
{
	uintptr_t forks = 0;

	(void)arg;
	while (!over) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		if (pid < 0)
			die("fork");
		waitpid(pid, NULL, 0);
		forks++;
		usleep(20000);
	}
	return (void *)forks;
}

static int check(int seconds)
{
	static const struct {
		const char *name;
		void *(*run)(void *arg);
		int n;
	} kinds[] = {
		{ "sent", sender, NR_SENDERS },
		{ "timers", timer, 1 },
		{ "runstates", changer, NR_VCPUS },
		{ "forks", forker, 1 },
	};
	pthread_t thread[4][NR_SENDERS];
	unsigned long sum;
	void *ret;
	size_t k;
	long i;

	make_vm();
	printf("range %p:%lu\n", (void *)memory, 40 * PAGE);
	fflush(stdout);
	for (k = 0; k < 4; k++)
		for (i = 0; i < kinds[k].n; i++)
			if (pthread_create(&thread[k][i], NULL, kinds[k].run,
					   (void *)i))
				die("pthread_create");
	sleep(seconds);
	over = 1;
	printf("counts");
	for (k = 0; k < 4; k++) {
		for (sum = 0, i = 0; i < kinds[k].n; i++) {
			pthread_join(thread[k][i], &ret);
			sum += (uintptr_t)ret;
		}
		printf(" %s=%lu", kinds[k].name, sum);
	}
	printf(" failed=%lu lost=%lu\n", nr_failed, nr_lost);
	return nr_failed || nr_lost;
}

/* Nowhere but to @page is an event to go; nowhere at all if that is NULL. */
static void expect_event(char *page, char *other)
{
	int port = 7, ret = send_event(port, 0);

	if (!ret != !!page)
		count(&nr_failed);
	if (page && !take_event(page, port))
		count(&nr_lost);
	if (take_event(other, port))
		count(&nr_lost);
}

static int memslots(void)
{
	__u64 gpa = 1ull << 30;
	char *a, *b;
	int i;

	make_vm();
	a = memory + 64 * PAGE;
	b = memory + 65 * PAGE;
	map_slot(1, gpa, a, PAGE);
	set_shared_info(gpa);
	for (i = 0; i < 100; i++) {
		expect_event(a, b);
		map_slot(1, gpa, a, 0);
		expect_event(NULL, a);
		map_slot(1, gpa, b, PAGE);
		expect_event(b, a);
		/* There is nothing at twice the address. */
		if (!try_shared_info(2 * gpa))
			count(&nr_failed);
		expect_event(NULL, b);
		set_shared_info(gpa);
		map_slot(1, gpa, b, 0);
		map_slot(1, gpa, a, PAGE);
	}
	printf("counts rounds=%d failed=%lu lost=%lu\n", i, nr_failed, nr_lost);
	return nr_failed || nr_lost;
}

/* KVM reaches a page of no struct page, and follows when another takes over. */
static int pfnmap(__u64 offset)
{
	__u64 gpa = 1ull << 30;
	int port = 7, fd = open("/dev/mem", O_RDWR | O_SYNC);
	char *page;
	int i;

	if (fd < 0)
		die("/dev/mem");
	make_vm();
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
	if (page == MAP_FAILED)
		die("mmap of /dev/mem");
	memset(page, 0, PAGE);
	map_slot(1, gpa, page, PAGE);
	set_shared_info(gpa);
	for (i = 0; i < 2; i++) {
		if (send_event(port, 0))
			count(&nr_failed);
		else if (!take_event(page, port))
			count(&nr_lost);
		if (!i && mmap(page, PAGE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED, fd, offset + PAGE) != page)
			die("mmap over it");
		memset(page, 0, PAGE);
	}
	/* And back to a page that has one. */
	set_shared_info(SHARED_INFO);
	if (send_event(port, 0))
		count(&nr_failed);
	else if (!take_event(memory + SHARED_INFO, port))
		count(&nr_lost);
	printf("counts failed=%lu lost=%lu\n", nr_failed, nr_lost);
	return nr_failed || nr_lost;
}

static int lazyfree(void)
{
	char *page;
	int i;

	make_vm();
	page = memory + SHARED_INFO;
	for (i = 0; i < 50; i++) {
		/* Dirty, and cached by KVM. */
		memset(page, 0, PAGE);
		if (send_event(7, 0) || !take_event(page, 7))
			die("the first event");
		if (madvise(page, PAGE, MADV_FREE))
			die("MADV_FREE");
		if (send_event(7, 0))
			count(&nr_failed);
		if (madvise(page, PAGE, MADV_PAGEOUT))
			die("MADV_PAGEOUT");
		if (!take_event(page, 7))
			count(&nr_lost);
	}
	printf("counts tries=%d failed=%lu lost=%lu\n", i, nr_failed, nr_lost);
	return nr_failed || nr_lost;
}

static __u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void refused(int i)
{
	(void)i;
	send_event(0, 0);
}

static void already_pending(int i)
{
	(void)i;
	send_event(7, 0);
}

static void two_caches(int i)
{
	(void)i;
	*pending_word(memory + SHARED_INFO, 7) = 0;
	take_upcall(0);
	send_event(7, 0);
}

static void nested_caches(int i)
{
	set_runstate(0, i & 1 ? RUNSTATE_BLOCKED : RUNSTATE_OFFLINE);
}

static void activated(int i)
{
	(void)i;
	set_shared_info(NOWHERE);
	set_shared_info(SHARED_INFO);
}

static void invalidated(int i)
{
	int prot = PROT_READ | PROT_WRITE | (i & 1 ? 0 : PROT_EXEC);

	if (mprotect(memory + SHARED_INFO, PAGE, prot))
		die("mprotect");
	send_event(7, 0);
}

/* The same, where KVM caches nothing. */
static void elsewhere(int i)
{
	int prot = PROT_READ | PROT_WRITE | (i & 1 ? 0 : PROT_EXEC);

	if (mprotect(memory + 200 * PAGE, PAGE, prot))
		die("mprotect");
	send_event(7, 0);
}

static int bench(int rounds)
{
	static const struct {
		const char *name;
		void (*run)(int i);
	} kinds[] = {
		{ "ioctl, no cache", refused },
		{ "event, one cache", already_pending },
		{ "event, two caches in turn", two_caches },
		{ "runstate, two caches nested", nested_caches },
		{ "cache put out of use, and in use", activated },
		{ "its page invalidated, event", invalidated },
		{ "another page invalidated, event", elsewhere },
	};
	double *taken = calloc(rounds, sizeof(*taken));
	size_t k;
	int i, r;

	if (!taken)
		die("calloc");
	make_vm();
	for (k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
		for (r = 0; r < rounds; r++) {
			__u64 begun = now_ns();

			for (i = 0; i < 1000; i++)
				kinds[k].run(i);
			taken[r] = (now_ns() - begun) / 1000.0;
		}
		qsort(taken, rounds, sizeof(*taken), compare);
		printf("%s\t%.1f\t%.1f\t%.1f\n", kinds[k].name,
		       taken[rounds / 2], taken[rounds / 4],
		       taken[rounds * 3 / 4]);
	}
	return 0;
}

static int hold(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int other = ioctl(kvm, KVM_CREATE_VM, 0);

	make_vm();
	if (other < 0 || ioctl(other, KVM_CREATE_VCPU, 0) < 0)
		die("a VM without interrupt controllers");
	printf("held\n");
	fflush(stdout);
	pause();
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "check"))
		return check(atoi(argv[2]));
	if (argc == 2 && !strcmp(argv[1], "memslots"))
		return memslots();
	if (argc == 3 && !strcmp(argv[1], "pfnmap"))
		return pfnmap(strtoull(argv[2], NULL, 0));
	if (argc == 2 && !strcmp(argv[1], "lazyfree"))
		return lazyfree();
	if (argc == 3 && !strcmp(argv[1], "bench"))
		return bench(atoi(argv[2]));
	if (argc == 2 && !strcmp(argv[1], "hold"))
		return hold();
	fprintf(stderr, "usage: events check SECONDS | memslots | pfnmap OFFSET | lazyfree |\n"
		"       events bench ROUNDS | hold\n");
	return 2;
}
