// SPDX-License-Identifier: GPL-2.0-only
/* A vCPU: its ioctls, and KVM_RUN. */

#include <linux/anon_inodes.h>
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "call.h"
#include "compat.h"
#include "corevisor.h"

#define CV_FEATURES_PTRAUTH \
	(BIT(KVM_ARM_VCPU_PTRAUTH_ADDRESS) | BIT(KVM_ARM_VCPU_PTRAUTH_GENERIC))
#define CV_FEATURES \
	(BIT(KVM_ARM_VCPU_POWER_OFF) | BIT(KVM_ARM_VCPU_PSCI_0_2) | CV_FEATURES_PTRAUTH)

/* The size of a signal mask as system calls have it. */
#define CV_SIGSET_SIZE sizeof(sigset_t)

void cv_vcpu_kick(struct cv_vcpu *vcpu)
{
	/* Has a full barrier before it looks. */
	if (wq_has_sleeper(&vcpu->wait)) {
		wake_up(&vcpu->wait);
	} else if (atomic_read(&vcpu->mode) == CV_INSIDE) {
		struct task_struct *task;

		rcu_read_lock();
		task = rcu_dereference(vcpu->task);
		if (task)
			kick_process(task);
		rcu_read_unlock();
	}
}

void cv_vcpu_set_power(struct cv_vcpu *vcpu, bool on)
{
	lockdep_assert_held(&vcpu->vm->lock);
	WRITE_ONCE(vcpu->power, on);
	cv_vcpu_kick(vcpu);
}

/* Who runs the vCPU is who is kicked. */
static void cv_vcpu_set_task(struct cv_vcpu *vcpu)
{
	struct task_struct *old;

	old = rcu_dereference_protected(vcpu->task, lockdep_is_held(&vcpu->mutex));
	if (old == current)
		return;
	rcu_assign_pointer(vcpu->task, get_task_struct(current));
	if (old) {
		synchronize_rcu();
		put_task_struct(old);
	}
}

/* Whether the vCPU must not be entered, or entered again, before something else is seen to. */
static bool cv_vcpu_wanted(struct cv_vcpu *vcpu)
{
	return xfer_to_guest_mode_work_pending() || cv_vcpu_is_off(vcpu);
}

/*
 * The first entry of a VM decides how far its virtual counter is behind: that of the CPU which it
 * is on. Until then each CPU that might be it is told.
 */
static void cv_vcpu_prepare_counter(struct cv_vcpu *vcpu)
{
	u64 offset = vcpu->vm->cntvoff;

	if (!vcpu->has_run)
		cv_call_simple(CV_CALL_TIMER_SET_CNTVOFF, lower_32_bits(offset),
			       upper_32_bits(offset), 0);
}

/* Runs the vCPU until there is something to do that can't be done with interrupts off. */
static int cv_vcpu_enter(struct cv_vcpu *vcpu)
{
	int next = CV_NEXT_ENTER;
	long exit;

	local_irq_disable();
	WRITE_ONCE(vcpu->cpu, smp_processor_id());
	atomic_set_release(&vcpu->mode, CV_INSIDE);
	/* Before what others change and then kick: cv_vcpu_kick, cv_vm_stop. */
	smp_mb();
	if (cv_vcpu_wanted(vcpu))
		goto out;
	cv_vcpu_prepare_counter(vcpu);
	do {
		cv_vgic_enter(vcpu);
		exit = cv_enter(vcpu->vm->id, vcpu->index);
		cv_vgic_exit(vcpu);
		cv_timer_exit(vcpu);
		if (exit != CV_EXIT_TRAP)
			break;
		vcpu->has_run = true;
		next = cv_exit_quick(vcpu);
	} while (next == CV_NEXT_ENTER && !cv_vcpu_wanted(vcpu));
	atomic_set_release(&vcpu->mode, CV_OUTSIDE);
	local_irq_enable();

	switch (exit) {
	case CV_EXIT_TRAP:
		return next;
	case CV_EXIT_IRQ:
	case CV_EXIT_SERROR:
		vcpu->has_run = true;
		return CV_NEXT_ENTER;
	default:
		return exit < 0 ? cv_exit_refused(vcpu, exit) : cv_exit_unexpected(vcpu, exit);
	}
out:
	atomic_set_release(&vcpu->mode, CV_OUTSIDE);
	local_irq_enable();
	return CV_NEXT_ENTER;
}

