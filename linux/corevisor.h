/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * corevisor.ko: what its files share.
 *
 *	main.c		finding Corevisor, /dev/kvm, ioctls of the machine
 *	call.c/.h	host calls of Corevisor's
 *	vm.c		a VM: its ioctls, its life in Corevisor
 *	memory.c	slots, guest pages, images
 *	vcpu.c		a vCPU: its ioctls, KVM_RUN
 *	exit.c		why a vCPU stopped, and what it is answered: MMIO, PSCI
 *	regs.c		ONE_REG
 *	bus.c		devices in the kernel, ioeventfd
 *	vgic.c		GICv3: entry, exit, MMIO, lines; vgic_irq.c: interrupts and list registers; vgic_mmio.c: registers;
 *			vgic_device.c: the device's attributes
 *	timer.c		virtual timer
 *	irq.c		routing, KVM_IRQ_LINE; irqfd.c
 *
 * Locks, outermost first: vcpu->mutex, vm->lock, vm->slots_lock, vm->irq_lock; then spinlocks, taken with interrupts off:
 * vm->irqfds_lock, vm->vgic.lock.
 */
#ifndef COREVISOR_H
#define COREVISOR_H

#include <linux/atomic.h>
#include <linux/hrtimer.h>
#include <linux/kref.h>
#include <linux/kvm.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "uapi/corevisor.h"
#include "vgic.h"

#define CV_MAX_VCPUS 8
#define CV_MAX_SLOTS 32

struct cv_vcpu;
struct cv_vm;

/**
 * struct cv_timer - a vCPU's virtual timer, while the vCPU does not run
 * @hrtimer:	wakes the vCPU out of WFI when the timer is due
 * @ctl:	CNTV_CTL_EL0 at the last exit
 * @cval:	CNTV_CVAL_EL0 at the last exit
 * @level:	the line's level, as the vGIC was told last
 * @vcpu:	whose it is
 */
struct cv_timer {
	struct hrtimer hrtimer;
	struct cv_vcpu *vcpu;
	u64 ctl;
	u64 cval;
	bool level;
};

/**
 * struct cv_mmio - an access that user space, or a device in the kernel, emulates
 * @pending:	the vCPU waits for its end: the next entry of a read gives it the data
 * @addr:	guest address
 * @len:	1, 2, 4 or 8 bytes
 * @reg:	register; 31 is zero
 */
struct cv_mmio {
	bool pending;
	bool is_write;
	bool sign_extend;
	bool is_64bit;
	u8 len;
	u8 reg;
	u64 addr;
};

/**
 * struct cv_vcpu - a vCPU
 * @vm:		its VM, which it keeps alive
 * @index:	its number: KVM's vcpu_id, Corevisor's vCPU, and MPIDR_EL1.Aff0
 * @mutex:	held through every ioctl of the vCPU
 * @run:	the page that user space maps
 * @page:	Corevisor's run page: 512 words
 * @initialized: KVM_ARM_VCPU_INIT was done
 * @registered:	Corevisor knows it, in the VM's present life
 * @mode:	CV_OUTSIDE, CV_INSIDE; who kicks it looks here
 * @cpu:	where it runs, or ran last; -1
 * @power:	whether PSCI has it on
 * @wait:	where it waits in WFI, or for power
 */
struct cv_vcpu {
	struct cv_vm *vm;
	int index;
	struct mutex mutex;
	struct kvm_run *run;
	u64 *page;

	bool initialized;
	bool registered;
	bool has_run;
	unsigned long features;
	u32 mp_state;
	atomic_t mode;
	int cpu;
	bool power;
	bool requested_stop;
	wait_queue_head_t wait;
	call_single_data_t kick_csd;
	atomic_t kick_pending;

	struct {
		u64 x[31], sp, pc, pstate;
	} boot;
	struct cv_mmio mmio;
	struct kvm_vcpu_events events;

	struct cv_vgic_cpu vgic;
	struct cv_timer timer;
};

enum { CV_OUTSIDE, CV_INSIDE };

struct cv_memory;
struct cv_irq_routing;

