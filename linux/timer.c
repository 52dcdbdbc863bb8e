// SPDX-License-Identifier: GPL-2.0-only
/*
 * The virtual timer. While a vCPU runs it has the hardware's, whose interrupt makes it exit;
 * otherwise an hrtimer stands in for it.
 *
 * The hardware's line is high whenever the timer is due and its vCPU runs. So that the vCPU does
 * get to run then, the physical interrupt has to be active: either the vCPU's deactivation ends
 * that, by its list register, or it is we who keep it so for as long as the line is high.
 */

#include <linux/cpuhotplug.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/of.h>
#include <linux/of_irq.h>
#include <linux/percpu.h>
#include <linux/uaccess.h>
#include <asm/arch_timer.h>
#include <asm/sysreg.h>

#include "abi.h"
#include "compat.h"
#include "corevisor.h"

#define WORD(offset) ((offset) / 8)

#define CTL_ENABLE  BIT(0)
#define CTL_IMASK   BIT(1)
#define CTL_ISTATUS BIT(2)

#define DEFAULT_INTID 27

/*
 * An hrtimer is set for at most so long, and then again: its arithmetic is in signed nanoseconds.
 */
#define MAX_SECONDS (60 * 60 * 24)

static int timer_irq, maintenance_irq;
static u32 timer_hwirq;
/* The part of the timer's interrupt that can be made active. */
static struct irq_data *timer_data;
static enum cpuhp_state hotplug;
static DEFINE_PER_CPU(int, cookie);
DEFINE_PER_CPU(bool, cv_physical);

static u64 counter(void)
{
	isb();
	return read_sysreg(cntvct_el0);
}

u64 cv_timer_now(struct cv_vm *vm)
{
	return counter() - READ_ONCE(vm->cntvoff);
}

void cv_timer_set_now(struct cv_vm *vm, u64 now)
{
	if (!READ_ONCE(vm->ran))
		WRITE_ONCE(vm->cntvoff, counter() - now);
}

void cv_timer_vm_init(struct cv_vm *vm)
{
	vm->cntvoff = counter();
	vm->timer_intid = DEFAULT_INTID;
}

/*
 * Past irq_set_irqchip_state(), for what that looks up and locks: of a PPI each CPU has its own,
 * which nobody else touches, and interrupts are off.
 */
void cv_timer_set_physical(bool active)
{
	this_cpu_write(cv_physical, active);
	timer_data->chip->irq_set_irqchip_state(timer_data, IRQCHIP_STATE_ACTIVE, active);
}

/* The VM's deactivation has ended it. */
void cv_timer_physical_ended(void)
{
	this_cpu_write(cv_physical, false);
}

static void set_level(struct cv_vcpu *vcpu, bool level, bool wake)
{
	struct cv_timer *timer = &vcpu->timer;

	if (timer->level == level)
		return;
	timer->level = level;
	cv_vgic_set_timer(vcpu, level, wake);
}

void cv_timer_exit(struct cv_vcpu *vcpu)
{
	const u64 mask = CTL_ENABLE | CTL_IMASK | CTL_ISTATUS;
	struct cv_timer *timer = &vcpu->timer;

	timer->ctl = vcpu->page[WORD(CV_RUN_CNTV_CTL)];
	timer->cval = vcpu->page[WORD(CV_RUN_CNTV_CVAL)];
	set_level(vcpu, (timer->ctl & mask) == (CTL_ENABLE | CTL_ISTATUS), false);
}

static bool is_on(const struct cv_timer *timer)
{
	return (timer->ctl & (CTL_ENABLE | CTL_IMASK)) == CTL_ENABLE;
}

/* How long until it is due: 0 if it is. */
static u64 nanoseconds_left(struct cv_vcpu *vcpu)
{
	u64 now = cv_timer_now(vcpu->vm), hz = read_sysreg(cntfrq_el0), left, seconds;

	if (now >= vcpu->timer.cval || !hz)
		return 0;
	left = vcpu->timer.cval - now;
	seconds = min_t(u64, left / hz, MAX_SECONDS);
	return seconds * NSEC_PER_SEC + left % hz * NSEC_PER_SEC / hz + 1;
}

static enum hrtimer_restart is_due(struct hrtimer *hrtimer)
{
	struct cv_vcpu *vcpu = container_of(hrtimer, struct cv_vcpu, timer.hrtimer);
	u64 left = nanoseconds_left(vcpu);

	if (left) {
		hrtimer_forward_now(hrtimer, ns_to_ktime(left));
		return HRTIMER_RESTART;
	}
	set_level(vcpu, true, true);
	return HRTIMER_NORESTART;
}

/* From here to cv_timer_unblock the level is the hrtimer's to change. */
void cv_timer_block(struct cv_vcpu *vcpu)
{
	struct cv_timer *timer = &vcpu->timer;
	u64 left;

	if (!is_on(timer) || timer->level)
		return;
	left = nanoseconds_left(vcpu);
	if (left)
		hrtimer_start(&timer->hrtimer, ns_to_ktime(left), HRTIMER_MODE_REL_HARD);
	else
		set_level(vcpu, true, false);
}

void cv_timer_unblock(struct cv_vcpu *vcpu)
{
	hrtimer_cancel(&vcpu->timer.hrtimer);
}

