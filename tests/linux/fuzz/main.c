// SPDX-License-Identifier: GPL-2.0-only
/*
 * Makes random calls of the driver's, in rounds: each in a process of its own, with up to three threads, of which some are
 * killed, some may lock little memory, some may open few files. After each round Corevisor has no VM, and no page of one.
 *
 *	fuzz CALLS SEED IMAGE SIGNATURE [CGROUP]
 *
 * The image is what VMs run. Rounds in a memory cgroup may have a few mebibytes. A round with one thread is a function of its number and
 * the seed, but for signals.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "fuzz.h"

#define CALLS_OF_ROUND 60
#define MANY 300
#define THREADS 3
#define WINDOW_TABLES 32
/* Counters, by docs/abi.md. */
enum { STAT_VMS = 17, STAT_VM_PAGES, STAT_VM_TABLE_PAGES, STAT_COUNT = 64 };

struct counts *counts;
static const char *cgroup;

static const char *const kind_names[] = {
#define KIND_STRING(name) #name,
	KINDS(KIND_STRING)
};

/* What takes no time, many times. */
static void many_calls(struct thread *t)
{
	unsigned int i;

	for (i = below(t, MANY); i > 0; i--) {
		if (one_in(t, 2))
			vcpu_state_call(t);
		else
			device_state_call(t);
	}
}

static void some_call(struct thread *t)
{
	switch (below(t, 32)) {
	case 0:
		make_guest(t);
		return;
	case 1:
	case 2:
		many_calls(t);
		return;
	}
	switch (below(t, 16)) {
	case 0:
	case 1:
	case 2:
	case 3:
		vm_calls(t);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		device_calls(t);
		break;
	case 8:
	case 9:
	case 10:
	case 11:
		memory_calls(t);
		break;
	default:
		vcpu_calls(t);
	}
}

static unsigned int threads_left;

static void *make_calls(void *argument)
{
	struct thread *t = argument;
	unsigned int i;

	make_guest(t);
	for (i = 0; i < CALLS_OF_ROUND; i++)
		some_call(t);
	__atomic_sub_fetch(&threads_left, 1, __ATOMIC_RELAXED);
	/* Whose signals it gets must be there. */
	while (__atomic_load_n(&threads_left, __ATOMIC_RELAXED))
		usleep(1000);
	return NULL;
}

static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2] = {};

	if (syscall(SYS_capset, &header, none))
		_exit(2);
}

static void write_file(const char *folder, const char *name, uint64_t value)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "w");
	if (!file || fprintf(file, "%lu", value) < 0 || fclose(file)) {
		perror(path);
		_exit(2);
	}
}

static void limit(struct thread *t)
{
	struct rlimit locked = { 64 << 10 << below(t, 9), 1 << 30 }, files = { 20 + below(t, 40), 1 << 10 };

	if (cgroup) {
		write_file(cgroup, "memory.max", PAGE * (128 + below(t, 1024)));
		write_file(cgroup, "cgroup.procs", getpid());
	}
	if (one_in(t, 4)) {
		setrlimit(RLIMIT_MEMLOCK, &locked);
		drop_capabilities();
	}
	if (one_in(t, 8))
		setrlimit(RLIMIT_NOFILE, &files);
}

static void round_of_calls(uint64_t seed)
{
	static struct thread threads[THREADS];
	struct thread own = { .random = seed };
	pthread_t ids[THREADS] = {};
	unsigned int i;

	for (i = 0; i < THREADS; i++)
		threads[i].random = seed + i + 1;
	make_world(&own);
	limit(&own);
	threads_left = 1 + below(&own, THREADS);
	for (i = threads_left; i--;)
		if (pthread_create(&ids[i], NULL, make_calls, &threads[i]))
			_exit(2);
	/* What waits is woken, and what runs is disturbed. */
	while (__atomic_load_n(&threads_left, __ATOMIC_RELAXED)) {
		usleep(100 + below(&own, 800));
		pthread_kill(ids[0], SIGALRM);
		for (i = 1; i < THREADS && ids[i]; i++)
			pthread_kill(ids[i], SIGALRM);
	}
	_exit(0);
}

static uint64_t stats(unsigned int id)
{
	static struct {
		struct corevisor_stats head;
		uint64_t values[STAT_COUNT];
	} stats;
	static int kvm = -1;

	if (kvm < 0)
		kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	stats.head.count = STAT_COUNT;
	if (ioctl(kvm, COREVISOR_GET_STATS, &stats)) {
		perror("fuzz: statistics");
		exit(2);
	}
	return stats.values[id];
}

