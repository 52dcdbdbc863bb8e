// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vGIC as user space sees it: a device with attributes (Linux:
 * Documentation/virt/kvm/devices/arm-vgic-v3.rst).
 */

#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/sysreg.h>

#include "corevisor.h"
#include "vgic_core.h"

#define DEFAULT_IRQS 256

/* What KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION is made of. */
#define REGION_COUNT(value) ((value) >> 52)
#define REGION_BASE(value)  ((value) & GENMASK_ULL(51, 16))
#define REGION_FLAGS(value) ((value) >> 12 & 0xf)
#define REGION_INDEX(value) ((value) & 0xfff)

#define SYSREG(encoding) ((encoding) >> 5 & KVM_DEV_ARM_VGIC_SYSREG_INSTR_MASK)

static u64 __user *user(const struct kvm_device_attr *attr)
{
	return (u64 __user *)(uintptr_t)attr->addr;
}

static bool overlap(u64 a, u64 a_size, u64 b, u64 b_size)
{
	return a < b + b_size && b < a + a_size;
}

/* A legacy region grows with the VM. */
static u64 region_size(const struct cv_vgic *vgic, const struct cv_vgic_region *region)
{
	u64 count = vgic->legacy ? max_t(u8, vgic->nr_cpus, 1) : region->count;

	return count * KVM_VGIC_V3_REDIST_SIZE;
}

/* Whether @size bytes at @base are free, and can be addressed. */
static int check_range(struct cv_vm *vm, u64 base, u64 size)
{
	const struct cv_vgic *vgic = &vm->vgic;
	unsigned int i;

	if (!IS_ALIGNED(base, SZ_64K))
		return -EINVAL;
	if (base >> vm->ipa_bits || (base + size - 1) >> vm->ipa_bits)
		return -E2BIG;
	if (vgic->dist != CV_VGIC_UNSET && overlap(base, size, vgic->dist, KVM_VGIC_V3_DIST_SIZE))
		return -EINVAL;
	for (i = 0; i < vgic->nr_regions; i++)
		if (overlap(base, size, vgic->regions[i].base,
			    region_size(vgic, &vgic->regions[i])))
			return -EINVAL;
	return 0;
}

static int add_region(struct cv_vm *vm, u64 base, unsigned int count, u64 size)
{
	struct cv_vgic *vgic = &vm->vgic;
	int ret = check_range(vm, base, size);

	if (ret)
		return ret;
	if (vgic->nr_regions == ARRAY_SIZE(vgic->regions))
		return -EINVAL;
	vgic->regions[vgic->nr_regions].base = base;
	vgic->regions[vgic->nr_regions].count = count;
	vgic->nr_regions++;
	return 0;
}

static int set_address(struct cv_vm *vm, u64 type, u64 value)
{
	struct cv_vgic *vgic = &vm->vgic;
	int ret;

	switch (type) {
	case KVM_VGIC_V3_ADDR_TYPE_DIST:
		if (vgic->dist != CV_VGIC_UNSET)
			return -EEXIST;
		ret = check_range(vm, value, KVM_VGIC_V3_DIST_SIZE);
		if (!ret)
			vgic->dist = value;
		return ret;
	case KVM_VGIC_V3_ADDR_TYPE_REDIST:
		if (vgic->nr_regions)
			return vgic->legacy ? -EEXIST : -EINVAL;
		ret = add_region(vm, value, CV_MAX_VCPUS,
				 max_t(u8, vgic->nr_cpus, 1) * KVM_VGIC_V3_REDIST_SIZE);
		if (!ret)
			vgic->legacy = true;
		return ret;
	case KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION:
		if (vgic->legacy || !REGION_COUNT(value) || REGION_FLAGS(value) ||
		    REGION_INDEX(value) != vgic->nr_regions)
			return -EINVAL;
		return add_region(vm, REGION_BASE(value), REGION_COUNT(value),
				  REGION_COUNT(value) * KVM_VGIC_V3_REDIST_SIZE);
	default:
		return -ENXIO;
	}
}

