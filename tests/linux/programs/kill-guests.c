// SPDX-License-Identifier: GPL-2.0-only
/*
 * Starts guests, one after the other, and kills each at a random moment of its life: Corevisor then has as many pages of each
 * owner as before, and the host's kernel as much memory.
 *
 *	kill-guests COUNT SEED SECONDS COMMAND...
 *
 * The commands take turns; each is for the shell, and prints the guest's console. A guest is killed within so many seconds,
 * on a scale that makes the first milliseconds as likely as the last seconds; or a while after it has got its first page,
 * which a protected one has when its images begin to be verified; or when its user space is up.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "uapi/corevisor.h"

#define PAGE 4096
#define STAT_COUNT 64
/* docs/abi.md */
enum { STAT_VMS = 17, STAT_VM_PAGES = 18 };
#define OWNERS 256
/* A guest that does not get there in time would not have. */
#define PATIENCE 300.0
/* KiB that a kernel may have come to need in the meantime: a fraction of one guest. */
#define LOST 24576

#define USER_SPACE "user space reached"

enum moment { AT_ANY_TIME, WITH_MEMORY, IN_USER_SPACE, MOMENTS };
/* What a guest had come to when it was killed. */
enum stage { NO_VM, NO_MEMORY, MEMORY, USER, STAGES };

struct guest {
	pid_t pid;
	int console;
	char text[1 << 16];
	size_t length;
};

static int kvm;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void fail(const char *what)
{
	perror(what);
	exit(2);
}

static uint64_t stat_of(int id)
{
	static struct {
		struct corevisor_stats head;
		uint64_t values[STAT_COUNT];
	} stats;

	stats.head.count = STAT_COUNT;
	if (ioctl(kvm, COREVISOR_GET_STATS, &stats))
		fail("kill-guests: statistics");
	return stats.values[id];
}

/* Pages by owner, and in [OWNERS] those that the host may access, in all banks of the device tree. */
static void count_owners(uint64_t *pages)
{
	uint64_t bank[2], pfn, end;
	glob_t nodes;
	size_t i;

	memset(pages, 0, (OWNERS + 1) * sizeof(*pages));
	if (glob("/sys/firmware/devicetree/base/memory@*/reg", 0, NULL, &nodes))
		fail("kill-guests: memory");
	for (i = 0; i < nodes.gl_pathc; i++) {
		FILE *file = fopen(nodes.gl_pathv[i], "r");

		if (!file)
			fail(nodes.gl_pathv[i]);
		while (fread(bank, sizeof(bank), 1, file) == 1) {
			pfn = be64toh(bank[0]) / PAGE;
			end = pfn + be64toh(bank[1]) / PAGE;
			while (pfn < end) {
				struct corevisor_owner owner = { .pfn = pfn };

				if (ioctl(kvm, COREVISOR_GET_OWNERS, &owner) || !owner.count || owner.owner >= OWNERS)
					fail("kill-guests: owners");
				if (owner.count > end - pfn)
					owner.count = end - pfn;
				pages[owner.owner] += owner.count;
				pages[OWNERS] += owner.accessible ? owner.count : 0;
				pfn += owner.count;
			}
		}
		fclose(file);
	}
	globfree(&nodes);
}

/* KiB that the host's kernel has free, once it has let go of what it only keeps. */
static long free_memory(void)
{
	FILE *drop = fopen("/proc/sys/vm/drop_caches", "w"), *info = fopen("/proc/meminfo", "r");
	long total, memory;

	if (!drop || fputs("3", drop) < 0 || fclose(drop) || !info ||
	    fscanf(info, "MemTotal: %ld kB MemFree: %ld", &total, &memory) != 2)
		fail("kill-guests: free memory");
	fclose(info);
	return memory;
}