/* WFI, or PSCI's CPU_SUSPEND: there is nothing to do until an interrupt comes. */
static void cv_vcpu_wait(struct cv_vcpu *vcpu)
{
	cv_timer_block(vcpu);
	wait_event_interruptible(vcpu->wait, cv_vgic_pending(vcpu) || cv_vcpu_is_off(vcpu));
	cv_timer_unblock(vcpu);
}

/* Takes part in the VM's present life, which begins if it has to. */
static int cv_vcpu_join(struct cv_vcpu *vcpu)
{
	struct cv_vm *vm = vcpu->vm;
	int err;

	if (mutex_lock_killable(&vm->lock))
		return -EINTR;
	err = cv_vm_start(vm);
	if (!err) {
		vcpu->life = vm->life;
		vcpu->has_run = false;
		vcpu->unanswered = false;
		memcpy(vcpu->page + CV_RUN_X / 8, vcpu->boot.regs.regs,
		       sizeof(vcpu->boot.regs.regs));
		vcpu->page[CV_RUN_PC / 8] = vcpu->boot.regs.pc;
		vcpu->page[CV_RUN_PSTATE / 8] = vcpu->boot.regs.pstate;
	}
	mutex_unlock(&vm->lock);
	return err;
}

/* Runs the vCPU until user space has to see to something: 0, or an errno. */
static int cv_vcpu_loop(struct cv_vcpu *vcpu)
{
	int next = CV_NEXT_ENTER;

	while (next != CV_NEXT_USER) {
		if (next < 0)
			return next;
		if (signal_pending(current)) {
			vcpu->run->exit_reason = KVM_EXIT_INTR;
			return -EINTR;
		}
		if (__xfer_to_guest_mode_work_pending()) {
			int err = cv_thread_work(vcpu->thread, vcpu->run);

			if (err)
				return err;
		}
		if (!READ_ONCE(vcpu->power)) {
			wait_event_interruptible(vcpu->wait, READ_ONCE(vcpu->power));
			next = CV_NEXT_ENTER;
			continue;
		}
		if (vcpu->life != READ_ONCE(vcpu->vm->life) || !READ_ONCE(vcpu->vm->ran)) {
			next = cv_vcpu_join(vcpu);
			if (next)
				continue;
		}
		next = vcpu->unanswered ? CV_NEXT_SLOW : cv_vcpu_enter(vcpu);
		if (next == CV_NEXT_SLOW)
			next = cv_exit_slow(vcpu);
		if (next == CV_NEXT_WAIT)
			cv_vcpu_wait(vcpu);
		else if (next == CV_NEXT_YIELD)
			yield();
	}
	return 0;
}

static long cv_vcpu_run(struct cv_vcpu *vcpu)
{
	int err;

	if (!vcpu->initialized)
		return -ENOEXEC;
	cv_vcpu_set_task(vcpu);
	cv_exit_complete_mmio(vcpu);
	if (cv_immediate_exit(vcpu->run))
		return -EINTR;
	/*
	 * As it is for system calls that wait with another mask: a signal that is blocked now is
	 * not lost by its default.
	 */
	if (vcpu->has_sigset)
		sigprocmask(SIG_SETMASK, &vcpu->sigset, &current->real_blocked);
	vcpu->run->exit_reason = KVM_EXIT_UNKNOWN;
	err = cv_vcpu_loop(vcpu);
	if (vcpu->has_sigset) {
		sigprocmask(SIG_SETMASK, &current->real_blocked, NULL);
		sigemptyset(&current->real_blocked);
	}
	return err;
}

/*
 * KVM_ARM_VCPU_INIT: the vCPU is as after a reset. One that has run can't be reset alone: its VM
 * ends.
 */