static int get_address(struct cv_vm *vm, u64 type, u64 *value)
{
	const struct cv_vgic *vgic = &vm->vgic;
	u64 index = REGION_INDEX(*value);

	switch (type) {
	case KVM_VGIC_V3_ADDR_TYPE_DIST:
		*value = vgic->dist;
		return 0;
	case KVM_VGIC_V3_ADDR_TYPE_REDIST:
		if (vgic->nr_regions && !vgic->legacy)
			return -EINVAL;
		*value = vgic->legacy ? vgic->regions[0].base : CV_VGIC_UNSET;
		return 0;
	case KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION:
		if (vgic->legacy)
			return -EINVAL;
		if (index >= vgic->nr_regions)
			return -ENOENT;
		*value = (u64)vgic->regions[index].count << 52 | vgic->regions[index].base | index;
		return 0;
	default:
		return -ENXIO;
	}
}

static int initialize(struct cv_vm *vm)
{
	struct cv_vgic *vgic = &vm->vgic;
	unsigned long flags;
	struct cv_irq *spis;
	u64 base, size;

	if (vgic->initialized)
		return 0;
	if (!vgic->nr_cpus)
		return -ENODEV;
	/* A legacy region has grown since its address was set. */
	base = vgic->regions[0].base;
	size = region_size(vgic, &vgic->regions[0]);
	if (vgic->legacy && (base + size - 1) >> vm->ipa_bits)
		return -ENXIO;
	if (vgic->legacy && vgic->dist != CV_VGIC_UNSET &&
	    overlap(vgic->dist, KVM_VGIC_V3_DIST_SIZE, base, size))
		return -ENXIO;
	if (!vgic->nr_irqs)
		vgic->nr_irqs = DEFAULT_IRQS;
	spis = kvcalloc(vgic->nr_irqs - CV_VGIC_PRIVATE, sizeof(*spis), GFP_KERNEL_ACCOUNT);
	if (!spis)
		return -ENOMEM;
	raw_spin_lock_irqsave(&vgic->lock, flags);
	vgic->spis = spis;
	cv_vgic_reset_all(vgic);
	raw_spin_unlock_irqrestore(&vgic->lock, flags);
	/* With all that is in it: others look without the lock. */
	smp_store_release(&vgic->initialized, true);
	return 0;
}

static int set_nr_irqs(struct cv_vm *vm, u32 value)
{
	if (value < 64 || value > 1024 || value % 32)
		return -EINVAL;
	if (vm->vgic.initialized || vm->vgic.nr_irqs)
		return -EBUSY;
	vm->vgic.nr_irqs = value;
	return 0;
}

/* The vCPU that an attribute names by its affinity. */
static struct cv_vcpu *vcpu_of(struct cv_vm *vm, const struct kvm_device_attr *attr)
{
	u64 affinity = attr->attr >> KVM_DEV_ARM_VGIC_V3_MPIDR_SHIFT;

	return cv_vm_vcpu(vm, min_t(u64, affinity, CV_MAX_VCPUS));
}

/*
 * No vCPU runs, nor begins to, until the other. vm->lock is held, which vCPUs take after their own
 * mutex: no waiting.
 */
static bool lock_vcpus(struct cv_vm *vm)
{
	int i;

	for (i = 0; i < CV_MAX_VCPUS; i++) {
		if (vm->vcpus[i] && !mutex_trylock(&vm->vcpus[i]->mutex)) {
			while (i--)
				if (vm->vcpus[i])
					mutex_unlock(&vm->vcpus[i]->mutex);
			return false;
		}
	}
	return true;
}

static void unlock_vcpus(struct cv_vm *vm)
{
	int i;

	for (i = 0; i < CV_MAX_VCPUS; i++)
		if (vm->vcpus[i])
			mutex_unlock(&vm->vcpus[i]->mutex);
}

