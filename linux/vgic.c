// SPDX-License-Identifier: GPL-2.0-only
/* The vGIC in the kernel: its lock, and who calls it. */

#include <linux/bitops.h>
#include <linux/processor.h>
#include <linux/slab.h>

#include "abi.h"
#include "corevisor.h"
#include "vgic_core.h"

#define WORD(offset) ((offset) / 8)

/*
 * How often we look whether a vCPU has stopped before we answer with what is known. It stops at an
 * interrupt.
 */
#define PATIENCE 1000000

static_assert(CV_VGIC_CPUS == CV_MAX_VCPUS);

static void kick(struct cv_vm *vm, u8 mask)
{
	unsigned long vcpus = mask;

	for (; vcpus; vcpus &= vcpus - 1)
		cv_vcpu_kick(vm->vcpus[__ffs(vcpus)]);
}

/* But for the one that asks: it looks at its interrupts before it runs again. */
static void kick_others(struct cv_vcpu *vcpu, u8 mask)
{
	kick(vcpu->vm, mask & ~BIT(vcpu->index));
}

int cv_vgic_vm_init(struct cv_vm *vm)
{
	struct cv_vgic *vgic = &vm->vgic;

	raw_spin_lock_init(&vgic->lock);
	vgic->dist = CV_VGIC_UNSET;
	vgic->lrs = min_t(unsigned int, cv_list_registers, CV_VGIC_LRS);
	return 0;
}

void cv_vgic_vm_destroy(struct cv_vm *vm)
{
	kvfree(vm->vgic.spis);
	vm->vgic.spis = NULL;
}

int cv_vgic_vcpu_init(struct cv_vcpu *vcpu)
{
	struct cv_vgic *vgic = &vcpu->vm->vgic;
	unsigned long flags;

	if (vgic->initialized)
		return -EBUSY;
	vcpu->vgic.index = vcpu->index;
	raw_spin_lock_irqsave(&vgic->lock, flags);
	cv_vgic_reset_cpu(vgic, &vcpu->vgic);
	vgic->cpus[vcpu->index] = &vcpu->vgic;
	vgic->order[vgic->nr_cpus++] = vcpu->index;
	raw_spin_unlock_irqrestore(&vgic->lock, flags);
	return 0;
}

/* Of the one that came last, or at the end of all. */
void cv_vgic_vcpu_destroy(struct cv_vcpu *vcpu)
{
	struct cv_vgic *vgic = &vcpu->vm->vgic;
	unsigned long flags;

	raw_spin_lock_irqsave(&vgic->lock, flags);
	if (vgic->cpus[vcpu->index] == &vcpu->vgic) {
		vgic->cpus[vcpu->index] = NULL;
		if (vgic->nr_cpus && vgic->order[vgic->nr_cpus - 1] == vcpu->index)
			vgic->nr_cpus--;
	}
	raw_spin_unlock_irqrestore(&vgic->lock, flags);
}

void cv_vgic_reset(struct cv_vm *vm)
{
	unsigned long flags;

	if (!vm->vgic.initialized)
		return;
	raw_spin_lock_irqsave(&vm->vgic.lock, flags);
	cv_vgic_reset_all(&vm->vgic);
	raw_spin_unlock_irqrestore(&vm->vgic.lock, flags);
}

int cv_vgic_map_resources(struct cv_vm *vm)
{
	struct cv_vgic *vgic = &vm->vgic;

	if (!vgic->created)
		return 0;
	if (vgic->dist == CV_VGIC_UNSET ||
	    cv_vgic_redistributor_base(vgic, vgic->nr_cpus - 1) == CV_VGIC_UNSET)
		return -ENXIO;
	return vgic->initialized ? 0 : -EBUSY;
}

void cv_vgic_fill_lrs(struct cv_vcpu *vcpu)
{
	struct cv_vgic *vgic = &vcpu->vm->vgic;
	struct cv_vgic_cpu *cpu = &vcpu->vgic;
	u64 *words = &vcpu->page[WORD(CV_RUN_LIST_REGISTER)];
	unsigned int count;
	bool physical;

	raw_spin_lock(&vgic->lock);
	count = cv_vgic_fill(vgic, cpu, words, &vcpu->page[WORD(CV_RUN_ICH_HCR)]);
	physical = vcpu->timer.level | cpu->hw_in_lr;
	raw_spin_unlock(&vgic->lock);
	while (cpu->written > count)
		words[--cpu->written] = 0;
	cpu->written = count;
	cv_timer_physical(physical);
}

void cv_vgic_fold_lrs(struct cv_vcpu *vcpu)
{
	struct cv_vgic *vgic = &vcpu->vm->vgic;
	struct cv_vgic_cpu *cpu = &vcpu->vgic;
	const u64 *words = &vcpu->page[WORD(CV_RUN_LIST_REGISTER)];
	u16 ended[CV_VGIC_LRS];
	unsigned int i, count;
	u8 mask;

	if (cpu->hw_in_lr) {
		for (i = 0; i < cpu->used; i++)
			if ((words[i] & (CV_LR_HW | CV_LR_STATE)) == CV_LR_HW)
				cv_timer_physical_ended();
	}
	raw_spin_lock(&vgic->lock);
	count = cv_vgic_fold(vgic, cpu, words, vcpu->page[WORD(CV_RUN_ICH_MISR)] >> 27 & 0x1f,
			     ended, &mask);
	raw_spin_unlock(&vgic->lock);
	if (mask)
		kick_others(vcpu, mask);
	for (i = 0; i < count && READ_ONCE(vgic->resamplers); i++)
		cv_irqfd_resample(vcpu->vm, ended[i]);
}

