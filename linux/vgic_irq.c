// SPDX-License-Identifier: GPL-2.0-only
/*
 * The states of interrupts (Arm IHI 0069H, 4.1.2), and how they get into list registers and back.
 */

#include <linux/bitops.h>
#include <linux/compiler.h>
#include <linux/limits.h>
#include <linux/string.h>

#include "vgic_core.h"

/* Finds an interrupt; SGIs and PPIs are those of @cpu, and nobody's if that is NULL. */
struct cv_irq *cv_irq_find(struct cv_vgic *vgic, struct cv_vgic_cpu *cpu, u32 intid)
{
	if (intid < CV_VGIC_PRIVATE)
		return cpu ? &cpu->private[intid] : NULL;
	if (!vgic->spis || intid >= vgic->nr_irqs || intid >= CV_VGIC_END)
		return NULL;
	return &vgic->spis[intid - CV_VGIC_PRIVATE];
}

static struct cv_vgic_cpu *owner_of(struct cv_vgic *vgic, const struct cv_irq *irq)
{
	return irq->owner < CV_VGIC_CPUS ? vgic->cpus[irq->owner] : NULL;
}

static void set_live(struct cv_vgic_cpu *cpu, u16 intid, bool live)
{
	unsigned int word = intid / 64;
	u32 words = cpu->live_words;

	if (live)
		cpu->live[word] |= BIT_ULL(intid % 64);
	else
		cpu->live[word] &= ~BIT_ULL(intid % 64);
	words = cpu->live[word] ? words | BIT(word) : words & ~BIT(word);
	WRITE_ONCE(cpu->live_words, words);
}

/* After any change of an interrupt: whose it is, and whether it needs a list register. */
u8 cv_irq_update(struct cv_vgic *vgic, struct cv_irq *irq)
{
	struct cv_vgic_cpu *cpu = owner_of(vgic, irq);
	u8 owner = irq->active ? irq->owner : irq->target;
	bool ready;

	if (irq->in_lr)
		return BIT(irq->owner);
	ready = cv_irq_is_ready(vgic, irq);
	if (cpu && owner != irq->owner)
		set_live(cpu, irq->intid, false);
	irq->owner = owner;
	cpu = owner_of(vgic, irq);
	if (!cpu)
		return 0;
	set_live(cpu, irq->intid, ready || irq->active);
	return ready ? BIT(owner) : 0;
}

/* After a change that concerns all. */
u8 cv_irq_update_all(struct cv_vgic *vgic)
{
	unsigned int i, n;
	u8 kick = 0;

	for (n = 0; n < CV_VGIC_CPUS; n++)
		for (i = 0; vgic->cpus[n] && i < CV_VGIC_PRIVATE; i++)
			kick |= cv_irq_update(vgic, &vgic->cpus[n]->private[i]);
	for (i = CV_VGIC_PRIVATE; cv_irq_find(vgic, NULL, i); i++)
		kick |= cv_irq_update(vgic, cv_irq_find(vgic, NULL, i));
	return kick;
}

/* The device's side: of an edge interrupt each high level is an edge. */
u8 cv_irq_set_line(struct cv_vgic *vgic, struct cv_irq *irq, bool level)
{
	if (!irq->edge && irq->line == level)
		return 0;
	irq->line = level;
	if (irq->edge && level)
		irq->latch = true;
	/*
	 * A VM that takes an interrupt whose line is low again finds a spurious one, as it may with
	 * any GIC.
	 */
	return level ? cv_irq_update(vgic, irq) : (cv_irq_update(vgic, irq), 0);
}

void cv_irq_set_pending(struct cv_irq *irq, bool pending)
{
	irq->latch = pending;
	if (!pending)
		irq->lr_latch = false;
}

void cv_irq_set_active(struct cv_irq *irq, bool active)
{
	irq->active_written = irq->in_lr;
	irq->active = active;
}