static int access_register(struct cv_vm *vm, const struct kvm_device_attr *attr,
			   bool redistributor, bool is_write, u32 *value)
{
	struct cv_vgic_access access = {
		.vgic = &vm->vgic,
		.offset = attr->attr,
		.len = 4,
		.by_user = true,
	};
	unsigned long flags;

	if (redistributor) {
		struct cv_vcpu *vcpu = vcpu_of(vm, attr);

		if (!vcpu)
			return -EINVAL;
		access.cpu = &vcpu->vgic;
	}
	if (!cv_vgic_has_register(redistributor, access.offset))
		return -ENXIO;
	/* Whoever restores a GIC that works in another way learns it here. */
	if (is_write && !redistributor && access.offset == CV_GICD_IIDR)
		return *value == CV_VGIC_IIDR ? 0 : -EINVAL;
	raw_spin_lock_irqsave(&vm->vgic.lock, flags);
	if (is_write)
		cv_vgic_write(&access, *value);
	else
		*value = cv_vgic_read(&access);
	raw_spin_unlock_irqrestore(&vm->vgic.lock, flags);
	return 0;
}

/*
 * The CPU interface is the VM's own, which we neither see nor set: this is what a vCPU starts with.
 * Another value can't be set, but for binary points, where what is less than the least means that.
 */
static int access_sysreg(struct cv_vm *vm, const struct kvm_device_attr *attr,
			 bool is_write, u64 *value)
{
	u64 start = 0, most = 0;

	if (!vcpu_of(vm, attr))
		return -EINVAL;
	switch (attr->attr & KVM_DEV_ARM_VGIC_SYSREG_INSTR_MASK) {
	case SYSREG(SYS_ICC_CTLR_EL1):
		/* PRIbits, IDbits, SEIS: the hardware's, as for the host. */
		start = read_sysreg_s(SYS_ICC_CTLR_EL1) &
			(GENMASK_ULL(10, 8) | GENMASK_ULL(14, 11));
		most = start;
		break;
	case SYSREG(SYS_ICC_SRE_EL1):
		start = 7;
		most = 7;
		break;
	case SYSREG(SYS_ICC_BPR0_EL1):
		start = 2;
		most = 2;
		break;
	case SYSREG(SYS_ICC_BPR1_EL1):
		start = 3;
		most = 3;
		break;
	case SYSREG(SYS_ICC_PMR_EL1):
	case SYSREG(SYS_ICC_IGRPEN0_EL1):
	case SYSREG(SYS_ICC_IGRPEN1_EL1):
	case SYSREG(SYS_ICC_AP0R0_EL1):
	case SYSREG(SYS_ICC_AP0R1_EL1):
	case SYSREG(SYS_ICC_AP0R2_EL1):
	case SYSREG(SYS_ICC_AP0R3_EL1):
	case SYSREG(SYS_ICC_AP1R0_EL1):
	case SYSREG(SYS_ICC_AP1R1_EL1):
	case SYSREG(SYS_ICC_AP1R2_EL1):
	case SYSREG(SYS_ICC_AP1R3_EL1):
		break;
	default:
		return -ENXIO;
	}
	if (!is_write) {
		*value = start;
		return 0;
	}
	if (*value == start || (*value <= most && most <= 3))
		return 0;
	return -EINVAL;
}

