// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finds Corevisor, the hypervisor that this kernel runs under, and offers its VMs by the KVM API:
 * /dev/kvm, and the ioctls that are about the machine.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/of.h>
#include <linux/suspend.h>
#include <linux/uaccess.h>

#include "call.h"
#include "corevisor.h"

unsigned int cv_list_registers;

/* Counters that STATS knows, and whether VMs have pointer authentication: both stay as they are. */
static unsigned long cv_counters;
static bool cv_ptrauth;

int cv_check_extension(struct cv_vm *vm, unsigned long extension)
{
	switch (extension) {
	case KVM_CAP_USER_MEMORY:
	case KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
	case KVM_CAP_JOIN_MEMORY_REGIONS_WORKS:
	case KVM_CAP_ONE_REG:
	case KVM_CAP_ARM_PSCI:
	case KVM_CAP_ARM_PSCI_0_2:
	case KVM_CAP_MP_STATE:
	case KVM_CAP_VCPU_EVENTS:
	case KVM_CAP_VCPU_ATTRIBUTES:
	case KVM_CAP_INTERNAL_ERROR_DATA:
	case KVM_CAP_IMMEDIATE_EXIT:
	case KVM_CAP_IOEVENTFD:
	case KVM_CAP_IOEVENTFD_ANY_LENGTH:
	case KVM_CAP_IOEVENTFD_NO_LENGTH:
	case KVM_CAP_CHECK_EXTENSION_VM:
	case KVM_CAP_ENABLE_CAP_VM:
	case KVM_CAP_ARM_NISV_TO_USER:
	case KVM_CAP_ARM_INJECT_EXT_DABT:
		return 1;
	/* What needs the in-kernel GIC. */
	case KVM_CAP_IRQCHIP:
	case KVM_CAP_IRQFD:
	case KVM_CAP_IRQFD_RESAMPLE:
	case KVM_CAP_DEVICE_CTRL:
	case KVM_CAP_ARM_IRQ_LINE_LAYOUT_2:
		return cv_list_registers > 0;
	case KVM_CAP_IRQ_ROUTING:
		return cv_list_registers ? CV_MAX_ROUTES : 0;
	case KVM_CAP_ARM_PTRAUTH_ADDRESS:
	case KVM_CAP_ARM_PTRAUTH_GENERIC:
		return cv_ptrauth;
	case KVM_CAP_NR_VCPUS:
		return min_t(int, num_online_cpus(), CV_MAX_VCPUS);
	case KVM_CAP_MAX_VCPUS:
	case KVM_CAP_MAX_VCPU_ID:
		return CV_MAX_VCPUS;
	case KVM_CAP_NR_MEMSLOTS:
		return CV_MAX_SLOTS;
	case KVM_CAP_ARM_VM_IPA_SIZE:
		return CV_IPA_BITS;
	default:
		return 0;
	}
}

bool cv_has_ptrauth(void)
{
	return cv_ptrauth;
}

static long cv_get_stats(struct corevisor_stats __user *arg)
{
	struct corevisor_stats head;
	u64 i;

	if (copy_from_user(&head, arg, sizeof(head)))
		return -EFAULT;
	if (head.reserved)
		return -EINVAL;
	for (i = 0; i < min_t(u64, head.count, cv_counters); i++) {
		struct arm_smccc_1_2_regs args = { .a1 = i };
		long err = cv_call(CV_CALL_STATS, &args);

		if (err)
			return err;
		if (put_user((u64)args.a1, &arg->values[i]))
			return -EFAULT;
	}
	return put_user((u32)cv_counters, &arg->count);
}

static long cv_get_owners(struct corevisor_owner __user *arg)
{
	struct arm_smccc_1_2_regs args = {};
	struct corevisor_owner owner;
	long err;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (copy_from_user(&owner, arg, sizeof(owner)))
		return -EFAULT;
	args.a1 = owner.pfn;
	err = cv_call(CV_CALL_PAGE_OWNER, &args);
	if (err)
		return err;
	owner.owner = args.a1;
	owner.count = args.a2;
	owner.accessible = args.a3;
	return copy_to_user(arg, &owner, sizeof(owner)) ? -EFAULT : 0;
}

static long cv_read_log(struct corevisor_log __user *arg)
{
	struct arm_smccc_1_2_regs args = {};
	struct corevisor_log log;
	long size;

	BUILD_BUG_ON(sizeof(log.text) != CV_LOG_READ_MAX);
	BUILD_BUG_ON(sizeof(args) != 18 * sizeof(u64));
	if (!capable(CAP_SYSLOG))
		return -EPERM;
	if (copy_from_user(&log, arg, sizeof(log)))
		return -EFAULT;
	args.a1 = log.position;
	size = cv_call(CV_CALL_LOG_READ, &args);
	if (size < 0)
		return size;
	log.position = args.a1;
	log.size = min_t(long, size, CV_LOG_READ_MAX);
	memset(log.text, 0, sizeof(log.text));
	memcpy(log.text, cv_words(&args) + 2, log.size);
	return copy_to_user(arg, &log, sizeof(log)) ? -EFAULT : 0;
}

