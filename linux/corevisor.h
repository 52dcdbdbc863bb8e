/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * corevisor.ko: what its files share.
 *
 *	main.c		finding Corevisor, /dev/kvm, ioctls of the machine
 *	call.c/.h	host calls of Corevisor's
 *	vm.c		a VM: its ioctls, its life in Corevisor
 *	memory.c	slots, guest pages
 *	image.c		images of protected VMs, and user space's mappings of their memory
 *	vcpu.c		a vCPU: its ioctls, KVM_RUN
 *	exit.c		why a vCPU stopped, and what it is answered: MMIO, PSCI
 *	regs.c		ONE_REG
 *	bus.c		devices in the kernel, ioeventfd
 *	vgic.c		GICv3: entry, exit, MMIO, lines
 *	vgic_irq.c	interrupts and list registers
 *	vgic_mmio.c	registers
 *			vgic_device.c: the device's attributes
 *	timer.c		virtual timer
 *	irq.c		routing, KVM_IRQ_LINE; irqfd.c
 *
 * Locks, outermost first: vcpu->mutex, vm->lock, vm->slots_lock, vm->irq_lock; then spinlocks,
 * taken with interrupts off: vm->irqfds_lock, vm->vgic.lock.
 */
#ifndef COREVISOR_H
#define COREVISOR_H

#include <linux/atomic.h>
#include <linux/hrtimer.h>
#include <linux/kref.h>
#include <linux/kvm.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/signal_types.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "uapi/corevisor.h"
#include "vgic.h"

#define CV_MAX_VCPUS 8
#define CV_MAX_SLOTS 32
#define CV_MAX_IMAGES 5

/* Guest addresses: their bits, and where devices end and memory begins. */
#define CV_IPA_BITS 40
#define CV_RAM_BASE SZ_1G

struct cv_thread;
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
 * @thread:	what the kernel wants to know of a thread that runs a vCPU
 * @initialized: KVM_ARM_VCPU_INIT was done
 * @registered:	Corevisor knows it, in the VM's present life; under vm->lock
 * @has_run:	it was entered, in the life of the VM that @life says
 * @power:	whether PSCI has it on; under vm->lock, but read, and by CPU_OFF written, without
 * @mode:	CV_OUTSIDE, CV_INSIDE; who kicks it looks here
 * @cpu:	where it runs, or ran last; -1
 * @features:	those of KVM_ARM_VCPU_INIT
 * @life:	the life of the VM that it takes part in
 * @task:	who ran it last
 * @wait:	where it waits in WFI, or for power
 * @boot:	what it starts with
 * @unanswered:	its last exit could not be dealt with: it is to be tried again before the vCPU is
 *		entered
 * @dabt_pending: user space wants it to take an external abort, after the exit that it is at
 * @sigset:	signals that are blocked while it runs, if @has_sigset
 */
struct cv_vcpu {
	struct cv_vm *vm;
	int index;
	struct mutex mutex;
	struct kvm_run *run;
	u64 *page;
	struct cv_thread *thread;

	bool initialized;
	bool registered;
	bool has_run;
	bool power;
	bool unanswered;
	bool dabt_pending;
	bool has_sigset;
	atomic_t mode;
	int cpu;
	unsigned long features;
	u64 life;
	struct task_struct __rcu *task;
	wait_queue_head_t wait;

	struct kvm_regs boot;
	struct cv_mmio mmio;
	sigset_t sigset;

	struct cv_vgic_cpu vgic;
	struct cv_timer timer;
};

enum { CV_OUTSIDE, CV_INSIDE };

struct cv_irq_routing;

/**
 * struct cv_slot - memory that user space gives a VM
 * @gpa:	guest address
 * @size:	bytes; 0: there is no such slot
 * @uaddr:	user space's address
 */
struct cv_slot {
	u64 gpa;
	u64 size;
	u64 uaddr;
};

/**
 * struct cv_image - an image of a protected VM
 * @gpa:	guest address
 * @size:	bytes
 * @pfn:	the first of its pages in memory
 * @start:	the first page of its blocks
 * @blocks:	of 2 MiB, which hold nothing else
 */
struct cv_image {
	u64 gpa;
	u64 size;
	unsigned long pfn;
	unsigned long start;
	unsigned long blocks;
};

