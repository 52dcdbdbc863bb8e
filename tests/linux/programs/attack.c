// SPDX-License-Identifier: GPL-2.0-only
/*
 * What root of the host can do to guests besides looking for their secrets (hunt.c).
 *
 *	attack overwrite	the kernel writes to each page that Corevisor says is a VM's
 *	attack devmem		this process does, through /dev/mem
 *	attack take		a VM whose memory the host can read is to have each of these pages
 *	attack mapping PID	this process has VMM PID load from, and store to, what it has mapped of a guest's memory
 *
 * Prints one line: how many attempts there were, and how many were refused.
 */
#include <elf.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../hunter/hunter.h"
#include "uapi/corevisor.h"

#define PAGE 4096UL
#define RAM_START (1UL << 30)
#define RAM_END (1UL << 36)

/* ldr x1, [x0]; brk #0, and str x1, [x0]; brk #0. */
static const __u64 codes[] = { 0xd4200000f9400001ULL, 0xd4200000f9000001ULL };

struct sum {
	unsigned long long attempts, refused;
};

static sigjmp_buf faulted;

static void on_sigbus(int signal)
{
	(void)signal;
	siglongjmp(faulted, 1);
}

static int by_kernel(int fd, struct hunter_scan *scan, unsigned long command)
{
	return ioctl(fd, command, scan);
}

static void store(struct hunter_scan *scan, volatile __u64 *word)
{
	if (sigsetjmp(faulted, 0))
		scan->refused++;
	else
		*word = ~0ULL;
}

static int by_devmem(int fd, struct hunter_scan *scan, unsigned long command)
{
	__u64 *pages = mmap(NULL, scan->count * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, scan->pfn * PAGE);
	__u64 i;

	(void)command;
	if (pages == MAP_FAILED)
		return -1;
	for (i = 0; i < scan->count; i++)
		store(scan, pages + i * (PAGE / 8));
	return munmap(pages, scan->count * PAGE);
}

/* Does that to each page of a VM's that the host may not access. */
static int each_page(const char *device, int (*attack)(int, struct hunter_scan *, unsigned long),
		     unsigned long command, struct sum *sum)
{
	struct corevisor_owner owner = { .pfn = RAM_START / PAGE };
	int fd = open(device, O_RDWR), kvm = open("/dev/kvm", O_RDWR);

	if (fd < 0 || kvm < 0)
		return -1;
	for (; owner.pfn < RAM_END / PAGE; owner.pfn += owner.count) {
		struct hunter_scan scan = { .pfn = owner.pfn };

		if (ioctl(kvm, COREVISOR_GET_OWNERS, &owner) || !owner.count)
			return -1;
		if (owner.owner < 1 || owner.owner > 15 || owner.accessible)
			continue;
		scan.count = owner.count;
		if (attack(fd, &scan, command))
			return -1;
		sum->attempts += owner.count;
		sum->refused += scan.refused;
	}
	close(fd);
	close(kvm);
	return 0;
}

/* Where the VMM has mapped a guest's memory: the driver gave that mapping its name. */
static int find_mapping(pid_t pid, unsigned long *start, unsigned long *end)
{
	char path[64], line[512];
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "r");
	if (!maps)
		return -1;
	while (fgets(line, sizeof(line), maps)) {
		if (strstr(line, "kvm-protected") && sscanf(line, "%lx-%lx", start, end) == 2) {
			fclose(maps);
			return 0;
		}
	}
	fclose(maps);
	return -1;
}

/* Has the stopped process run `code` with x0 = `address`; the signal that ended it. */
static int inject(pid_t pid, const struct user_regs_struct *saved, __u64 code, unsigned long address)
{
	struct user_regs_struct regs = *saved;
	struct iovec part = { &regs, sizeof(regs) };
	int status;

	regs.regs[0] = address;
	if (ptrace(PTRACE_POKETEXT, pid, regs.pc, code) || ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &part) ||
	    ptrace(PTRACE_CONT, pid, NULL, 0) || waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		return -1;
	return WSTOPSIG(status);
}

static int by_mapping(pid_t pid, struct sum *sum)
{
	struct user_regs_struct saved;
	struct iovec part = { &saved, sizeof(saved) };
	unsigned long start, end, address, i;
	int status, err = 0;
	long code;

	if (find_mapping(pid, &start, &end) || ptrace(PTRACE_SEIZE, pid, NULL, 0) ||
	    ptrace(PTRACE_INTERRUPT, pid, NULL, 0) || waitpid(pid, &status, __WALL) != pid ||
	    ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &part))
		return -1;
	code = ptrace(PTRACE_PEEKTEXT, pid, saved.pc, NULL);
	for (address = start; address < end && !err; address += 64 * PAGE) {
		for (i = 0; i < sizeof(codes) / sizeof(codes[0]) && !err; i++) {
			int signal = inject(pid, &saved, codes[i], address);

			if (signal != SIGBUS && signal != SIGTRAP)
				err = -1;
			sum->attempts++;
			sum->refused += signal == SIGBUS;
		}
	}
	/* It goes on as if nothing had been. */
	if (ptrace(PTRACE_POKETEXT, pid, saved.pc, code) || ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &part) ||
	    ptrace(PTRACE_DETACH, pid, NULL, 0))
		return -1;
	return err;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_sigbus, .sa_flags = SA_NODEFER };
	const char *way = argc > 1 ? argv[1] : "";
	struct sum sum = {};
	int err;

	if (sigaction(SIGBUS, &action, NULL))
		return 1;
	if (argc == 2 && !strcmp(way, "overwrite")) {
		err = each_page("/dev/hunter", by_kernel, HUNTER_OVERWRITE, &sum);
	} else if (argc == 2 && !strcmp(way, "devmem")) {
		err = each_page("/dev/mem", by_devmem, 0, &sum);
	} else if (argc == 2 && !strcmp(way, "take")) {
		err = each_page("/dev/hunter", by_kernel, HUNTER_TAKE, &sum);
	} else if (argc == 3 && !strcmp(way, "mapping")) {
		err = by_mapping(atoi(argv[2]), &sum);
	} else {
		fprintf(stderr, "usage: attack overwrite|devmem|take|mapping PID\n");
		return 2;
	}
	if (err) {
		perror("attack");
		return 1;
	}
	printf("attack: %s: attempts=%llu refused=%llu\n", way, sum.attempts, sum.refused);
	return 0;
}
