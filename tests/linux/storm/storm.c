// SPDX-License-Identifier: GPL-2.0-only
/*
 * For tests only: a host's kernel that makes random calls of Corevisor's, while the driver's VMs run and end.
 *
 * So many as are written to the parameter `calls`. It has VMs of its own, which run, and pages of its own, which is all that it gives
 * away: what is the kernel's would be missed. VMs of others it calls, too, but neither runs nor destroys them: a host can
 * always do that. At the end all of its pages are its own again.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/slab.h>

#include "call.h"

#define OWN_VMS	     4
#define VCPUS	     3
#define CODE_PAGES   64
#define PAGES	     512
#define BLOCK_ORDER  9
#define BLOCKS	     4
#define RAM	     0x80000000UL
#define HOST_RAM     0x40000000UL /* QEMU's */
#define DEVICES	     0x0a000000UL
#define NUMBERS	     64
#define PROTECTED    0

static unsigned long seed = 1;
module_param(seed, ulong, 0);
/* A VM that is there all the time. */
static unsigned int good;
module_param(good, uint, 0);

static struct rnd_state random;

/**
 * struct own_vm - a VM of ours
 * @id:		0: there is none
 * @shared:	else it is protected, and will never run, as nobody has signed its images
 */
struct own_vm {
	u32 id;
	bool shared;
	u64 *run_page[VCPUS];
};

static struct own_vm vms[OWN_VMS];

/* What own shared VMs get, which the host can reach at any time; and pages for anything, never touched. */
static u32 *code[CODE_PAGES];
static struct page *pages[PAGES];
static struct page *blocks[BLOCKS];

static unsigned int done[NUMBERS], refused[NUMBERS], entries, wrong;

static u64 word(void)
{
	return (u64)prandom_u32_state(&random) << 32 | prandom_u32_state(&random);
}

static u64 below(u64 n)
{
	return word() % n;
}

static bool one_in(u64 n)
{
	return !below(n);
}

static u64 own_pfn(void)
{
	return one_in(4) ? page_to_pfn(blocks[below(BLOCKS)]) + (one_in(2) ? 0 : below(1 << BLOCK_ORDER)) :
			   page_to_pfn(pages[below(PAGES)]);
}

static long ask_owner(u64 pfn, u64 *owner, u64 *accessible)
{
	struct arm_smccc_1_2_regs args = { .a0 = CV_CALL_PAGE_OWNER, .a1 = pfn };

	arm_smccc_1_2_hvc(&args, &args);
	*owner = args.a1;
	*accessible = args.a3;
	return args.a0;
}

/* A page that is not the host's, and won't be before it is used, if one is found. */
static u64 foreign_pfn(void)
{
	u64 owner, accessible, pfn;
	int tries;

	for (tries = 0; tries < 16; tries++) {
		pfn = HOST_RAM / PAGE_SIZE + below(totalram_pages() + totalram_pages() / 4);
		if (!ask_owner(pfn, &owner, &accessible) && owner && (owner == CV_PAGE_OWNER_COREVISOR || owner == good))
			return pfn;
	}
	return own_pfn();
}

/* A number that is no page of the kernel's, neither as page number nor as address. */
static u64 odd_number(void)
{
	u64 number = one_in(2) ? below(64) : one_in(2) ? (1UL << below(64)) - below(3) : word();

	return pfn_valid(number) || pfn_valid(number >> PAGE_SHIFT) ? below(64) : number;
}

static u64 pfn(void)
{
	switch (below(8)) {
	case 0:
		return odd_number();
	case 1:
		return foreign_pfn();
	default:
		return own_pfn();
	}
}

static u64 address(void)
{
	u64 number = pfn();

	return number < 1UL << 36 ? number << PAGE_SHIFT | (one_in(16) ? below(PAGE_SIZE) : 0) : number;
}

static u64 guest_address(void)
{
	return one_in(8) ? odd_number() : RAM + (one_in(2) ? below(4) * PMD_SIZE : below(32) * PAGE_SIZE);
}

static u64 size(void)
{
	return one_in(8) ? odd_number() : one_in(2) ? PAGE_SIZE * (1 + below(16)) : PMD_SIZE;
}

static struct own_vm *own_vm(void)
{
	return &vms[below(OWN_VMS)];
}

/* Any VM, usually ours. */
static u64 vm(void)
{
	return one_in(8) ? below(18) : one_in(32) ? odd_number() : own_vm()->id;
}

static u64 vcpu(void)
{
	return one_in(8) ? odd_number() : below(VCPUS);
}

static long call(u32 number, struct arm_smccc_1_2_regs *args)
{
	unsigned int index = number - CV_HOST_CALL_BASE;
	long result;

	args->a0 = number;
	arm_smccc_1_2_hvc(args, args);
	result = args->a0;
	if (index < NUMBERS) {
		done[index]++;
		refused[index] += result < 0;
	}
	return result;
}