/**
 * struct cv_vm - a VM
 * @refs:	file descriptors of the VM, its vCPUs and devices
 * @lock:	vCPUs, devices, life
 * @id:		Corevisor's number; 0 while Corevisor has none
 * @protected:	its memory is out of the host's reach
 * @ran:	a vCPU ran: images and slots are final for a protected VM
 * @cntvoff:	TIMER_SET_CNTVOFF for it: called on the CPU of its first entry, before that, interrupts off
 * @timer_intid: the virtual timer's interrupt
 */
struct cv_vm {
	struct kref refs;
	struct mutex lock;
	struct mm_struct *mm;
	u32 id;
	bool protected;
	bool ran;
	bool bugged;
	u8 ipa_bits;

	struct cv_vcpu *vcpus[CV_MAX_VCPUS];
	int nr_vcpus;

	struct cv_memory *memory;
	struct list_head ioeventfds;
	struct mutex slots_lock;
	struct srcu_struct srcu;

	struct mutex irq_lock;
	spinlock_t irqfds_lock;
	struct list_head irqfds;
	struct cv_irq_routing __rcu *routing;
	struct cv_vgic vgic;
	u64 cntvoff;
	u32 timer_intid;
};

/* main.c: list registers of the hardware, as FEATURES says: 0 without a GICv3 or GICv2 with virtualization. */
extern unsigned int cv_list_registers;

/* vm.c */
void cv_vm_get(struct cv_vm *vm);
void cv_vm_put(struct cv_vm *vm);

static inline struct cv_vcpu *cv_vm_vcpu(struct cv_vm *vm, unsigned int index)
{
	return index < CV_MAX_VCPUS ? READ_ONCE(vm->vcpus[index]) : NULL;
}

/*
 * vcpu.c: makes a vCPU look at what is new for it: out of the VM if it runs, awake if it waits. Any context, with interrupts
 * off, too. A vCPU sets its mode to CV_INSIDE, with a full barrier after it, before it calls cv_vgic_enter: whoever makes an
 * interrupt pending and then kicks either is seen there, or sees CV_INSIDE.
 */
void cv_vcpu_kick(struct cv_vcpu *vcpu);

/*
 * vgic*.c. The VM's GIC is made by KVM_CREATE_DEVICE; all other functions may be called without one, and then do nothing,
 * find nothing, or give -ENXIO.
 */

/*
 * At the VM's creation and end; for each vCPU likewise. cv_vgic_vcpu_init: -EBUSY once the GIC is initialized; vm->lock
 * held. A vCPU that was initialized exists until the VM ends, or its creation fails and cv_vgic_vcpu_destroy is called under
 * the same lock.
 */
int cv_vgic_vm_init(struct cv_vm *vm);
void cv_vgic_vm_destroy(struct cv_vm *vm);
int cv_vgic_vcpu_init(struct cv_vcpu *vcpu);
void cv_vgic_vcpu_destroy(struct cv_vcpu *vcpu);
/* The VM starts anew (after a reset): nothing pending, everything as CTRL_INIT left it. vm->lock held, no vCPU runs. */
void cv_vgic_reset(struct cv_vm *vm);

/* KVM_CREATE_DEVICE. vm->lock held. -ENODEV for what there is none of (GICv2, ITS). The device's fd holds the VM. */
int cv_vgic_create(struct cv_vm *vm, struct kvm_create_device *device);
/* Before the first run: a GIC that was made must be complete. vm->lock held. */
int cv_vgic_map_resources(struct cv_vm *vm);

/*
 * Entry and exit of a vCPU, interrupts off: the run page's list registers from, and back into, the vGIC's state. Each entry
 * is followed by an exit, on the same CPU, even if the vCPU did not get to run.
 */
void cv_vgic_enter(struct cv_vcpu *vcpu);
void cv_vgic_exit(struct cv_vcpu *vcpu);
/* Whether an interrupt would be taken: ends a WFI. */
bool cv_vgic_pending(struct cv_vcpu *vcpu);

/*
 * Sets an interrupt's line: SPIs (32 on) with vcpu NULL, PPIs of a vCPU. Any context. `hw` >= 0: the physical interrupt
 * that the VM's deactivation ends too. -EINVAL, -ENXIO.
 */
