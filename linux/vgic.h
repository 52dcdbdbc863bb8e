/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The vGIC's state: of an interrupt, of a VM, and of a vCPU. Only vgic*.c look into it.
 *
 * Each interrupt has one owner, the vCPU that it would interrupt, or that it is active on. A vCPU's
 * map `live` names those that it owns and that need a list register: they are active, or pending
 * and enabled. While a vCPU runs, those that are in its list registers stay where they are,
 * whatever happens to them: what is written here then is merged with what the hardware did when it
 * stops.
 */
#ifndef COREVISOR_VGIC_H
#define COREVISOR_VGIC_H

#include <linux/spinlock.h>
#include <linux/types.h>

#define CV_VGIC_CPUS	8
#define CV_VGIC_PRIVATE 32	/* SGIs and PPIs */
#define CV_VGIC_END	1020	/* of all numbers of interrupts */
#define CV_VGIC_LRS	16
#define CV_VGIC_WORDS	16	/* of 64 interrupts each */
#define CV_VGIC_NOBODY	0xff

/**
 * struct cv_irq - an interrupt
 * @router:	GICD_IROUTER, of an SPI
 * @intid:	its number
 * @hwintid:	the physical interrupt that its deactivation ends too, or 0
 * @priority:	GICD_IPRIORITYR: 0 is the highest
 * @target:	the vCPU that it is routed to, or CV_VGIC_NOBODY
 * @owner:	the vCPU whose `live` has it if it is live
 * @enabled:	GICD_ISENABLER
 * @group1:	GICD_IGROUPR
 * @edge:	GICD_ICFGR: it is pending once for each edge, instead of as long as the line is high
 * @line:	its line is high
 * @latch:	it is pending by an edge, or by GICD_ISPENDR
 * @lr_latch:	it was when it went into a list register
 * @active:	it was taken, and is not ended
 * @active_written: a VM wrote @active while it was in a list register, which then has no say in it
 * @in_lr:	it is in a list register of @owner, which runs
 */
struct cv_irq {
	u64 router;
	u16 intid;
	u16 hwintid;
	u8 priority;
	u8 target;
	u8 owner;
	bool enabled;
	bool group1;
	bool edge;
	bool line;
	bool latch;
	bool lr_latch;
	bool active;
	bool active_written;
	bool in_lr;
};

/**
 * struct cv_vgic_region - redistributors that follow one another
 * @base:	guest address of the first
 * @count:	how many there is room for
 */
struct cv_vgic_region {
	u64 base;
	u16 count;
};

/**
 * struct cv_vgic_cpu - a vCPU's part
 * @index:	its number
 * @live:	interrupts that need a list register
 * @live_words:	bit n: live[n] is not 0. Read without the lock: whoever sets a bit kicks the vCPU
 *		afterwards
 * @used:	list registers that hold interrupts while it runs
 * @written:	words of the run page that may not be 0
 * @lr_intid:	the interrupts in them
 * @hw_in_lr:	one of them is a physical interrupt, too
 * @left_out:	active interrupts are in none: EOIcount is about them
 * @exits:	grows whenever what the list registers held was taken back
 * @private:	SGIs and PPIs
 */
struct cv_vgic_cpu {
	u8 index;
	u8 used;
	u8 written;
	bool hw_in_lr;
	bool left_out;
	u32 live_words;
	unsigned long exits;
	u64 live[CV_VGIC_WORDS];
	u16 lr_intid[CV_VGIC_LRS];
	struct cv_irq private[CV_VGIC_PRIVATE];
};

/**
 * struct cv_vgic - a VM's GIC
 * @lock:	of all that follows, and of its vCPUs' parts; interrupts off. User space's set-up is
 *		under vm->lock, too
 * @created:	there is one
 * @initialized: it has its interrupts, and no vCPU can be added
 * @legacy:	its redistributors are in one region, as many as there are
 * @groups:	bits 0, 1: GICD_CTLR, groups that are on
 * @lrs:	list registers of the hardware
 * @nr_irqs:	SGIs, PPIs and SPIs; 0: not said yet
 * @dist:	guest address of the distributor, or CV_VGIC_UNSET
 * @regions:	of redistributors, @nr_regions of them
 * @spis:	from number 32 on
 * @cpus:	by number
 * @order:	numbers in the order of creation, which is that of redistributors; @nr_cpus of them
 * @resamplers:	irqfds that want to know of ends of level interrupts
 */
struct cv_vgic {
	raw_spinlock_t lock;
	bool created;
	bool initialized;
	bool legacy;
	u8 groups;
	u8 lrs;
	u8 nr_cpus;
	u8 nr_regions;
	u16 nr_irqs;
	u64 dist;
	struct cv_vgic_region regions[CV_VGIC_CPUS];
	struct cv_irq *spis;
	struct cv_vgic_cpu *cpus[CV_VGIC_CPUS];
	u8 order[CV_VGIC_CPUS];
	unsigned int resamplers;
};

#define CV_VGIC_UNSET (~0ULL)

#endif
