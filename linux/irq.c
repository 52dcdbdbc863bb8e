// SPDX-License-Identifier: GPL-2.0-only
/* Interrupts from user space: KVM_IRQ_LINE, and which interrupt a GSI is. */

#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "corevisor.h"

/* Pins of the GIC: SPIs, from 0 on. */
#define PINS (CV_VGIC_END - CV_VGIC_PRIVATE)

/**
 * struct cv_irq_routing - what user space said of GSIs
 * @rcu:	for its end
 * @intid:	by GSI; 0: nothing
 */
struct cv_irq_routing {
	struct rcu_head rcu;
	u16 intid[CV_MAX_ROUTES];
};

void cv_irq_vm_init(struct cv_vm *vm)
{
	mutex_init(&vm->irq_lock);
	spin_lock_init(&vm->irqfds_lock);
	INIT_LIST_HEAD(&vm->irqfds);
	RCU_INIT_POINTER(vm->routing, NULL);
}

void cv_irq_vm_destroy(struct cv_vm *vm)
{
	cv_irqfd_vm_destroy(vm);
	kvfree(rcu_dereference_protected(vm->routing, true));
	RCU_INIT_POINTER(vm->routing, NULL);
}

/* Until it is said otherwise, GSI n is SPI n. */
int cv_irq_of_gsi(struct cv_vm *vm, u32 gsi)
{
	const struct cv_irq_routing *routing;
	int intid = 0;

	rcu_read_lock();
	routing = rcu_dereference(vm->routing);
	if (routing)
		intid = gsi < CV_MAX_ROUTES ? routing->intid[gsi] : 0;
	else if (gsi < PINS)
		intid = gsi + CV_VGIC_PRIVATE;
	rcu_read_unlock();
	return intid ?: -EINVAL;
}

/* MSIs would need an ITS. */
int cv_irq_set_routing(struct cv_vm *vm, const struct kvm_irq_routing *routing,
		       const struct kvm_irq_routing_entry *entries)
{
	struct cv_irq_routing *new, *old;
	u32 i;

	if (routing->flags || routing->nr > CV_MAX_ROUTES)
		return -EINVAL;
	new = kvzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;
	for (i = 0; i < routing->nr; i++) {
		const struct kvm_irq_routing_entry *entry = &entries[i];

		if (entry->type != KVM_IRQ_ROUTING_IRQCHIP || entry->flags ||
		    entry->u.irqchip.irqchip || entry->u.irqchip.pin >= PINS ||
		    entry->gsi >= CV_MAX_ROUTES || new->intid[entry->gsi]) {
			kvfree(new);
			return -EINVAL;
		}
		new->intid[entry->gsi] = entry->u.irqchip.pin + CV_VGIC_PRIVATE;
	}
	mutex_lock(&vm->irq_lock);
	old = rcu_replace_pointer(vm->routing, new, lockdep_is_held(&vm->irq_lock));
	mutex_unlock(&vm->irq_lock);
	if (old)
		kvfree_rcu(old, rcu);
	return 0;
}

int cv_irq_line(struct cv_vm *vm, const struct kvm_irq_level *level)
{
	u32 irq = level->irq;
	u32 type = irq >> KVM_ARM_IRQ_TYPE_SHIFT & KVM_ARM_IRQ_TYPE_MASK;
	u32 index = irq >> KVM_ARM_IRQ_VCPU_SHIFT & KVM_ARM_IRQ_VCPU_MASK;
	u32 number = irq >> KVM_ARM_IRQ_NUM_SHIFT & KVM_ARM_IRQ_NUM_MASK;
	struct cv_vcpu *vcpu;

	index += (irq >> KVM_ARM_IRQ_VCPU2_SHIFT & KVM_ARM_IRQ_VCPU2_MASK) *
		 (KVM_ARM_IRQ_VCPU_MASK + 1);
	switch (type) {
	case KVM_ARM_IRQ_TYPE_PPI:
		if (!vm->vgic.initialized)
			return -ENXIO;
		vcpu = cv_vm_vcpu(vm, index);
		if (!vcpu || number < 16 || number >= CV_VGIC_PRIVATE)
			return -EINVAL;
		return cv_vgic_set_level(vm, vcpu, number, level->level);
	case KVM_ARM_IRQ_TYPE_SPI:
		if (!vm->vgic.initialized)
			return -ENXIO;
		if (number < CV_VGIC_PRIVATE)
			return -EINVAL;
		return cv_vgic_set_level(vm, NULL, number, level->level);
	case KVM_ARM_IRQ_TYPE_CPU:
		/* The lines of a CPU are its GIC's. */
		return -ENXIO;
	default:
		return -EINVAL;
	}
}

int cv_irq_signal_msi(struct cv_vm *vm, const struct kvm_msi *msi)
{
	return -ENXIO;
}