static void register_vcpu(struct own_vm *own, u64 index)
{
	struct arm_smccc_1_2_regs args = { .a1 = own->id, .a2 = index };

	/* A page for run pages only, so that it is the host's as long as we write to it. */
	args.a3 = virt_to_phys(own->run_page[index % VCPUS]);
	call(CV_CALL_REGISTER_VCPU, &args);
}

/* A VM; usually one that can run at once. */
static void register_vm(struct own_vm *own)
{
	int i;

	struct arm_smccc_1_2_regs args = { .a1 = one_in(16) ? odd_number() : one_in(3) ? PROTECTED : CV_VM_FLAG_SHARED };
	bool shared = args.a1 == CV_VM_FLAG_SHARED;
	long id = call(CV_CALL_REGISTER_KVM, &args);

	if (id <= 0)
		return;
	own->id = id;
	own->shared = shared;
	if (one_in(4))
		return;
	for (i = 0; i < VCPUS; i++) {
		memset(own->run_page[i], 0, PAGE_SIZE);
		own->run_page[i][CV_RUN_PC / 8] = RAM;
		own->run_page[i][CV_RUN_PSTATE / 8] = 0x3c5;
		register_vcpu(own, i);
	}
	args = (struct arm_smccc_1_2_regs){ .a1 = id };
	call(CV_CALL_VERIFY_VM_IMAGE, &args);
}

static void destroy_vm(struct own_vm *own)
{
	struct arm_smccc_1_2_regs args;
	long left;

	/* The first call ends the VM, whatever else is made of it before the last. */
	do {
		args = (struct arm_smccc_1_2_regs){ .a1 = own->id };
		left = call(CV_CALL_DESTROY_VM, &args);
		cond_resched();
	} while (left > 0);
	if (left) {
		pr_err("VM %u can't be destroyed: %ld\n", own->id, left);
		wrong++;
	}
	own->id = 0;
}

/* Instructions that give something to do: calls, loads and stores, WFI, PSCI, and any. */
static void write_code(u32 *at)
{
	static const u32 some[] = {
		0xd4000002, /* hvc #0 */
		0xd2b00001, /* mov x1, #0x80000000 */
		0xd2a12002, /* mov x2, #0x9000000 */
		0xf9000021, /* str x1, [x1] */
		0xf9400023, /* ldr x3, [x1] */
		0xb9000041, /* str w1, [x2] */
		0xb9400044, /* ldr w4, [x2] */
		0x91401021, /* add x1, x1, #4096 */
		0xd503207f, /* wfi */
		0xd2b88000, /* mov x0, #0xc4000000 */
		0xf2800060, /* movk x0, #3 */
		0xd518cba0, /* msr icc_sgi1r_el1, x0 */
		0xd503203f, /* yield */
	};
	int i;

	for (i = 0; i < 64; i++)
		at[i] = one_in(8) ? prandom_u32_state(&random) : some[below(ARRAY_SIZE(some))];
	at[i] = 0x17ffffc0; /* b at */
}

/* What the host answers, or should not. */
static void answer(struct own_vm *own, u64 *page)
{
	u32 *to = code[below(CODE_PAGES)];
	u64 gpa = page[CV_RUN_HPFAR / 8] >> 4 << 12;
	int i;

	if (one_in(16))
		for (i = below(32); i > 0; i--)
			page[below(60)] = one_in(2) ? word() : one_in(2) ? 0 : 1UL << below(64);
	if (one_in(8))
		page[CV_RUN_NEW_PAGE / 8] = foreign_pfn() << PAGE_SHIFT;
	else
		page[CV_RUN_NEW_PAGE / 8] = virt_to_phys(to);
	page[CV_RUN_NEW_LEVEL / 8] = one_in(8) ? 2 : 3;
	page[CV_RUN_FAULT_ADDR / 8] = one_in(16) ? odd_number() : gpa;
	page[CV_RUN_FLAGS / 8] = one_in(16) ? word() : 0;
	if (one_in(4))
		write_code(to);
}