static long cv_vcpu_init(struct cv_vcpu *vcpu, const struct kvm_vcpu_init __user *arg)
{
	struct kvm_vcpu_init init;
	unsigned long features, ptrauth;
	int i, err = 0;

	if (copy_from_user(&init, arg, sizeof(init)))
		return -EFAULT;
	if (init.target != KVM_ARM_TARGET_GENERIC_V8)
		return -EINVAL;
	for (i = 1; i < ARRAY_SIZE(init.features); i++) {
		if (init.features[i])
			return -ENOENT;
	}
	features = init.features[0];
	if (features & ~CV_FEATURES)
		return features >> (KVM_ARM_VCPU_PTRAUTH_GENERIC + 1) ? -ENOENT : -EINVAL;
	ptrauth = features & CV_FEATURES_PTRAUTH;
	if (ptrauth && (ptrauth != CV_FEATURES_PTRAUTH || !cv_has_ptrauth()))
		return -EINVAL;
	if (vcpu->initialized && (features ^ vcpu->features) & ~BIT(KVM_ARM_VCPU_POWER_OFF))
		return -EINVAL;

	if (mutex_lock_killable(&vcpu->vm->lock))
		return -EINTR;
	if (vcpu->has_run && vcpu->life == vcpu->vm->life)
		err = cv_vm_stop(vcpu->vm);
	if (!err) {
		vcpu->features = features;
		vcpu->initialized = true;
		vcpu->has_run = false;
		vcpu->mmio.pending = false;
		vcpu->unanswered = false;
		vcpu->dabt_pending = false;
		memset(vcpu->page, 0, PAGE_SIZE);
		cv_regs_reset(vcpu);
		cv_timer_vcpu_reset(vcpu);
		cv_vcpu_set_power(vcpu, !test_bit(KVM_ARM_VCPU_POWER_OFF, &features));
	}
	mutex_unlock(&vcpu->vm->lock);
	return err;
}

static long cv_vcpu_set_mp_state(struct cv_vcpu *vcpu, const struct kvm_mp_state __user *arg)
{
	struct kvm_mp_state state;

	if (copy_from_user(&state, arg, sizeof(state)))
		return -EFAULT;
	if (state.mp_state != KVM_MP_STATE_RUNNABLE && state.mp_state != KVM_MP_STATE_STOPPED)
		return -EINVAL;
	mutex_lock(&vcpu->vm->lock);
	cv_vcpu_set_power(vcpu, state.mp_state == KVM_MP_STATE_RUNNABLE);
	mutex_unlock(&vcpu->vm->lock);
	return 0;
}

static long cv_vcpu_get_mp_state(struct cv_vcpu *vcpu, struct kvm_mp_state __user *arg)
{
	struct kvm_mp_state state = {
		.mp_state = READ_ONCE(vcpu->power) ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_STOPPED,
	};

	return copy_to_user(arg, &state, sizeof(state)) ? -EFAULT : 0;
}

/* A vCPU can be made to take an external abort, where it accesses something; and no SError. */
static long cv_vcpu_set_events(struct cv_vcpu *vcpu, const struct kvm_vcpu_events __user *arg)
{
	struct kvm_vcpu_events events;
	int i;

	if (copy_from_user(&events, arg, sizeof(events)))
		return -EFAULT;
	for (i = 0; i < ARRAY_SIZE(events.reserved); i++) {
		if (events.reserved[i])
			return -EINVAL;
	}
	for (i = 0; i < ARRAY_SIZE(events.exception.pad); i++) {
		if (events.exception.pad[i])
			return -EINVAL;
	}
	if (events.exception.serror_pending || events.exception.serror_has_esr)
		return -EINVAL;
	vcpu->dabt_pending = events.exception.ext_dabt_pending;
	return 0;
}

static long cv_vcpu_get_events(struct cv_vcpu *vcpu, struct kvm_vcpu_events __user *arg)
{
	/*
	 * What is pending is KVM's to tell of only as far as it can be set again elsewhere; an
	 * abort is where it is.
	 */
	struct kvm_vcpu_events events = {};

	return copy_to_user(arg, &events, sizeof(events)) ? -EFAULT : 0;
}

