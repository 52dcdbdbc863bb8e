// SPDX-License-Identifier: GPL-2.0-only
/*
 * The registers of the distributor and of redistributors (Arm IHI 0069H, 12.9 to 12.11), with
 * affinity routing always on, one security state and no LPIs. What is not there reads as zero and
 * ignores writes, and so do accesses of a width that a register does not have.
 */

#include <linux/bitops.h>

#include "vgic_core.h"

#define GICD_CTLR	0x0000
#define GICD_TYPER	0x0004
#define GICD_STATUSR	0x0010
#define GICD_IROUTER	0x6000
#define GICD_PIDR	0xffd0

#define GICR_CTLR	0x0000
#define GICR_IIDR	0x0004
#define GICR_TYPER	0x0008
#define GICR_STATUSR	0x0010
#define GICR_WAKER	0x0014
#define GICR_PIDR	0xffd0
#define GICR_SGI_BASE	0x10000
#define GICR_STRIDE	0x20000

/*
 * Both have these: the redistributor at GICR_SGI_BASE, for SGIs and PPIs; the distributor for SPIs.
 */
#define IGROUPR	    0x0080
#define ISENABLER   0x0100
#define ICENABLER   0x0180
#define ISPENDR	    0x0200
#define ICPENDR	    0x0280
#define ISACTIVER   0x0300
#define ICACTIVER   0x0380
#define IPRIORITYR  0x0400
#define ITARGETSR   0x0800
#define ICFGR	    0x0c00
#define IGRPMODR    0x0d00
#define NSACR	    0x0e00
#define END_OF_SETS 0x0f00

#define CTLR_GROUPS 0x3
#define CTLR_ARE    BIT(4)
#define CTLR_DS	    BIT(6)

/* Peripheral id 2: GICv3. The others say Arm, and a part that does not exist. */
#define PIDR2	    0x18
#define PIDR2_GICV3 0x30

static const u8 peripheral_ids[] = {
	[0x00 / 4] = 0x04, [0x10 / 4] = 0x43, [0x14 / 4] = 0xb0, [PIDR2 / 4] = PIDR2_GICV3 | 0xb,
	[0x20 / 4] = 0x0d, [0x24 / 4] = 0xf0, [0x28 / 4] = 0x05, [0x2c / 4] = 0xb1,
};

static u64 peripheral_id(u32 offset)
{
	return peripheral_ids[(offset - GICD_PIDR) / 4 % ARRAY_SIZE(peripheral_ids)];
}

/*
 * A register of one or more bits for each interrupt: which, and the first interrupt of this word.
 */
struct set {
	u32 reg;
	u32 first;
	u8 bits;
};

static bool find_set(u32 offset, struct set *set)
{
	if (offset < IGROUPR || offset >= END_OF_SETS)
		return false;
	if (offset < IPRIORITYR)
		*set = (struct set) { offset & ~0x7f, (offset & 0x7f) * 8, 1 };
	else if (offset < ITARGETSR)
		*set = (struct set) { IPRIORITYR, offset - IPRIORITYR, 8 };
	else if (offset < ICFGR)
		*set = (struct set) { ITARGETSR, offset - ITARGETSR, 8 };
	else if (offset < IGRPMODR)
		*set = (struct set) { ICFGR, (offset - ICFGR) * 4, 2 };
	else if (offset < NSACR)
		*set = (struct set) { IGRPMODR, (offset & 0x7f) * 8, 1 };
	else
		*set = (struct set) { NSACR, (offset & 0xff) * 4, 2 };
	return true;
}

/*
 * The interrupt of a word of a set. Those of the redistributor are not in the distributor, and the
 * other way round.
 */
static struct cv_irq *find(const struct cv_vgic_access *access, u32 intid)
{
	if (access->cpu && intid >= CV_VGIC_PRIVATE)
		return NULL;
	return cv_irq_find(access->vgic, access->cpu, intid);
}

static u32 read_one(const struct cv_vgic_access *access, u32 reg, const struct cv_irq *irq)
{
	switch (reg) {
	case IGROUPR:
		return irq->group1;
	case ISENABLER:
	case ICENABLER:
		return irq->enabled;
	case ISPENDR:
		return access->by_user ? irq->latch || irq->lr_latch : cv_irq_is_pending(irq);
	case ICPENDR:
		return access->by_user ? 0 : cv_irq_is_pending(irq);
	case ISACTIVER:
	case ICACTIVER:
		return irq->active;
	case IPRIORITYR:
		return irq->priority;
	case ICFGR:
		return irq->edge ? 2 : 0;
	default:
		return 0;
	}
}

