// SPDX-License-Identifier: GPL-2.0-only
/* What a round has, and how it makes calls. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/eventfd.h>

#include "fuzz.h"

/* One page of each kind, and one that is not there after each. */
enum { READ_ONLY, NO_ACCESS, TMPFS, PRIVATE_FILE, DEVICE, SHARED_ANON, HOSTILE_PAGES };

struct world world;

static __thread sigjmp_buf back;
static __thread volatile bool is_guarded;

/* splitmix64 */
uint64_t random_word(struct thread *t)
{
	uint64_t z = t->random += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

uint64_t odd_number(struct thread *t)
{
	switch (below(t, 6)) {
	case 0:
		return below(t, 40);
	case 1:
		return (1UL << below(t, 64)) - below(t, 3);
	case 2:
		return PICK(t, TINY_RAM, TINY_DEVICE, TINY_DIST, TINY_REDIST, 1UL << 40, 1UL << 30) + below(t, 32) * PAGE;
	case 3:
		return -below(t, 3 * PAGE);
	case 4:
		return below(t, 1UL << 32);
	default:
		return random_word(t);
	}
}

uint64_t pick_address(struct thread *t)
{
	switch (below(t, 8)) {
	case 0:
		return (uintptr_t)world.hostile + below(t, 2 * HOSTILE_PAGES) * PAGE;
	case 1:
		/* The end of a page with none behind it. */
		return (uintptr_t)world.hostile + (1 + 2 * below(t, HOSTILE_PAGES)) * PAGE - below(t, 64);
	case 2:
		return PICK(t, 0, 1, PAGE, 1UL << 47, 1UL << 48, 1UL << 52, -PAGE, 0xffff000000000000, 0xffff800080000000);
	case 3:
		return (uintptr_t)world.runs + below(t, FILES) * PAGE;
	case 4:
		return odd_number(t) & ~(PAGE - 1);
	default:
		return (uintptr_t)world.ram[below(t, FILES)] + below(t, RAM_SIZE / PAGE) * PAGE;
	}
}

struct file *pick_file(struct thread *t, enum file_kind kind)
{
	struct file *file;
	int tries = 6;

	/* Another's now and then, and usually one that is there. */
	do {
		file = &world.files[one_in(t, 64) ? below(t, FILE_KINDS) : kind][below(t, FILES)];
	} while (file->fd < 0 && tries--);
	return file;
}

struct file *put_file(struct thread *t, enum file_kind kind, int fd)
{
	struct file *file = &world.files[kind][below(t, FILES)];
	int old = __atomic_exchange_n(&file->fd, fd, __ATOMIC_RELAXED);

	if (old < 0)
		return file;
	counted(CLOSE, close(old));
	/* The mapping of its page would keep a vCPU, and all of its VM. */
	if (kind == FILE_VCPU && !one_in(t, 4))
		mmap(file->run, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	return file;
}

static void on_fault(int signal)
{
	(void)signal;
	if (!is_guarded)
		_exit(99);
	is_guarded = false;
	siglongjmp(back, 1);
}

static void on_signal(int signal)
{
	(void)signal;
}

void guarded(void (*run)(struct thread *), struct thread *t)
{
	if (sigsetjmp(back, 1)) {
		__atomic_add_fetch(&counts->refused, 1, __ATOMIC_RELAXED);
		return;
	}
	is_guarded = true;
	run(t);
	is_guarded = false;
	__atomic_add_fetch(&counts->touched, 1, __ATOMIC_RELAXED);
}

long counted(enum kind kind, long result)
{
	int error = result < 0 ? errno : 0;

	__atomic_add_fetch(&counts->calls, 1, __ATOMIC_RELAXED);
	if (error >= MAX_ERRNO)
		__atomic_add_fetch(&counts->strange, 1, __ATOMIC_RELAXED);
	else
		__atomic_add_fetch(&counts->result[kind][error], 1, __ATOMIC_RELAXED);
	return result;
}

long call_number(struct thread *t, enum kind kind, int fd, unsigned long number, unsigned long argument)
{
	if (one_in(t, 100))
		argument = odd_number(t);
	return counted(kind, ioctl(fd, number, argument));
}

long call(struct thread *t, enum kind kind, int fd, unsigned long number, void *argument)
{
	size_t size = (number >> 16 & 0x3fff) ?: 8;

	if (one_in(t, 32))
		((uint8_t *)argument)[below(t, size)] ^= 1 << below(t, 8);
	if (one_in(t, 64))
		argument = (void *)pick_address(t);
	return counted(kind, ioctl(fd, number, argument));
}

static uint8_t *map(size_t size, int protection, int flags, int fd)
{
	uint8_t *at = mmap(NULL, size, protection, flags, fd, 0);

	if (at == MAP_FAILED) {
		perror("fuzz: mmap");
		_exit(2);
	}
	return at;
}

static void map_hostile_page(unsigned int index, int protection, int flags, int fd)
{
	mmap(world.hostile + 2 * index * PAGE, PAGE, protection, flags | MAP_FIXED, fd, 0);
}

void renew_ram(unsigned int index)
{
	void *at = mmap(world.ram[index], RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	/* Blocks take long to come back. */
	if (at != MAP_FAILED)
		madvise(at, RAM_SIZE, index ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
}

static void make_memory(void)
{
	int tmpfs = memfd_create("fuzz", 0), self = open("/proc/self/exe", O_RDONLY), i;
	int device = open("/dev/mem", O_RDWR);

	/* With some more, so that blocks can be aligned. */
	for (i = 0; i < FILES; i++) {
		uint8_t *at = map(RAM_SIZE + BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

		world.ram[i] = (uint8_t *)(((uintptr_t)at + BLOCK - 1) & ~(BLOCK - 1));
		renew_ram(i);
	}
	if (ftruncate(tmpfs, PAGE))
		_exit(2);
	world.hostile = map(2 * HOSTILE_PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	world.runs = map(FILES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	map_hostile_page(READ_ONLY, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	map_hostile_page(TMPFS, PROT_READ | PROT_WRITE, MAP_SHARED, tmpfs);
	map_hostile_page(PRIVATE_FILE, PROT_READ | PROT_WRITE, MAP_PRIVATE, self);
	map_hostile_page(DEVICE, PROT_READ, MAP_SHARED, device);
	map_hostile_page(SHARED_ANON, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
	close(tmpfs);
	close(self);
	close(device);
}

static void make_files(struct thread *t)
{
	unsigned int kind, i;

	for (kind = 0; kind < FILE_KINDS; kind++)
		for (i = 0; i < FILES; i++)
			world.files[kind][i].fd = -1;
	for (i = 0; i < FILES; i++) {
		world.files[FILE_VCPU][i].run = (struct kvm_run *)(world.runs + i * PAGE);
		world.files[FILE_KVM][i].fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
		world.files[FILE_EVENT][i].fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
	world.files[FILE_OTHER][0].fd = open("/dev/null", O_RDWR);
	world.files[FILE_OTHER][1].fd = open("/proc/self/exe", O_RDONLY);
	world.files[FILE_OTHER][2].fd = open("/", O_RDONLY | O_DIRECTORY);
	world.files[FILE_OTHER][3].fd = memfd_create("fuzz", 0);
	world.files[FILE_OTHER][4].fd = 1000 + below(t, 1 << 20);
}

void make_world(struct thread *t)
{
	struct sigaction fault = { .sa_handler = on_fault }, other = { .sa_handler = on_signal };

	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGBUS, &fault, NULL);
	sigaction(SIGALRM, &other, NULL);
	sigaction(SIGUSR1, &other, NULL);
	sigaction(SIGCHLD, &other, NULL);
	make_memory();
	make_files(t);
}
