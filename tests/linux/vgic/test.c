// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vGIC's core, in user space: random VMs and devices, held against a GIC that has no list registers.
 *
 * `struct cpu` plays the hardware: a vCPU that runs takes interrupts out of its list registers and ends them there, and only
 * leaves when it is kicked, or when a maintenance interrupt says so. `struct model` is what a GIC is to do: who finds something
 * else has found a bug. vgic-test [steps] [seed].
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vgic_core.h"

#define CPUS 3
#define IRQS 96
#define IDLE 0xff
#define DIST (-1)

#define LR_INTID(word)	  ((u32)(word))
#define LR_PRIORITY(word) ((u8)((word) >> 48))

static u64 random_state;

static u32 any(u32 below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 16) % below;
}

static unsigned long step;

static void fail(const char *what, long a, long b)
{
	printf("step %lu: %s (%ld, %ld)\n", step, what, a, b);
	exit(1);
}

static void check(bool condition, const char *what, long a, long b)
{
	if (!condition)
		fail(what, a, b);
}

/* An interrupt as it is to be. Private ones are at cpu * 32 + intid, SPIs from CPUS * 32 on. */
struct model_irq {
	bool enabled, group1, edge, line, latch, active, hw;
	u8 priority, target, active_on;
};

/* A vCPU, and its hardware while it runs. */
struct cpu {
	struct cv_vgic_cpu vgic;
	bool runs;
	u64 lr[CV_VGIC_LRS];
	u64 hcr;
	unsigned int eoi_count;
	u16 taken[IRQS];
	u8 running[IRQS];
	unsigned int depth;
};

static struct cv_vgic vgic;
static struct cpu cpus[CPUS];
static struct cv_irq spis[IRQS - CV_VGIC_PRIVATE];
static struct model_irq model[CPUS * CV_VGIC_PRIVATE + IRQS - CV_VGIC_PRIVATE];
static u8 model_groups;

static struct model_irq *model_of(unsigned int cpu, unsigned int intid)
{
	return intid < CV_VGIC_PRIVATE ? &model[cpu * CV_VGIC_PRIVATE + intid] : &model[(CPUS - 1) * CV_VGIC_PRIVATE + intid];
}

static bool model_pending(const struct model_irq *irq)
{
	return irq->latch || (irq->line && !irq->edge);
}

static bool model_deliverable(const struct model_irq *irq, unsigned int cpu)
{
	return irq->enabled && model_groups >> irq->group1 & 1 && model_pending(irq) && !irq->active && irq->target == cpu;
}

/* The best priority that would interrupt a vCPU now; IDLE: nothing would. */
static u8 model_best(unsigned int cpu)
{
	unsigned int i;
	u8 best = IDLE;

	for (i = 0; i < IRQS; i++)
		if (model_deliverable(model_of(cpu, i), cpu) && model_of(cpu, i)->priority < best)
			best = model_of(cpu, i)->priority;
	return best;
}

/* What Corevisor refuses must not be in a list register. */
static void check_list_registers(const struct cpu *cpu, unsigned int count)
{
	unsigned int i, j;

	for (i = 0; i < count; i++) {
		u64 word = cpu->lr[i];

		check(word & CV_LR_STATE, "an empty list register", i, word >> 32);
		check(LR_INTID(word) < IRQS, "a number that is none", i, LR_INTID(word));
		check(!(word & (0xfULL << 56 | 7ULL << 45)), "reserved bits", i, word >> 32);
		if (word & CV_LR_HW)
			check((word & CV_LR_STATE) != CV_LR_STATE && LR_INTID(word) >= 16, "HW", i, word >> 32);
		else
			check(!(word >> 32 & 0x1fff & ~(1 << 9)), "physical without HW", i, word >> 32);
		for (j = 0; j < i; j++)
			check(LR_INTID(word) != LR_INTID(cpu->lr[j]), "an interrupt twice", i, j);
	}
}

static bool is_live(const struct cv_irq *irq)
{
	return irq->active || cv_irq_is_ready(&vgic, irq);
}

