/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random calls of the driver's, valid and hostile.
 *
 *	main.c		rounds of calls, each in a process of its own, and what must be so after each
 *	world.c		the files and the memory that a round has, random numbers, and how a call is made and counted
 *	vm.c, vcpu.c, device.c, memory.c	calls about each
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <errno.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tiny.h"
#include "uapi/corevisor.h"

#define PAGE		4096UL
#define BLOCK		(2UL << 20)
#define RAM_SIZE	(4 * BLOCK)

/* Kinds of calls, by which they are counted. */
#define KINDS(kind)										\
	kind(CREATE_VM) kind(CHECK_EXTENSION) kind(STATS) kind(OWNERS) kind(LOG)		\
	kind(SLOT) kind(CREATE_VCPU) kind(ENABLE_CAP) kind(IMAGE) kind(MEASUREMENT)		\
	kind(INIT) kind(GET_REG) kind(SET_REG) kind(REG_LIST) kind(MP_STATE) kind(EVENTS)	\
	kind(SIGNAL_MASK) kind(VCPU_ATTR) kind(RUN) kind(RUN_PAGE)				\
	kind(CREATE_DEVICE) kind(DEVICE_ATTR) kind(IRQ_LINE) kind(IRQFD) kind(EVENTFD)		\
	kind(IOEVENTFD) kind(ROUTING) kind(MSI) kind(MAPPING) kind(FORK) kind(CLOSE)		\
	kind(ANY_IOCTL) kind(FILE_CALL)

#define KIND_NAME(name) name,
enum kind { KINDS(KIND_NAME) NR_KINDS };

#define MAX_ERRNO 134
#define MAX_EXITS 64

/* What all processes count together. */
struct counts {
	uint64_t calls;
	uint64_t result[NR_KINDS][MAX_ERRNO]; /* [0]: it succeeded */
	uint64_t exits[2][MAX_EXITS]; /* of shared, and of protected VMs */
	uint64_t strange; /* numbers that no system call gives */
	uint64_t touched, refused; /* the process' own accesses of its slots */
};

extern struct counts *counts;

/* A thread that makes calls. */
struct thread {
	uint64_t random;
	uint64_t argument[512]; /* what calls get */
	uint64_t reg_value[4];
};

uint64_t random_word(struct thread *t);
static inline uint64_t below(struct thread *t, uint64_t n)
{
	return random_word(t) % n;
}

static inline bool one_in(struct thread *t, uint64_t n)
{
	return !below(t, n);
}

#define PICK(t, ...) (((const uint64_t[]){ __VA_ARGS__ })[below(t, sizeof((uint64_t[]){ __VA_ARGS__ }) / 8)])

/* Numbers at the edges of what is likely. */
uint64_t odd_number(struct thread *t);

/* A file: usually of its own kind. They come and go, by any thread. */
enum file_kind { FILE_KVM, FILE_VM, FILE_VCPU, FILE_DEVICE, FILE_EVENT, FILE_OTHER, FILE_KINDS };
#define FILES 6
struct file {
	int fd;
	bool is_protected;
	struct kvm_run *run; /* where a vCPU's is mapped, if it could be */
};

struct world {
	struct file files[FILE_KINDS][FILES];
	uint8_t *ram[FILES]; /* RAM_SIZE each, never unmapped for good */
	uint8_t *hostile; /* pages of all kinds */
	uint8_t *runs; /* FILES pages */
	uint8_t image[PAGE];
	size_t image_size;
	uint8_t signature[64];
};

extern struct world world;

void make_world(struct thread *t);
/* Fresh memory, which was nobody's. */
void renew_ram(unsigned int index);
struct file *pick_file(struct thread *t, enum file_kind kind);
/* Files something new, in place of something else, or nothing: -1. */
struct file *put_file(struct thread *t, enum file_kind kind, int fd);
/* Addresses of user space, and such as are none. */
uint64_t pick_address(struct thread *t);

/* Makes a call and counts it. `argument` may be replaced by a hostile pointer. */
long call(struct thread *t, enum kind kind, int fd, unsigned long number, void *argument);
long call_number(struct thread *t, enum kind kind, int fd, unsigned long number, unsigned long argument);
long counted(enum kind kind, long result);
/* Runs it; what it may not touch ends it. */
void guarded(void (*run)(struct thread *), struct thread *t);

void vm_calls(struct thread *t);
void vcpu_calls(struct thread *t);
void device_calls(struct thread *t);
/* Those of them that wait for nothing. */
void vcpu_state_call(struct thread *t);
void device_state_call(struct thread *t);
void memory_calls(struct thread *t);
/* A VM that could run: as far as its calls succeed. */
void make_guest(struct thread *t);
long run_vcpu(struct thread *t, struct file *vcpu);

#endif
