// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs the guest of tests/linux/cost, and prints what it measured: "cost ROW: NANOSECONDS" for each operation, in the best of
 * the batches: the others have a part of the host's own work in them, on this CPU, or on another where QEMU counts the instructions
 * of all. All of a VMM's part is here, and it is as small as it can be.
 *
 *	cost shared IMAGE
 *	cost protected IMAGE SIGNATURE
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cost/cost.h"
#include "uapi/corevisor.h"

#define VCPUS 2
#define MAX_BATCHES 64
#define CORE(name) (KVM_REG_ARM64 | KVM_REG_ARM_CORE | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE_REG(name))

#define CHECK(condition)                                                                     \
	do {                                                                                 \
		if (!(condition)) {                                                          \
			printf("cost: line %d: %s (errno %d)\n", __LINE__, #condition, errno); \
			exit(1);                                                             \
		}                                                                            \
	} while (0)

static const char *const names[COST_ROWS] = {
	[COST_HYPERCALL] = "hypercall", [COST_MMIO_KERNEL] = "mmio-kernel", [COST_MMIO_USER] = "mmio-user",
	[COST_EOI] = "eoi",		[COST_TIMER] = "timer",		    [COST_IPI] = "ipi",
};

static int vcpu_fd[VCPUS];
static struct kvm_run *run[VCPUS];

/* Picoseconds, by row and batch. */
static uint64_t found[COST_ROWS][MAX_BATCHES];
static unsigned int batches[COST_ROWS];

static size_t read_file(const char *name, void *into, size_t room)
{
	FILE *file = fopen(name, "r");
	size_t size;

	CHECK(file);
	size = fread(into, 1, room, file);
	CHECK(feof(file) || !room || fgetc(file) == EOF);
	fclose(file);
	return size;
}

static void set_attr(int device, uint32_t group, uint64_t attr, uint64_t value)
{
	struct kvm_device_attr set = { .group = group, .attr = attr, .addr = (uintptr_t)&value };

	CHECK(!ioctl(device, KVM_SET_DEVICE_ATTR, &set));
}

static void make_gic(int vm)
{
	struct kvm_create_device gic = { .type = KVM_DEV_TYPE_ARM_VGIC_V3 };
	uint32_t interrupts = 64;
	struct kvm_device_attr number = { .group = KVM_DEV_ARM_VGIC_GRP_NR_IRQS, .addr = (uintptr_t)&interrupts };

	CHECK(!ioctl(vm, KVM_CREATE_DEVICE, &gic));
	set_attr(gic.fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, COST_GICD);
	set_attr(gic.fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST, COST_GICR);
	CHECK(!ioctl(gic.fd, KVM_SET_DEVICE_ATTR, &number));
	set_attr(gic.fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, 0);
}

static void make_vcpu(int vm, int index, int map_size)
{
	uint64_t pc = COST_RAM;
	struct kvm_one_reg reg = { CORE(regs.pc), (uintptr_t)&pc };
	struct kvm_vcpu_init init;

	vcpu_fd[index] = ioctl(vm, KVM_CREATE_VCPU, (long)index);
	CHECK(vcpu_fd[index] >= 0);
	run[index] = mmap(NULL, map_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd[index], 0);
	CHECK(run[index] != MAP_FAILED);
	CHECK(!ioctl(vm, KVM_ARM_PREFERRED_TARGET, &init));
	init.features[0] = 1 << KVM_ARM_VCPU_PSCI_0_2 | (index ? 1 << KVM_ARM_VCPU_POWER_OFF : 0);
	CHECK(!ioctl(vcpu_fd[index], KVM_ARM_VCPU_INIT, &init));
	if (!index)
		CHECK(!ioctl(vcpu_fd[index], KVM_SET_ONE_REG, &reg));
}

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	CHECK(!sched_setaffinity(0, sizeof(set), &set));
}

/* A write to the device. */
static void take(uint64_t offset, uint64_t value)
{
	static uint64_t row, count;
	uint64_t hz;

	if (offset == COST_RESULT_ROW)
		row = value;
	else if (offset == COST_RESULT_COUNT)
		count = value;
	if (offset != COST_RESULT_TICKS)
		return;
	CHECK(row < COST_ROWS && count && batches[row] < MAX_BATCHES);
	asm("mrs %0, cntfrq_el0" : "=r"(hz));
	found[row][batches[row]++] = value * (1000000000000ULL / hz) / count;
}

/* Until the VM is off. */
static void run_vcpu(int index)
{
	stay_on(index);
	for (;;) {
		struct kvm_run *r = run[index];
		uint64_t value;

		if (ioctl(vcpu_fd[index], KVM_RUN, 0)) {
			CHECK(errno == EINTR);
			continue;
		}
		if (r->exit_reason == KVM_EXIT_SYSTEM_EVENT)
			return;
		if (r->exit_reason != KVM_EXIT_MMIO)
			printf("cost: exit %u of vCPU %d\n", r->exit_reason, index);
		CHECK(r->exit_reason == KVM_EXIT_MMIO);
		memcpy(&value, r->mmio.data, sizeof(value));
		if (r->mmio.is_write)
			take(r->mmio.phys_addr - COST_DEVICE, value);
		else
			memset(r->mmio.data, 0, sizeof(r->mmio.data));
	}
}

static void *second_vcpu(void *unused)
{
	run_vcpu(1);
	return unused;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

int main(int argc, char **argv)
{
	struct kvm_userspace_memory_region memory = { .guest_phys_addr = COST_RAM, .memory_size = COST_RAM_SIZE };
	int protected = argc == 4 && !strcmp(argv[1], "protected");
	struct corevisor_image image = { .guest_addr = COST_RAM };
	pthread_t other;
	int kvm, vm, i, map_size;
	uint8_t *ram;

	setbuf(stdout, NULL);
	if (!protected && (argc != 3 || strcmp(argv[1], "shared")))
		return 2;
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	CHECK(kvm >= 0);
	vm = ioctl(kvm, KVM_CREATE_VM, protected ? COREVISOR_VM_TYPE_PROTECTED : 0UL);
	CHECK(vm >= 0);
	map_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	ram = mmap(NULL, COST_RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(ram != MAP_FAILED);
	image.size = (read_file(argv[2], ram, COST_RAM_SIZE) + 4095) & -4096UL;
	memory.userspace_addr = (uintptr_t)ram;
	CHECK(!ioctl(vm, KVM_SET_USER_MEMORY_REGION, &memory));
	for (i = 0; i < VCPUS; i++)
		make_vcpu(vm, i, map_size);
	make_gic(vm);
	if (protected) {
		CHECK(read_file(argv[3], image.signature, sizeof(image.signature)) == sizeof(image.signature));
		CHECK(!ioctl(vm, COREVISOR_ADD_IMAGE, &image));
	}
	/* An operation that leaves the VM finds its host's memory in place. */
	CHECK(!mlockall(MCL_CURRENT | MCL_FUTURE));
	CHECK(!pthread_create(&other, NULL, second_vcpu, NULL));
	run_vcpu(0);
	for (i = 0; i < COST_ROWS; i++) {
		uint64_t *all = found[i];

		CHECK(batches[i]);
		qsort(all, batches[i], sizeof(*all), compare);
		printf("cost %s: %lu.%lu, median %lu, worst %lu of %u batches\n", names[i], all[0] / 1000, all[0] / 100 % 10,
		       all[batches[i] / 2] / 1000, all[batches[i] - 1] / 1000, batches[i]);
	}
	return 0;
}