/* Each interrupt is live where it has to be, and nowhere else. */
static void check_live(void)
{
	unsigned int c, i;

	for (c = 0; c < CPUS; c++) {
		struct cv_vgic_cpu *cpu = &cpus[c].vgic;

		for (i = 0; i < CV_VGIC_WORDS; i++)
			check(!cpu->live[i] == !(cpu->live_words >> i & 1), "live_words", c, i);
		for (i = 0; i < IRQS; i++) {
			struct cv_irq *irq = cv_irq_find(&vgic, cpu, i);
			bool live = cpu->live[i / 64] >> i % 64 & 1;

			if (irq->in_lr)
				check(cpus[irq->owner].runs, "in a list register of a vCPU that does not run", c, i);
			else
				check(live == (irq->owner == c && is_live(irq)), "live", c, i);
		}
	}
}

/* Everything that is visible of an interrupt, when no vCPU runs. */
static void check_state(void)
{
	unsigned int c, i;

	for (c = 0; c < CPUS; c++) {
		for (i = 0; i < IRQS; i++) {
			struct cv_irq *irq = cv_irq_find(&vgic, &cpus[c].vgic, i);
			struct model_irq *want = model_of(c, i);

			check(irq->active == want->active, "active", c, i);
			check(cv_irq_is_pending(irq) == model_pending(want), "pending", c, i);
			check(irq->enabled == want->enabled && irq->priority == want->priority &&
			      irq->group1 == want->group1 && irq->edge == want->edge, "settings", c, i);
			if (want->active)
				check(irq->owner == want->active_on, "owner", c, i);
		}
	}
}

static void kick(u8 mask);

static void enter(unsigned int n)
{
	struct cpu *cpu = &cpus[n];
	unsigned int count;

	cpu->eoi_count = 0;
	memset(cpu->lr, 0, sizeof(cpu->lr));
	count = cv_vgic_fill(&vgic, &cpu->vgic, cpu->lr, &cpu->hcr);
	cpu->runs = true;
	check(count <= vgic.lrs, "more than there are", count, vgic.lrs);
	check_list_registers(cpu, count);
}

static void leave(unsigned int n)
{
	struct cpu *cpu = &cpus[n];
	u16 ended[CV_VGIC_LRS];
	u8 mask;

	cpu->runs = false;
	cv_vgic_fold(&vgic, &cpu->vgic, cpu->lr, cpu->eoi_count, ended, &mask);
	check(!(mask >> n & 1), "kicks itself", n, mask);
	kick(mask);
}

static void kick(u8 mask)
{
	unsigned int n;

	for (n = 0; n < CPUS; n++) {
		if (mask >> n & 1 && cpus[n].runs) {
			leave(n);
			enter(n);
		}
	}
}

/* Exits that the hardware asks for. */
static bool maintenance(const struct cpu *cpu)
{
	bool pending = false;
	unsigned int i;

	for (i = 0; i < vgic.lrs; i++)
		pending |= !!(cpu->lr[i] & CV_LR_PENDING);
	return (cpu->hcr & CV_HCR_NPIE && !pending) || (cpu->hcr & CV_HCR_LRENPIE && cpu->eoi_count);
}

