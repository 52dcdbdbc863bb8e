// SPDX-License-Identifier: GPL-2.0-only
/* Calls about interrupts: the vGIC, and what raises them. */
#include "fuzz.h"

static void create_device(struct thread *t, int vm)
{
	struct kvm_create_device *device = (void *)t->argument;

	device->type = one_in(t, 4) ? below(t, 16) : KVM_DEV_TYPE_ARM_VGIC_V3;
	device->flags = one_in(t, 4) ? below(t, 4) : 0;
	device->fd = -1;
	if (!call(t, CREATE_DEVICE, vm, KVM_CREATE_DEVICE, device) && (int)device->fd > 2)
		put_file(t, FILE_DEVICE, device->fd);
}

static uint64_t pick_attribute(struct thread *t, unsigned int group)
{
	if (one_in(t, 8))
		return odd_number(t);
	switch (group) {
	case KVM_DEV_ARM_VGIC_GRP_ADDR:
		return below(t, 7);
	case KVM_DEV_ARM_VGIC_GRP_DIST_REGS:
		return below(t, 0x10000) & ~3;
	case KVM_DEV_ARM_VGIC_GRP_REDIST_REGS:
		return below(t, 10) << 32 | (below(t, 0x20000) & ~3);
	case KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS:
		return below(t, 10) << 32 | (3 << 14 | 12 << 7 | below(t, 2) << 10 | below(t, 128));
	case KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO:
		return below(t, 10) << 32 | below(t, 40) * 32;
	default:
		return below(t, 5);
	}
}

static void device_attribute(struct thread *t)
{
	struct kvm_device_attr *attr = (void *)t->argument;

	attr->flags = one_in(t, 32);
	attr->group = one_in(t, 16) ? odd_number(t) : below(t, 10);
	attr->attr = pick_attribute(t, attr->group);
	attr->addr = one_in(t, 16) ? pick_address(t) : (uintptr_t)t->reg_value;
	t->reg_value[0] = one_in(t, 2) ? odd_number(t) :
			  PICK(t, TINY_DIST, TINY_REDIST, 64, 256, 1UL << 52 | TINY_REDIST, 2UL << 52 | TINY_REDIST | 1);
	call(t, DEVICE_ATTR, pick_file(t, one_in(t, 16) ? FILE_VM : FILE_DEVICE)->fd,
	     PICK(t, KVM_SET_DEVICE_ATTR, KVM_GET_DEVICE_ATTR, KVM_HAS_DEVICE_ATTR), attr);
}

static void irq_line(struct thread *t, int vm)
{
	struct kvm_irq_level *level = (void *)t->argument;

	level->irq = one_in(t, 8) ? odd_number(t) :
		     below(t, 4) << KVM_ARM_IRQ_TYPE_SHIFT | below(t, 9) << KVM_ARM_IRQ_VCPU_SHIFT | below(t, 80);
	level->level = below(t, 2);
	call(t, IRQ_LINE, vm, one_in(t, 2) ? KVM_IRQ_LINE : KVM_IRQ_LINE_STATUS, level);
}

static void irqfd(struct thread *t, int vm)
{
	struct kvm_irqfd *irqfd = (void *)t->argument;

	memset(irqfd, 0, sizeof(*irqfd));
	irqfd->fd = pick_file(t, FILE_EVENT)->fd;
	irqfd->resamplefd = pick_file(t, FILE_EVENT)->fd;
	irqfd->gsi = one_in(t, 8) ? odd_number(t) : below(t, 40);
	irqfd->flags = one_in(t, 16) ? odd_number(t) : below(t, 4);
	call(t, IRQFD, vm, KVM_IRQFD, irqfd);
}

static void ioeventfd(struct thread *t, int vm)
{
	struct kvm_ioeventfd *event = (void *)t->argument;

	memset(event, 0, sizeof(*event));
	event->addr = one_in(t, 8) ? odd_number(t) : TINY_DEVICE + PICK(t, 0, 4, 16, 0x1000);
	event->len = one_in(t, 8) ? odd_number(t) : PICK(t, 0, 1, 2, 4, 8);
	event->datamatch = below(t, 0x70);
	event->flags = one_in(t, 16) ? odd_number(t) : PICK(t, 0, 0, 1, 4, 5);
	event->fd = pick_file(t, FILE_EVENT)->fd;
	call(t, IOEVENTFD, vm, KVM_IOEVENTFD, event);
}

static void routing(struct thread *t, int vm)
{
	struct kvm_irq_routing *routing = (void *)t->argument;
	unsigned int i;

	memset(t->argument, 0, sizeof(t->argument));
	routing->nr = one_in(t, 8) ? odd_number(t) : below(t, 40);
	routing->flags = one_in(t, 16);
	for (i = 0; i < routing->nr && i < 64; i++) {
		routing->entries[i].gsi = one_in(t, 64) ? odd_number(t) : i;
		routing->entries[i].type = one_in(t, 256) ? below(t, 6) : KVM_IRQ_ROUTING_IRQCHIP;
		routing->entries[i].u.irqchip.pin = one_in(t, 64) ? odd_number(t) : below(t, 64);
	}
	call(t, ROUTING, vm, KVM_SET_GSI_ROUTING, routing);
}

static void event(struct thread *t)
{
	uint64_t value = one_in(t, 64) ? odd_number(t) : 1;
	int fd = pick_file(t, FILE_EVENT)->fd;

	if (one_in(t, 4))
		counted(EVENTFD, read(fd, &value, sizeof(value)));
	else
		counted(EVENTFD, write(fd, &value, sizeof(value)));
}

void device_state_call(struct thread *t)
{
	int vm = pick_file(t, FILE_VM)->fd;

	switch (below(t, 8)) {
	case 0:
	case 1:
		irq_line(t, vm);
		break;
	case 2:
		routing(t, vm);
		break;
	case 3:
		call(t, MSI, vm, KVM_SIGNAL_MSI, t->argument);
		break;
	case 4:
		event(t);
		break;
	default:
		device_attribute(t);
	}
}

void device_calls(struct thread *t)
{
	int vm = pick_file(t, FILE_VM)->fd;

	switch (below(t, 6)) {
	case 0:
		create_device(t, vm);
		break;
	case 1:
		irqfd(t, vm);
		break;
	case 2:
		ioeventfd(t, vm);
		break;
	default:
		device_state_call(t);
	}
}