static int access_levels(struct cv_vm *vm, const struct kvm_device_attr *attr,
			 bool is_write, u32 *value)
{
	u32 first = attr->attr & KVM_DEV_ARM_VGIC_LINE_LEVEL_INTID_MASK;
	u64 info = (attr->attr & KVM_DEV_ARM_VGIC_LINE_LEVEL_INFO_MASK) >>
		   KVM_DEV_ARM_VGIC_LINE_LEVEL_INFO_SHIFT;
	struct cv_vcpu *vcpu = vcpu_of(vm, attr);
	u32 levels = is_write ? *value : 0;
	unsigned long flags;
	unsigned int i;

	if (!vcpu || first % 32 || info != VGIC_LEVEL_INFO_LINE_LEVEL)
		return -EINVAL;
	raw_spin_lock_irqsave(&vm->vgic.lock, flags);
	for (i = 0; i < 32; i++) {
		struct cv_irq *irq = cv_irq_find(&vm->vgic, &vcpu->vgic, first + i);

		if (!irq || irq->intid < 16)
			continue;
		if (is_write) {
			irq->line = levels >> i & 1;
			cv_irq_update(&vm->vgic, irq);
		} else {
			levels |= (u32)irq->line << i;
		}
	}
	raw_spin_unlock_irqrestore(&vm->vgic.lock, flags);
	*value = levels;
	return 0;
}

/* What needs a GIC that is complete, and vCPUs that do not run. */
static int access_state(struct cv_vm *vm, const struct kvm_device_attr *attr,
			bool is_write, u64 *value)
{
	u32 word = *value;
	int ret;

	if (!vm->vgic.initialized || !lock_vcpus(vm))
		return -EBUSY;
	switch (attr->group) {
	case KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS:
		ret = access_sysreg(vm, attr, is_write, value);
		break;
	case KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO:
		ret = access_levels(vm, attr, is_write, &word);
		*value = word;
		break;
	default:
		ret = access_register(vm, attr, attr->group == KVM_DEV_ARM_VGIC_GRP_REDIST_REGS,
				      is_write, &word);
		*value = word;
		break;
	}
	unlock_vcpus(vm);
	return ret;
}

static bool is_word(u32 group)
{
	return group != KVM_DEV_ARM_VGIC_GRP_ADDR && group != KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS;
}

static int read_user(const struct kvm_device_attr *attr, u64 *value)
{
	u32 word;

	if (!is_word(attr->group))
		return get_user(*value, user(attr));
	if (get_user(word, (u32 __user *)user(attr)))
		return -EFAULT;
	*value = word;
	return 0;
}

static int write_user(const struct kvm_device_attr *attr, u64 value)
{
	if (!is_word(attr->group))
		return put_user(value, user(attr));
	return put_user((u32)value, (u32 __user *)user(attr));
}

static int has_attr(struct cv_vm *vm, const struct kvm_device_attr *attr)
{
	u64 value = 0;
	u32 offset = attr->attr;

	switch (attr->group) {
	case KVM_DEV_ARM_VGIC_GRP_ADDR:
		return attr->attr == KVM_VGIC_V3_ADDR_TYPE_DIST ||
		       attr->attr == KVM_VGIC_V3_ADDR_TYPE_REDIST ||
		       attr->attr == KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION ? 0 : -ENXIO;
	case KVM_DEV_ARM_VGIC_GRP_NR_IRQS:
		return 0;
	case KVM_DEV_ARM_VGIC_GRP_CTRL:
		return attr->attr == KVM_DEV_ARM_VGIC_CTRL_INIT ? 0 : -ENXIO;
	case KVM_DEV_ARM_VGIC_GRP_DIST_REGS:
		return cv_vgic_has_register(false, offset) ? 0 : -ENXIO;
	case KVM_DEV_ARM_VGIC_GRP_REDIST_REGS:
		return vcpu_of(vm, attr) && cv_vgic_has_register(true, offset) ? 0 : -ENXIO;
	case KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS:
		return access_sysreg(vm, attr, false, &value) ? -ENXIO : 0;
	case KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO:
		return (attr->attr & KVM_DEV_ARM_VGIC_LINE_LEVEL_INFO_MASK) >>
				       KVM_DEV_ARM_VGIC_LINE_LEVEL_INFO_SHIFT ==
			       VGIC_LEVEL_INFO_LINE_LEVEL ? 0 : -ENXIO;
	default:
		return -ENXIO;
	}
}

