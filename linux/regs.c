// SPDX-License-Identifier: GPL-2.0-only
/*
 * ONE_REG. What is set before a vCPU runs is what it starts with, as far as Corevisor lets the host
 * say: pc, pstate and x0, and of a shared VM x1 to x30. All else is zero then, or what hardware and
 * Corevisor make it. Once the vCPU has run its registers are Corevisor's: they read as zero, and
 * can't be changed.
 */

#include <linux/uaccess.h>
#include <asm/sysreg.h>

#include "call.h"
#include "corevisor.h"

/* PSTATE after a reset: EL1h, all masked. */
#define CV_RESET_PSTATE (PSR_MODE_EL1h | PSR_A_BIT | PSR_F_BIT | PSR_I_BIT | PSR_D_BIT)

/* PSCI as VMs find it: Corevisor answers PSCI_VERSION. */
#define CV_PSCI_VERSION 0x10001

/* Registers of a vCPU that are no core registers, nor ID registers. */
static const u64 cv_other_regs[] = {
	KVM_REG_ARM_PSCI_VERSION,
	KVM_REG_ARM_TIMER_CTL,
	KVM_REG_ARM_TIMER_CNT,
	KVM_REG_ARM_TIMER_CVAL,
	ARM64_SYS_REG(3, 0, 0, 0, 5),
};

#define CV_MPIDR (cv_other_regs[4])

/* ID registers: op0 3, op1 0, CRn 0, CRm 1 to 7, op2 0 to 7. */
#define CV_ID_REG_FIRST ARM64_SYS_REG(3, 0, 0, 1, 0)
#define CV_ID_REGS (7 * 8)

static bool cv_is_id_reg(u64 id)
{
	return id >= CV_ID_REG_FIRST && id < CV_ID_REG_FIRST + CV_ID_REGS;
}

static int cv_read_id_reg(u64 id, u64 *value)
{
	struct arm_smccc_1_2_regs args = {
		.a1 = id & (KVM_REG_ARM64_SYSREG_OP0_MASK | KVM_REG_ARM64_SYSREG_OP1_MASK |
			    KVM_REG_ARM64_SYSREG_CRN_MASK | KVM_REG_ARM64_SYSREG_CRM_MASK |
			    KVM_REG_ARM64_SYSREG_OP2_MASK),
	};
	long err = cv_call(CV_CALL_VM_ID_REGISTER, &args);

	*value = args.a1;
	return err;
}

bool cv_id_register_has_ptrauth(void)
{
	u64 isar1, isar2;

	if (cv_read_id_reg(ARM64_SYS_REG(3, 0, 0, 6, 1), &isar1) ||
	    cv_read_id_reg(ARM64_SYS_REG(3, 0, 0, 6, 2), &isar2))
		return false;
	/* APA, API, GPA, GPI; GPA3, APA3. */
	return isar1 & 0xff000ff0 || isar2 & 0xff00;
}

void cv_regs_reset(struct cv_vcpu *vcpu)
{
	memset(&vcpu->boot, 0, sizeof(vcpu->boot));
	vcpu->boot.regs.pstate = CV_RESET_PSTATE;
}

/*
 * Where core register `id` lies in struct kvm_regs, in bytes, if there is one of that size; else
 * -1.
 */
static int cv_core_offset(u64 id)
{
	u64 word = id & ~(KVM_REG_ARCH_MASK | KVM_REG_SIZE_MASK | KVM_REG_ARM_CORE);
	u64 size;

	if (word >= sizeof(struct kvm_regs) / sizeof(u32))
		return -1;
	if (word < KVM_REG_ARM_CORE_REG(fp_regs.vregs[0]))
		size = word % 2 ? 0 : KVM_REG_SIZE_U64;
	else if (word < KVM_REG_ARM_CORE_REG(fp_regs.fpsr))
		size = (word - KVM_REG_ARM_CORE_REG(fp_regs.vregs[0])) % 4 ? 0 : KVM_REG_SIZE_U128;
	else if (word <= KVM_REG_ARM_CORE_REG(fp_regs.fpcr))
		size = KVM_REG_SIZE_U32;
	else
		size = 0;
	return size && (id & KVM_REG_SIZE_MASK) == size ? word * sizeof(u32) : -1;
}

/* Whether the host may say what a core register starts with. */
static bool cv_core_is_ours(struct cv_vcpu *vcpu, unsigned int offset)
{
	if (offset == offsetof(struct kvm_regs, regs.pc) ||
	    offset == offsetof(struct kvm_regs, regs.pstate))
		return true;
	return offset < (vcpu->vm->protected ? sizeof(u64) : offsetof(struct kvm_regs, regs.sp));
}

/* Whether its registers are Corevisor's. */
static bool cv_has_run(struct cv_vcpu *vcpu)
{
	return vcpu->has_run && vcpu->life == READ_ONCE(vcpu->vm->life);
}

