// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the driver refuses, and how: each number as Linux's documentation of the KVM API has it (Documentation/virt/kvm/api.rst,
 * devices/). Prints each that differs; the exit status is their number.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "uapi/corevisor.h"

/* What a row does not name is zero. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define RAM 0x80000000UL
#define CORE(name) (KVM_REG_ARM64 | KVM_REG_ARM_CORE | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE_REG(name))
#define NOWHERE ((void *)0x1000)

/* A protected VM is PROTECTED; RAW is a vCPU that was not initialized; GIC's VM is that of VCPU. */
enum { KVM, VM, PROTECTED, VCPU, RAW, GIC, FILES };
static int fds[FILES];

static uint64_t zero, word = 1, odd = 0x8000100, beyond = 1UL << 40, irqs = 65, many_irqs = 2048;
static uint64_t dist = 0x8000000, room = 1;

#define ARG(type, ...) (void *)&(const type){ __VA_ARGS__ }
#define ATTR(...) (void *)&(const struct kvm_device_attr){ __VA_ARGS__ }
#define U64(variable) (uintptr_t)&(variable)

/* In this order: some rest on what has gone before. An error of 0 is a success that is needed. */
#define TABLE(refused)												\
	/* of the machine */											\
	refused(KVM, KVM_GET_API_VERSION, NOWHERE, EINVAL)							\
	refused(KVM, KVM_GET_VCPU_MMAP_SIZE, NOWHERE, EINVAL)							\
	refused(KVM, KVM_CREATE_VM, (void *)31, EINVAL)								\
	refused(KVM, KVM_CREATE_VM, (void *)41, EINVAL)								\
	refused(KVM, KVM_CREATE_VM, (void *)(1UL << 32), EINVAL)						\
	refused(KVM, KVM_CREATE_VCPU, NULL, ENOTTY)								\
	refused(KVM, KVM_RUN, NULL, ENOTTY)									\
	refused(KVM, COREVISOR_GET_STATS, NOWHERE, EFAULT)							\
	refused(KVM, COREVISOR_GET_STATS, ARG(struct corevisor_stats, 1, 1), EINVAL)				\
	refused(KVM, COREVISOR_GET_OWNERS, NOWHERE, EFAULT)							\
	refused(KVM, COREVISOR_READ_LOG, NOWHERE, EFAULT)							\
	/* of a VM */												\
	refused(VM, KVM_GET_API_VERSION, NULL, ENOTTY)								\
	refused(VM, KVM_RUN, NULL, ENOTTY)									\
	refused(VM, KVM_CREATE_VCPU, (void *)8, EINVAL)								\
	refused(VM, KVM_CREATE_VCPU, (void *)-1, EINVAL)							\
	refused(VM, KVM_CREATE_VCPU, NULL, EEXIST)								\
	refused(VM, KVM_SET_USER_MEMORY_REGION, NOWHERE, EFAULT)						\
	refused(VM, KVM_CREATE_IRQCHIP, NULL, ENODEV)								\
	refused(VM, KVM_ENABLE_CAP, NOWHERE, EFAULT)								\
	refused(VM, KVM_ENABLE_CAP, ARG(struct kvm_enable_cap, .cap = KVM_CAP_ARM_MTE), EINVAL)			\
	refused(VM, KVM_ENABLE_CAP, ARG(struct kvm_enable_cap, .cap = KVM_CAP_ARM_NISV_TO_USER, .flags = 1), EINVAL) \
	refused(VM, KVM_ARM_PREFERRED_TARGET, NOWHERE, EFAULT)							\
	refused(VM, KVM_SIGNAL_MSI, ARG(struct kvm_msi, .data = 1), ENXIO)					\
	refused(VM, KVM_IRQ_LINE, ARG(struct kvm_irq_level, .irq = 33 | 1 << 24), ENXIO)			\
	refused(VM, KVM_CREATE_DEVICE, NOWHERE, EFAULT)								\
	refused(VM, KVM_CREATE_DEVICE, ARG(struct kvm_create_device, KVM_DEV_TYPE_ARM_VGIC_V2), ENODEV)		\
	refused(VM, KVM_CREATE_DEVICE, ARG(struct kvm_create_device, KVM_DEV_TYPE_ARM_VGIC_ITS), ENODEV)	\
	refused(VM, KVM_CREATE_DEVICE, ARG(struct kvm_create_device, 1234), ENODEV)				\
	refused(VM, KVM_CREATE_DEVICE, ARG(struct kvm_create_device, KVM_DEV_TYPE_ARM_VGIC_V3), EEXIST)		\
	refused(VM, KVM_SET_GSI_ROUTING, NOWHERE, EFAULT)							\
	refused(VM, KVM_SET_GSI_ROUTING, ARG(struct kvm_irq_routing, 0, 1), EINVAL)				\
	refused(VM, KVM_SET_GSI_ROUTING, ARG(struct kvm_irq_routing, 1 << 20, 0), EINVAL)			\
	refused(VM, KVM_IOEVENTFD, ARG(struct kvm_ioeventfd, .len = 3), EINVAL)					\
	refused(VM, KVM_IOEVENTFD, ARG(struct kvm_ioeventfd, .len = 4, .flags = 1 << 7), EINVAL)		\
	refused(VM, KVM_IOEVENTFD, ARG(struct kvm_ioeventfd, .addr = -1UL, .len = 4), EINVAL)			\
	refused(VM, KVM_IOEVENTFD, ARG(struct kvm_ioeventfd, .len = 4, .fd = -1), EBADF)			\
	refused(VM, KVM_IOEVENTFD, ARG(struct kvm_ioeventfd, .len = 4, .fd = 0), EINVAL)			\
	refused(VM, KVM_IRQFD, ARG(struct kvm_irqfd, .flags = 1 << 7), EINVAL)					\
	refused(VM, KVM_IRQFD, ARG(struct kvm_irqfd, .fd = 0), EAGAIN)						\
	/* of images */												\
	refused(VM, COREVISOR_ADD_IMAGE, ARG(struct corevisor_image, RAM, 4096), EINVAL)			\
	refused(VM, COREVISOR_GET_MEASUREMENT, ARG(struct corevisor_measurement), ENOENT)			\
	refused(PROTECTED, COREVISOR_ADD_IMAGE, NOWHERE, EFAULT)						\
	refused(PROTECTED, COREVISOR_ADD_IMAGE, ARG(struct corevisor_image, RAM, 0), EINVAL)			\
	refused(PROTECTED, COREVISOR_ADD_IMAGE, ARG(struct corevisor_image, RAM + 1, 4096), EINVAL)		\
	refused(PROTECTED, COREVISOR_ADD_IMAGE, ARG(struct corevisor_image, -4096UL, 8192), EINVAL)		\
	refused(PROTECTED, COREVISOR_ADD_IMAGE, ARG(struct corevisor_image, 1UL << 40, 4096), EINVAL)		\
	refused(PROTECTED, COREVISOR_ADD_IMAGE, ARG(struct corevisor_image, RAM, 4096), EFAULT)			\
	/* of a vCPU */												\
	refused(RAW, KVM_RUN, NULL, ENOEXEC)									\
	refused(RAW, KVM_GET_REG_LIST, ARG(struct kvm_reg_list, 1), ENOEXEC)					\
	refused(RAW, KVM_GET_ONE_REG, ARG(struct kvm_one_reg, CORE(regs.pc), U64(word)), ENOEXEC)		\
	refused(RAW, KVM_SET_ONE_REG, ARG(struct kvm_one_reg, CORE(regs.pc), U64(word)), ENOEXEC)		\
	refused(RAW, KVM_ARM_VCPU_INIT, NOWHERE, EFAULT)							\
	refused(RAW, KVM_ARM_VCPU_INIT, ARG(struct kvm_vcpu_init, 99), EINVAL)					\
	refused(RAW, KVM_ARM_VCPU_INIT, ARG(struct kvm_vcpu_init, 5, { 1 << 31 }), ENOENT)			\
	refused(RAW, KVM_ARM_VCPU_INIT, ARG(struct kvm_vcpu_init, 5, { 0, 1 }), ENOENT)				\
	refused(RAW, KVM_ARM_VCPU_INIT, ARG(struct kvm_vcpu_init, 5, { 1 << KVM_ARM_VCPU_EL1_32BIT }), EINVAL)	\
	refused(RAW, KVM_ARM_VCPU_INIT, ARG(struct kvm_vcpu_init, 5, { 1 << KVM_ARM_VCPU_SVE }), EINVAL)	\
	refused(VCPU, KVM_ARM_VCPU_INIT, ARG(struct kvm_vcpu_init, 5, { 0 }), EINVAL)				\
	refused(VCPU, KVM_RUN, NOWHERE, EINVAL)									\
	refused(VCPU, KVM_GET_REG_LIST, &room, E2BIG)								\
	refused(VCPU, KVM_GET_REG_LIST, NOWHERE, EFAULT)							\
	refused(VCPU, KVM_GET_ONE_REG, ARG(struct kvm_one_reg, 0, U64(word)), ENOENT)				\
	refused(VCPU, KVM_GET_ONE_REG, ARG(struct kvm_one_reg, CORE(regs.pc) + 1, U64(word)), ENOENT)		\
	refused(VCPU, KVM_GET_ONE_REG, ARG(struct kvm_one_reg, CORE(regs.pc), 0x1000), EFAULT)			\
	refused(VCPU, KVM_SET_ONE_REG, ARG(struct kvm_one_reg, CORE(regs.pc), 0x1000), EFAULT)			\
	refused(VCPU, KVM_SET_ONE_REG, ARG(struct kvm_one_reg, ARM64_SYS_REG(3, 0, 1, 0, 0), U64(word)), ENOENT)	\
	refused(VCPU, KVM_SET_ONE_REG, ARG(struct kvm_one_reg, CORE(sp_el1), U64(word)), EINVAL)		\
	refused(VCPU, KVM_SET_MP_STATE, ARG(struct kvm_mp_state, KVM_MP_STATE_HALTED), EINVAL)			\
	refused(VCPU, KVM_SET_MP_STATE, ARG(struct kvm_mp_state, 1234), EINVAL)					\
	refused(VCPU, KVM_SET_VCPU_EVENTS, ARG(struct kvm_vcpu_events, .reserved = { 1 }), EINVAL)		\
	refused(VCPU, KVM_SET_VCPU_EVENTS, ARG(struct kvm_vcpu_events, .exception = { .serror_has_esr = 1 }), EINVAL) \
	refused(VCPU, KVM_SET_SIGNAL_MASK, ARG(struct kvm_signal_mask, 4), EINVAL)				\
	refused(VCPU, KVM_SET_SIGNAL_MASK, NOWHERE, EFAULT)							\
	refused(VCPU, KVM_CREATE_VCPU, NULL, ENOTTY)								\
	refused(VCPU, KVM_HAS_DEVICE_ATTR, ATTR(0, KVM_ARM_VCPU_PMU_V3_CTRL), ENXIO)				\
	refused(VCPU, KVM_HAS_DEVICE_ATTR, ATTR(0, KVM_ARM_VCPU_TIMER_CTRL, 99), ENXIO)				\
	refused(VCPU, KVM_SET_DEVICE_ATTR, ATTR(0, KVM_ARM_VCPU_TIMER_CTRL, KVM_ARM_VCPU_TIMER_IRQ_VTIMER, U64(word)), EINVAL) \
	/* of the vGIC */											\
	refused(GIC, KVM_RUN, NULL, ENOTTY)									\
	refused(GIC, KVM_SET_DEVICE_ATTR, NOWHERE, EFAULT)							\
	refused(GIC, KVM_HAS_DEVICE_ATTR, ATTR(0, 99), ENXIO)							\
	refused(GIC, KVM_HAS_DEVICE_ATTR, ATTR(0, KVM_DEV_ARM_VGIC_GRP_CTRL, 99), ENXIO)			\
	refused(GIC, KVM_SET_DEVICE_ATTR, ATTR(0, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V2_ADDR_TYPE_DIST, U64(dist)), ENXIO) \
	refused(GIC, KVM_SET_DEVICE_ATTR, ATTR(0, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, U64(odd)), EINVAL) \
	refused(GIC, KVM_SET_DEVICE_ATTR, ATTR(0, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, U64(beyond)), E2BIG) \
	refused(GIC, KVM_SET_DEVICE_ATTR, ATTR(0, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, 0x1000), EFAULT) \
	refused(GIC, KVM_SET_DEVICE_ATTR, ATTR(0, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, U64(dist)), 0) \
	refused(GIC, KVM_SET_DEVICE_ATTR, ATTR(0, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, U64(dist)), EEXIST) \
	refused(GIC, KVM_SET_DEVICE_ATTR, ATTR(0, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST, U64(dist)), EINVAL) \
	refused(GIC, KVM_SET_DEVICE_ATTR, ATTR(0, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, U64(irqs)), EINVAL)		\
	refused(GIC, KVM_SET_DEVICE_ATTR, ATTR(0, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, U64(zero)), EINVAL)		\
	refused(GIC, KVM_SET_DEVICE_ATTR, ATTR(0, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, U64(many_irqs)), EINVAL)	\
	refused(GIC, KVM_GET_DEVICE_ATTR, ATTR(0, KVM_DEV_ARM_VGIC_GRP_DIST_REGS, 0, U64(word)), EBUSY)		\
	refused(VCPU, KVM_RUN, NULL, ENXIO) /* its GIC has no redistributors */				\
	refused(GIC, KVM_SET_DEVICE_ATTR, ATTR(0, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT), 0)	\
	refused(GIC, KVM_SET_DEVICE_ATTR, ATTR(0, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, U64(irqs)), EINVAL)		\
	refused(GIC, KVM_GET_DEVICE_ATTR, ATTR(0, KVM_DEV_ARM_VGIC_GRP_DIST_REGS, 0xa000, U64(word)), ENXIO)	\
	refused(VM, KVM_CREATE_VCPU, (void *)3, EBUSY) /* its GIC is complete */				\
	refused(VM, KVM_IRQ_LINE, ARG(struct kvm_irq_level, .irq = 5 | 1 << 24), EINVAL)			\
	refused(VM, KVM_IRQ_LINE, ARG(struct kvm_irq_level, .irq = 20 | 7 << 16 | 2 << 24), EINVAL)		\
	refused(VM, KVM_IRQ_LINE, ARG(struct kvm_irq_level, .irq = 3 << 24), EINVAL)				\
	refused(VM, KVM_IRQFD, ARG(struct kvm_irqfd, .fd = -1), EBADF)						\
	refused(VM, KVM_IRQFD, ARG(struct kvm_irqfd, .fd = 0), EINVAL)