/* Routes an SPI: Interrupt_Routing_Mode (bit 31) means that any vCPU will do; the first does. */
void cv_irq_route(struct cv_vgic *vgic, struct cv_irq *irq, u64 router)
{
	u64 affinity = router & 0xff00ffffffULL;

	irq->router = router & 0xff80ffffffULL;
	irq->target = CV_VGIC_NOBODY;
	if (router & BIT_ULL(31))
		irq->target = vgic->nr_cpus ? vgic->order[0] : CV_VGIC_NOBODY;
	else if (affinity < CV_VGIC_CPUS && vgic->cpus[affinity])
		irq->target = affinity;
}

/*
 * A write to ICC_SGI1R_EL1 and the others (12.2.15 on). vCPUs have affinities 0.0.0.n. With one
 * security state a group 1 SGI interrupts whatever the group of its receiver is, a group 0 SGI only
 * where it is in group 0.
 */
u8 cv_irq_sgi(struct cv_vgic *vgic, struct cv_vgic_cpu *from, u64 value, bool any_group)
{
	unsigned int intid = value >> 24 & 0xf;
	unsigned long targets = value & CV_VGIC_ALL;
	u8 kick = 0;

	if (value & BIT_ULL(40))
		targets = CV_VGIC_ALL & ~BIT(from->index);
	else if (value & 0x00fff0ff00ff0000ULL) /* Aff3, RS, Aff2, Aff1 */
		return 0;
	for (; targets; targets &= targets - 1) {
		struct cv_vgic_cpu *cpu = vgic->cpus[__ffs(targets)];
		struct cv_irq *irq;

		if (!cpu)
			continue;
		irq = &cpu->private[intid];
		if (!any_group && irq->group1)
			continue;
		irq->latch = true;
		kick |= cv_irq_update(vgic, irq);
	}
	return kick;
}

/* Of a reset: SGIs are edges, all others levels, until the VM says otherwise. */
void cv_irq_reset(struct cv_vgic *vgic, struct cv_irq *irq, u16 intid, u8 target)
{
	u16 hwintid = irq->hwintid;

	memset(irq, 0, sizeof(*irq));
	irq->intid = intid;
	irq->hwintid = hwintid;
	irq->group1 = true;
	irq->edge = intid < 16;
	irq->target = target;
	if (intid >= CV_VGIC_PRIVATE)
		cv_irq_route(vgic, irq, 0);
	irq->owner = irq->target;
}

/* While it does not run. */
void cv_vgic_reset_cpu(struct cv_vgic *vgic, struct cv_vgic_cpu *cpu)
{
	unsigned int i;

	for (i = 0; i < CV_VGIC_PRIVATE; i++)
		cv_irq_reset(vgic, &cpu->private[i], i, cpu->index);
	memset(cpu->live, 0, sizeof(cpu->live));
	cpu->live_words = 0;
	cpu->used = 0;
	cpu->hw_in_lr = false;
	cpu->left_out = false;
}

/* While no vCPU runs. */
void cv_vgic_reset_all(struct cv_vgic *vgic)
{
	unsigned int i;

	vgic->groups = 0;
	for (i = 0; i < CV_VGIC_CPUS; i++)
		if (vgic->cpus[i])
			cv_vgic_reset_cpu(vgic, vgic->cpus[i]);
	for (i = CV_VGIC_PRIVATE; cv_irq_find(vgic, NULL, i); i++)
		cv_irq_reset(vgic, cv_irq_find(vgic, NULL, i), i, CV_VGIC_NOBODY);
}

/*
 * While it is active, the hardware can't hold it pending, too: of a level, we look at its line
 * again when it ends; with a physical interrupt there is no such state; and one that is active here
 * may be pending for another vCPU.
 */
static bool waits_for_end(const struct cv_irq *irq)
{
	return irq->active && (!irq->edge || irq->hwintid || irq->target != irq->owner);
}