static u8 write_one(const struct cv_vgic_access *access, u32 reg, struct cv_irq *irq, u32 value)
{
	struct cv_irq old = *irq;

	switch (reg) {
	case IGROUPR:
		irq->group1 = value;
		break;
	case ISENABLER:
		irq->enabled |= value;
		break;
	case ICENABLER:
		irq->enabled &= !value;
		break;
	case ISPENDR:
		if (access->by_user || value)
			cv_irq_set_pending(irq, value);
		break;
	case ICPENDR:
		if (!access->by_user && value)
			cv_irq_set_pending(irq, false);
		break;
	case ISACTIVER:
		if (value)
			cv_irq_set_active(irq, true);
		break;
	case ICACTIVER:
		if (value)
			cv_irq_set_active(irq, false);
		break;
	case IPRIORITYR:
		irq->priority = value & CV_PRIORITY_MASK;
		break;
	case ICFGR:
		/* SGIs are edges, and PPIs what they are wired to be. */
		if (irq->intid >= CV_VGIC_PRIVATE)
			irq->edge = value & 2;
		break;
	default:
		return 0;
	}
	if (old.group1 == irq->group1 && old.enabled == irq->enabled && old.latch == irq->latch &&
	    old.lr_latch == irq->lr_latch && old.active == irq->active &&
	    old.active_written == irq->active_written &&
	    old.priority == irq->priority && old.edge == irq->edge)
		return 0;
	return cv_irq_update(access->vgic, irq);
}

static bool set_has_width(const struct set *set, u8 len)
{
	return len == 4 || (len == 1 && set->reg == IPRIORITYR);
}

static u64 read_set(const struct cv_vgic_access *access, const struct set *set)
{
	unsigned int i;
	u64 value = 0;

	if (!set_has_width(set, access->len))
		return 0;
	for (i = 0; i < access->len * 8 / set->bits; i++) {
		struct cv_irq *irq = find(access, set->first + i);

		if (irq)
			value |= (u64)read_one(access, set->reg, irq) << (i * set->bits);
	}
	return value;
}

static u8 write_set(const struct cv_vgic_access *access, const struct set *set, u64 value)
{
	unsigned int i;
	u8 kick = 0;

	if (!set_has_width(set, access->len))
		return 0;
	for (i = 0; i < access->len * 8 / set->bits; i++) {
		struct cv_irq *irq = find(access, set->first + i);

		if (irq)
			kick |= write_one(access, set->reg, irq,
					  value >> (i * set->bits) & (BIT(set->bits) - 1));
	}
	return kick;
}

/* Part of a register of 64 bits. */
static u64 part(const struct cv_vgic_access *access, u64 value)
{
	if (access->len == 8)
		return value;
	return access->len == 4 ? (u32)(value >> (access->offset & 4) * 8) : 0;
}

static u64 read_distributor(const struct cv_vgic_access *access)
{
	struct cv_vgic *vgic = access->vgic;
	u32 offset = access->offset;
	struct cv_irq *irq;

	if (offset >= GICD_IROUTER && offset < GICD_IROUTER + 8 * CV_VGIC_END) {
		irq = find(access, (offset - GICD_IROUTER) / 8);
		return irq ? part(access, irq->router) : 0;
	}
	if (access->len != 4)
		return 0;
	switch (offset) {
	case GICD_CTLR:
		return vgic->groups | CTLR_ARE | CTLR_DS;
	case GICD_TYPER:
		return (vgic->nr_irqs / 32 - 1) | 9 << 19; /* numbers of 10 bits */
	case CV_GICD_IIDR:
		return CV_VGIC_IIDR;
	default:
		return offset >= GICD_PIDR ? peripheral_id(offset) : 0;
	}
}

static u8 write_distributor(const struct cv_vgic_access *access, u64 value)
{
	struct cv_vgic *vgic = access->vgic;
	u32 offset = access->offset;
	struct cv_irq *irq;
	u64 keep = 0;

	if (offset >= GICD_IROUTER && offset < GICD_IROUTER + 8 * CV_VGIC_END) {
		irq = find(access, (offset - GICD_IROUTER) / 8);
		if (!irq || access->len < 4)
			return 0;
		if (access->len == 4) {
			keep = irq->router & ~(0xffffffffULL << (offset & 4) * 8);
			value = (u32)value;
			value <<= (offset & 4) * 8;
		}
		cv_irq_route(vgic, irq, keep | value);
		return cv_irq_update(vgic, irq);
	}
	if (access->len == 4 && offset == GICD_CTLR && (value & CTLR_GROUPS) != vgic->groups) {
		vgic->groups = value & CTLR_GROUPS;
		return cv_irq_update_all(vgic);
	}
	return 0;
}

/* Where the n-th redistributor is; CV_VGIC_UNSET if nowhere. */
u64 cv_vgic_redistributor_base(const struct cv_vgic *vgic, unsigned int position)
{
	unsigned int i;

	for (i = 0; i < vgic->nr_regions; i++) {
		if (position < vgic->regions[i].count)
			return vgic->regions[i].base + (u64)position * GICR_STRIDE;
		position -= vgic->regions[i].count;
	}
	return CV_VGIC_UNSET;
}

