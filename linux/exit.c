// SPDX-License-Identifier: GPL-2.0-only
/*
 * Why a vCPU stopped, and what it is answered. What Corevisor shows of an exit, and takes as an
 * answer, is in the run page (docs/abi.md "Running a vCPU").
 */

#include <linux/kvm_types.h>
#include <linux/psci.h>
#include <linux/sched/signal.h>
#include <linux/smp.h>
#include <uapi/linux/psci.h>
#include <asm/esr.h>

#include "call.h"
#include "corevisor.h"

/* DEN0028: the call is unknown. */
#define CV_SMCCC_UNKNOWN ((u64)-1)
/* A hint about the caller's SVE registers, in the number of any function. */
#define CV_SMCCC_SVE_HINT BIT(16)

static u64 *cv_word(struct cv_vcpu *vcpu, unsigned long offset)
{
	return &vcpu->page[offset / sizeof(u64)];
}

static u64 cv_reg(struct cv_vcpu *vcpu, unsigned int reg)
{
	return reg < 31 ? *cv_word(vcpu, CV_RUN_X + reg * 8) : 0;
}

static void cv_set_reg(struct cv_vcpu *vcpu, unsigned int reg, u64 value)
{
	if (reg < 31)
		*cv_word(vcpu, CV_RUN_X + reg * 8) = value;
}

/*
 * The guest address of an abort; its offset in the page, only of an access that is to be emulated.
 */
static u64 cv_fault_address(struct cv_vcpu *vcpu)
{
	return *cv_word(vcpu, CV_RUN_HPFAR) >> 4 << 12 | (*cv_word(vcpu, CV_RUN_FAR) & ~PAGE_MASK);
}

/* What an abort says of the access, if all is said that is needed to emulate it. */
static bool cv_decode_mmio(struct cv_vcpu *vcpu, struct cv_mmio *mmio)
{
	u64 esr = *cv_word(vcpu, CV_RUN_ESR);

	if (ESR_ELx_EC(esr) != ESR_ELx_EC_DABT_LOW || !(esr & ESR_ELx_ISV) ||
	    esr & (ESR_ELx_CM | ESR_ELx_S1PTW))
		return false;
	mmio->is_write = esr & ESR_ELx_WNR;
	mmio->sign_extend = esr & ESR_ELx_SSE;
	mmio->is_64bit = esr & ESR_ELx_SF;
	mmio->len = 1 << ((esr & ESR_ELx_SAS) >> ESR_ELx_SAS_SHIFT);
	mmio->reg = (esr & ESR_ELx_SRT_MASK) >> ESR_ELx_SRT_SHIFT;
	mmio->addr = cv_fault_address(vcpu);
	return true;
}

/* What a load of `data` puts into its register. */
static u64 cv_loaded(const struct cv_mmio *mmio, u64 data)
{
	unsigned int unused = 64 - 8 * mmio->len;

	data <<= unused;
	data = mmio->sign_extend ? (u64)((s64)data >> unused) : data >> unused;
	return mmio->is_64bit ? data : lower_32_bits(data);
}

/* The part of an access that the vGIC answers. */
static int cv_exit_mmio_quick(struct cv_vcpu *vcpu)
{
	struct cv_mmio mmio;
	u64 data;

	/* Answers of earlier aborts. */
	*cv_word(vcpu, CV_RUN_FAULT_ADDR) = 0;
	*cv_word(vcpu, CV_RUN_FLAGS) = 0;
	if (!cv_decode_mmio(vcpu, &mmio))
		return CV_NEXT_SLOW;
	data = mmio.is_write ? cv_reg(vcpu, mmio.reg) : 0;
	if (!cv_vgic_mmio(vcpu, mmio.addr, mmio.len, mmio.is_write, &data))
		return CV_NEXT_SLOW;
	if (!mmio.is_write)
		cv_set_reg(vcpu, mmio.reg, cv_loaded(&mmio, data));
	return CV_NEXT_ENTER;
}

/*
 * A write to one of the registers that make SGIs; no other access of a system register leaves
 * Corevisor.
 */
static int cv_exit_sgi(struct cv_vcpu *vcpu, u64 esr)
{
	unsigned int op2 = (esr & ESR_ELx_SYS64_ISS_OP2_MASK) >> ESR_ELx_SYS64_ISS_OP2_SHIFT;
	unsigned int rt = (esr & ESR_ELx_SYS64_ISS_RT_MASK) >> ESR_ELx_SYS64_ISS_RT_SHIFT;

	cv_vgic_sgi(vcpu, cv_reg(vcpu, rt), op2 == 5);
	return CV_NEXT_ENTER;
}