/* An interrupt that wants a list register: the lower the key, the more so. */
struct candidate {
	u32 key;
	bool pending;
};

static struct candidate candidate(const struct cv_vgic *vgic, const struct cv_irq *irq)
{
	bool pending = cv_irq_is_ready(vgic, irq) && !waits_for_end(irq);

	return (struct candidate) {
		.key = (u32)irq->priority << 11 | (u32)!irq->active << 10 | irq->intid,
		.pending = pending,
	};
}

static u64 list_register(const struct cv_vgic *vgic, const struct cv_irq *irq, bool pending)
{
	u64 word = irq->intid | CV_LR_PRIORITY(irq->priority);

	if (irq->group1)
		word |= CV_LR_GROUP1;
	if (irq->active)
		word |= CV_LR_ACTIVE;
	if (pending)
		word |= CV_LR_PENDING;
	if (irq->hwintid)
		word |= CV_LR_HW | CV_LR_PHYSICAL(irq->hwintid);
	else if ((irq->line && !irq->edge) || (!pending && cv_irq_is_ready(vgic, irq)))
		word |= CV_LR_EOI; /* pending again at its end, which we would not see otherwise */
	return word;
}

/* Puts an interrupt into the next list register. */
static u64 fill_next(struct cv_vgic *vgic, struct cv_vgic_cpu *cpu, struct cv_irq *irq,
		     bool pending)
{
	u64 word = list_register(vgic, irq, pending);

	cpu->lr_intid[cpu->used++] = irq->intid;
	cpu->hw_in_lr |= irq->hwintid != 0;
	irq->in_lr = true;
	irq->active_written = false;
	if (pending) {
		irq->lr_latch = irq->latch;
		irq->latch = false;
	}
	return word;
}

/*
 * Chooses those with the highest priority, among which there is a pending one if there is any at
 * all.
 */
static void fill_many(struct cv_vgic *vgic, struct cv_vgic_cpu *cpu, u64 *words, u64 *control)
{
	struct candidate best[CV_VGIC_LRS], first_pending = { .key = U32_MAX };
	unsigned int count = 0, i, room = vgic->lrs;
	unsigned int pendings = 0, actives = 0;
	unsigned long map = cpu->live_words;
	bool pending_in = false;

	for (; map; map &= map - 1) {
		unsigned int word = __ffs(map);
		u64 bits;

		for (bits = cpu->live[word]; bits; bits &= bits - 1) {
			struct cv_irq *irq = cv_irq_find(vgic, cpu, word * 64 + __ffs64(bits));
			struct candidate new = candidate(vgic, irq);

			pendings += new.pending;
			actives += irq->active;
			if (new.pending && new.key < first_pending.key)
				first_pending = new;
			if (count == room && (!room || best[room - 1].key < new.key))
				continue;
			i = count < room ? count++ : room - 1;
			for (; i && new.key < best[i - 1].key; i--)
				best[i] = best[i - 1];
			best[i] = new;
		}
	}
	for (i = 0; i < count; i++)
		pending_in |= best[i].pending;
	if (count && pendings && !pending_in)
		best[count - 1] = first_pending;

	pending_in = false;
	for (i = 0; i < count; i++) {
		struct cv_irq *irq = cv_irq_find(vgic, cpu, best[i].key & 0x3ff);

		words[i] = fill_next(vgic, cpu, irq, best[i].pending);
		pending_in |= best[i].pending;
		pendings -= best[i].pending;
		actives -= irq->active;
	}
	cpu->left_out = actives;
	*control = (pendings && pending_in ? CV_HCR_NPIE : 0) | (actives ? CV_HCR_LRENPIE : 0);
}

/*
 * Chooses what @cpu finds in its list registers, of the live interrupts. Returns how many @words it
 * filled, and in @control when the vCPU has to come back because of those for which there was no
 * room.
 */
