// SPDX-License-Identifier: GPL-2.0-only
/*
 * Speaks the KVM API to the driver, and checks what it answers: the machine's ioctls, refusals, and tiny guests, shared ones,
 * which need no image. Each test runs in a process of its own; the exit status is that of the worst.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "uapi/corevisor.h"

#define RAM 0x80000000UL
#define RAM_SIZE (8UL << 20)
#define CORE(name) (KVM_REG_ARM64 | KVM_REG_ARM_CORE | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE_REG(name))

#define CHECK(condition)                                                                   \
	do {                                                                               \
		if (!(condition)) {                                                        \
			printf("kvm: line %d: %s (errno %d)\n", __LINE__, #condition, errno); \
			exit(1);                                                           \
		}                                                                          \
	} while (0)
#define REFUSED(call, number) CHECK((call) == -1 && errno == (number))

struct guest {
	int kvm, vm, vcpus;
	int vcpu[4];
	struct kvm_run *run[4];
	uint8_t *ram;
};

static int device(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

static void set_reg(int vcpu, uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = { id, (uintptr_t)&value };

	CHECK(!ioctl(vcpu, KVM_SET_ONE_REG, &reg));
}

static int get_reg(int vcpu, uint64_t id, uint64_t *value)
{
	struct kvm_one_reg reg = { id, (uintptr_t)value };

	return ioctl(vcpu, KVM_GET_ONE_REG, &reg);
}

static struct guest make_guest(const uint32_t *code, size_t size, int vcpus)
{
	struct guest g = { .kvm = device(), .vcpus = vcpus };
	struct kvm_userspace_memory_region region = { 0, 0, RAM, RAM_SIZE, 0 };
	int i;

	g.vm = ioctl(g.kvm, KVM_CREATE_VM, 0UL);
	CHECK(g.vm >= 0);
	g.ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(g.ram != MAP_FAILED);
	memcpy(g.ram, code, size);
	region.userspace_addr = (uintptr_t)g.ram;
	CHECK(!ioctl(g.vm, KVM_SET_USER_MEMORY_REGION, &region));
	for (i = 0; i < vcpus; i++) {
		struct kvm_vcpu_init init;

		g.vcpu[i] = ioctl(g.vm, KVM_CREATE_VCPU, (long)i);
		CHECK(g.vcpu[i] >= 0);
		g.run[i] = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, g.vcpu[i], 0);
		CHECK(g.run[i] != MAP_FAILED);
		CHECK(!ioctl(g.vm, KVM_ARM_PREFERRED_TARGET, &init));
		init.features[0] = 1 << KVM_ARM_VCPU_PSCI_0_2 | (i ? 1 << KVM_ARM_VCPU_POWER_OFF : 0);
		CHECK(!ioctl(g.vcpu[i], KVM_ARM_VCPU_INIT, &init));
		set_reg(g.vcpu[i], CORE(regs.pc), RAM);
	}
	return g;
}

/* Whatever is asked of /dev/kvm itself. */
static void machine(void)
{
	int kvm = device();

	CHECK(ioctl(kvm, KVM_GET_API_VERSION, 0) == 12);
	REFUSED(ioctl(kvm, KVM_GET_API_VERSION, 1), EINVAL);
	CHECK(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0) == 4096);
	CHECK(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) == 1);
	CHECK(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE) == 40);
	CHECK(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS) == 8);
	CHECK(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM) == 0);
	CHECK(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_ARM_SVE) == 0);
	REFUSED(ioctl(kvm, KVM_CREATE_VM, 1UL << 30), EINVAL);
	REFUSED(ioctl(kvm, KVM_CREATE_VM, 31UL), EINVAL);
	REFUSED(ioctl(kvm, KVM_CREATE_VM, 41UL), EINVAL);
	REFUSED(ioctl(kvm, KVM_RUN, 0), ENOTTY);
	CHECK(ioctl(kvm, KVM_CREATE_VM, 40UL) >= 0);
}

