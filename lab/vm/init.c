// SPDX-License-Identifier: GPL-2.0
/*
 * PID 1 of the lab's virtual machines: mounts, loads /etc/modules, runs
 * /test.sh, says how it ended, and powers off.
 *
 * The test's stdout is the second serial port, or what lab.results=DEVICE on the
 * kernel's command line names where there is no such port: nothing else writes to
 * it. Its stderr is the kernel's console. The last line of the results is the end
 * marker: without it the machine did not end by itself.
 *
 * With lab.root=DEVICE on the kernel's command line all this happens on that
 * device's file system; what runs from the initramfs only loads the modules
 * that it takes to get there.
 *
 * Where the kernel was told to boot with one CPU (maxcpus=1), the others, but for those
 * from lab.cpus=NUMBER on, are brought up when the modules are loaded and nothing of the
 * kernel's own is patched any more: an emulator may get that wrong (lab/lib/stale.awk).
 *
 * With lab.shell=DEVICE there is a shell on that terminal in place of /test.sh.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define RESULTS "/dev/ttyS1"
#define ROOT_WAIT_MS 20000

static const struct {
	const char *type, *dir, *options;
	int required;
} mounts[] = {
	{ "proc", "/proc", NULL, 1 },
	{ "sysfs", "/sys", NULL, 1 },
	{ "devtmpfs", "/dev", NULL, 1 },
	{ "devpts", "/dev/pts", NULL, 0 },
	{ "tmpfs", "/dev/shm", NULL, 0 },
	{ "tmpfs", "/tmp", NULL, 0 },
	{ "tmpfs", "/run", NULL, 0 },
	{ "debugfs", "/sys/kernel/debug", NULL, 0 },
	{ "tracefs", "/sys/kernel/tracing", NULL, 0 },
	{ "cgroup2", "/sys/fs/cgroup", NULL, 0 },
	{ "hugetlbfs", "/dev/hugepages", NULL, 0 },
	{ 0 }
};

/* Without PID 1 the kernel panics: whoever waits outside sees it at once. */
static void die(const char *what)
{
	fprintf(stderr, "init: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void mount_all(void)
{
	for (int i = 0; mounts[i].type; i++) {
		mkdir(mounts[i].dir, 0755);
		if (mount(mounts[i].type, mounts[i].dir, mounts[i].type, 0,
			  mounts[i].options) && mounts[i].required)
			die(mounts[i].dir);
	}
}

static int wait_for(pid_t pid)
{
	int status;
	pid_t gone;

	do {
		gone = wait(&status);
		if (gone < 0 && errno != EINTR)
			die("wait");
	} while (gone != pid);
	if (WIFSIGNALED(status))
		return 128 + WTERMSIG(status);
	return WEXITSTATUS(status);
}

static int load(const char *module)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid) {
		execl("/bin/sh", "sh", "-c", "exec modprobe $0", module, NULL);
		die("/bin/sh");
	}
	return wait_for(pid);
}

/* One module in a line, with its parameters. */
static int load_modules(void)
{
	FILE *list = fopen("/etc/modules", "r");
	int failed = 0;
	char line[256];

	if (!list)
		return 0;
	while (fgets(line, sizeof(line), list)) {
		line[strcspn(line, "\n")] = 0;
		if (load(line)) {
			fprintf(stderr, "init: cannot load %s\n", line);
			failed = 1;
		}
	}
	fclose(list);
	return failed;
}

static int write_to(const char *path, const char *what)
{
	int fd = open(path, O_WRONLY);
	int ok;

	if (fd < 0)
		return 0;
	ok = write(fd, what, strlen(what)) > 0;
	close(fd);
	return ok;
}

/* The value of a parameter on the kernel's command line, or NULL. */
static char *parameter(const char *name)
{
	static char line[4096];
	FILE *cmdline = fopen("/proc/cmdline", "r");
	char *word;

	if (!cmdline || !fgets(line, sizeof(line), cmdline))
		die("/proc/cmdline");
	fclose(cmdline);
	for (word = strtok(line, "\n "); word; word = strtok(NULL, "\n "))
		if (!strncmp(word, name, strlen(name)))
			return word + strlen(name);
	return NULL;
}