static int set_attr(struct cv_vm *vm, const struct kvm_device_attr *attr)
{
	u64 value;
	int ret;

	switch (attr->group) {
	case KVM_DEV_ARM_VGIC_GRP_CTRL:
		return attr->attr == KVM_DEV_ARM_VGIC_CTRL_INIT ? initialize(vm) : -ENXIO;
	case KVM_DEV_ARM_VGIC_GRP_ADDR:
	case KVM_DEV_ARM_VGIC_GRP_NR_IRQS:
	case KVM_DEV_ARM_VGIC_GRP_DIST_REGS:
	case KVM_DEV_ARM_VGIC_GRP_REDIST_REGS:
	case KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS:
	case KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO:
		ret = read_user(attr, &value);
		if (ret)
			return ret;
		if (attr->group == KVM_DEV_ARM_VGIC_GRP_ADDR)
			return set_address(vm, attr->attr, value);
		if (attr->group == KVM_DEV_ARM_VGIC_GRP_NR_IRQS)
			return set_nr_irqs(vm, value);
		return access_state(vm, attr, true, &value);
	default:
		return -ENXIO;
	}
}

static int get_attr(struct cv_vm *vm, const struct kvm_device_attr *attr)
{
	u64 value = 0;
	int ret;

	switch (attr->group) {
	case KVM_DEV_ARM_VGIC_GRP_ADDR:
		ret = read_user(attr, &value) ?: get_address(vm, attr->attr, &value);
		break;
	case KVM_DEV_ARM_VGIC_GRP_NR_IRQS:
		value = vm->vgic.nr_irqs ?: DEFAULT_IRQS;
		ret = 0;
		break;
	case KVM_DEV_ARM_VGIC_GRP_DIST_REGS:
	case KVM_DEV_ARM_VGIC_GRP_REDIST_REGS:
	case KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS:
	case KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO:
		ret = access_state(vm, attr, false, &value);
		break;
	default:
		return -ENXIO;
	}
	return ret ?: write_user(attr, value);
}

static long device_ioctl(struct file *file, unsigned int number, unsigned long arg)
{
	struct cv_vm *vm = file->private_data;
	struct kvm_device_attr attr;
	long ret;

	/* As every file of a VM's: for those only who share its memory. */
	if (vm->mm != current->mm)
		return -EIO;
	if (number != KVM_SET_DEVICE_ATTR && number != KVM_GET_DEVICE_ATTR &&
	    number != KVM_HAS_DEVICE_ATTR)
		return -ENOTTY;
	if (copy_from_user(&attr, (void __user *)arg, sizeof(attr)))
		return -EFAULT;
	mutex_lock(&vm->lock);
	if (attr.flags)
		ret = -EINVAL;
	else if (number == KVM_HAS_DEVICE_ATTR)
		ret = has_attr(vm, &attr);
	else if (number == KVM_SET_DEVICE_ATTR)
		ret = set_attr(vm, &attr);
	else
		ret = get_attr(vm, &attr);
	mutex_unlock(&vm->lock);
	return ret;
}

static int device_release(struct inode *inode, struct file *file)
{
	cv_vm_put(file->private_data);
	return 0;
}

static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = device_release,
	.llseek = noop_llseek,
};

int cv_vgic_create(struct cv_vm *vm, struct kvm_create_device *device)
{
	int fd;

	if (device->type != KVM_DEV_TYPE_ARM_VGIC_V3 || !cv_timer_has_vgic())
		return -ENODEV;
	if (device->flags & ~KVM_CREATE_DEVICE_TEST)
		return -EINVAL;
	if (device->flags & KVM_CREATE_DEVICE_TEST)
		return 0;
	if (vm->vgic.created)
		return -EEXIST;
	if (vm->ran)
		return -EBUSY;
	cv_vm_get(vm);
	fd = anon_inode_getfd("corevisor-vgic", &device_fops, vm, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		cv_vm_put(vm);
		return fd;
	}
	vm->vgic.created = true;
	device->fd = fd;
	return 0;
}