/* The value of a register that is no core register. */
static int cv_other_get(struct cv_vcpu *vcpu, u64 id, u64 *value)
{
	*value = 0;
	if (cv_is_id_reg(id))
		return cv_read_id_reg(id, value);
	if (id == CV_MPIDR)
		*value = BIT(31) | vcpu->index;
	else if (id == KVM_REG_ARM_PSCI_VERSION)
		*value = CV_PSCI_VERSION;
	else if (id == KVM_REG_ARM_TIMER_CNT)
		*value = cv_timer_now(vcpu->vm);
	else if (id != KVM_REG_ARM_TIMER_CTL && id != KVM_REG_ARM_TIMER_CVAL)
		return -ENOENT;
	return 0;
}

static bool cv_is_core(u64 id)
{
	return (id & KVM_REG_ARM_COPROC_MASK) == KVM_REG_ARM_CORE;
}

int cv_regs_get(struct cv_vcpu *vcpu, const struct kvm_one_reg *reg)
{
	void __user *to = u64_to_user_ptr(reg->addr);
	static const u64 nothing[2];
	const void *from;
	u64 value;
	int offset, err;

	if ((reg->id & KVM_REG_ARCH_MASK) != KVM_REG_ARM64)
		return -ENOENT;
	if (cv_is_core(reg->id)) {
		offset = cv_core_offset(reg->id);
		if (offset < 0)
			return -ENOENT;
		from = (const void *)&vcpu->boot + offset;
		if (cv_has_run(vcpu))
			from = nothing;
	} else {
		err = cv_other_get(vcpu, reg->id, &value);
		if (err)
			return err;
		from = &value;
	}
	return copy_to_user(to, from, KVM_REG_SIZE(reg->id)) ? -EFAULT : 0;
}

/*
 * A write of what a register has already changes nothing, and is accepted: VMMs write back what
 * they have read.
 */
static int cv_core_set(struct cv_vcpu *vcpu, u64 id, const u64 *value)
{
	static const u64 nothing[2];
	int offset = cv_core_offset(id);
	size_t size = KVM_REG_SIZE(id);

	if (offset < 0)
		return -ENOENT;
	if (cv_has_run(vcpu))
		return vcpu->vm->protected || memcmp(value, nothing, size) ? -EPERM : 0;
	if (!cv_core_is_ours(vcpu, offset))
		return memcmp(value, (void *)&vcpu->boot + offset, size) ? -EINVAL : 0;
	memcpy((void *)&vcpu->boot + offset, value, size);
	return 0;
}

int cv_regs_set(struct cv_vcpu *vcpu, const struct kvm_one_reg *reg)
{
	u64 value[2] = {}, now;
	int err;

	if ((reg->id & KVM_REG_ARCH_MASK) != KVM_REG_ARM64 || KVM_REG_SIZE(reg->id) > sizeof(value))
		return -ENOENT;
	if (copy_from_user(value, u64_to_user_ptr(reg->addr), KVM_REG_SIZE(reg->id)))
		return -EFAULT;
	if (cv_is_core(reg->id))
		return cv_core_set(vcpu, reg->id, value);
	err = cv_other_get(vcpu, reg->id, &now);
	if (err)
		return err;
	if (reg->id == KVM_REG_ARM_TIMER_CNT) {
		cv_timer_set_now(vcpu->vm, value[0]);
		return 0;
	}
	if (value[0] == now)
		return 0;
	return cv_has_run(vcpu) ? -EPERM : -EINVAL;
}

/* Writes the ids of all registers to `to`, unless it is NULL; how many there are, or -EFAULT. */
static int cv_regs_put_all(u64 __user *to)
{
	static const u64 sizes[] = { KVM_REG_SIZE_U32, KVM_REG_SIZE_U64, KVM_REG_SIZE_U128 };
	unsigned int word, i, n = 0;

	for (word = 0; word < sizeof(struct kvm_regs) / sizeof(u32); word++) {
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			u64 id = KVM_REG_ARM64 | KVM_REG_ARM_CORE | sizes[i] | word;

			if (cv_core_offset(id) < 0)
				continue;
			if (to && put_user(id, to + n))
				return -EFAULT;
			n++;
		}
	}
	for (i = 0; i < ARRAY_SIZE(cv_other_regs); i++, n++) {
		if (to && put_user(cv_other_regs[i], to + n))
			return -EFAULT;
	}
	for (i = 0; i < CV_ID_REGS; i++, n++) {
		if (to && put_user(CV_ID_REG_FIRST + i, to + n))
			return -EFAULT;
	}
	return n;
}

int cv_regs_list(struct kvm_reg_list __user *list)
{
	u64 room, n = cv_regs_put_all(NULL);
	int err;

	if (get_user(room, &list->n) || put_user(n, &list->n))
		return -EFAULT;
	if (room < n)
		return -E2BIG;
	err = cv_regs_put_all(list->reg);
	return err < 0 ? err : 0;
}