/**
 * struct cv_vm - a VM
 * @refs:	file descriptors of the VM, its vCPUs and devices
 * @lock:	vCPUs, devices, life
 * @mm:		whose memory it has: all ioctls must come from there
 * @id:		Corevisor's number; 0 while Corevisor has none
 * @protected:	its memory is out of the host's reach
 * @ran:	a vCPU ran: images and slots are final for a protected VM
 * @ipa_bits:	guest addresses are below 1 << this
 * @ending:	a vCPU has called for its end, and is about to carry it out
 * @nisv_to_user: KVM_CAP_ARM_NISV_TO_USER is on
 * @life:	goes up whenever the VM ends in Corevisor, to begin anew
 * @slots_lock:	slots, pages, images
 * @pages:	by guest page number, what the VM got of pages; CV_BLOCK marks 2 MiB
 * @images:	in the order in which they were announced
 * @ioeventfds:	under slots_lock; read under RCU
 * @cntvoff:	TIMER_SET_CNTVOFF for it: called on the CPU of its first entry, before that,
 *		interrupts off
 * @timer_intid: the virtual timer's interrupt
 */
struct cv_vm {
	struct kref refs;
	struct mutex lock;
	struct mm_struct *mm;
	u32 id;
	bool protected;
	bool ran;
	bool ending;
	bool nisv_to_user;
	u8 ipa_bits;
	u64 life;

	struct cv_vcpu *vcpus[CV_MAX_VCPUS];
	int nr_vcpus;

	struct mutex slots_lock;
	struct cv_slot slots[CV_MAX_SLOTS];
	struct xarray pages;
	struct cv_image images[CV_MAX_IMAGES];
	unsigned int nr_images;
	struct list_head ioeventfds;
	struct srcu_struct srcu;

	struct mutex irq_lock;
	spinlock_t irqfds_lock;
	struct list_head irqfds;
	struct cv_irq_routing __rcu *routing;
	struct cv_vgic vgic;
	u64 cntvoff;
	u32 timer_intid;
};

/*
 * main.c: list registers of the hardware, as FEATURES says: 0 without a GICv3 or GICv2 with
 * virtualization.
 */
extern unsigned int cv_list_registers;

int cv_check_extension(struct cv_vm *vm, unsigned long extension);
bool cv_has_ptrauth(void);

/*
 * vm.c. A VM begins in Corevisor when its first image is announced, or its first vCPU runs, and
 * ends when user space lets go of it, or when it powers itself off or resets: it can then begin
 * anew, with other vCPU states and empty memory.
 */
int cv_vm_create(unsigned long type);
bool cv_vms_exist(void);
/* Corevisor has the VM from here on. vm->lock held. */
int cv_vm_register(struct cv_vm *vm);
/* All that must be done before a vCPU of the VM runs. vm->lock held. */
int cv_vm_start(struct cv_vm *vm);
/* The VM's present life ends; all vCPUs are off, and their memory is given back. vm->lock held. */
int cv_vm_stop(struct cv_vm *vm);
void cv_vm_get(struct cv_vm *vm);
void cv_vm_put(struct cv_vm *vm);

/* Whether its VM's life has ended since it took part, or it is off. */
static inline bool cv_vcpu_is_off(const struct cv_vcpu *vcpu)
{
	return vcpu->life != READ_ONCE(vcpu->vm->life) || !READ_ONCE(vcpu->power);
}

static inline struct cv_vcpu *cv_vm_vcpu(struct cv_vm *vm, unsigned int index)
{
	return index < CV_MAX_VCPUS ? READ_ONCE(vm->vcpus[index]) : NULL;
}

/*
 * memory.c. cv_memory_fault answers a vCPU that stumbled over a page that it has not got: 0, and an
 * offer is in its run page; -EFAULT: there is no memory there; -EAGAIN: the VM's life is over.
 */
int cv_memory_set_slot(struct cv_vm *vm, const struct kvm_userspace_memory_region *region);
int cv_memory_fault(struct cv_vcpu *vcpu, u64 gpa);
/* Whether user space gave the VM memory there. */
bool cv_memory_is_ram(struct cv_vm *vm, u64 gpa);
/* Takes all pages back: Corevisor has none of them any more. */
void cv_memory_release(struct cv_vm *vm);

/* image.c. vm->lock held. */
int cv_image_add(struct cv_vm *vm, const struct corevisor_image *image);
void cv_images_release(struct cv_vm *vm);
/* Pages that are not locked any more. */
void cv_unaccount(struct cv_vm *vm, unsigned long pages);
/*
 * Takes user space's mappings of the VM's memory away: what is there would not be the VM's memory.
 */