static long cv_dev_ioctl(struct file *file, unsigned int ioctl, unsigned long arg)
{
	void __user *argp = (void __user *)arg;

	switch (ioctl) {
	case KVM_GET_API_VERSION:
		return arg ? -EINVAL : KVM_API_VERSION;
	case KVM_CREATE_VM:
		return cv_vm_create(arg);
	case KVM_CHECK_EXTENSION:
		return cv_check_extension(NULL, arg);
	case KVM_GET_VCPU_MMAP_SIZE:
		return arg ? -EINVAL : PAGE_SIZE;
	case COREVISOR_GET_STATS:
		return cv_get_stats(argp);
	case COREVISOR_GET_OWNERS:
		return cv_get_owners(argp);
	case COREVISOR_READ_LOG:
		return cv_read_log(argp);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations cv_dev_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = cv_dev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice cv_dev = {
	.minor = KVM_MINOR,
	.name = "kvm",
	.fops = &cv_dev_fops,
};

/* Whether what answers hypervisor calls, if anything does, is Corevisor. */
static bool __init cv_present(void)
{
	struct arm_smccc_res res;
	struct device_node *node;

	/* Without a hypervisor an HVC is an undefined instruction: first the device tree. */
	node = of_find_compatible_node(NULL, NULL, "corevisor,corevisor-1");
	if (!node)
		return false;
	of_node_put(node);

	arm_smccc_1_1_hvc(CV_CALL_UID, &res);
	return (u32)res.a0 == CV_UID_0 && (u32)res.a1 == CV_UID_1 &&
	       (u32)res.a2 == CV_UID_2 && (u32)res.a3 == CV_UID_3;
}

/* Finds out what the machine's VMs have. */
static int __init cv_probe(void)
{
	struct arm_smccc_1_2_regs args = {};
	long version;

	if (!cv_present()) {
		pr_err("this kernel does not run under Corevisor\n");
		return -ENODEV;
	}
	version = cv_call(CV_CALL_VERSION, &args);
	if (version < 0 || version >> 16 != CV_VERSION >> 16) {
		pr_err("Corevisor's interface has version %ld.%ld, this driver is for %u\n",
		       version >> 16, version & 0xffff, CV_VERSION >> 16);
		return -ENODEV;
	}
	if (cv_call(CV_CALL_FEATURES, &args) || !(args.a1 & CV_FEATURE_VMS)) {
		pr_err("this Corevisor runs no VMs\n");
		return -ENODEV;
	}
	cv_counters = args.a2;
	cv_list_registers = args.a4;
	cv_ptrauth = cv_id_register_has_ptrauth();
	pr_info("found Corevisor, interface version %ld.%ld\n", version >> 16, version & 0xffff);
	return 0;
}

/*
 * A page of a VM that is not shared kills whoever reads it: there is no saving all memory while
 * there is one.
 */
static int cv_pm_event(struct notifier_block *nb, unsigned long event, void *data)
{
	bool whole = event == PM_HIBERNATION_PREPARE || event == PM_RESTORE_PREPARE;

	return whole && cv_vms_exist() ? NOTIFY_BAD : NOTIFY_DONE;
}

static struct notifier_block cv_pm = { .notifier_call = cv_pm_event };

static int __init cv_init(void)
{
	int err;

	err = cv_probe();
	if (err)
		return err;
	err = cv_irqfd_module_init();
	if (err)
		return err;
	err = cv_timer_module_init();
	if (err)
		goto no_timer;
	err = register_pm_notifier(&cv_pm);
	if (err)
		goto no_notifier;
	err = misc_register(&cv_dev);
	if (err) {
		pr_err("there is a /dev/kvm already, or it can't be made: error %d\n", err);
		goto no_device;
	}
	return 0;

no_device:
	unregister_pm_notifier(&cv_pm);
no_notifier:
	cv_timer_module_exit();
no_timer:
	cv_irqfd_module_exit();
	return err;
}

static void __exit cv_exit(void)
{
	misc_deregister(&cv_dev);
	unregister_pm_notifier(&cv_pm);
	cv_timer_module_exit();
	cv_irqfd_module_exit();
}

module_init(cv_init);
module_exit(cv_exit);

MODULE_DESCRIPTION("KVM API for virtual machines under Corevisor");
MODULE_AUTHOR("The Corevisor authors");
MODULE_LICENSE("GPL");
MODULE_ALIAS_MISCDEV(KVM_MINOR);