/* The vCPU looks for an interrupt, and takes it. */
static void acknowledge(unsigned int n)
{
	struct cpu *cpu = &cpus[n];
	u8 running = cpu->depth ? cpu->running[cpu->depth - 1] : IDLE;
	u8 best = model_best(n);
	int found = -1;
	unsigned int i;

	for (i = 0; i < vgic.lrs; i++)
		if ((cpu->lr[i] & CV_LR_STATE) == CV_LR_PENDING &&
		    (found < 0 || LR_PRIORITY(cpu->lr[i]) < LR_PRIORITY(cpu->lr[found])))
			found = i;
	if (found >= 0 && LR_PRIORITY(cpu->lr[found]) >= running)
		found = -1;
	if (best >= running) {
		check(found < 0, "an interrupt that should not be", n, found < 0 ? 0 : LR_INTID(cpu->lr[found]));
		return;
	}
	check(found >= 0, "no interrupt, but one of priority", n, best);
	{
		u32 intid = LR_INTID(cpu->lr[found]);
		struct model_irq *irq = model_of(n, intid);

		check(model_deliverable(irq, n), "not deliverable", n, intid);
		check(irq->priority == best && LR_PRIORITY(cpu->lr[found]) == best, "not the best", intid, best);
		check(!(cpu->lr[found] & CV_LR_GROUP1) == !irq->group1, "group", n, intid);
		irq->active = true;
		irq->active_on = n;
		irq->latch = false;
		cpu->lr[found] = (cpu->lr[found] & ~CV_LR_PENDING) | CV_LR_ACTIVE;
		cpu->taken[cpu->depth] = intid;
		cpu->running[cpu->depth++] = best;
	}
}

/* It ends the one that it took last. */
static void end(unsigned int n)
{
	struct cpu *cpu = &cpus[n];
	bool maintain = false;
	unsigned int i;
	u32 intid;

	if (!cpu->depth)
		return;
	intid = cpu->taken[--cpu->depth];
	model_of(n, intid)->active = false;
	for (i = 0; i < vgic.lrs; i++) {
		if (!(cpu->lr[i] & CV_LR_ACTIVE) || LR_INTID(cpu->lr[i]) != intid)
			continue;
		cpu->lr[i] &= ~CV_LR_ACTIVE;
		maintain = !(cpu->lr[i] & CV_LR_HW) && cpu->lr[i] & CV_LR_EOI && !(cpu->lr[i] & CV_LR_STATE);
		/* The physical line is high again: that is an exit, too. */
		maintain |= cpu->lr[i] & CV_LR_HW && model_pending(model_of(n, intid));
		break;
	}
	if (i == vgic.lrs)
		cpu->eoi_count++;
	if (maintain || maintenance(cpu)) {
		leave(n);
		enter(n);
	}
}

static u64 reg(int cpu, u32 offset, u8 len, bool is_write, u64 value)
{
	struct cv_vgic_access access = {
		.vgic = &vgic, .cpu = cpu == DIST ? NULL : &cpus[cpu].vgic, .offset = offset, .len = len,
	};

	if (!is_write)
		return cv_vgic_read(&access);
	kick(cv_vgic_write(&access, value));
	return 0;
}

/* One bit of a register of an interrupt. */
static void write_bit(unsigned int cpu, u32 set, unsigned int intid)
{
	u32 offset = set + intid / 32 * 4;

	if (intid < CV_VGIC_PRIVATE)
		reg(cpu, 0x10000 + set, 4, true, 1u << intid);
	else
		reg(DIST, offset, 4, true, 1u << intid % 32);
}

static void write_field(unsigned int cpu, u32 set, unsigned int intid, unsigned int bits, u32 value)
{
	unsigned int each = 32 / bits;
	u32 offset = set + intid / each * 4, shift = intid % each * bits;
	int whose = intid < CV_VGIC_PRIVATE ? (int)cpu : DIST;
	u32 base = whose == DIST ? 0 : 0x10000;
	u32 mask = (u32)((1ULL << bits) - 1) << shift;

	reg(whose, base + offset, 4, true, (reg(whose, base + offset, 4, false, 0) & ~mask) | value << shift);
}