/* Slots that no VM can have. */
static void slots(void)
{
	struct kvm_userspace_memory_region r = { 0, 0, RAM, RAM_SIZE, 0 }, bad;
	int vm = ioctl(device(), KVM_CREATE_VM, 0UL);
	uint8_t *ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	r.userspace_addr = (uintptr_t)ram;
#define BAD(field, value, error) (bad = r, bad.field = (value), errno = 0,                  \
				  ioctl(vm, KVM_SET_USER_MEMORY_REGION, &bad) == -1 && errno == (error))
	CHECK(BAD(flags, KVM_MEM_READONLY, EINVAL));
	CHECK(BAD(flags, KVM_MEM_LOG_DIRTY_PAGES, EINVAL));
	CHECK(BAD(flags, 0x80000000, EINVAL));
	CHECK(BAD(slot, 32, EINVAL));
	CHECK(BAD(slot, 1 << 16, EINVAL));
	CHECK(BAD(guest_phys_addr, RAM + 1, EINVAL));
	CHECK(BAD(guest_phys_addr, 0, EINVAL));
	CHECK(BAD(guest_phys_addr, -4096UL, EINVAL));
	CHECK(BAD(guest_phys_addr, 1UL << 40, EFAULT));
	CHECK(BAD(memory_size, 4095, EINVAL));
	CHECK(BAD(memory_size, 0, EINVAL));
	CHECK(BAD(memory_size, -4096UL, EINVAL));
	CHECK(BAD(userspace_addr, r.userspace_addr + 1, EINVAL));
	CHECK(BAD(userspace_addr, -(uint64_t)RAM_SIZE, EINVAL));
	CHECK(!ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r));
	CHECK(!ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r));
	CHECK(BAD(memory_size, RAM_SIZE / 2, EINVAL));
	CHECK(BAD(slot, 1, EEXIST));
	r.slot = 1, r.guest_phys_addr = RAM + RAM_SIZE - 4096;
	CHECK(BAD(slot, 1, EEXIST));
	r.slot = 0, r.guest_phys_addr = RAM * 2;
	CHECK(!ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r));
	r.memory_size = 0;
	CHECK(!ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r));
	CHECK(BAD(slot, 0, EINVAL));
}

static const uint32_t mmio_code[] = {
	0xd2a12001, /* mov x1, #0x9000000 */
	0x52800842, /* mov w2, #'B' */
	0xb9000022, /* str w2, [x1] */
	0x39c00423, /* ldrsb w3, [x1, #1] */
	0xb9000423, /* str w3, [x1, #4] */
	0xd2a0c004, /* mov x4, #0x6000000 */
	0xd2a12025, /* mov x5, #0x9010000 */
	0xf90000a4, /* str x4, [x5] */
	0xf90004a2, /* str x2, [x5, #8] */
	0xd2800100, /* mov x0, #8 */
	0xf2b08000, /* movk x0, #0x8400, lsl 16: SYSTEM_OFF */
	0xd4000002, /* hvc #0 */
};

static void expect_mmio(struct guest *g, uint64_t addr, unsigned int len, int is_write, uint64_t data)
{
	uint64_t found = 0;

	CHECK(!ioctl(g->vcpu[0], KVM_RUN, 0));
	if (g->run[0]->exit_reason != KVM_EXIT_MMIO)
		printf("kvm: exit %u\n", g->run[0]->exit_reason);
	CHECK(g->run[0]->exit_reason == KVM_EXIT_MMIO);
	memcpy(&found, g->run[0]->mmio.data, sizeof(found));
	if (g->run[0]->mmio.phys_addr != addr || g->run[0]->mmio.len != len || (is_write && found != data))
		printf("kvm: %llx %u %lx\n", g->run[0]->mmio.phys_addr, g->run[0]->mmio.len, found);
	CHECK(g->run[0]->mmio.phys_addr == addr && g->run[0]->mmio.len == len);
	CHECK(g->run[0]->mmio.is_write == is_write && (!is_write || found == data));
}