/*
 * Whether nothing is left of a round's VMs, or soon will be: children of it may not have ended yet. Tables of Corevisor's
 * window on images stay: as many as the largest images need, and no more with time.
 */
static bool all_gone(uint64_t tables)
{
	int tries;

	for (tries = 0; tries < 1000; tries++) {
		if (!stats(STAT_VMS) && !stats(STAT_VM_PAGES) && stats(STAT_VM_TABLE_PAGES) <= tables + WINDOW_TABLES)
			return true;
		usleep(10000);
	}
	return false;
}

/* Waits for a round's end, which comes at a random moment for some, and for none later than this many milliseconds. */
static int wait_for(pid_t child, struct thread *t)
{
	int status, left = one_in(t, 4) ? below(t, 100) : 2000;
	bool signals = one_in(t, 4);

	while (!waitpid(child, &status, WNOHANG)) {
		if (signals)
			kill(child, one_in(t, 8) ? SIGSTOP : SIGUSR1);
		usleep(1000);
		if (signals)
			kill(child, SIGCONT);
		if (--left < 0)
			kill(child, SIGKILL);
	}
	return status;
}

static void report(uint64_t seed, uint64_t rounds)
{
	static const char *const kinds_of_vm[] = { "shared", "protected" };
	unsigned int kind, i;

	for (kind = 0; kind < NR_KINDS; kind++) {
		printf("fuzz: %-15s ok %lu", kind_names[kind], counts->result[kind][0]);
		for (i = 1; i < MAX_ERRNO; i++)
			if (counts->result[kind][i])
				printf(", %s %lu", strerrorname_np(i) ?: "?", counts->result[kind][i]);
		printf("\n");
	}
	for (kind = 0; kind < 2; kind++) {
		printf("fuzz: exits of %s VMs:", kinds_of_vm[kind]);
		for (i = 0; i < MAX_EXITS; i++)
			if (counts->exits[kind][i])
				printf(" %u: %lu", i, counts->exits[kind][i]);
		printf("\n");
	}
	printf("fuzz: own accesses: %lu, refused %lu; strange results: %lu\n", counts->touched, counts->refused,
	       counts->strange);
	printf("fuzz: seed %lu: %lu calls in %lu rounds\n", seed, counts->calls, rounds);
}

static void read_file(const char *name, void *to, size_t size, size_t *length)
{
	FILE *file = fopen(name, "r");

	if (!file) {
		perror(name);
		exit(2);
	}
	*length = fread(to, 1, size, file);
	fclose(file);
}

int main(int argc, char **argv)
{
	uint64_t calls_wanted, seed, rounds, tables, ended[NSIG] = {};
	struct thread t = {};
	size_t length;

	if (argc != 5 && argc != 6) {
		fprintf(stderr, "usage: fuzz CALLS SEED IMAGE SIGNATURE [CGROUP]\n");
		return 2;
	}
	cgroup = argv[5];
	calls_wanted = strtoul(argv[1], NULL, 0);
	seed = strtoul(argv[2], NULL, 0);
	read_file(argv[3], world.image, sizeof(world.image), &world.image_size);
	read_file(argv[4], world.signature, sizeof(world.signature), &length);
	counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	setbuf(stdout, NULL);
	printf("fuzz: seed %lu\n", seed);
	tables = stats(STAT_VM_TABLE_PAGES);
	for (rounds = 0; counts->calls < calls_wanted; rounds++) {
		uint64_t own = seed ^ rounds * 0x2545f4914f6cdd1d;
		pid_t child = fork();
		int status;

		if (!child)
			round_of_calls(own);
		t.random = ~own;
		status = wait_for(child, &t);
		if (WIFSIGNALED(status))
			ended[WTERMSIG(status)]++;
		if (WIFEXITED(status) && WEXITSTATUS(status))
			ended[0]++;
		if (!all_gone(tables)) {
			printf("fuzz: round %lu left %lu VMs with %lu pages, tables %lu\n", rounds, stats(STAT_VMS),
			       stats(STAT_VM_PAGES), stats(STAT_VM_TABLE_PAGES) - tables);
			return 1;
		}
	}
	report(seed, rounds);
	printf("fuzz: rounds that were killed %lu, that ended by their own fault %lu\n", ended[SIGKILL],
	       ended[SIGSEGV] + ended[SIGBUS] + ended[0]);
	return counts->strange ? 1 : 0;
}