static void run_vcpu(struct own_vm *own)
{
	u64 index = one_in(2) ? 0 : vcpu() % VCPUS, *page = own->run_page[index];
	int i, j;

	if (one_in(16)) {
		page[CV_RUN_PC / 8] = RAM + below(8) * PAGE_SIZE;
		page[CV_RUN_PSTATE / 8] = one_in(8) ? word() : 0x3c5;
	}
	for (i = below(20); i >= 0; i--) {
		long exit;

		answer(own, page);
		/* Interrupts of hardware that a VM ends would be the kernel's. */
		for (j = 0; j < 16; j++)
			page[CV_RUN_LIST_REGISTER / 8 + j] &= one_in(32) ? ~BIT_ULL(61) : 0;
		local_irq_disable();
		exit = cv_enter(own->id, index);
		local_irq_enable();
		done[CV_CALL_VCPU_RUN - CV_HOST_CALL_BASE]++;
		refused[CV_CALL_VCPU_RUN - CV_HOST_CALL_BASE] += exit < 0;
		entries += exit >= 0;
		if (exit < 0)
			return;
	}
}

/* Whatever call, with arguments that might be right. */
static void any_call(void)
{
	static const u32 numbers[] = {
		CV_CALL_CLEAR_VM_S2_RANGE, CV_CALL_SET_BOOT_INFO, CV_CALL_SET_BOOT_INFO, CV_CALL_REMAP_VM_IMAGE,
		CV_CALL_REMAP_VM_IMAGE, CV_CALL_REMAP_VM_IMAGE, CV_CALL_VERIFY_VM_IMAGE, CV_CALL_VERIFY_VM_IMAGE,
		CV_CALL_SMMU_FREE_PGD, CV_CALL_SMMU_ALLOC_PGD, CV_CALL_SMMU_LPAE_MAP, CV_CALL_SMMU_LPAE_IOVA_TO_PHYS,
		CV_CALL_SMMU_CLEAR, CV_CALL_PHYS_ADDR_IOREMAP, CV_CALL_ENCRYPT_BUF, CV_CALL_DECRYPT_BUF,
		CV_CALL_SAVE_CRYPT_VCPU, CV_CALL_LOAD_CRYPT_VCPU, CV_CALL_BOOT, CV_CALL_VERSION, CV_CALL_FEATURES,
		CV_CALL_DESTROY_VM, CV_CALL_TIMER_SET_CNTVOFF, CV_CALL_LOG_READ, CV_CALL_STATS, CV_CALL_VM_MEASUREMENT, CV_CALL_PAGE_OWNER, CV_CALL_VM_ID_REGISTER,
		CV_CALL_SMMU_ATTACH_STREAM, CV_CALL_SMMU_DETACH_STREAM,
	};
	struct arm_smccc_1_2_regs args = {};
	u32 number = numbers[below(ARRAY_SIZE(numbers))];
	unsigned long *arg = &args.a1;
	unsigned int i;

	if (one_in(16))
		number = CV_HOST_CALL_BASE + 42 + below(40);
	args.a1 = vm();
	switch (number) {
	case CV_CALL_CLEAR_VM_S2_RANGE:
	case CV_CALL_SET_BOOT_INFO:
		args.a2 = guest_address();
		args.a3 = size();
		break;
	case CV_CALL_REMAP_VM_IMAGE:
		args.a2 = pfn();
		args.a3 = below(6);
		break;
	case CV_CALL_PHYS_ADDR_IOREMAP:
		/* Devices that nobody has: empty places for virtio. */
		args.a2 = guest_address();
		args.a3 = one_in(2) ? DEVICES + below(4) * PAGE_SIZE : address();
		args.a4 = one_in(4) ? odd_number() : PAGE_SIZE;
		/* Neither more of them, nor what lies behind. */
		if (args.a4 > PAGE_SIZE)
			args.a4 = PAGE_SIZE;
		break;
	case CV_CALL_ENCRYPT_BUF:
	case CV_CALL_DECRYPT_BUF:
		args.a2 = address();
		args.a3 = address();
		break;
	case CV_CALL_SMMU_LPAE_MAP:
		args.a1 = odd_number();
		args.a2 = address();
		break;
	case CV_CALL_PAGE_OWNER:
		args.a1 = pfn();
		break;
	case CV_CALL_SAVE_CRYPT_VCPU:
	case CV_CALL_LOAD_CRYPT_VCPU:
		args.a2 = vcpu();
		break;
	case CV_CALL_TIMER_SET_CNTVOFF:
		args.a1 = odd_number();
		args.a2 = below(4);
		break;
	case CV_CALL_DESTROY_VM:
		/* Nobody's. */
		args.a1 = one_in(4) ? 0 : 16 + below(1000);
		break;
	case CV_CALL_VM_ID_REGISTER:
		args.a1 = 3 << 14 | below(64);
		break;
	case CV_CALL_LOG_READ:
	case CV_CALL_STATS:
		args.a1 = odd_number();
		break;
	default:
		for (i = 1; i < 8; i++)
			arg[i] = odd_number();
	}
	if (one_in(16) && number != CV_CALL_DESTROY_VM)
		arg[below(number == CV_CALL_PHYS_ADDR_IOREMAP ? 3 : 5)] = odd_number();
	call(number, &args);
}

