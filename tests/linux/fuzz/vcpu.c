// SPDX-License-Identifier: GPL-2.0-only
/* Calls about a vCPU. */
#include "fuzz.h"

/* What user space answers, or should not. */
static __thread struct file *answered;

static void scribble(struct thread *t)
{
	struct kvm_run *run = answered->run;
	unsigned int i, n = below(t, 16);

	for (i = 0; i < n; i++)
		((volatile uint8_t *)run)[below(t, one_in(t, 2) ? PAGE : 64)] = random_word(t);
	run->immediate_exit = one_in(t, 32);
}

static void note_exit(struct thread *t)
{
	uint32_t reason = answered->run->exit_reason;

	(void)t;
	if (reason < MAX_EXITS)
		__atomic_add_fetch(&counts->exits[answered->is_protected][reason], 1, __ATOMIC_RELAXED);
}

long run_vcpu(struct thread *t, struct file *vcpu)
{
	long result;

	answered = vcpu;
	if (one_in(t, 4))
		guarded(scribble, t);
	result = call_number(t, RUN, vcpu->fd, KVM_RUN, 0);
	if (!result)
		guarded(note_exit, t);
	return result;
}

static uint64_t pick_reg(struct thread *t)
{
	static const uint64_t sizes[] = { KVM_REG_SIZE_U8, KVM_REG_SIZE_U32, KVM_REG_SIZE_U64, KVM_REG_SIZE_U128,
					  KVM_REG_SIZE_U2048 };

	switch (below(t, 6)) {
	case 0:
		return KVM_REG_ARM64 | KVM_REG_ARM_CORE | sizes[below(t, 5)] | below(t, 0x200);
	case 1:
		return ARM64_SYS_REG(3, 0, 0, below(t, 8), below(t, 8));
	case 2:
		return PICK(t, KVM_REG_ARM_TIMER_CTL, KVM_REG_ARM_TIMER_CNT, KVM_REG_ARM_TIMER_CVAL, KVM_REG_ARM_PSCI_VERSION,
			    ARM64_SYS_REG(3, 0, 0, 0, 5));
	case 3:
		return KVM_REG_ARM64 | random_word(t) >> below(t, 64);
	case 4:
		return random_word(t);
	default:
		return KVM_REG_ARM64 | KVM_REG_ARM_CORE | KVM_REG_SIZE_U64 | 2 * below(t, 34);
	}
}

static void one_reg(struct thread *t, struct file *vcpu)
{
	struct kvm_one_reg *reg = (void *)t->argument;
	bool set = one_in(t, 2);

	reg->id = pick_reg(t);
	reg->addr = one_in(t, 16) ? pick_address(t) : (uintptr_t)(t->argument + 16);
	t->argument[16] = one_in(t, 2) ? 0 : odd_number(t);
	call(t, set ? SET_REG : GET_REG, vcpu->fd, set ? KVM_SET_ONE_REG : KVM_GET_ONE_REG, reg);
}

static void init(struct thread *t, struct file *vcpu)
{
	struct kvm_vcpu_init *init = (void *)t->argument;

	memset(init, 0, sizeof(*init));
	init->target = one_in(t, 16) ? odd_number(t) : KVM_ARM_TARGET_GENERIC_V8;
	init->features[0] = below(t, 4) ? below(t, 2) | 1 << KVM_ARM_VCPU_PSCI_0_2 : odd_number(t);
	if (one_in(t, 16))
		init->features[below(t, 7)] = odd_number(t);
	call(t, INIT, vcpu->fd, KVM_ARM_VCPU_INIT, init);
}