/* A device, a VM's write, or a vCPU's turn. */
static void one_step(bool overflow)
{
	/* Without overflow there are as many interrupts as list registers: 0, 6, 12... */
	unsigned int n = any(CPUS), intid = overflow ? any(IRQS) : any(16) * 6, target, choice = any(100);
	struct model_irq *irq = model_of(n, intid);
	struct cv_irq *real = cv_irq_find(&vgic, &cpus[n].vgic, intid);
	bool value = any(2);

	if (choice < 25 && intid >= 16) {
		u8 mask = cv_irq_set_line(&vgic, real, value);

		if (irq->edge && value)
			irq->latch = true;
		irq->line = value;
		/* Who finds it in a list register takes it, spuriously: not what is tested here. */
		kick(value || !real->in_lr ? mask : BIT(real->owner));
	} else if (choice < 30 && intid < 16) {
		u64 sgi = (u64)intid << 24;
		u32 targets = any(1 << CPUS);

		kick(cv_irq_sgi(&vgic, &cpus[n].vgic, sgi | targets, true));
		for (target = 0; target < CPUS; target++)
			if (targets >> target & 1)
				model_of(target, intid)->latch = true;
	} else if (choice < 36) {
		write_bit(n, value ? 0x100 : 0x180, intid);
		irq->enabled = value;
	} else if (choice < 42) {
		/* What is pending in a list register may be taken before the vCPU is told: here it is told at once. */
		write_bit(n, value ? 0x200 : 0x280, intid);
		irq->latch = value;
	} else if (choice < 44 && !overflow && !irq->active && !value) {
		write_bit(n, 0x300, intid);
		irq->active = true;
		irq->active_on = real->owner;
	} else if (choice < 47 && !overflow) {
		unsigned int c, i;

		/* What a vCPU is about to end stays active: it would end another one instead. */
		for (c = 0; c < CPUS; c++)
			for (i = 0; i < cpus[c].depth; i++)
				if (cpus[c].taken[i] == intid)
					return;
		write_bit(n, 0x380, intid);
		irq->active = false;
	} else if (choice < 50) {
		u8 priority = any(32) << 3;

		/* Not while it is active: what it runs at is what it was taken at. */
		if (irq->active)
			return;
		if (intid < CV_VGIC_PRIVATE)
			reg(n, 0x10400 + intid, 1, true, priority | any(8));
		else
			write_field(n, 0x400, intid, 8, priority | any(8));
		irq->priority = priority;
	} else if (choice < 52 && intid >= CV_VGIC_PRIVATE) {
		u64 router = any(8) ? any(CPUS) : any(2) ? 1ULL << 31 : 5;

		reg(DIST, 0x6000 + 8 * intid, 8, true, router);
		irq->target = router >> 31 ? 0 : router < CPUS ? router : CV_VGIC_NOBODY;
	} else if (choice < 53) {
		write_field(n, 0x80, intid, 1, value);
		irq->group1 = value;
	} else if (choice < 54 && intid >= CV_VGIC_PRIVATE && !irq->active) {
		write_field(n, 0xc00, intid, 2, value ? 2 : 0);
		irq->edge = value;
	} else if (choice < 55) {
		model_groups = any(4) ? 3 : any(4);
		reg(DIST, 0, 4, true, model_groups);
	} else if (choice < 65) {
		if (cpus[n].runs)
			leave(n);
		else
			enter(n);
	} else if (choice < 82 && cpus[n].runs && cpus[n].depth < IRQS) {
		acknowledge(n);
		if (maintenance(&cpus[n])) {
			leave(n);
			enter(n);
		}
	} else if (cpus[n].runs) {
		end(n);
	}
}

static void set_up(unsigned int lrs)
{
	unsigned int c, i;

	memset(&vgic, 0, sizeof(vgic));
	memset(cpus, 0, sizeof(cpus));
	memset(spis, 0, sizeof(spis));
	memset(model, 0, sizeof(model));
	vgic.lrs = lrs;
	vgic.nr_irqs = IRQS;
	vgic.spis = spis;
	vgic.dist = 0x8000000;
	for (c = 0; c < CPUS; c++) {
		cpus[c].vgic.index = c;
		vgic.cpus[c] = &cpus[c].vgic;
		vgic.order[vgic.nr_cpus++] = c;
		cv_vgic_reset_cpu(&vgic, &cpus[c].vgic);
		cpus[c].vgic.private[24].hwintid = 24;
		cpus[c].vgic.private[27].hwintid = 27;
	}
	cv_vgic_reset_all(&vgic);
	model_groups = 0;
	for (c = 0; c < CPUS; c++) {
		for (i = 0; i < IRQS; i++) {
			struct model_irq *irq = model_of(c, i);

			*irq = (struct model_irq) { .group1 = true, .edge = i < 16, .target = i < CV_VGIC_PRIVATE ? c : 0 };
		}
	}
}

