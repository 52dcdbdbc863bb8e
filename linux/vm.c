// SPDX-License-Identifier: GPL-2.0-only
/* A VM: its ioctls, and its life in Corevisor. */

#include <linux/anon_inodes.h>
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kvm_types.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "call.h"
#include "corevisor.h"

/* VMs that are in Corevisor. */
static atomic_t cv_vms = ATOMIC_INIT(0);

bool cv_vms_exist(void)
{
	return atomic_read(&cv_vms) > 0;
}

int cv_vm_register(struct cv_vm *vm)
{
	long id;

	lockdep_assert_held(&vm->lock);
	if (vm->id)
		return 0;
	id = cv_call_simple(CV_CALL_REGISTER_KVM, vm->protected ? 0 : CV_VM_FLAG_SHARED, 0, 0);
	if (id < 0)
		return id;
	vm->id = id;
	atomic_inc(&cv_vms);
	return 0;
}

/* Has Corevisor forget the VM. No vCPU runs. All pages are the host's again afterwards. */
static int cv_vm_destroy_in_corevisor(struct cv_vm *vm)
{
	long err;

	if (!vm->id)
		return 0;
	err = cv_call_until_done(CV_CALL_DESTROY_VM, vm->id, false);
	if (err)
		return err;
	vm->id = 0;
	atomic_dec(&cv_vms);
	return 0;
}

static int cv_vm_register_vcpus(struct cv_vm *vm)
{
	long err;
	int i;

	for (i = 0; i < CV_MAX_VCPUS; i++) {
		struct cv_vcpu *vcpu = vm->vcpus[i];

		if (!vcpu || vcpu->registered)
			continue;
		err = cv_call_simple(CV_CALL_REGISTER_VCPU, vm->id, i, virt_to_phys(vcpu->page));
		if (err)
			return err;
		vcpu->registered = true;
	}
	return 0;
}

/* The VM ends in Corevisor, and all that it had there is given back. */
static int cv_vm_end(struct cv_vm *vm)
{
	int i, err;

	lockdep_assert_held(&vm->lock);
	/*
	 * A vCPU says that it is inside and looks at the life afterwards; here it is the other way
	 * round. Whoever is inside then comes out, and nobody else goes in.
	 */
	WRITE_ONCE(vm->life, vm->life + 1);
	/* Pairs with cv_vcpu_enter's. */
	smp_mb();
	for (i = 0; i < CV_MAX_VCPUS; i++) {
		struct cv_vcpu *vcpu = vm->vcpus[i];

		if (!vcpu)
			continue;
		while (atomic_read_acquire(&vcpu->mode) != CV_OUTSIDE) {
			cv_vcpu_kick(vcpu);
			schedule_timeout_uninterruptible(1);
		}
	}
	err = cv_vm_destroy_in_corevisor(vm);
	if (err) {
		/* Its pages are lost, which is better than to use what may be a VM's. */
		pr_err_once(KBUILD_MODNAME ": a VM can't be destroyed: error %d\n", err);
		return err;
	}
	cv_memory_release(vm);
	cv_images_release(vm);
	for (i = 0; i < CV_MAX_VCPUS; i++) {
		struct cv_vcpu *vcpu = vm->vcpus[i];

		if (!vcpu)
			continue;
		vcpu->registered = false;
		cv_timer_vcpu_reset(vcpu);
	}
	cv_vgic_reset(vm);
	WRITE_ONCE(vm->ending, false);
	vm->ran = false;
	return 0;
}

int cv_vm_start(struct cv_vm *vm)
{
	int err;

	lockdep_assert_held(&vm->lock);
	if (vm->ran)
		return 0;
	/* A protected VM runs nothing but its images. */
	if (vm->protected && !vm->nr_images)
		return -EINVAL;
	err = cv_vgic_map_resources(vm);
	if (err)
		return err;
	err = cv_vm_register(vm);
	if (err)
		return err;
	err = cv_vm_register_vcpus(vm);
	if (!err && vm->protected)
		err = cv_image_hide_slots(vm);
	if (!err)
		err = cv_call_until_done(CV_CALL_VERIFY_VM_IMAGE, vm->id, true);
	if (err) {
		/*
		 * Corevisor can't be asked to go back a step. After a signal that kills nobody will
		 * go on either.
		 */
		cv_vm_end(vm);
		return err;
	}
	WRITE_ONCE(vm->ran, true);
	return 0;
}

int cv_vm_stop(struct cv_vm *vm)
{
	int i;

	lockdep_assert_held(&vm->lock);
	for (i = 0; i < CV_MAX_VCPUS; i++) {
		if (vm->vcpus[i])
			cv_vcpu_set_power(vm->vcpus[i], false);
	}
	return cv_vm_end(vm);
}

void cv_vm_get(struct cv_vm *vm)
{
	kref_get(&vm->refs);
}

