// SPDX-License-Identifier: GPL-2.0-only
/* What a process can do to the memory of its VMs, and to their files. */
#define _GNU_SOURCE
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "fuzz.h"

static uint8_t *pick_ram(struct thread *t, size_t *size)
{
	size_t offset = below(t, RAM_SIZE / PAGE) * PAGE;

	*size = one_in(t, 2) ? PAGE : below(t, (RAM_SIZE - offset < 64 * PAGE ? RAM_SIZE - offset : 64 * PAGE) + 1);
	if (one_in(t, 16)) {
		offset &= ~(BLOCK - 1);
		*size = BLOCK;
	}
	return world.ram[below(t, FILES)] + offset;
}

static void touch(struct thread *t)
{
	size_t size;
	volatile uint8_t *at = pick_ram(t, &size);

	if (one_in(t, 2))
		at[0] = 1;
	else
		(void)at[0];
}

static void mapping(struct thread *t)
{
	const int anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	size_t size;
	uint8_t *at = pick_ram(t, &size);
	struct iovec local = { t->argument, PAGE }, remote = { at, PAGE };

	switch (below(t, 10)) {
	case 0:
		counted(MAPPING, munmap(at, size));
		/* Something else may come there. */
		counted(MAPPING, mmap(at, size, PROT_READ | PROT_WRITE, anonymous, -1, 0) == MAP_FAILED ? -1 : 0);
		break;
	case 1:
		counted(MAPPING, mprotect(at, size, PICK(t, PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE)));
		break;
	case 2:
	case 3:
		counted(MAPPING, mprotect(at, size, PROT_READ | PROT_WRITE));
		break;
	case 4:
		counted(MAPPING, madvise(at, size, PICK(t, MADV_DONTNEED, MADV_FREE, MADV_COLD, MADV_PAGEOUT, MADV_HUGEPAGE,
						       MADV_NOHUGEPAGE, MADV_MERGEABLE, MADV_DONTFORK, MADV_DOFORK,
						       MADV_REMOVE, MADV_POPULATE_WRITE)));
		break;
	case 5:
		counted(MAPPING, mlock(at, size));
		break;
	case 6:
		counted(MAPPING, munlock(at, size));
		break;
	case 7:
		counted(MAPPING, mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, pick_file(t, FILE_VCPU)->fd,
				      0) == MAP_FAILED ? -1 : 0);
		break;
	case 8:
		counted(MAPPING, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
		break;
	default:
		counted(MAPPING, process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
	}
}

/* A child has the same memory, copied when written, and the same files, of which it may do nothing. */
static void fork_it(struct thread *t)
{
	pid_t child = counted(FORK, fork());

	if (child)
		return;
	guarded(touch, t);
	call_number(t, RUN, pick_file(t, FILE_VCPU)->fd, KVM_RUN, 0);
	call(t, SLOT, pick_file(t, FILE_VM)->fd, KVM_SET_USER_MEMORY_REGION, t->argument);
	_exit(0);
}

static void file_call(struct thread *t)
{
	struct file *file = pick_file(t, below(t, FILE_KINDS));
	struct pollfd poll_fd = { file->fd, POLLIN, 0 };
	struct stat status;

	switch (below(t, 6)) {
	case 0:
		counted(FILE_CALL, read(file->fd, t->argument, below(t, PAGE)));
		break;
	case 1:
		/* Not into the pipe of whoever reads what we print. */
		if (file->fd > 2 && file->fd != world.files[FILE_OTHER][1].fd)
			counted(FILE_CALL, lseek(file->fd, odd_number(t), SEEK_SET));
		break;
	case 2:
		counted(FILE_CALL, poll(&poll_fd, 1, 0));
		break;
	case 3:
		counted(FILE_CALL, fstat(file->fd, &status));
		break;
	case 4:
		counted(ANY_IOCTL, ioctl(file->fd, random_word(t), odd_number(t)));
		break;
	default:
		/* Any of KVM's, and of ours, on a file of any kind. */
		counted(ANY_IOCTL, ioctl(file->fd, _IOC(below(t, 4), one_in(t, 4) ? COREVISOR_IOC : KVMIO, below(t, 256),
							PICK(t, 0, 4, 8, 16, 24, 32, 64, 80)), pick_address(t)));
	}
}

static void close_file(struct thread *t)
{
	put_file(t, PICK(t, FILE_VM, FILE_VCPU, FILE_DEVICE), -1);
}

void memory_calls(struct thread *t)
{
	switch (below(t, 16)) {
	case 0:
	case 1:
		close_file(t);
		break;
	case 2:
		fork_it(t);
		break;
	case 3:
	case 4:
	case 5:
		file_call(t);
		break;
	case 6:
	case 7:
	case 8:
		guarded(touch, t);
		break;
	default:
		mapping(t);
	}
}