/* The function that a vCPU calls. */
static u32 cv_call_number(struct cv_vcpu *vcpu)
{
	return cv_reg(vcpu, 0) & ~CV_SMCCC_SVE_HINT;
}

static bool cv_is_psci(u32 call)
{
	return (call & 0xbfffffe0) == PSCI_0_2_FN_BASE;
}

/* Whether Corevisor has powered the VM off because of this call. */
static bool cv_is_system_end(u32 call)
{
	return call == PSCI_0_2_FN_SYSTEM_OFF || call == PSCI_0_2_FN_SYSTEM_RESET ||
	       call == PSCI_1_1_FN_SYSTEM_RESET2 || call == PSCI_1_1_FN64_SYSTEM_RESET2;
}

static int cv_exit_call_quick(struct cv_vcpu *vcpu)
{
	u32 call = cv_call_number(vcpu);

	if (!cv_is_psci(call)) {
		cv_set_reg(vcpu, 0, CV_SMCCC_UNKNOWN);
		return CV_NEXT_ENTER;
	}
	/*
	 * What Corevisor did because of the call is noted before the vCPU is outside:
	 * cv_wait_outside.
	 */
	if (call == PSCI_0_2_FN_CPU_OFF) {
		WRITE_ONCE(vcpu->power, false);
		return CV_NEXT_ENTER;
	}
	if (cv_is_system_end(call))
		WRITE_ONCE(vcpu->vm->ending, true);
	return CV_NEXT_SLOW;
}

int cv_exit_quick(struct cv_vcpu *vcpu)
{
	u64 esr = *cv_word(vcpu, CV_RUN_ESR);

	switch (ESR_ELx_EC(esr)) {
	case ESR_ELx_EC_HVC64:
		return cv_exit_call_quick(vcpu);
	case ESR_ELx_EC_DABT_LOW:
		return cv_exit_mmio_quick(vcpu);
	case ESR_ELx_EC_SYS64:
		return cv_exit_sgi(vcpu, esr);
	case ESR_ELx_EC_WFx:
		if (esr & ESR_ELx_WFx_ISS_WFE)
			return CV_NEXT_YIELD;
		return cv_vgic_pending(vcpu) ? CV_NEXT_ENTER : CV_NEXT_WAIT;
	default:
		return CV_NEXT_SLOW;
	}
}

static void cv_external_abort(struct cv_vcpu *vcpu)
{
	*cv_word(vcpu, CV_RUN_FAULT_ADDR) = 0;
	*cv_word(vcpu, CV_RUN_FLAGS) = CV_INJECT_DATA_ABORT;
}

/* An access that user space has to emulate. */
static int cv_exit_mmio_user(struct cv_vcpu *vcpu, const struct cv_mmio *mmio)
{
	struct kvm_run *run = vcpu->run;
	u64 data = cpu_to_le64(cv_reg(vcpu, mmio->reg));

	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = mmio->addr;
	run->mmio.len = mmio->len;
	run->mmio.is_write = mmio->is_write;
	memset(run->mmio.data, 0, sizeof(run->mmio.data));
	if (mmio->is_write)
		memcpy(run->mmio.data, &data, mmio->len);
	vcpu->mmio = *mmio;
	vcpu->mmio.pending = true;
	return CV_NEXT_USER;
}

void cv_exit_complete_mmio(struct cv_vcpu *vcpu)
{
	struct cv_mmio *mmio = &vcpu->mmio;
	u64 data = 0;

	if (!mmio->pending)
		return;
	mmio->pending = false;
	if (vcpu->dabt_pending) {
		vcpu->dabt_pending = false;
		cv_external_abort(vcpu);
	} else if (!mmio->is_write) {
		memcpy(&data, vcpu->run->mmio.data, mmio->len);
		cv_set_reg(vcpu, mmio->reg, cv_loaded(mmio, le64_to_cpu(data)));
	}
}

/*
 * An access to no memory: of a device, unless it is by an instruction that does not say enough of
 * itself.
 */