bool cv_vgic_pending(struct cv_vcpu *vcpu)
{
	struct cv_vgic *vgic = &vcpu->vm->vgic;
	unsigned long flags;
	bool ready;

	if (!READ_ONCE(vcpu->vgic.live_words))
		return false;
	raw_spin_lock_irqsave(&vgic->lock, flags);
	ready = cv_vgic_has_ready(vgic, &vcpu->vgic);
	raw_spin_unlock_irqrestore(&vgic->lock, flags);
	return ready;
}

static int set_level(struct cv_vm *vm, struct cv_vcpu *vcpu, u32 intid, bool level, u8 *mask)
{
	struct cv_vgic *vgic = &vm->vgic;
	struct cv_irq *irq;
	unsigned long flags;
	int ret = -EINVAL;

	/* Then all that is in it is there. */
	if (!smp_load_acquire(&vgic->initialized))
		return -ENXIO;
	if (intid < 16)
		return -EINVAL;
	raw_spin_lock_irqsave(&vgic->lock, flags);
	irq = cv_irq_find(vgic, vcpu ? &vcpu->vgic : NULL, intid);
	if (irq) {
		*mask = cv_irq_set_line(vgic, irq, level);
		ret = 0;
	}
	raw_spin_unlock_irqrestore(&vgic->lock, flags);
	return ret;
}

int cv_vgic_set_level(struct cv_vm *vm, struct cv_vcpu *vcpu, u32 intid, bool level)
{
	u8 mask = 0;
	int ret;

	/* A PPI that is wired to something is not user space's. */
	if (vcpu && intid < CV_VGIC_PRIVATE && READ_ONCE(vcpu->vgic.private[intid].hwintid))
		return -EINVAL;
	ret = set_level(vm, vcpu, intid, level, &mask);
	if (mask)
		kick(vm, mask);
	return ret;
}

void cv_vgic_set_timer(struct cv_vcpu *vcpu, bool level, bool wake)
{
	u8 mask = 0;

	set_level(vcpu->vm, vcpu, vcpu->vm->timer_intid, level, &mask);
	if (mask && wake)
		kick(vcpu->vm, mask);
}

int cv_vgic_map_hw(struct cv_vcpu *vcpu, u32 intid, u32 hwintid)
{
	struct cv_vgic *vgic = &vcpu->vm->vgic;
	unsigned long flags;

	if (intid < 16 || intid >= CV_VGIC_PRIVATE || hwintid >= CV_VGIC_END)
		return -EINVAL;
	raw_spin_lock_irqsave(&vgic->lock, flags);
	vcpu->vgic.private[intid].hwintid = hwintid;
	raw_spin_unlock_irqrestore(&vgic->lock, flags);
	return 0;
}

void cv_vgic_sgi(struct cv_vcpu *vcpu, u64 value, bool group1)
{
	struct cv_vgic *vgic = &vcpu->vm->vgic;
	unsigned long flags;
	u8 mask;

	if (!vgic->initialized)
		return;
	raw_spin_lock_irqsave(&vgic->lock, flags);
	mask = cv_irq_sgi(vgic, &vcpu->vgic, value, group1);
	raw_spin_unlock_irqrestore(&vgic->lock, flags);
	kick_others(vcpu, mask);
}

/*
 * Waits until the vCPUs that may know more about this register have told it: they have to leave the
 * VM for that.
 */
static void ask_others(struct cv_vcpu *vcpu, const struct cv_vgic_access *access)
{
	struct cv_vgic *vgic = &vcpu->vm->vgic;
	unsigned long flags, exits[CV_VGIC_CPUS], others;
	unsigned int patience = PATIENCE, n;

	raw_spin_lock_irqsave(&vgic->lock, flags);
	others = cv_vgic_concerns(access) & ~BIT(vcpu->index);
	for (n = 0; n < CV_VGIC_CPUS; n++)
		exits[n] = others >> n & 1 ? vgic->cpus[n]->exits : 0;
	raw_spin_unlock_irqrestore(&vgic->lock, flags);
	if (!others)
		return;
	kick(vcpu->vm, others);
	for (; others; others &= others - 1) {
		n = __ffs(others);
		while (READ_ONCE(vgic->cpus[n]->exits) == exits[n] && patience--)
			cpu_relax();
	}
}

bool cv_vgic_mmio(struct cv_vcpu *vcpu, u64 addr, unsigned int len, bool is_write, u64 *data)
{
	struct cv_vgic *vgic = &vcpu->vm->vgic;
	struct cv_vgic_access access = { .vgic = vgic, .len = len };
	unsigned long flags;
	u8 mask = 0;

	if (!vgic->initialized)
		return false;
	if (addr - vgic->dist < KVM_VGIC_V3_DIST_SIZE) {
		access.offset = addr - vgic->dist;
	} else {
		access.cpu = cv_vgic_redistributor(vgic, addr, &access.offset);
		if (!access.cpu)
			return false;
	}
	if (cv_vgic_is_state(access.offset))
		ask_others(vcpu, &access);
	raw_spin_lock_irqsave(&vgic->lock, flags);
	if (is_write)
		mask = cv_vgic_write(&access, *data);
	else
		*data = cv_vgic_read(&access);
	raw_spin_unlock_irqrestore(&vgic->lock, flags);
	if (mask)
		kick_others(vcpu, mask);
	return true;
}