unsigned int cv_vgic_fill(struct cv_vgic *vgic, struct cv_vgic_cpu *cpu, u64 *words, u64 *control)
{
	unsigned int word = cpu->live_words ? __ffs(cpu->live_words) : 0;
	u64 bits = cpu->live[word];

	cpu->used = 0;
	cpu->hw_in_lr = false;
	cpu->left_out = false;
	*control = 0;
	/* Mostly there is one, if any, and nothing to choose. */
	if (!(cpu->live_words & (cpu->live_words - 1)) && !(bits & (bits - 1)) && vgic->lrs) {
		struct cv_irq *irq = NULL;

		if (bits)
			irq = cv_irq_find(vgic, cpu, word * 64 + __ffs64(bits));
		if (irq)
			words[0] = fill_next(vgic, cpu, irq,
					     cv_irq_is_ready(vgic, irq) && !waits_for_end(irq));
	} else {
		fill_many(vgic, cpu, words, control);
	}
	return cpu->used;
}

/*
 * The VM ended @count active interrupts that were in no list register. Which is not told: it ends
 * them by priority, the highest first.
 */
static u8 end_left_out(struct cv_vgic *vgic, struct cv_vgic_cpu *cpu, unsigned int count)
{
	u8 kick = 0;

	while (count--) {
		struct cv_irq *found = NULL;
		unsigned int word;
		u64 bits;

		for (word = 0; word < CV_VGIC_WORDS; word++) {
			for (bits = cpu->live[word]; bits; bits &= bits - 1) {
				struct cv_irq *irq;

				irq = cv_irq_find(vgic, cpu, word * 64 + __ffs64(bits));
				if (irq->active && !irq->in_lr &&
				    (!found || irq->priority < found->priority))
					found = irq;
			}
		}
		if (!found)
			break;
		found->active = false;
		kick |= cv_irq_update(vgic, found);
	}
	return kick;
}

/*
 * Takes back what cv_vgic_fill gave, as the hardware left it. Returns how many level interrupts
 * ended, and which in @ended;
 * @kick: vCPUs whose interrupts these have become.
 */
unsigned int cv_vgic_fold(struct cv_vgic *vgic, struct cv_vgic_cpu *cpu, const u64 *words,
			  unsigned int eoi_count, u16 ended[CV_VGIC_LRS], u8 *kick)
{
	unsigned int i, used = cpu->used, count = 0;

	*kick = 0;
	if (cpu->left_out)
		*kick = end_left_out(vgic, cpu, eoi_count);
	for (i = 0; i < used; i++) {
		struct cv_irq *irq = cv_irq_find(vgic, cpu, cpu->lr_intid[i]);
		u64 word = READ_ONCE(words[i]);

		if (!irq->active_written)
			irq->active = word & CV_LR_ACTIVE;
		if (irq->lr_latch && word & CV_LR_PENDING)
			irq->latch = true;
		irq->lr_latch = false;
		irq->active_written = false;
		irq->in_lr = false;
		if (!(word & CV_LR_STATE) && !irq->edge && irq->intid >= CV_VGIC_PRIVATE)
			ended[count++] = irq->intid;
		*kick |= cv_irq_update(vgic, irq);
	}
	*kick &= ~BIT(cpu->index);
	cpu->used = 0;
	cpu->left_out = false;
	cpu->exits++;
	return count;
}

/* Whether an interrupt would be taken, as far as its priority and the vCPU's own masks let it. */
bool cv_vgic_has_ready(struct cv_vgic *vgic, struct cv_vgic_cpu *cpu)
{
	unsigned long map = cpu->live_words;

	for (; map; map &= map - 1) {
		unsigned int word = __ffs(map);
		u64 bits;

		for (bits = cpu->live[word]; bits; bits &= bits - 1) {
			struct cv_irq *irq = cv_irq_find(vgic, cpu, word * 64 + __ffs64(bits));

			if (cv_irq_is_ready(vgic, irq) && !irq->active)
				return true;
		}
	}
	return false;
}