/* No file descriptor of the VM's is open: nobody can get at it. */
static void cv_vm_free(struct kref *refs)
{
	struct cv_vm *vm = container_of(refs, struct cv_vm, refs);
	int i, err;

	cv_irq_vm_destroy(vm);
	mutex_lock(&vm->lock);
	err = cv_vm_end(vm);
	mutex_unlock(&vm->lock);
	cv_bus_destroy(vm);
	for (i = 0; i < CV_MAX_VCPUS && !err; i++)
		cv_vcpu_free(vm->vcpus[i]);
	cv_vgic_vm_destroy(vm);
	cleanup_srcu_struct(&vm->srcu);
	mmdrop(vm->mm);
	if (!err)
		kvfree(vm);
}

void cv_vm_put(struct cv_vm *vm)
{
	kref_put(&vm->refs, cv_vm_free);
}

static int cv_vm_release(struct inode *inode, struct file *file)
{
	cv_vm_put(file->private_data);
	return 0;
}

static long cv_vm_set_routing(struct cv_vm *vm, struct kvm_irq_routing __user *arg)
{
	struct kvm_irq_routing_entry *entries;
	struct kvm_irq_routing routing;
	long err;

	if (copy_from_user(&routing, arg, sizeof(routing)))
		return -EFAULT;
	if (routing.flags || routing.nr > CV_MAX_ROUTES)
		return -EINVAL;
	entries = vmemdup_user(arg->entries, array_size(sizeof(*entries), routing.nr));
	if (IS_ERR(entries))
		return PTR_ERR(entries);
	err = cv_irq_set_routing(vm, &routing, entries);
	kvfree(entries);
	return err;
}

static long cv_vm_create_device(struct cv_vm *vm, struct kvm_create_device __user *arg)
{
	struct kvm_create_device device;
	long err;

	if (copy_from_user(&device, arg, sizeof(device)))
		return -EFAULT;
	mutex_lock(&vm->lock);
	err = cv_vgic_create(vm, &device);
	mutex_unlock(&vm->lock);
	if (err)
		return err;
	return copy_to_user(arg, &device, sizeof(device)) ? -EFAULT : 0;
}

static long cv_vm_irq_line(struct cv_vm *vm, void __user *arg, bool status)
{
	struct kvm_irq_level level;
	long err;

	if (copy_from_user(&level, arg, sizeof(level)))
		return -EFAULT;
	err = cv_irq_line(vm, &level);
	if (err < 0 || !status)
		return err;
	level.status = err;
	return copy_to_user(arg, &level, sizeof(level)) ? -EFAULT : 0;
}

static long cv_vm_preferred_target(struct kvm_vcpu_init __user *arg)
{
	struct kvm_vcpu_init init = { .target = KVM_ARM_TARGET_GENERIC_V8 };

	return copy_to_user(arg, &init, sizeof(init)) ? -EFAULT : 0;
}

static long cv_vm_enable_cap(struct cv_vm *vm, const struct kvm_enable_cap __user *arg)
{
	struct kvm_enable_cap cap;

	if (copy_from_user(&cap, arg, sizeof(cap)))
		return -EFAULT;
	if (cap.flags || cap.args[0] || cap.args[1] || cap.args[2] || cap.args[3])
		return -EINVAL;
	if (cap.cap != KVM_CAP_ARM_NISV_TO_USER)
		return -EINVAL;
	WRITE_ONCE(vm->nisv_to_user, true);
	return 0;
}

static long cv_vm_add_image(struct cv_vm *vm, const struct corevisor_image __user *arg)
{
	struct corevisor_image image;
	long err;

	if (copy_from_user(&image, arg, sizeof(image)))
		return -EFAULT;
	if (mutex_lock_killable(&vm->lock))
		return -EINTR;
	err = cv_image_add(vm, &image);
	mutex_unlock(&vm->lock);
	return err;
}

static long cv_vm_measurement(struct cv_vm *vm, struct corevisor_measurement __user *arg)
{
	struct corevisor_measurement measurement = {};
	struct arm_smccc_1_2_regs args = {};
	long err = -ENOENT;

	mutex_lock(&vm->lock);
	if (vm->ran) {
		args.a1 = vm->id;
		err = cv_call(CV_CALL_VM_MEASUREMENT, &args);
	}
	mutex_unlock(&vm->lock);
	if (err)
		return err;
	BUILD_BUG_ON(sizeof(measurement.sha256) != 4 * sizeof(args.a1));
	memcpy(measurement.sha256, cv_words(&args) + 1, sizeof(measurement.sha256));
	measurement.flags = args.a5;
	return copy_to_user(arg, &measurement, sizeof(measurement)) ? -EFAULT : 0;
}