int cv_image_hide_slots(struct cv_vm *vm);
/* The host's kernel has to keep out of these pages, or may use them again. */
void cv_pages_leave(struct page *page, unsigned long count);
void cv_pages_return(struct page *page, unsigned long count);

/* vcpu.c */
int cv_vcpu_create(struct cv_vm *vm, unsigned long index);
void cv_vcpu_free(struct cv_vcpu *vcpu);
/* PSCI, or user space, turns it on or off. vm->lock held. */
void cv_vcpu_set_power(struct cv_vcpu *vcpu, bool on);

/*
 * exit.c. cv_exit_quick: an exit that was dealt with is over, interrupts off: CV_NEXT_ENTER; or who
 * has to see to it. cv_exit_slow: CV_NEXT_ENTER, CV_NEXT_USER, or an errno.
 */
enum { CV_NEXT_USER, CV_NEXT_ENTER, CV_NEXT_SLOW, CV_NEXT_WAIT, CV_NEXT_YIELD };
int cv_exit_quick(struct cv_vcpu *vcpu);
int cv_exit_slow(struct cv_vcpu *vcpu);
/* What user space answered an access that it emulated. */
void cv_exit_complete_mmio(struct cv_vcpu *vcpu);
/* The vCPU can't run on: user space is told by KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_FAIL_ENTRY. */
int cv_exit_unexpected(struct cv_vcpu *vcpu, long exit);
int cv_exit_refused(struct cv_vcpu *vcpu, long code);

/* regs.c. vcpu->mutex held. */
void cv_regs_reset(struct cv_vcpu *vcpu);
int cv_regs_get(struct cv_vcpu *vcpu, const struct kvm_one_reg *reg);
int cv_regs_set(struct cv_vcpu *vcpu, const struct kvm_one_reg *reg);
int cv_regs_list(struct kvm_reg_list __user *list);
bool cv_id_register_has_ptrauth(void);

/* bus.c */
int cv_ioeventfd(struct cv_vm *vm, const struct kvm_ioeventfd *args);
bool cv_bus_write(struct cv_vm *vm, u64 addr, unsigned int len, u64 data);
void cv_bus_destroy(struct cv_vm *vm);

/*
 * vcpu.c: makes a vCPU look at what is new for it: out of the VM if it runs, awake if it waits. Any
 * context, with interrupts off, too. A vCPU sets its mode to CV_INSIDE, with a full barrier after
 * it, before it calls cv_vgic_enter: whoever makes an interrupt pending and then kicks either is
 * seen there, or sees CV_INSIDE.
 */
void cv_vcpu_kick(struct cv_vcpu *vcpu);

/*
 * vgic*.c. The VM's GIC is made by KVM_CREATE_DEVICE; all other functions may be called without
 * one, and then do nothing, find nothing, or give -ENXIO.
 */

/*
 * At the VM's creation and end; for each vCPU likewise. cv_vgic_vcpu_init: -EBUSY once the GIC is
 * initialized; vm->lock held. A vCPU that was initialized exists until the VM ends, or its creation
 * fails and cv_vgic_vcpu_destroy is called under the same lock.
 */
int cv_vgic_vm_init(struct cv_vm *vm);
void cv_vgic_vm_destroy(struct cv_vm *vm);
int cv_vgic_vcpu_init(struct cv_vcpu *vcpu);
void cv_vgic_vcpu_destroy(struct cv_vcpu *vcpu);
/*
 * The VM starts anew (after a reset): nothing pending, everything as CTRL_INIT left it. vm->lock
 * held, no vCPU runs.
 */
void cv_vgic_reset(struct cv_vm *vm);

/*
 * KVM_CREATE_DEVICE. vm->lock held. -ENODEV for what there is none of (GICv2, ITS). The device's fd
 * holds the VM.
 */
int cv_vgic_create(struct cv_vm *vm, struct kvm_create_device *device);
/* Before the first run: a GIC that was made must be complete. vm->lock held. */
int cv_vgic_map_resources(struct cv_vm *vm);

/*
 * Entry and exit of a vCPU, interrupts off: the run page's list registers from, and back into, the
 * vGIC's state. Each entry is followed by an exit, on the same CPU, even if the vCPU did not get to
 * run.
 */