int cv_vgic_set_level(struct cv_vm *vm, struct cv_vcpu *vcpu, u32 intid, bool level);
int cv_vgic_map_hw(struct cv_vcpu *vcpu, u32 intid, u32 hwintid);

/* The same for a vCPU's timer, by timer.c; whether the vCPU is to look at it now. */
void cv_vgic_set_timer(struct cv_vcpu *vcpu, bool level, bool wake);

/* A trapped write of ICC_SGI1R_EL1 (group 1), ICC_SGI0R_EL1 (group 0), ICC_ASGI1R_EL1. */
void cv_vgic_sgi(struct cv_vcpu *vcpu, u64 value, bool group1);

/* An access to the distributor or a redistributor, emulated; false if addr is in neither. data: host order. */
bool cv_vgic_mmio(struct cv_vcpu *vcpu, u64 addr, unsigned int len, bool is_write, u64 *data);

/* timer.c: PPI 27, unless KVM_ARM_VCPU_TIMER_CTRL said otherwise. */
int cv_timer_module_init(void); /* the host's PPIs (virtual timer, maintenance) requested, and enabled on every CPU */
void cv_timer_module_exit(void);
void cv_timer_vm_init(struct cv_vm *vm); /* virtual time begins now */
void cv_timer_vcpu_init(struct cv_vcpu *vcpu);
void cv_timer_vcpu_destroy(struct cv_vcpu *vcpu);
void cv_timer_vcpu_reset(struct cv_vcpu *vcpu);
/* Before cv_vgic_enter, after cv_vgic_exit; interrupts off: tells the vGIC the line's level; reads the run page's timer. */
void cv_timer_enter(struct cv_vcpu *vcpu);
void cv_timer_exit(struct cv_vcpu *vcpu);
/* Around a wait in WFI. */
void cv_timer_block(struct cv_vcpu *vcpu);
void cv_timer_unblock(struct cv_vcpu *vcpu);
/* By vgic.c: this CPU's physical interrupt is to be active, or not; the VM has ended it; there can be a GIC. */
void cv_timer_physical(bool active);
void cv_timer_physical_ended(void);
bool cv_timer_has_vgic(void);
/* Virtual time now, and KVM_REG_ARM_TIMER_CNT: what is set counts if the VM has not run. */
u64 cv_timer_now(struct cv_vm *vm);
void cv_timer_set_now(struct cv_vm *vm, u64 now);
/* Device attributes of vCPUs (group KVM_ARM_VCPU_TIMER_CTRL). */
int cv_timer_set_attr(struct cv_vcpu *vcpu, struct kvm_device_attr *attr);
int cv_timer_get_attr(struct cv_vcpu *vcpu, struct kvm_device_attr *attr);
int cv_timer_has_attr(struct cv_vcpu *vcpu, struct kvm_device_attr *attr);

/* irq.c, irqfd.c: ioctls of a VM. `entries` are in the kernel, routing->nr of them, at most CV_MAX_ROUTES. */
#define CV_MAX_ROUTES 4096
int cv_irqfd_module_init(void);
void cv_irqfd_module_exit(void);
void cv_irq_vm_init(struct cv_vm *vm);
void cv_irq_vm_destroy(struct cv_vm *vm);
int cv_irq_line(struct cv_vm *vm, const struct kvm_irq_level *level);
int cv_irqfd(struct cv_vm *vm, const struct kvm_irqfd *irqfd);
int cv_irq_set_routing(struct cv_vm *vm, const struct kvm_irq_routing *routing,
		       const struct kvm_irq_routing_entry *entries);
/* The interrupt that a GSI means, as a number of the GIC's; -EINVAL. Any context. */
int cv_irq_of_gsi(struct cv_vm *vm, u32 gsi);
/* By vgic.c: a level interrupt ended. Interrupts off. */
void cv_irqfd_resample(struct cv_vm *vm, u32 intid);
void cv_irqfd_vm_destroy(struct cv_vm *vm);
int cv_irq_signal_msi(struct cv_vm *vm, const struct kvm_msi *msi);

#endif
