// SPDX-License-Identifier: GPL-2.0-only
/*
 * Looks for a guest's secret (hunter/secret.h) in all of RAM, as root of the host can.
 *
 *	hunt kernel	the kernel loads, by the module tests/linux/hunter
 *	hunt devmem	this process loads, through /dev/mem
 *
 * Prints one line. A page that the machine refuses to show is counted, and survived.
 */
#include <fcntl.h>
#include <glob.h>
#include <endian.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../hunter/hunter.h"
#include "../hunter/secret.h"

#define PAGE 4096UL
#define CHUNK_PAGES 512UL

static sigjmp_buf refused;

static void on_sigbus(int signal)
{
	(void)signal;
	siglongjmp(refused, 1);
}

static int scan_kernel(int fd, struct hunter_scan *scan)
{
	return ioctl(fd, HUNTER_SCAN, scan);
}

static void scan_page(struct hunter_scan *scan, const volatile __u64 *page, __u64 pfn)
{
	static __u64 copy[PAGE / 8];
	unsigned int i, pairs;

	if (sigsetjmp(refused, 0)) {
		scan->refused++;
		return;
	}
	for (i = 0; i < PAGE / 8; i++)
		copy[i] = page[i];
	pairs = secret_count(copy);
	memset(copy, 0, sizeof(copy));
	if (pairs && !scan->pages++)
		scan->first = pfn;
	scan->pairs += pairs;
}

static int scan_devmem(int fd, struct hunter_scan *scan)
{
	__u64 *pages = mmap(NULL, scan->count * PAGE, PROT_READ, MAP_SHARED, fd, scan->pfn * PAGE);
	__u64 i;

	if (pages == MAP_FAILED)
		return -1;
	for (i = 0; i < scan->count; i++)
		scan_page(scan, pages + i * (PAGE / 8), scan->pfn + i);
	return munmap(pages, scan->count * PAGE);
}

/* Both take a range's first page and count, and add up the rest. */
static int scan_all(int (*scan)(int, struct hunter_scan *), int fd, __u64 start, __u64 size,
		    struct hunter_scan *sum)
{
	__u64 pfn, end = (start + size) / PAGE;

	for (pfn = start / PAGE; pfn < end; pfn += CHUNK_PAGES) {
		struct hunter_scan part = { .pfn = pfn, .count = CHUNK_PAGES };

		if (part.count > end - pfn)
			part.count = end - pfn;
		if (scan(fd, &part))
			return -1;
		if (!sum->pages)
			sum->first = part.first;
		sum->count += part.count;
		sum->pairs += part.pairs;
		sum->pages += part.pages;
		sum->refused += part.refused;
	}
	return 0;
}

/* Each bank of RAM that the machine's device tree tells of: the kernel's own lists leave out what it may not use. */
static int scan_banks(int (*scan)(int, struct hunter_scan *), int fd, struct hunter_scan *sum)
{
	glob_t nodes;
	size_t i;

	if (glob("/sys/firmware/devicetree/base/memory@*/reg", 0, NULL, &nodes))
		return -1;
	for (i = 0; i < nodes.gl_pathc; i++) {
		FILE *file = fopen(nodes.gl_pathv[i], "r");
		__u64 bank[2];

		if (!file)
			return -1;
		while (fread(bank, sizeof(bank), 1, file) == 1)
			if (scan_all(scan, fd, be64toh(bank[0]), be64toh(bank[1]), sum))
				return -1;
		fclose(file);
	}
	globfree(&nodes);
	return 0;
}

int main(int argc, char **argv)
{
	int by_kernel = argc == 2 && !strcmp(argv[1], "kernel");
	struct sigaction action = { .sa_handler = on_sigbus, .sa_flags = SA_NODEFER };
	struct hunter_scan sum = {};
	int fd;

	if (!by_kernel && (argc != 2 || strcmp(argv[1], "devmem"))) {
		fprintf(stderr, "usage: hunt kernel|devmem\n");
		return 2;
	}
	fd = open(by_kernel ? "/dev/hunter" : "/dev/mem", O_RDONLY);
	if (fd < 0 || sigaction(SIGBUS, &action, NULL) ||
	    scan_banks(by_kernel ? scan_kernel : scan_devmem, fd, &sum)) {
		perror("hunt");
		return 1;
	}
	printf("hunt: %s: pages=%llu refused=%llu with-secret=%llu pairs=%llu first=%#llx\n",
	       argv[1], sum.count, sum.refused, sum.pages, sum.pairs, sum.first);
	return 0;
}