static int cv_exit_mmio(struct cv_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct cv_mmio mmio = {};

	if (cv_decode_mmio(vcpu, &mmio)) {
		if (mmio.is_write &&
		    cv_bus_write(vcpu->vm, mmio.addr, mmio.len, cv_reg(vcpu, mmio.reg)))
			return CV_NEXT_ENTER;
		return cv_exit_mmio_user(vcpu, &mmio);
	}
	if (READ_ONCE(vcpu->vm->nisv_to_user) && !vcpu->vm->protected) {
		run->exit_reason = KVM_EXIT_ARM_NISV;
		run->arm_nisv.esr_iss = *cv_word(vcpu, CV_RUN_ESR) & ESR_ELx_ISS_MASK;
		run->arm_nisv.fault_ipa = cv_fault_address(vcpu);
		/* The instruction is tried again, unless user space wants it to fail. */
		vcpu->mmio = (struct cv_mmio){ .pending = true, .is_write = true };
		return CV_NEXT_USER;
	}
	return -ENOSYS;
}

static int cv_exit_abort(struct cv_vcpu *vcpu)
{
	u64 esr = *cv_word(vcpu, CV_RUN_ESR);
	u64 gpa = cv_fault_address(vcpu);
	bool data = ESR_ELx_EC(esr) == ESR_ELx_EC_DABT_LOW && !(esr & ESR_ELx_S1PTW);
	int err = -ENOENT;

	*cv_word(vcpu, CV_RUN_FAULT_ADDR) = 0;
	*cv_word(vcpu, CV_RUN_FLAGS) = 0;
	if (gpa >= CV_RAM_BASE)
		err = cv_memory_fault(vcpu, gpa);
	/* The VM's life is over: whoever runs the vCPU finds out. */
	if (!err || err == -EAGAIN)
		return CV_NEXT_ENTER;
	if (err != -ENOENT)
		return err;
	/* Of a protected VM the host sees nothing from 1 GiB on that it could emulate. */
	if (data && (gpa < CV_RAM_BASE || !vcpu->vm->protected))
		return cv_exit_mmio(vcpu);
	cv_external_abort(vcpu);
	return CV_NEXT_ENTER;
}

/* The VM ends by its own decision; it may begin anew. */
static int cv_exit_system(struct cv_vcpu *vcpu, u32 type, u64 flags)
{
	struct cv_vm *vm = vcpu->vm;
	struct kvm_run *run = vcpu->run;
	int err;

	mutex_lock(&vm->lock);
	/* Another vCPU may have been faster. */
	err = vcpu->life == vm->life ? cv_vm_stop(vm) : 0;
	mutex_unlock(&vm->lock);
	if (err)
		return err;
	memset(&run->system_event, 0, sizeof(run->system_event));
	run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
	run->system_event.type = type;
	run->system_event.ndata = 1;
	run->system_event.data[0] = flags;
	return CV_NEXT_USER;
}

static void cv_nothing(void *unused)
{
}

/* If the vCPU is inside: until it has come out once. It lets its CPU have no interrupts before. */
static void cv_wait_outside(struct cv_vcpu *vcpu)
{
	if (atomic_read_acquire(&vcpu->mode) == CV_INSIDE)
		smp_call_function_single(READ_ONCE(vcpu->cpu), cv_nothing, NULL, true);
}

/* Corevisor has found CPU_ON in order, and knows where the vCPU begins. An error leaves it off. */
static u64 cv_psci_cpu_on(struct cv_vcpu *vcpu, u64 mpidr)
{
	struct cv_vm *vm = vcpu->vm;
	struct cv_vcpu *target = cv_vm_vcpu(vm, mpidr);
	u64 result = PSCI_RET_INTERNAL_FAILURE;

	if (!target)
		return PSCI_RET_INVALID_PARAMS;
	/* If it has just turned itself off. */
	cv_wait_outside(target);
	mutex_lock(&vm->lock);
	if (vcpu->life == vm->life && target->initialized) {
		cv_vcpu_set_power(target, true);
		result = PSCI_RET_SUCCESS;
	}
	mutex_unlock(&vm->lock);
	return result;
}

static u64 cv_psci_affinity_info(struct cv_vcpu *vcpu, u64 mpidr, u64 level)
{
	bool found = false;
	int i;

	if (level > 3)
		return PSCI_RET_INVALID_PARAMS;
	for (i = 0; i < CV_MAX_VCPUS; i++) {
		struct cv_vcpu *other = cv_vm_vcpu(vcpu->vm, i);

		/* A vCPU's number is its affinity 0; all others are 0. */
		if (!other || (level ? mpidr >> (8 * level) : mpidr != i))
			continue;
		found = true;
		if (READ_ONCE(other->power))
			return PSCI_0_2_AFFINITY_LEVEL_ON;
	}
	return found ? PSCI_0_2_AFFINITY_LEVEL_OFF : PSCI_RET_INVALID_PARAMS;
}