static long cv_vcpu_set_signal_mask(struct cv_vcpu *vcpu, const struct kvm_signal_mask __user *arg)
{
	struct kvm_signal_mask mask;
	sigset_t sigset;

	if (!arg) {
		vcpu->has_sigset = false;
		return 0;
	}
	if (copy_from_user(&mask, arg, sizeof(mask)))
		return -EFAULT;
	if (mask.len != CV_SIGSET_SIZE)
		return -EINVAL;
	if (copy_from_user(&sigset, arg->sigset, sizeof(sigset)))
		return -EFAULT;
	sigdelsetmask(&sigset, sigmask(SIGKILL) | sigmask(SIGSTOP));
	vcpu->sigset = sigset;
	vcpu->has_sigset = true;
	return 0;
}

static long cv_vcpu_device_attr(struct cv_vcpu *vcpu, unsigned int ioctl, const void __user *arg)
{
	struct kvm_device_attr attr;

	if (copy_from_user(&attr, arg, sizeof(attr)))
		return -EFAULT;
	if (attr.flags || attr.group != KVM_ARM_VCPU_TIMER_CTRL)
		return -ENXIO;
	switch (ioctl) {
	case KVM_SET_DEVICE_ATTR:
		return cv_timer_set_attr(vcpu, &attr);
	case KVM_GET_DEVICE_ATTR:
		return cv_timer_get_attr(vcpu, &attr);
	default:
		return cv_timer_has_attr(vcpu, &attr);
	}
}

static long cv_vcpu_one_reg(struct cv_vcpu *vcpu, bool set, const struct kvm_one_reg __user *arg)
{
	struct kvm_one_reg reg;

	if (!vcpu->initialized)
		return -ENOEXEC;
	if (copy_from_user(&reg, arg, sizeof(reg)))
		return -EFAULT;
	return set ? cv_regs_set(vcpu, &reg) : cv_regs_get(vcpu, &reg);
}

static long cv_vcpu_do_ioctl(struct cv_vcpu *vcpu, unsigned int ioctl, unsigned long arg)
{
	void __user *argp = (void __user *)arg;

	switch (ioctl) {
	case KVM_RUN:
		return arg ? -EINVAL : cv_vcpu_run(vcpu);
	case KVM_ARM_VCPU_INIT:
		return cv_vcpu_init(vcpu, argp);
	case KVM_GET_ONE_REG:
		return cv_vcpu_one_reg(vcpu, false, argp);
	case KVM_SET_ONE_REG:
		return cv_vcpu_one_reg(vcpu, true, argp);
	case KVM_GET_REG_LIST:
		return vcpu->initialized ? cv_regs_list(argp) : -ENOEXEC;
	case KVM_GET_MP_STATE:
		return cv_vcpu_get_mp_state(vcpu, argp);
	case KVM_SET_MP_STATE:
		return cv_vcpu_set_mp_state(vcpu, argp);
	case KVM_GET_VCPU_EVENTS:
		return cv_vcpu_get_events(vcpu, argp);
	case KVM_SET_VCPU_EVENTS:
		return cv_vcpu_set_events(vcpu, argp);
	case KVM_SET_SIGNAL_MASK:
		return cv_vcpu_set_signal_mask(vcpu, argp);
	case KVM_SET_DEVICE_ATTR:
	case KVM_GET_DEVICE_ATTR:
	case KVM_HAS_DEVICE_ATTR:
		return cv_vcpu_device_attr(vcpu, ioctl, argp);
	default:
		return -ENOTTY;
	}
}

static long cv_vcpu_ioctl(struct file *file, unsigned int ioctl, unsigned long arg)
{
	struct cv_vcpu *vcpu = file->private_data;
	long err;

	if (vcpu->vm->mm != current->mm)
		return -EIO;
	if (mutex_lock_killable(&vcpu->mutex))
		return -EINTR;
	err = cv_vcpu_do_ioctl(vcpu, ioctl, arg);
	mutex_unlock(&vcpu->mutex);
	return err;
}