static void state(struct thread *t, struct file *vcpu)
{
	struct kvm_vcpu_events *events = (void *)t->argument;
	struct kvm_mp_state *state = (void *)t->argument;

	switch (below(t, 4)) {
	case 0:
		state->mp_state = one_in(t, 8) ? odd_number(t) : PICK(t, KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_STOPPED);
		call(t, MP_STATE, vcpu->fd, KVM_SET_MP_STATE, state);
		break;
	case 1:
		call(t, MP_STATE, vcpu->fd, KVM_GET_MP_STATE, state);
		break;
	case 2:
		memset(events, 0, sizeof(*events));
		events->exception.ext_dabt_pending = one_in(t, 2);
		events->exception.serror_pending = one_in(t, 16);
		events->exception.serror_has_esr = one_in(t, 16);
		call(t, EVENTS, vcpu->fd, KVM_SET_VCPU_EVENTS, events);
		break;
	default:
		call(t, EVENTS, vcpu->fd, KVM_GET_VCPU_EVENTS, events);
	}
}

static void signal_mask(struct thread *t, struct file *vcpu)
{
	struct kvm_signal_mask *mask = (void *)t->argument;
	/* What is blocked while a vCPU runs is one of these, or all: then only the end of the round gets it out. */
	uint64_t blocked = one_in(t, 256) ? -1UL : PICK(t, 0, 0, 1UL << (SIGUSR1 - 1));

	mask->len = one_in(t, 8) ? odd_number(t) : 8;
	memcpy(mask->sigset, &blocked, sizeof(blocked));
	if (one_in(t, 4))
		counted(SIGNAL_MASK, ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, NULL));
	else
		call(t, SIGNAL_MASK, vcpu->fd, KVM_SET_SIGNAL_MASK, mask);
}

static void attribute(struct thread *t, struct file *vcpu)
{
	struct kvm_device_attr *attr = (void *)t->argument;

	attr->flags = one_in(t, 16);
	attr->group = one_in(t, 8) ? odd_number(t) : KVM_ARM_VCPU_TIMER_CTRL;
	attr->attr = one_in(t, 8) ? odd_number(t) : below(t, 3);
	attr->addr = one_in(t, 8) ? pick_address(t) : (uintptr_t)t->reg_value;
	t->reg_value[0] = one_in(t, 4) ? odd_number(t) : 16 + below(t, 16);
	call(t, VCPU_ATTR, vcpu->fd, PICK(t, KVM_SET_DEVICE_ATTR, KVM_GET_DEVICE_ATTR, KVM_HAS_DEVICE_ATTR), attr);
}

static void register_list(struct thread *t, struct file *vcpu)
{
	t->argument[0] = one_in(t, 2) ? 500 : odd_number(t);
	call(t, REG_LIST, vcpu->fd, KVM_GET_REG_LIST, t->argument);
}

/* Maps the run page, or something else of the file. */
static void run_page(struct thread *t, struct file *vcpu)
{
	size_t size = PICK(t, PAGE, PAGE, PAGE, 2 * PAGE, BLOCK);
	int protection = PICK(t, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC, PROT_NONE);
	void *at = mmap(NULL, size, protection, one_in(t, 2) ? MAP_SHARED : MAP_PRIVATE, vcpu->fd,
			one_in(t, 4) ? (below(t, 4) * PAGE) : 0);

	counted(RUN_PAGE, at == MAP_FAILED ? -1 : 0);
	if (at != MAP_FAILED)
		munmap(at, size);
}

void vcpu_state_call(struct thread *t)
{
	struct file *vcpu = pick_file(t, FILE_VCPU);

	switch (below(t, 6)) {
	case 0:
		register_list(t, vcpu);
		break;
	case 1:
		state(t, vcpu);
		break;
	case 2:
		signal_mask(t, vcpu);
		break;
	case 3:
		attribute(t, vcpu);
		break;
	default:
		one_reg(t, vcpu);
	}
}

void vcpu_calls(struct thread *t)
{
	struct file *vcpu = pick_file(t, FILE_VCPU);

	switch (below(t, 8)) {
	case 0:
		init(t, vcpu);
		break;
	case 1:
	case 2:
		vcpu_state_call(t);
		break;
	case 3:
		run_page(t, vcpu);
		break;
	case 4:
		answered = vcpu;
		guarded(scribble, t);
		break;
	default:
		run_vcpu(t, vcpu);
	}
}