static int cv_exit_psci(struct cv_vcpu *vcpu)
{
	u32 call = cv_call_number(vcpu);
	/* The arguments of the 32-bit functions have 32 bits. */
	u64 mask = call & BIT(30) ? ~0ULL : U32_MAX;
	u64 result;

	switch (call) {
	case PSCI_0_2_FN_CPU_ON:
	case PSCI_0_2_FN64_CPU_ON:
		result = cv_psci_cpu_on(vcpu, cv_reg(vcpu, 1) & mask);
		break;
	case PSCI_0_2_FN_AFFINITY_INFO:
	case PSCI_0_2_FN64_AFFINITY_INFO:
		result = cv_psci_affinity_info(vcpu, cv_reg(vcpu, 1) & mask,
					       cv_reg(vcpu, 2) & mask);
		break;
	case PSCI_0_2_FN_CPU_SUSPEND:
	case PSCI_0_2_FN64_CPU_SUSPEND:
		cv_set_reg(vcpu, 0, PSCI_RET_SUCCESS);
		return CV_NEXT_WAIT;
	case PSCI_0_2_FN_SYSTEM_OFF:
		return cv_exit_system(vcpu, KVM_SYSTEM_EVENT_SHUTDOWN, 0);
	case PSCI_0_2_FN_SYSTEM_RESET:
		return cv_exit_system(vcpu, KVM_SYSTEM_EVENT_RESET, 0);
	case PSCI_1_1_FN_SYSTEM_RESET2:
	case PSCI_1_1_FN64_SYSTEM_RESET2:
		return cv_exit_system(vcpu, KVM_SYSTEM_EVENT_RESET,
				      KVM_SYSTEM_EVENT_RESET_FLAG_PSCI_RESET2);
	default:
		result = PSCI_RET_NOT_SUPPORTED;
	}
	cv_set_reg(vcpu, 0, result);
	return CV_NEXT_ENTER;
}

int cv_exit_slow(struct cv_vcpu *vcpu)
{
	int next;

	switch (ESR_ELx_EC(*cv_word(vcpu, CV_RUN_ESR))) {
	case ESR_ELx_EC_HVC64:
		next = cv_exit_psci(vcpu);
		break;
	case ESR_ELx_EC_IABT_LOW:
	case ESR_ELx_EC_DABT_LOW:
		next = cv_exit_abort(vcpu);
		break;
	default:
		next = cv_exit_unexpected(vcpu, CV_EXIT_TRAP);
	}
	/*
	 * To enter now would be an answer, too: that the access is emulated, or the call has no
	 * result.
	 */
	vcpu->unanswered = next < 0;
	return next;
}

/*
 * Whether the VM is off because another vCPU called for it: that one is about to end the VM's life,
 * and to tell user space. It was inside when Corevisor powered the VM off.
 */
static bool cv_ended_by_another(struct cv_vcpu *vcpu)
{
	struct cv_vm *vm = vcpu->vm;
	int i;

	for (i = 0; i < CV_MAX_VCPUS; i++) {
		struct cv_vcpu *other = cv_vm_vcpu(vm, i);

		if (other)
			cv_wait_outside(other);
	}
	return READ_ONCE(vm->ending) || vcpu->life != READ_ONCE(vm->life);
}

/* Until the life has ended, or the vCPU is off because of it. */
static int cv_wait_for_end(struct cv_vcpu *vcpu)
{
	wait_event_interruptible(vcpu->wait, cv_vcpu_is_off(vcpu));
	return CV_NEXT_ENTER;
}

int cv_exit_unexpected(struct cv_vcpu *vcpu, long exit)
{
	struct kvm_run *run = vcpu->run;

	if (exit == CV_EXIT_STOPPED && cv_ended_by_another(vcpu))
		return cv_wait_for_end(vcpu);
	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON;
	run->internal.ndata = 2;
	run->internal.data[0] = exit;
	run->internal.data[1] = *cv_word(vcpu, CV_RUN_ESR);
	return CV_NEXT_USER;
}

int cv_exit_refused(struct cv_vcpu *vcpu, long code)
{
	struct kvm_run *run = vcpu->run;

	/*
	 * Corevisor has no tables left, or a page that was offered is in use for a moment: it can
	 * be tried again.
	 */
	if (code == CV_NO_MEMORY || code == CV_BUSY)
		return cv_errno(code);
	if (code == CV_DENIED && cv_ended_by_another(vcpu))
		return cv_wait_for_end(vcpu);
	run->exit_reason = KVM_EXIT_FAIL_ENTRY;
	run->fail_entry.hardware_entry_failure_reason = code;
	run->fail_entry.cpu = vcpu->cpu;
	return CV_NEXT_USER;
}