/* The first group that has a controller of memory switches branches everywhere. */
static void bring_up_cpus(void)
{
	const char *limit = parameter("lab.cpus=");
	int nr = limit ? atoi(limit) : INT_MAX;
	char path[64];

	if (write_to("/sys/fs/cgroup/cgroup.subtree_control", "+memory"))
		mkdir("/sys/fs/cgroup/lab", 0755);
	for (int cpu = 0; cpu < nr; cpu++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d", cpu);
		if (access(path, F_OK))
			return;
		snprintf(path, sizeof(path),
			 "/sys/devices/system/cpu/cpu%d/online", cpu);
		write_to(path, "1");
	}
}

/* The disk's driver may still be probing. */
static void switch_root(const char *device)
{
	int waited = 0;

	while (access(device, F_OK) && waited < ROOT_WAIT_MS)
		waited += poll(NULL, 0, 10) + 10;
	mkdir("/newroot", 0755);
	if (mount(device, "/newroot", "ext4", MS_NOATIME, NULL))
		die(device);
	if (chdir("/newroot") || mount(".", "/", NULL, MS_MOVE, NULL) ||
	    chroot(".") || chdir("/"))
		die("cannot switch root");
	execl("/init", "init", "switched", NULL);
	die("/init");
}

static int open_results(void)
{
	const char *results = parameter("lab.results=");
	struct termios raw;
	int fd;

	if (!results)
		results = RESULTS;
	fd = open(results, O_WRONLY | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || tcgetattr(fd, &raw))
		die(results);
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSANOW, &raw))
		die(results);
	return fd;
}

/*
 * The terminal becomes the session's own: ^C reaches what the shell runs. When the
 * session's leader exits, the terminal hangs up and forgets what it has not sent yet,
 * so the leader waits for that, and the shell is another.
 */
static int run_shell(const char *terminal)
{
	int fd = open(terminal, O_RDWR), status;
	pid_t pid;

	if (fd < 0)
		die(terminal);
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		execl("/bin/sh", "-sh", NULL);
		die("/bin/sh");
	}
	status = wait_for(pid);
	/* It is in the background since the shell took the terminal. */
	signal(SIGTTOU, SIG_IGN);
	tcdrain(STDOUT_FILENO);
	return status;
}

static int run_test(int results)
{
	const char *terminal = parameter("lab.shell=");
	pid_t pid;

	if (!terminal && access("/test.sh", F_OK))
		return 0;
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		setsid();
		if (terminal)
			exit(run_shell(terminal));
		if (dup2(results, STDOUT_FILENO) < 0)
			die("dup2");
		execl("/test.sh", "/test.sh", NULL);
		die("/test.sh");
	}
	return wait_for(pid);
}

/*
 * kmemleak wants an object to be five seconds old, and unreferenced in two
 * scans; its report goes to the console, where the scan for splats finds it.
 */
static void report_leaks(void)
{
	static const char path[] = "/sys/kernel/debug/kmemleak";
	char buf[4096];
	ssize_t len;
	int fd;

	if (access(path, W_OK))
		return;
	sleep(6);
	for (int i = 0; i < 2; i++) {
		fd = open(path, O_WRONLY);
		if (fd < 0)
			return;
		len = write(fd, "scan", 4);
		close(fd);
		/* It gives up where it finds no memory. */
		if (len < 0) {
			fprintf(stderr, "BUG: kmemleak does not scan: %m\n");
			return;
		}
	}
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return;
	while ((len = read(fd, buf, sizeof(buf))) > 0)
		if (write(STDERR_FILENO, buf, len) < 0)
			break;
	close(fd);
}

static void open_console(void)
{
	int fd = open("/dev/console", O_RDWR);

	if (fd < 0)
		return;
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
	if (fd > STDERR_FILENO)
		close(fd);
}

int main(int argc, char **argv)
{
	int results, failed, status;
	char *device;

	(void)argv;
	umask(022);
	mount_all();
	open_console();
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	failed = load_modules();
	device = argc == 1 ? parameter("lab.root=") : NULL;
	if (device)
		switch_root(device);
	bring_up_cpus();

	results = open_results();
	status = run_test(results);
	report_leaks();
	if (failed && !status)
		status = 1;
	if (failed)
		dprintf(results, "# lab: failed: a module of /etc/modules\n");
	dprintf(results, "# lab: exit status %d\n", status);
	tcdrain(results);
	sync();
	reboot(RB_POWER_OFF);
	die("power off");
}