static void start(struct guest *guest, const char *command)
{
	int ends[2], nothing = open("/dev/null", O_RDONLY);

	if (nothing < 0 || pipe2(ends, O_CLOEXEC))
		fail("kill-guests: pipe");
	guest->length = 0;
	guest->console = ends[0];
	guest->pid = fork();
	if (guest->pid < 0)
		fail("kill-guests: fork");
	if (!guest->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(nothing, 0);
		dup2(ends[1], 1);
		dup2(ends[1], 2);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	close(nothing);
	close(ends[1]);
}

/* Reads what the guest says for at most so long. Whether it still runs. */
static int listen_to(struct guest *guest, double seconds)
{
	struct pollfd fd = { guest->console, POLLIN, 0 };
	ssize_t size;

	if (poll(&fd, 1, seconds < 0.001 ? 1 : (int)(seconds * 1000)) <= 0)
		return 1;
	if (guest->length >= sizeof(guest->text) - 1)
		guest->length = 0;
	size = read(guest->console, guest->text + guest->length, sizeof(guest->text) - 1 - guest->length);
	if (size <= 0)
		return 0;
	guest->length += size;
	guest->text[guest->length] = 0;
	return 1;
}

static int in_user_space(const struct guest *guest)
{
	return guest->length && strstr(guest->text, USER_SPACE);
}

/* Waits for the moment, and so long after it. Whether it came. */
static int await(struct guest *guest, enum moment moment, double after)
{
	double started = now(), until = moment == AT_ANY_TIME ? started + after : 0;

	while (now() < started + PATIENCE) {
		if (!until && (moment == WITH_MEMORY ? stat_of(STAT_VM_PAGES) > 0 : in_user_space(guest)))
			until = now() + after;
		if (until && now() >= until)
			return 1;
		if (!listen_to(guest, until ? until - now() : 0))
			return 0;
	}
	return 0;
}

static enum stage kill_it(struct guest *guest)
{
	enum stage stage = in_user_space(guest) ? USER : stat_of(STAT_VM_PAGES) ? MEMORY : stat_of(STAT_VMS) ? NO_MEMORY : NO_VM;
	int status;

	kill(guest->pid, SIGKILL);
	waitpid(guest->pid, &status, 0);
	close(guest->console);
	return stage;
}

/* From a millisecond to so many seconds, each doubling as likely as another. */
static double any_time(double most)
{
	unsigned int doublings = 0;

	while (0.001 * (1UL << doublings) < most)
		doublings++;
	return 0.001 * (1UL << lrand48() % doublings) * (1 + drand48());
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "before it was a VM", "before it had memory", "with memory", "in user space" };
	static uint64_t before[OWNERS + 1], after[OWNERS + 1];
	unsigned int i, count, killed[STAGES] = {};
	static struct guest guest;
	long memory = 0, lost;
	double most;

	if (argc < 5) {
		fprintf(stderr, "usage: kill-guests COUNT SEED SECONDS COMMAND...\n");
		return 2;
	}
	setbuf(stdout, NULL);
	count = atoi(argv[1]);
	srand48(atol(argv[2]));
	most = atof(argv[3]);
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		fail("/dev/kvm");
	count_owners(before);
	for (i = 0; i < count; i++) {
		enum moment moment = i % 8 < 5 ? AT_ANY_TIME : i % 8 < 7 ? WITH_MEMORY : IN_USER_SPACE;
		double when = moment == AT_ANY_TIME ? any_time(most) : drand48();
		unsigned int kind = (i + i / 8) % (argc - 4);

		start(&guest, argv[4 + kind]);
		if (!await(&guest, moment, when)) {
			printf("kill-guests: guest %u ended too early, or did not come up: %.400s\n", i, guest.text);
			kill_it(&guest);
			return 1;
		}
		killed[kill_it(&guest)]++;
		count_owners(after);
		if (memcmp(before, after, sizeof(before)) || stat_of(STAT_VMS)) {
			printf("kill-guests: guest %u left %lu VMs, %lu pages of VMs; the host has %lu pages, not %lu\n", i,
			       stat_of(STAT_VMS), stat_of(STAT_VM_PAGES), after[0], before[0]);
			return 1;
		}
		/* What the first ones needed is there to stay. */
		if (i == count / 4)
			memory = free_memory();
	}
	lost = memory - free_memory();
	if (lost > LOST) {
		printf("kill-guests: the host's kernel has lost %ld KiB\n", lost);
		return 1;
	}
	for (i = 0; i < STAGES; i++)
		printf("kill-guests: %u %s\n", killed[i], names[i]);
	printf("kill-guests: all %u are gone, %ld KiB are lost, seed %s\n", count, lost, argv[2]);
	return 0;
}