static int cv_vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct cv_vcpu *vcpu = file->private_data;

	if (vma->vm_pgoff || vma->vm_end - vma->vm_start != PAGE_SIZE)
		return -EINVAL;
	vm_flags_set(vma, VM_DONTEXPAND);
	return vm_insert_page(vma, vma->vm_start, virt_to_page(vcpu->run));
}

static int cv_vcpu_release(struct inode *inode, struct file *file)
{
	struct cv_vcpu *vcpu = file->private_data;

	cv_vm_put(vcpu->vm);
	return 0;
}

static const struct file_operations cv_vcpu_fops = {
	.owner = THIS_MODULE,
	.release = cv_vcpu_release,
	.unlocked_ioctl = cv_vcpu_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = cv_vcpu_mmap,
	.llseek = noop_llseek,
};

void cv_vcpu_free(struct cv_vcpu *vcpu)
{
	struct task_struct *task;

	if (!vcpu)
		return;
	cv_timer_vcpu_destroy(vcpu);
	cv_vgic_vcpu_destroy(vcpu);
	task = rcu_dereference_protected(vcpu->task, true);
	if (task)
		put_task_struct(task);
	kvfree(vcpu->thread);
	free_page((unsigned long)vcpu->page);
	free_page((unsigned long)vcpu->run);
	kfree(vcpu);
}

static struct cv_vcpu *cv_vcpu_alloc(struct cv_vm *vm, int index)
{
	struct cv_vcpu *vcpu = kzalloc(sizeof(*vcpu), GFP_KERNEL_ACCOUNT);

	if (!vcpu)
		return ERR_PTR(-ENOMEM);
	vcpu->run = (struct kvm_run *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	vcpu->page = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	vcpu->thread = kvzalloc(sizeof(*vcpu->thread), GFP_KERNEL_ACCOUNT);
	if (!vcpu->run || !vcpu->page || !vcpu->thread) {
		kvfree(vcpu->thread);
		free_page((unsigned long)vcpu->page);
		free_page((unsigned long)vcpu->run);
		kfree(vcpu);
		return ERR_PTR(-ENOMEM);
	}
	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->cpu = -1;
	mutex_init(&vcpu->mutex);
	init_waitqueue_head(&vcpu->wait);
	atomic_set(&vcpu->mode, CV_OUTSIDE);
	return vcpu;
}

/* Adds a vCPU to the VM, and gives user space a file descriptor of it. vm->lock held. */
static int cv_vcpu_add(struct cv_vm *vm, int index)
{
	struct cv_vcpu *vcpu;
	struct file *file;
	int fd, err;

	if (vm->ran)
		return -EBUSY;
	if (vm->vcpus[index])
		return -EEXIST;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	vcpu = cv_vcpu_alloc(vm, index);
	if (IS_ERR(vcpu)) {
		err = PTR_ERR(vcpu);
		goto no_vcpu;
	}
	cv_timer_vcpu_init(vcpu);
	err = cv_vgic_vcpu_init(vcpu);
	if (err)
		goto no_vgic;
	file = anon_inode_getfile("kvm-vcpu", &cv_vcpu_fops, vcpu, O_RDWR);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto no_vgic;
	}
	cv_vm_get(vm);
	vm->nr_vcpus++;
	/* With all that is in it: others look without the lock. */
	smp_store_release(&vm->vcpus[index], vcpu);
	fd_install(fd, file);
	return fd;

no_vgic:
	cv_vcpu_free(vcpu);
no_vcpu:
	put_unused_fd(fd);
	return err;
}

int cv_vcpu_create(struct cv_vm *vm, unsigned long index)
{
	int fd;

	if (index >= CV_MAX_VCPUS)
		return -EINVAL;
	if (mutex_lock_killable(&vm->lock))
		return -EINTR;
	fd = cv_vcpu_add(vm, index);
	mutex_unlock(&vm->lock);
	return fd;
}