/* A guest that uses devices, and powers off; then it is started once more. */
static void mmio(void)
{
	struct guest g = make_guest(mmio_code, sizeof(mmio_code), 1);
	struct kvm_ioeventfd event = { .addr = 0x9010008, .len = 8 };
	struct kvm_vcpu_init init;
	uint64_t value;
	int again;

	event.fd = eventfd(0, EFD_NONBLOCK);
	CHECK(!ioctl(g.vm, KVM_IOEVENTFD, &event));
	REFUSED(ioctl(g.vm, KVM_IOEVENTFD, &event), EEXIST);
	for (again = 0; again < 2; again++) {
		g.run[0]->immediate_exit = 1;
		REFUSED(ioctl(g.vcpu[0], KVM_RUN, 0), EINTR);
		g.run[0]->immediate_exit = 0;
		expect_mmio(&g, 0x9000000, 4, 1, 'B');
		expect_mmio(&g, 0x9000001, 1, 0, 0);
		g.run[0]->mmio.data[0] = 0x81;
		expect_mmio(&g, 0x9000004, 4, 1, 0xffffff81);
		expect_mmio(&g, 0x9010000, 8, 1, 0x6000000);
		CHECK(!get_reg(g.vcpu[0], CORE(regs.pc), &value) && value == 0);
		CHECK(!ioctl(g.vcpu[0], KVM_RUN, 0));
		CHECK(g.run[0]->exit_reason == KVM_EXIT_SYSTEM_EVENT);
		CHECK(g.run[0]->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN);
		CHECK(read(event.fd, &value, sizeof(value)) == sizeof(value) && value == 1);
		CHECK(g.ram[0] == 0); /* what the VM had comes back empty */
		memcpy(g.ram, mmio_code, sizeof(mmio_code));
		CHECK(!ioctl(g.vm, KVM_ARM_PREFERRED_TARGET, &init));
		init.features[0] = 1 << KVM_ARM_VCPU_PSCI_0_2;
		CHECK(!ioctl(g.vcpu[0], KVM_ARM_VCPU_INIT, &init));
		set_reg(g.vcpu[0], CORE(regs.pc), RAM);
	}
	event.flags = KVM_IOEVENTFD_FLAG_DEASSIGN;
	CHECK(!ioctl(g.vm, KVM_IOEVENTFD, &event));
	REFUSED(ioctl(g.vm, KVM_IOEVENTFD, &event), ENOENT);
}

static const uint32_t spin_code[] = { 0x14000000 }; /* b . */

static void on_signal(int number)
{
	(void)number;
}

/* A guest that never stops by itself: signals get it out, and the end of its process ends it. */
static void spin(void)
{
	struct guest g = make_guest(spin_code, sizeof(spin_code), 2);
	struct sigaction action = { .sa_handler = on_signal };
	struct kvm_mp_state state;

	sigaction(SIGALRM, &action, NULL);
	alarm(1);
	REFUSED(ioctl(g.vcpu[0], KVM_RUN, 0), EINTR);
	CHECK(g.run[0]->exit_reason == KVM_EXIT_INTR);
	alarm(1);
	REFUSED(ioctl(g.vcpu[1], KVM_RUN, 0), EINTR); /* it is off */
	CHECK(!ioctl(g.vcpu[1], KVM_GET_MP_STATE, &state) && state.mp_state == KVM_MP_STATE_STOPPED);
	REFUSED(ioctl(g.vm, KVM_CREATE_VCPU, 2L), EBUSY);
	struct kvm_userspace_memory_region gone = { .slot = 0 };
	REFUSED(ioctl(g.vm, KVM_SET_USER_MEMORY_REGION, &gone), EBUSY);
}

/* A guest is killed while it runs. */
static void killed(void)
{
	int i;

	for (i = 0; i < 20; i++) {
		pid_t child = fork();

		if (!child) {
			struct guest g = make_guest(spin_code, sizeof(spin_code), 1);

			ioctl(g.vcpu[0], KVM_RUN, 0);
			_exit(1);
		}
		usleep(1000 * (i % 7) * 3);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
}

static uint64_t stat_of(int id)
{
	static struct {
		struct corevisor_stats head;
		uint64_t values[64];
	} stats;

	stats.head.count = 64;
	CHECK(!ioctl(device(), COREVISOR_GET_STATS, &stats));
	return stats.values[id];
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {
		{ "machine", machine }, { "slots", slots }, { "mmio", mmio }, { "spin", spin }, { "killed", killed },
	};
	unsigned int i;
	int worst = 0;

	setbuf(stdout, NULL);
	for (i = 0; i < sizeof(tests) / sizeof(*tests); i++) {
		int status;
		pid_t child;

		if (argc > 1 && strcmp(argv[1], tests[i].name))
			continue;
		child = fork();
		if (!child) {
			tests[i].run();
			exit(0);
		}
		waitpid(child, &status, 0);
		printf("kvm: %s %s\n", tests[i].name, status ? "failed" : "ok");
		/* Pages of VMs, and VMs. */
		if (stat_of(18) || stat_of(17)) {
			printf("kvm: %s left %lu pages of %lu VMs\n", tests[i].name, stat_of(18), stat_of(17));
			status = 1;
		}
		worst |= !!status;
	}
	return worst;
}
