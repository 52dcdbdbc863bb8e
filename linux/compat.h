/* SPDX-License-Identifier: GPL-2.0-only */
/* What differs between the kernels that the driver is built for, 6.1 on. */
#ifndef COREVISOR_COMPAT_H
#define COREVISOR_COMPAT_H

#include <linux/eventfd.h>
#include <linux/gfp.h>
#include <linux/hrtimer.h>
#include <linux/irq.h>
#include <linux/kvm.h>
#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/version.h>

#if __has_include("linux/entry-virt.h")
#include <linux/entry-virt.h>
struct cv_thread {};
#else
#include <linux/entry-kvm.h>
#include <linux/kvm_host.h>

/* The kernel tells of a signal in what is KVM's own of a vCPU: exit_reason, and a statistic. */
struct cv_thread {
	struct kvm_vcpu vcpu;
};
#endif

/* What the scheduler, signals and the like want of a thread before it runs a vCPU. */
static inline int cv_thread_work(struct cv_thread *thread, struct kvm_run *run)
{
#if __has_include("linux/entry-virt.h")
	int err = xfer_to_guest_mode_handle_work();

	if (err == -EINTR)
		run->exit_reason = KVM_EXIT_INTR;
	return err;
#else
	thread->vcpu.run = run;
	return xfer_to_guest_mode_handle_work(&thread->vcpu);
#endif
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags |= flags;
}
#endif

/* A byte of the page that user space maps. */
static inline bool cv_immediate_exit(const struct kvm_run *run)
{
#ifdef HINT_UNSAFE_IN_KVM
	return READ_ONCE(run->immediate_exit__unsafe);
#else
	return READ_ONCE(run->immediate_exit);
#endif
}

static inline void cv_eventfd_signal(struct eventfd_ctx *ctx)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
	eventfd_signal(ctx, 1);
#else
	eventfd_signal(ctx);
#endif
}

static inline void cv_hrtimer_setup(struct hrtimer *timer,
				    enum hrtimer_restart (*function)(struct hrtimer *),
				    clockid_t clock, enum hrtimer_mode mode)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
	hrtimer_init(timer, clock, mode);
	timer->function = function;
#else
	hrtimer_setup(timer, function, clock, mode);
#endif
}

/* The next part of an interrupt, towards the CPU. */
static inline struct irq_data *cv_irq_parent(struct irq_data *data)
{
#ifdef CONFIG_IRQ_DOMAIN_HIERARCHY
	return data->parent_data;
#else
	return NULL;
#endif
}

static inline int cv_alloc_contig(unsigned long start, unsigned long end)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
	return alloc_contig_range(start, end, MIGRATE_MOVABLE, GFP_KERNEL | __GFP_NOWARN);
#else
	return alloc_contig_range(start, end, ACR_FLAGS_NONE, GFP_KERNEL | __GFP_NOWARN);
#endif
}

#endif