void cv_timer_vcpu_init(struct cv_vcpu *vcpu)
{
	cv_hrtimer_setup(&vcpu->timer.hrtimer, is_due, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	vcpu->timer.vcpu = vcpu;
	cv_vgic_map_hw(vcpu, vcpu->vm->timer_intid, timer_hwirq);
}

void cv_timer_vcpu_destroy(struct cv_vcpu *vcpu)
{
	hrtimer_cancel(&vcpu->timer.hrtimer);
}

/* As Corevisor has it at the first entry. */
void cv_timer_vcpu_reset(struct cv_vcpu *vcpu)
{
	vcpu->timer.ctl = 0;
	vcpu->timer.cval = 0;
	set_level(vcpu, false, false);
}

static int check_attr(const struct kvm_device_attr *attr)
{
	/* VMs have no other timer. */
	if (attr->group != KVM_ARM_VCPU_TIMER_CTRL || attr->attr != KVM_ARM_VCPU_TIMER_IRQ_VTIMER)
		return -ENXIO;
	return 0;
}

int cv_timer_has_attr(struct cv_vcpu *vcpu, struct kvm_device_attr *attr)
{
	return check_attr(attr);
}

int cv_timer_get_attr(struct cv_vcpu *vcpu, struct kvm_device_attr *attr)
{
	int intid = vcpu->vm->timer_intid;

	return check_attr(attr) ?: put_user(intid, (int __user *)(uintptr_t)attr->addr);
}

/* One number for all vCPUs, as KVM has it. */
int cv_timer_set_attr(struct cv_vcpu *vcpu, struct kvm_device_attr *attr)
{
	struct cv_vm *vm = vcpu->vm;
	int intid, ret, i;

	ret = check_attr(attr) ?: get_user(intid, (int __user *)(uintptr_t)attr->addr);
	if (ret)
		return ret;
	if (intid < 16 || intid >= CV_VGIC_PRIVATE)
		return -EINVAL;
	mutex_lock(&vm->lock);
	if (vm->ran) {
		ret = -EBUSY;
	} else {
		for (i = 0; i < CV_MAX_VCPUS; i++) {
			if (!vm->vcpus[i])
				continue;
			cv_vgic_map_hw(vm->vcpus[i], vm->timer_intid, 0);
			cv_vgic_map_hw(vm->vcpus[i], intid, timer_hwirq);
		}
		vm->timer_intid = intid;
	}
	mutex_unlock(&vm->lock);
	return ret;
}

/*
 * The host's side. Both interrupts are there to make a vCPU exit; by then their lines are low
 * again. If the host gets one it is because someone else uses the timer, which has to end.
 */
static irqreturn_t timer_handler(int irq, void *unused)
{
	write_sysreg(CTL_IMASK, cntv_ctl_el0);
	return IRQ_HANDLED;
}

static irqreturn_t maintenance_handler(int irq, void *unused)
{
	return IRQ_HANDLED;
}

static int timer_online(unsigned int cpu)
{
	unsigned long flags;

	/* Unknown, after whatever the CPU did before. */
	local_irq_save(flags);
	cv_timer_set_physical(false);
	local_irq_restore(flags);
	enable_percpu_irq(timer_irq, irq_get_trigger_type(timer_irq));
	if (maintenance_irq)
		enable_percpu_irq(maintenance_irq, irq_get_trigger_type(maintenance_irq));
	return 0;
}

static int timer_offline(unsigned int cpu)
{
	unsigned long flags;

	if (maintenance_irq)
		disable_percpu_irq(maintenance_irq);
	disable_percpu_irq(timer_irq);
	local_irq_save(flags);
	cv_timer_set_physical(false);
	local_irq_restore(flags);
	return 0;
}

/* The first interrupt of the first node that is compatible; negative: there is none. */
static int find_irq(const char *compatible)
{
	struct device_node *node = of_find_compatible_node(NULL, NULL, compatible);
	int irq;

	if (!node)
		return -ENODEV;
	irq = irq_of_parse_and_map(node, 0);
	of_node_put(node);
	return irq > 0 ? irq : -ENODEV;
}

int cv_timer_module_init(void)
{
	struct irq_data *data;
	int ret;

	timer_irq = find_irq("corevisor,corevisor-1");
	data = timer_irq > 0 ? irq_get_irq_data(timer_irq) : NULL;
	if (!data) {
		pr_err("corevisor: the device tree does not tell the virtual timer's interrupt\n");
		return -ENODEV;
	}
	timer_hwirq = irqd_to_hwirq(data);
	while (data && !data->chip->irq_set_irqchip_state)
		data = cv_irq_parent(data);
	if (!data) {
		pr_err("corevisor: this interrupt controller can't make interrupts active\n");
		return -ENODEV;
	}
	timer_data = data;
	ret = request_percpu_irq(timer_irq, timer_handler, "corevisor timer", &cookie);
	if (ret)
		return ret;
	maintenance_irq = cv_list_registers ? find_irq("arm,gic-v3") : 0;
	if (maintenance_irq < 0)
		maintenance_irq = 0;
	if (maintenance_irq) {
		ret = request_percpu_irq(maintenance_irq, maintenance_handler, "corevisor vgic",
					 &cookie);
		if (ret)
			goto free_timer;
	}
	ret = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "corevisor:online", timer_online,
				timer_offline);
	if (ret < 0)
		goto free_maintenance;
	hotplug = ret;
	return 0;

free_maintenance:
	if (maintenance_irq)
		free_percpu_irq(maintenance_irq, &cookie);
free_timer:
	free_percpu_irq(timer_irq, &cookie);
	return ret;
}

void cv_timer_module_exit(void)
{
	cpuhp_remove_state(hotplug);
	if (maintenance_irq)
		free_percpu_irq(maintenance_irq, &cookie);
	free_percpu_irq(timer_irq, &cookie);
}

/* Without these no GIC can be made. */
bool cv_timer_has_vgic(void)
{
	return maintenance_irq && cv_list_registers;
}