/* A page of ours is the host's, or out of its reach with a VM that is not shared, or within with one that is. */
static void check_page(u64 pfn)
{
	u64 owner, accessible;
	int i;

	if (ask_owner(pfn, &owner, &accessible)) {
		pr_err("nobody knows whose page %#llx is\n", pfn);
		wrong++;
		return;
	}
	if (owner == CV_PAGE_OWNER_HOST && accessible)
		return;
	for (i = 0; i < OWN_VMS; i++)
		if (owner && vms[i].id == owner && vms[i].shared != !!accessible) {
			pr_err("page %#llx is VM %llu's, accessible: %llu\n", pfn, owner, accessible);
			wrong++;
		}
}

static void step(void)
{
	struct own_vm *own = own_vm();

	switch (below(16)) {
	case 0:
		if (own->id)
			destroy_vm(own);
		break;
	case 1:
	case 2:
	case 3:
		if (own->id)
			register_vcpu(own, vcpu());
		else
			register_vm(own);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		if (own->id)
			run_vcpu(own);
		break;
	default:
		any_call();
	}
	check_page(own_pfn());
}

static bool is_back(struct page *page)
{
	u64 owner, accessible;

	return !ask_owner(page_to_pfn(page), &owner, &accessible) && owner == CV_PAGE_OWNER_HOST && accessible;
}

/* Waits until pages are ours, which VMs of others may have got; those that are not are lost. */
static void free_when_back(struct page *first, unsigned int order)
{
	unsigned int i, tries = 0;

	if (!first)
		return;
	for (i = 0; i < 1U << order; i++) {
		while (!is_back(first + i)) {
			if (++tries > 3000) {
				pr_err("page %#lx does not come back\n", page_to_pfn(first + i));
				wrong++;
				return;
			}
			msleep(20);
		}
		/* It is there. */
		READ_ONCE(*(u64 *)page_address(first + i));
	}
	__free_pages(first, order);
}

static void free_all(void)
{
	int i, j;

	for (i = 0; i < PAGES; i++)
		free_when_back(pages[i], 0);
	for (i = 0; i < BLOCKS; i++)
		free_when_back(blocks[i], BLOCK_ORDER);
	for (i = 0; i < CODE_PAGES; i++)
		if (code[i])
			free_when_back(virt_to_page(code[i]), 0);
	for (i = 0; i < OWN_VMS; i++)
		for (j = 0; j < VCPUS; j++)
			free_page((unsigned long)vms[i].run_page[j]);
}

static bool alloc_all(void)
{
	bool all = true;
	int i, j;

	for (i = 0; i < PAGES; i++)
		all &= !!(pages[i] = alloc_page(GFP_KERNEL));
	for (i = 0; i < BLOCKS; i++)
		all &= !!(blocks[i] = alloc_pages(GFP_KERNEL, BLOCK_ORDER));
	for (i = 0; i < CODE_PAGES; i++)
		all &= !!(code[i] = (u32 *)get_zeroed_page(GFP_KERNEL));
	for (i = 0; i < OWN_VMS; i++)
		for (j = 0; j < VCPUS; j++)
			all &= !!(vms[i].run_page[j] = (u64 *)get_zeroed_page(GFP_KERNEL));
	return all;
}

static void report(unsigned int calls)
{
	unsigned int i;

	for (i = 0; i < NUMBERS; i++)
		if (done[i])
			pr_info("call %u: %u, refused %u\n", i, done[i], refused[i]);
	pr_info("seed %lu: %u calls, %u entries, %u wrong\n", seed, calls, entries, wrong);
}

static int storm(unsigned int calls)
{
	unsigned int i;

	prandom_seed_state(&random, seed);
	if (!alloc_all()) {
		free_all();
		return -ENOMEM;
	}
	for (i = 0; i < CODE_PAGES; i++)
		write_code(code[i]);
	for (i = 0; i < calls && !wrong; i++) {
		step();
		cond_resched();
	}
	for (i = 0; i < OWN_VMS; i++)
		if (vms[i].id)
			destroy_vm(&vms[i]);
	free_all();
	report(calls);
	return wrong ? -EIO : 0;
}

static int set_calls(const char *value, const struct kernel_param *parameter)
{
	unsigned int calls;

	return kstrtouint(value, 0, &calls) ?: storm(calls);
}

static const struct kernel_param_ops calls_ops = { .set = set_calls };
module_param_cb(calls, &calls_ops, NULL, 0200);

static int __init storm_init(void)
{
	return 0;
}

static void __exit storm_exit(void)
{
}

module_init(storm_init);
module_exit(storm_exit);

MODULE_DESCRIPTION("Makes random calls of Corevisor's");
MODULE_LICENSE("GPL");