void cv_vgic_fill_lrs(struct cv_vcpu *vcpu);
void cv_vgic_fold_lrs(struct cv_vcpu *vcpu);
static inline void cv_vgic_enter(struct cv_vcpu *vcpu);
static inline void cv_vgic_exit(struct cv_vcpu *vcpu);
/* Whether an interrupt would be taken: ends a WFI. */
bool cv_vgic_pending(struct cv_vcpu *vcpu);

/*
 * Sets an interrupt's line: SPIs (32 on) with vcpu NULL, PPIs of a vCPU. Any context. `hw` >= 0:
 * the physical interrupt that the VM's deactivation ends too. -EINVAL, -ENXIO.
 */
int cv_vgic_set_level(struct cv_vm *vm, struct cv_vcpu *vcpu, u32 intid, bool level);
int cv_vgic_map_hw(struct cv_vcpu *vcpu, u32 intid, u32 hwintid);

/* The same for a vCPU's timer, by timer.c; whether the vCPU is to look at it now. */
void cv_vgic_set_timer(struct cv_vcpu *vcpu, bool level, bool wake);

/* A trapped write of ICC_SGI1R_EL1 (group 1), ICC_SGI0R_EL1 (group 0), ICC_ASGI1R_EL1. */
void cv_vgic_sgi(struct cv_vcpu *vcpu, u64 value, bool group1);

/*
 * An access to the distributor or a redistributor, emulated; false if addr is in neither. data:
 * host order.
 */
bool cv_vgic_mmio(struct cv_vcpu *vcpu, u64 addr, unsigned int len, bool is_write, u64 *data);

/* timer.c: PPI 27, unless KVM_ARM_VCPU_TIMER_CTRL said otherwise. */
/* The host's PPIs (virtual timer, maintenance) requested, and enabled on every CPU. */
int cv_timer_module_init(void);
void cv_timer_module_exit(void);
void cv_timer_vm_init(struct cv_vm *vm); /* virtual time begins now */
void cv_timer_vcpu_init(struct cv_vcpu *vcpu);
void cv_timer_vcpu_destroy(struct cv_vcpu *vcpu);
void cv_timer_vcpu_reset(struct cv_vcpu *vcpu);
/*
 * After cv_vgic_exit; interrupts off: reads the run page's timer, and tells the vGIC the line's
 * level. Nothing happens to a timer between an exit and an entry, and if it becomes due then, its
 * vCPU exits at once.
 */
void cv_timer_exit(struct cv_vcpu *vcpu);
/* Around a wait in WFI. */
void cv_timer_block(struct cv_vcpu *vcpu);
void cv_timer_unblock(struct cv_vcpu *vcpu);
/* Whether this CPU's physical interrupt is active. */
DECLARE_PER_CPU(bool, cv_physical);
void cv_timer_set_physical(bool active);
/*
 * By vgic.c: it is to be active, or not, interrupts off; the VM has ended it; there can be a GIC.
 */
static inline void cv_timer_physical(bool active)
{
	if (this_cpu_read(cv_physical) != active)
		cv_timer_set_physical(active);
}

void cv_timer_physical_ended(void);
bool cv_timer_has_vgic(void);
/* Virtual time now, and KVM_REG_ARM_TIMER_CNT: what is set counts if the VM has not run. */
u64 cv_timer_now(struct cv_vm *vm);
void cv_timer_set_now(struct cv_vm *vm, u64 now);
/* Device attributes of vCPUs (group KVM_ARM_VCPU_TIMER_CTRL). */
int cv_timer_set_attr(struct cv_vcpu *vcpu, struct kvm_device_attr *attr);
int cv_timer_get_attr(struct cv_vcpu *vcpu, struct kvm_device_attr *attr);
int cv_timer_has_attr(struct cv_vcpu *vcpu, struct kvm_device_attr *attr);

/*
 * irq.c, irqfd.c: ioctls of a VM. `entries` are in the kernel, routing->nr of them, at most
 * CV_MAX_ROUTES.
 */
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

static inline void cv_vgic_enter(struct cv_vcpu *vcpu)
{
	if (READ_ONCE(vcpu->vgic.live_words) | vcpu->vgic.written)
		cv_vgic_fill_lrs(vcpu);
	else
		cv_timer_physical(vcpu->timer.level);
}

static inline void cv_vgic_exit(struct cv_vcpu *vcpu)
{
	if (vcpu->vgic.used)
		cv_vgic_fold_lrs(vcpu);
}

#endif
