// SPDX-License-Identifier: GPL-2.0-only
/*
 * Root of the host has a PCI device, QEMU's edu, copy memory: its registers are mapped from sysfs, and no driver is needed.
 *
 *	dma own		a page of this process with a secret in it (hunter/secret.h), to see that it would be found
 *	dma guests MOST	up to MOST pages, spread evenly, of those that are VMs' and not for the host: each is read, then each is
 *			written to
 *
 * Prints one line: how many pages there were, and how many of them the device found a secret in.
 */
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../hunter/secret.h"
#include "uapi/corevisor.h"

#define PAGE 4096UL
#define RAM_START (1UL << 30)
#define RAM_END (1UL << 36)
#define EDU_ID 0x11e81234U
#define EDU_SIZE (1UL << 20)
#define EDU_DMA_SOURCE 0x80
#define EDU_DMA_DESTINATION 0x88
#define EDU_DMA_COUNT 0x90
#define EDU_DMA_COMMAND 0x98
#define EDU_DMA_RUN 1UL
#define EDU_DMA_STORE 2UL
#define EDU_BUFFER 0x40000UL
/* Bytes that are copied at once: less than the device's buffer, whose last byte some versions can not copy. */
#define BYTES 2048UL
#define PCI_COMMAND 4
#define PCI_COMMAND_ON 6

struct sum {
	unsigned long pages, with_secret;
};

static volatile char *edu;
/* What the device copies to and from: a page that is locked, and its physical address. */
static __u64 *own;
static unsigned long own_address;

/* Switches the device on, and maps its registers. */
static int find_edu(void)
{
	size_t i, end;
	glob_t found;
	char path[256];
	int fd;

	if (glob("/sys/bus/pci/devices/*/config", 0, NULL, &found))
		return -1;
	for (i = 0; i < found.gl_pathc; i++) {
		__u16 command = PCI_COMMAND_ON;
		__u32 id = 0;

		fd = open(found.gl_pathv[i], O_RDWR);
		if (fd < 0 || pread(fd, &id, sizeof(id), 0) != sizeof(id))
			return -1;
		if (id == EDU_ID && pwrite(fd, &command, sizeof(command), PCI_COMMAND) != sizeof(command))
			return -1;
		close(fd);
		if (id != EDU_ID)
			continue;
		end = strlen(found.gl_pathv[i]) - strlen("config");
		snprintf(path, sizeof(path), "%.*sresource0", (int)end, found.gl_pathv[i]);
		fd = open(path, O_RDWR);
		if (fd < 0)
			return -1;
		edu = mmap(NULL, EDU_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		return edu == MAP_FAILED ? -1 : 0;
	}
	return -1;
}

static int make_own_page(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	__u64 entry;

	own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
	if (fd < 0 || own == MAP_FAILED)
		return -1;
	memset(own, 1, PAGE);
	if (pread(fd, &entry, sizeof(entry), (unsigned long)own / PAGE * sizeof(entry)) != sizeof(entry))
		return -1;
	close(fd);
	own_address = (entry & ((1UL << 55) - 1)) * PAGE;
	return own_address ? 0 : -1;
}

static volatile __u64 *edu_register(unsigned int offset)
{
	return (volatile __u64 *)(edu + offset);
}

static int copy(unsigned long source, unsigned long destination, unsigned long command)
{
	unsigned int patience = 100000;

	*edu_register(EDU_DMA_SOURCE) = source;
	*edu_register(EDU_DMA_DESTINATION) = destination;
	*edu_register(EDU_DMA_COUNT) = BYTES;
	__sync_synchronize();
	*edu_register(EDU_DMA_COMMAND) = command | EDU_DMA_RUN;
	while (*edu_register(EDU_DMA_COMMAND) & EDU_DMA_RUN) {
		if (!--patience)
			return -1;
		usleep(1000);
	}
	return 0;
}

static int load(unsigned long address)
{
	return copy(address, EDU_BUFFER, 0);
}

static int store(unsigned long address)
{
	return copy(EDU_BUFFER, address, EDU_DMA_STORE);
}

static void hide(__u64 word)
{
	unsigned int i;

	for (i = 0; i < BYTES / sizeof(*own); i += 2) {
		own[i] = word + i;
		own[i + 1] = secret_follows(word + i);
	}
}

static int read_page(unsigned long address, struct sum *sum)
{
	if (load(address))
		return -1;
	memset(own, 0, PAGE);
	if (store(own_address))
		return -1;
	sum->pages++;
	sum->with_secret += secret_count(own) > 0;
	return 0;
}

static int write_page(unsigned long address, struct sum *sum)
{
	(void)sum;
	return store(address);
}

/* How many pages there are that the host may not access, or, with `attack`, that for each step-th of them. */
static int each_page(int kvm, int (*attack)(unsigned long, struct sum *), unsigned long step, unsigned long *count,
		     struct sum *sum)
{
	struct corevisor_owner owner = { .pfn = RAM_START / PAGE };
	__u64 pfn;

	*count = 0;
	for (; owner.pfn < RAM_END / PAGE; owner.pfn += owner.count) {
		if (ioctl(kvm, COREVISOR_GET_OWNERS, &owner) || !owner.count)
			return -1;
		if (owner.owner < 1 || owner.owner > 15 || owner.accessible)
			continue;
		for (pfn = owner.pfn; pfn < owner.pfn + owner.count; pfn++)
			if ((*count)++ % step == 0 && attack && attack(pfn * PAGE, sum))
				return -1;
	}
	return 0;
}

static int guests(unsigned long most, struct sum *sum)
{
	int kvm = open("/dev/kvm", O_RDWR);
	unsigned long count, step;

	if (kvm < 0 || each_page(kvm, NULL, 1, &count, sum))
		return -1;
	step = count / most + 1;
	if (each_page(kvm, read_page, step, &count, sum))
		return -1;
	memset(own, 0xff, PAGE);
	if (load(own_address) || each_page(kvm, write_page, step, &count, sum))
		return -1;
	return close(kvm);
}

static int own_secret(struct sum *sum)
{
	hide(own_address);
	return read_page(own_address, sum);
}

int main(int argc, char **argv)
{
	struct sum sum = {};
	int of_guests = argc == 3 && !strcmp(argv[1], "guests");

	if (!of_guests && (argc != 2 || strcmp(argv[1], "own"))) {
		fprintf(stderr, "usage: dma own|guests MOST\n");
		return 2;
	}
	if (find_edu() || make_own_page() || (of_guests ? guests(strtoul(argv[2], NULL, 0), &sum) : own_secret(&sum))) {
		perror("dma");
		return 1;
	}
	printf("dma: %s: pages=%lu with-secret=%lu\n", argv[1], sum.pages, sum.with_secret);
	return 0;
}