/* Random steps; every now and then all vCPUs stop, and everything is compared. */
static void test_steps(unsigned long steps)
{
	unsigned int c;

	for (step = 0; step < steps; step++) {
		if (step % 2000 == 0)
			set_up((const u8 []) { 16, 4, 1, 2 }[any(4)]);
		one_step(vgic.lrs < 16);
		check_live();
		if (step % 97 == 0) {
			for (c = 0; c < CPUS; c++)
				if (cpus[c].runs)
					leave(c);
			check_state();
		}
	}
}

/* Any access at all, by VMs and by user space, with vCPUs that come and go, and take and end things in no order. */
static void test_hostile(unsigned long steps)
{
	unsigned int i;

	set_up(4);
	for (step = 0; step < steps; step++) {
		struct cv_vgic_access access = {
			.vgic = &vgic,
			.cpu = any(2) ? &cpus[any(CPUS)].vgic : NULL,
			.offset = any(4) ? any(2) * 0x10000 + any(0x1000) : any(0x20000),
			.len = 1 << any(4),
			.by_user = any(4) == 0,
		};
		struct cpu *cpu = &cpus[any(CPUS)];
		u64 value = (u64)any(~0u) << 32 | any(~0u);
		u32 offset;

		if (step % 5000 == 0)
			set_up(1 + any(16));
		cv_vgic_concerns(&access);
		cv_vgic_has_register(access.cpu, access.offset);
		cv_vgic_redistributor(&vgic, value, &offset);
		switch (any(6)) {
		case 0:
		case 1:
			kick(cv_vgic_write(&access, value));
			break;
		case 2:
			cv_vgic_read(&access);
			break;
		case 3:
			cv_irq_sgi(&vgic, &cpu->vgic, value, any(2));
			break;
		case 4:
			/* The hardware may have done anything to its list registers. */
			for (i = 0; cpu->runs && i < vgic.lrs; i++)
				if (any(2))
					cpu->lr[i] = (cpu->lr[i] & ~CV_LR_STATE) | (u64)any(4) << 62;
			cpu->eoi_count = any(32);
			break;
		default:
			if (cpu->runs)
				leave(cpu - cpus);
			else
				enter(cpu - cpus);
			break;
		}
		check_live();
	}
}

static void expect(u64 got, u64 want, const char *what)
{
	check(got == want, what, got, want);
}