static const struct {
	const char *name;
	int file;
	unsigned long number;
	void *argument;
	int error;
} refusals[] = {
#define ROW(file, number, argument, error) { #file " " #number " " #argument, file, number, argument, error },
	TABLE(ROW)
};

static int made(int fd)
{
	if (fd < 0)
		perror("refusals");
	return fd;
}

int main(void)
{
	struct kvm_create_device gic = { .type = KVM_DEV_TYPE_ARM_VGIC_V3 };
	struct kvm_vcpu_init init = { .target = KVM_ARM_TARGET_GENERIC_V8, .features = { 1 << KVM_ARM_VCPU_PSCI_0_2 } };
	unsigned int i;
	int wrong = 0, status;
	pid_t child;

	fds[KVM] = made(open("/dev/kvm", O_RDWR));
	fds[VM] = made(ioctl(fds[KVM], KVM_CREATE_VM, 0));
	fds[PROTECTED] = made(ioctl(fds[KVM], KVM_CREATE_VM, COREVISOR_VM_TYPE_PROTECTED));
	fds[VCPU] = made(ioctl(fds[VM], KVM_CREATE_VCPU, 0));
	fds[RAW] = made(ioctl(fds[VM], KVM_CREATE_VCPU, 1));
	made(ioctl(fds[VCPU], KVM_ARM_VCPU_INIT, &init));
	made(ioctl(fds[VM], KVM_CREATE_DEVICE, &gic));
	fds[GIC] = gic.fd;
	for (i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
		int error = ioctl(fds[refusals[i].file], refusals[i].number, refusals[i].argument) < 0 ? errno : 0;

		if (error != refusals[i].error) {
			printf("refusals: %s: %s, not %s\n", refusals[i].name, strerror(error), strerror(refusals[i].error));
			wrong++;
		}
	}
	/* The run page, and nothing else. */
	wrong += mmap(NULL, 8192, PROT_READ, MAP_SHARED, fds[VCPU], 0) != MAP_FAILED || errno != EINVAL;
	wrong += mmap(NULL, 4096, PROT_READ, MAP_SHARED, fds[VCPU], 4096) != MAP_FAILED || errno != EINVAL;
	wrong += mmap(NULL, 4096, PROT_READ, MAP_SHARED, fds[VM], 0) != MAP_FAILED || errno != ENODEV;
	/* A VM is of those who have its memory. */
	child = fork();
	if (!child) {
		for (i = VM; i <= GIC; i++)
			if (ioctl(fds[i], KVM_RUN, 0) != -1 || errno != EIO)
				_exit(1);
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child || status) {
		printf("refusals: another process may use the files\n");
		wrong++;
	}
	return wrong;
}