/* Whose redistributor is at @addr, and where in it that is. */
struct cv_vgic_cpu *cv_vgic_redistributor(struct cv_vgic *vgic, u64 addr, u32 *offset)
{
	unsigned int i, first = 0;

	for (i = 0; i < vgic->nr_regions; first += vgic->regions[i++].count) {
		u64 position = (addr - vgic->regions[i].base) / GICR_STRIDE;

		if (addr < vgic->regions[i].base || position >= vgic->regions[i].count)
			continue;
		if (first + position >= vgic->nr_cpus)
			return NULL;
		*offset = (addr - vgic->regions[i].base) % GICR_STRIDE;
		return vgic->cpus[vgic->order[first + position]];
	}
	return NULL;
}

/* GICR_TYPER.Last: no redistributor follows. */
static bool is_last(const struct cv_vgic *vgic, const struct cv_vgic_cpu *cpu)
{
	unsigned int i;

	for (i = 0; i < vgic->nr_cpus && vgic->order[i] != cpu->index; i++)
		;
	return i + 1 >= vgic->nr_cpus ||
	       cv_vgic_redistributor_base(vgic, i + 1) !=
		       cv_vgic_redistributor_base(vgic, i) + GICR_STRIDE;
}

static u64 read_redistributor(const struct cv_vgic_access *access)
{
	const struct cv_vgic_cpu *cpu = access->cpu;
	u64 type;

	if ((access->offset & ~7) == GICR_TYPER) {
		type = (u64)cpu->index << 32 | (u64)cpu->index << 8;
		if (is_last(access->vgic, cpu))
			type |= BIT(4);
		return part(access, type);
	}
	if (access->len != 4)
		return 0;
	if (access->offset == GICR_IIDR)
		return CV_VGIC_IIDR;
	/* GICR_CTLR: no LPIs. GICR_WAKER: awake; there is no power to manage. */
	if (access->offset >= GICR_PIDR && access->offset < GICR_SGI_BASE)
		return peripheral_id(access->offset);
	return 0;
}

static bool is_aligned(const struct cv_vgic_access *access)
{
	return !(access->offset & (access->len - 1));
}

static u32 set_offset(const struct cv_vgic_access *access)
{
	if (!access->cpu)
		return access->offset;
	return access->offset < GICR_SGI_BASE ? 0 : access->offset - GICR_SGI_BASE;
}

/* Reads a register. Any offset and any length are harmless. */
u64 cv_vgic_read(const struct cv_vgic_access *access)
{
	struct set set;

	if (!is_aligned(access))
		return 0;
	if (find_set(set_offset(access), &set))
		return read_set(access, &set);
	return access->cpu ? read_redistributor(access) : read_distributor(access);
}

/* Writes a register; likewise. */
u8 cv_vgic_write(const struct cv_vgic_access *access, u64 value)
{
	struct set set;

	if (!is_aligned(access))
		return 0;
	if (find_set(set_offset(access), &set))
		return write_set(access, &set, value);
	/* A redistributor has nothing else that can be written. */
	return access->cpu ? 0 : write_distributor(access, value);
}

/*
 * The vCPUs whose list registers may hold what a read of this register is about: its pending and
 * active states are up to date once they have stopped.
 */
u8 cv_vgic_concerns(const struct cv_vgic_access *access)
{
	struct set set;
	unsigned int i;
	u8 mask = 0;

	if (!is_aligned(access) || access->len != 4 ||
	    !find_set(set_offset(access), &set) || set.reg < ISPENDR ||
	    set.reg > ICACTIVER)
		return 0;
	for (i = 0; i < 32; i++) {
		struct cv_irq *irq = find(access, set.first + i);

		if (irq && irq->in_lr)
			mask |= BIT(irq->owner);
	}
	return mask;
}

/* Whether user space finds a register there. */
bool cv_vgic_has_register(bool redistributor, u32 offset)
{
	struct set set;
	u32 in_frame = offset;

	if (offset & 3)
		return false;
	if (redistributor && offset >= GICR_SGI_BASE) {
		in_frame = offset - GICR_SGI_BASE;
		if (!find_set(in_frame, &set))
			return false;
		/* SGIs and PPIs only. */
		return set.first < CV_VGIC_PRIVATE && set.reg != ITARGETSR;
	}
	if (redistributor)
		return offset <= GICR_WAKER || (offset >= GICR_PIDR && offset < GICR_SGI_BASE);
	if (find_set(offset, &set))
		return set.reg != ITARGETSR && set.first < 1024;
	/* GICD_IROUTER of SGIs and PPIs, too, which are reserved, but QEMU writes to. */
	return offset <= GICD_STATUSR || (offset >= GICD_PIDR && offset < 0x10000) ||
	       (offset >= GICD_IROUTER && offset < GICD_IROUTER + 8 * CV_VGIC_END);
}