static void test_registers(void)
{
	struct cv_vgic_cpu *cpu;
	u32 offset;

	set_up(4);
	expect(reg(DIST, 0x0, 4, false, 0), 0x50, "GICD_CTLR: affinity routing, one security state");
	expect(reg(DIST, 0x4, 4, false, 0), 9 << 19 | 2, "GICD_TYPER");
	expect(reg(DIST, 0x8, 4, false, 0), CV_VGIC_IIDR, "GICD_IIDR");
	expect(reg(DIST, 0xffe8, 4, false, 0), 0x3b, "GICD_PIDR2: GICv3");
	expect(reg(1, 0xffe8, 4, false, 0), 0x3b, "GICR_PIDR2");
	expect(reg(1, 0x14, 4, false, 0), 0, "GICR_WAKER: awake");

	/* Redistributors: in the order of creation, through the regions. */
	vgic.nr_regions = 2;
	vgic.regions[0] = (struct cv_vgic_region) { 0x80a0000, 1 };
	vgic.regions[1] = (struct cv_vgic_region) { 0x9000000, 100 };
	vgic.order[0] = 2;
	vgic.order[2] = 0;
	expect(reg(2, 0x8, 8, false, 0), 2ULL << 32 | 2 << 8 | 1 << 4, "GICR_TYPER: the last of its region");
	expect(reg(1, 0x8, 8, false, 0), 1ULL << 32 | 1 << 8, "GICR_TYPER: one follows");
	expect(reg(0, 0x8, 8, false, 0), 1 << 4, "GICR_TYPER: the last of all");
	expect(reg(1, 0xc, 4, false, 0), 1, "the upper half of GICR_TYPER");
	cpu = cv_vgic_redistributor(&vgic, 0x80a0000 + 0x1fffc, &offset);
	check(cpu == &cpus[2].vgic && offset == 0x1fffc, "first region", offset, 0);
	cpu = cv_vgic_redistributor(&vgic, 0x9020008, &offset);
	check(cpu == &cpus[0].vgic && offset == 8, "second region", offset, 0);
	check(!cv_vgic_redistributor(&vgic, 0x9040000, &offset), "beyond the last vCPU", 0, 0);
	check(!cv_vgic_redistributor(&vgic, 0x80c0000, &offset), "beyond a region", 0, 0);
	check(!cv_vgic_redistributor(&vgic, 0x809fffc, &offset), "before a region", 0, 0);

	/* Widths. */
	reg(DIST, 0x400 + 33, 1, true, 0xff);
	expect(reg(DIST, 0x400 + 32, 4, false, 0), 0xf800, "five bits of a priority, written as a byte");
	expect(reg(DIST, 0x400 + 33, 1, false, 0), 0xf8, "read as a byte");
	reg(DIST, 0x400 + 34, 2, true, 0xffff);
	reg(DIST, 0x104, 8, true, ~0ULL);
	reg(DIST, 0x105, 1, true, 0xff);
	reg(DIST, 0x106, 4, true, ~0u);
	expect(reg(DIST, 0x400 + 32, 4, false, 0), 0xf800, "halfwords are ignored");
	expect(reg(DIST, 0x104, 4, false, 0), 0, "so are doublewords, bytes, and what is not aligned");
	expect(reg(DIST, 0x104, 8, false, 0), 0, "and read as zero");
	reg(DIST, 0x6000 + 8 * 40, 8, true, ~0ULL);
	expect(reg(DIST, 0x6000 + 8 * 40, 8, false, 0), 0xff80ffffffULL, "GICD_IROUTER");
	reg(DIST, 0x6000 + 8 * 40 + 4, 4, true, 0);
	expect(reg(DIST, 0x6000 + 8 * 40, 8, false, 0), 0x80ffffffULL, "its upper half");
	reg(DIST, 0x6000 + 8 * 40, 4, true, 1);
	expect(reg(DIST, 0x6000 + 8 * 40, 4, false, 0), 1, "its lower half");
	expect(spis[40 - 32].target, 1, "where that is");

	/* SGIs and PPIs are in redistributors, SPIs in the distributor, and there are no more than there are. */
	reg(DIST, 0x100, 4, true, ~0u);
	expect(reg(DIST, 0x100, 4, false, 0) | reg(0, 0x10100, 4, false, 0), 0, "GICD_ISENABLER0");
	reg(0, 0x10104, 4, true, ~0u);
	expect(reg(DIST, 0x104, 4, false, 0) | reg(0, 0x10104, 4, false, 0), 0, "no GICR_ISENABLER1");
	reg(DIST, 0x10c, 4, true, ~0u);
	expect(reg(DIST, 0x10c, 4, false, 0), 0, "beyond NR_IRQS");
	reg(0, 0x10c00, 4, true, 0);
	reg(0, 0x10c04, 4, true, ~0u);
	expect(reg(0, 0x10c00, 4, false, 0), 0xaaaaaaaa, "SGIs are edges");
	expect(reg(0, 0x10c04, 4, false, 0), 0, "PPIs are levels");
	expect(reg(DIST, 0x800 + 32, 4, false, 0), 0, "no GICD_ITARGETSR");

	/* User space sees the latch, not the line. */
	{
		struct cv_vgic_access access = { .vgic = &vgic, .offset = 0x204, .len = 4, .by_user = true };

		cv_irq_set_line(&vgic, &spis[0], true);
		expect(reg(DIST, 0x204, 4, false, 0), 1, "a high line is pending");
		expect(cv_vgic_read(&access), 0, "but not latched");
		cv_vgic_write(&access, 2);
		expect(cv_vgic_read(&access), 2, "what user space latched");
		cv_vgic_write(&access, 0);
		expect(cv_vgic_read(&access), 0, "and took away");
		access.offset = 0x284;
		cv_vgic_write(&access, ~0u);
		expect(cv_vgic_read(&access), 0, "GICD_ICPENDR is none of user space's");
		expect(reg(DIST, 0x284, 4, false, 0), 1, "but the VM's");
	}
	check(cv_vgic_has_register(false, 0) && cv_vgic_has_register(false, 0x6100) && cv_vgic_has_register(true, 0x14) &&
	      cv_vgic_has_register(true, 0x10400), "registers that there are", 0, 0);
	check(!cv_vgic_has_register(false, 2) && !cv_vgic_has_register(false, 0x2000) && !cv_vgic_has_register(true, 0x100) &&
	      !cv_vgic_has_register(true, 0x10420), "registers that there are not", 0, 0);
}

