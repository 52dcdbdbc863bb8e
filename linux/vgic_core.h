/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What vgic*.c share: interrupts, list registers and the registers of distributor and
 * redistributors, as pure functions of struct cv_vgic. They need its lock, and nothing else of
 * Linux: tests/linux/vgic compiles them for user space.
 *
 * Functions that return a mask return the vCPUs that are to be kicked, once the lock is free again.
 *
 * Named are sections of Arm IHI 0069H.
 */
#ifndef COREVISOR_VGIC_CORE_H
#define COREVISOR_VGIC_CORE_H

#include <linux/bits.h>

#include "vgic.h"

/* ICH_LR<n>_EL2 (12.4.9) */
#define CV_LR_ACTIVE	  BIT_ULL(63)
#define CV_LR_PENDING	  BIT_ULL(62)
#define CV_LR_STATE	  (CV_LR_ACTIVE | CV_LR_PENDING)
#define CV_LR_HW	  BIT_ULL(61)
#define CV_LR_GROUP1	  BIT_ULL(60)
#define CV_LR_PRIORITY(p) ((u64)(p) << 48)
#define CV_LR_PHYSICAL(n) ((u64)(n) << 32)
#define CV_LR_EOI	  BIT_ULL(41)

/* ICH_HCR_EL2 (12.4.6) */
#define CV_HCR_LRENPIE BIT_ULL(2)
#define CV_HCR_NPIE    BIT_ULL(3)

/* A mask of all vCPUs that there can be. */
#define CV_VGIC_ALL ((1UL << CV_VGIC_CPUS) - 1)

/* The upper bits of a priority, as many as every GIC has. */
#define CV_PRIORITY_MASK 0xf8

/* vgic_irq.c */

static inline bool cv_irq_is_pending(const struct cv_irq *irq)
{
	return irq->latch || irq->lr_latch || (irq->line && !irq->edge);
}

/* Whether it would interrupt its vCPU, if that is not busy with it already. */
static inline bool cv_irq_is_ready(const struct cv_vgic *vgic, const struct cv_irq *irq)
{
	return irq->enabled && vgic->groups >> irq->group1 & 1 && cv_irq_is_pending(irq);
}

void cv_irq_reset(struct cv_vgic *vgic, struct cv_irq *irq, u16 intid, u8 target);
struct cv_irq *cv_irq_find(struct cv_vgic *vgic, struct cv_vgic_cpu *cpu, u32 intid);
u8 cv_irq_update(struct cv_vgic *vgic, struct cv_irq *irq);
u8 cv_irq_update_all(struct cv_vgic *vgic);
u8 cv_irq_set_line(struct cv_vgic *vgic, struct cv_irq *irq, bool level);
void cv_irq_set_pending(struct cv_irq *irq, bool pending);
void cv_irq_set_active(struct cv_irq *irq, bool active);
void cv_irq_route(struct cv_vgic *vgic, struct cv_irq *irq, u64 router);
u8 cv_irq_sgi(struct cv_vgic *vgic, struct cv_vgic_cpu *from, u64 value, bool any_group);

void cv_vgic_reset_cpu(struct cv_vgic *vgic, struct cv_vgic_cpu *cpu);
void cv_vgic_reset_all(struct cv_vgic *vgic);
unsigned int cv_vgic_fill(struct cv_vgic *vgic, struct cv_vgic_cpu *cpu, u64 *words, u64 *control);
unsigned int cv_vgic_fold(struct cv_vgic *vgic, struct cv_vgic_cpu *cpu, const u64 *words,
			  unsigned int eoi_count, u16 ended[CV_VGIC_LRS], u8 *kick);
bool cv_vgic_has_ready(struct cv_vgic *vgic, struct cv_vgic_cpu *cpu);

/* vgic_mmio.c */

/**
 * struct cv_vgic_access - an access to a register
 * @vgic:	whose
 * @cpu:	the vCPU whose redistributor it is, NULL: the distributor
 * @offset:	from its base
 * @len:	1, 2, 4 or 8 bytes
 * @by_user:	KVM_DEV_ARM_VGIC_GRP_DIST_REGS or REDIST_REGS, not the VM
 */
struct cv_vgic_access {
	struct cv_vgic *vgic;
	struct cv_vgic_cpu *cpu;
	u32 offset;
	u8 len;
	bool by_user;
};

u64 cv_vgic_read(const struct cv_vgic_access *access);
u8 cv_vgic_write(const struct cv_vgic_access *access, u64 value);
/*
 * Whether pending or active states are about there: GICD_ISPENDR to GICD_ICACTIVER, and the same of
 * redistributors.
 */
static inline bool cv_vgic_is_state(u32 offset)
{
	return (offset & 0xffff) - 0x200 < 0x200;
}

u8 cv_vgic_concerns(const struct cv_vgic_access *access);
bool cv_vgic_has_register(bool redistributor, u32 offset);
struct cv_vgic_cpu *cv_vgic_redistributor(struct cv_vgic *vgic, u64 addr, u32 *offset);
u64 cv_vgic_redistributor_base(const struct cv_vgic *vgic, unsigned int position);

#define CV_GICD_IIDR 0x0008
/* Product 'C', revision 1, implementer: Arm's code, as registers are Arm's. */
#define CV_VGIC_IIDR 0x4300143b

#endif