/* Copies the argument of a simple ioctl, and carries it out. */
#define CV_WITH_ARGUMENT(type, call)						\
({										\
	type argument;								\
										\
	copy_from_user(&argument, argp, sizeof(argument)) ? -EFAULT : (call);	\
})

static long cv_vm_ioctl(struct file *file, unsigned int ioctl, unsigned long arg)
{
	struct cv_vm *vm = file->private_data;
	void __user *argp = (void __user *)arg;

	if (vm->mm != current->mm)
		return -EIO;
	switch (ioctl) {
	case KVM_CHECK_EXTENSION:
		return cv_check_extension(vm, arg);
	case KVM_CREATE_VCPU:
		return cv_vcpu_create(vm, arg);
	case KVM_SET_USER_MEMORY_REGION:
		return CV_WITH_ARGUMENT(struct kvm_userspace_memory_region,
					cv_memory_set_slot(vm, &argument));
	case KVM_ARM_PREFERRED_TARGET:
		return cv_vm_preferred_target(argp);
	case KVM_ENABLE_CAP:
		return cv_vm_enable_cap(vm, argp);
	case KVM_CREATE_IRQCHIP: /* a GICv2, which there is none of */
	case KVM_ARM_SET_DEVICE_ADDR:
		return -ENODEV;
	case KVM_CREATE_DEVICE:
		return cv_vm_create_device(vm, argp);
	case KVM_IRQ_LINE:
		return cv_vm_irq_line(vm, argp, false);
	case KVM_IRQ_LINE_STATUS:
		return cv_vm_irq_line(vm, argp, true);
	case KVM_IRQFD:
		return CV_WITH_ARGUMENT(struct kvm_irqfd, cv_irqfd(vm, &argument));
	case KVM_IOEVENTFD:
		return CV_WITH_ARGUMENT(struct kvm_ioeventfd, cv_ioeventfd(vm, &argument));
	case KVM_SET_GSI_ROUTING:
		return cv_vm_set_routing(vm, argp);
	case KVM_SIGNAL_MSI:
		return CV_WITH_ARGUMENT(struct kvm_msi, cv_irq_signal_msi(vm, &argument));
	case KVM_HAS_DEVICE_ATTR:
	case KVM_SET_DEVICE_ATTR:
	case KVM_GET_DEVICE_ATTR:
		return -ENXIO;
	case COREVISOR_ADD_IMAGE:
		return cv_vm_add_image(vm, argp);
	case COREVISOR_GET_MEASUREMENT:
		return cv_vm_measurement(vm, argp);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations cv_vm_fops = {
	.owner = THIS_MODULE,
	.release = cv_vm_release,
	.unlocked_ioctl = cv_vm_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct cv_vm *cv_vm_alloc(bool protected, u8 ipa_bits)
{
	struct cv_vm *vm = kvzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	int err;

	if (!vm)
		return ERR_PTR(-ENOMEM);
	kref_init(&vm->refs);
	mutex_init(&vm->lock);
	mutex_init(&vm->slots_lock);
	mutex_init(&vm->irq_lock);
	spin_lock_init(&vm->irqfds_lock);
	INIT_LIST_HEAD(&vm->irqfds);
	INIT_LIST_HEAD(&vm->ioeventfds);
	xa_init(&vm->pages);
	vm->protected = protected;
	vm->ipa_bits = ipa_bits;
	vm->life = 1; /* no vCPU takes part yet */
	err = init_srcu_struct(&vm->srcu);
	if (err)
		goto no_srcu;
	err = cv_vgic_vm_init(vm);
	if (err)
		goto no_vgic;
	cv_irq_vm_init(vm);
	cv_timer_vm_init(vm);
	mmgrab(current->mm);
	vm->mm = current->mm;
	return vm;

no_vgic:
	cleanup_srcu_struct(&vm->srcu);
no_srcu:
	kvfree(vm);
	return ERR_PTR(err);
}

/* KVM_CREATE_VM. */
int cv_vm_create(unsigned long type)
{
	unsigned long bits = type & KVM_VM_TYPE_ARM_IPA_SIZE_MASK;
	struct cv_vm *vm;
	struct file *file;
	int fd;

	if (type & ~(KVM_VM_TYPE_ARM_IPA_SIZE_MASK | COREVISOR_VM_TYPE_PROTECTED) ||
	    (bits && (bits < 32 || bits > CV_IPA_BITS)))
		return -EINVAL;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	vm = cv_vm_alloc(type & COREVISOR_VM_TYPE_PROTECTED, bits ?: CV_IPA_BITS);
	if (IS_ERR(vm)) {
		put_unused_fd(fd);
		return PTR_ERR(vm);
	}
	file = anon_inode_getfile("kvm-vm", &cv_vm_fops, vm, O_RDWR);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		cv_vm_put(vm);
		return PTR_ERR(file);
	}
	fd_install(fd, file);
	return fd;
}