static void test_sgis(void)
{
	u64 word;

	set_up(4);
	expect(cv_irq_sgi(&vgic, &cpus[0].vgic, 1ULL << 40, true), 0, "nobody has them enabled");
	reg(DIST, 0, 4, true, 3);
	reg(1, 0x10100, 4, true, ~0u);
	reg(2, 0x10100, 4, true, ~0u);
	expect(cpus[1].vgic.live_words, 1, "it was pending all the time");
	expect(cv_irq_sgi(&vgic, &cpus[2].vgic, 5ULL << 24 | 1ULL << 40, true), 2, "all but oneself, if enabled");
	expect(cv_irq_sgi(&vgic, &cpus[0].vgic, 5ULL << 24 | 2, false), 0, "group 0 does not interrupt group 1");
	for (word = 16; word < 56; word += word == 20 ? 12 : 4)
		expect(cv_irq_sgi(&vgic, &cpus[0].vgic, 2 | 1ULL << (word == 20 ? 20 : word == 24 ? 20 : word), true),
		       word == 40 ? 6 : 0, "another affinity");
}

/* What the fast path rests on: little is asked of the hardware. */
static void test_exits(void)
{
	struct cpu *cpu = &cpus[0];

	set_up(4);
	reg(DIST, 0, 4, true, 3);
	reg(DIST, 0x104, 4, true, ~0u);
	enter(0);
	expect(cpu->hcr, 0, "no maintenance without interrupts");
	kick(cv_irq_set_line(&vgic, &spis[3], true));
	expect(cpu->lr[0], 35 | CV_LR_PENDING | CV_LR_GROUP1 | CV_LR_EOI, "a level that is high asks for its end");
	model_groups = 3;
	model_of(0, 35)->enabled = true;
	model_of(0, 35)->line = true;
	acknowledge(0);
	leave(0);
	cv_irq_set_line(&vgic, &spis[3], false);
	model_of(0, 35)->line = false;
	enter(0);
	expect(cpu->lr[0], 35 | CV_LR_ACTIVE | CV_LR_GROUP1, "one that is low again does not");
	end(0);
	leave(0);
	expect(cpu->vgic.live_words, 0, "and then there is nothing");
}

int main(int argc, char **argv)
{
	unsigned long steps = argc > 1 ? strtoul(argv[1], NULL, 0) : 400000;

	random_state = argc > 2 ? strtoull(argv[2], NULL, 0) : 0x9e3779b97f4a7c15ULL;
	test_registers();
	test_sgis();
	test_exits();
	test_steps(steps);
	test_hostile(steps);
	printf("test result: ok. 5 passed; 0 failed\n");
	return 0;
}
