// SPDX-License-Identifier: GPL-2.0-only
/*
 * For tests only: the host's kernel hunts for a guest's secret, in all of RAM, and tries to spoil or take its pages.
 *
 * It does what a hostile root would: it survives the external aborts that would end it, by a probe in their handler, and
 * has /dev/mem reach all of RAM, by a probe in what keeps it from that.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/arm-smccc.h>
#include <linux/io.h>
#include <linux/kprobes.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "abi.h"
#include "hunter.h"
#include "secret.h"

/* Copies a page; returns 0, or 1 if a load ended in an abort: whoever handles that goes on at hunter_fault. */
int hunter_copy(u64 *to, const u64 *from);
/* Stores a word; returns the same. */
int hunter_store(u64 *to, u64 word);
extern const char hunter_begin[], hunter_end[], hunter_fault[];

asm("	.pushsection .text, \"ax\"\n"
    "hunter_begin:\n"
    "	.type hunter_copy, %function\n"
    "hunter_copy:\n"
    "	hint	#34\n"
    "	mov	x3, #512\n"
    "1:	ldr	x2, [x1], #8\n"
    "	str	x2, [x0], #8\n"
    "	subs	x3, x3, #1\n"
    "	b.ne	1b\n"
    "	mov	x0, #0\n"
    "	ret\n"
    "	.type hunter_store, %function\n"
    "hunter_store:\n"
    "	hint	#34\n"
    "	str	x1, [x0]\n"
    "	mov	x0, #0\n"
    "	ret\n"
    "hunter_end:\n"
    "hunter_fault:\n"
    "	mov	x0, #1\n"
    "	ret\n"
    "	.popsection\n");

/* Ends a function before it begins. */
static int return_at_once(struct pt_regs *regs, u64 value)
{
	regs->regs[0] = value;
	regs->pc = regs->regs[30];
	return 1;
}

/* The handler of synchronous external aborts: (address, ESR, registers). */
static int on_external_abort(struct kprobe *probe, struct pt_regs *regs)
{
	struct pt_regs *aborted = (struct pt_regs *)regs->regs[2];

	if (user_mode(aborted) || aborted->pc < (u64)hunter_begin ||
	    aborted->pc >= (u64)hunter_end)
		return 0;
	aborted->pc = (u64)hunter_fault;
	return return_at_once(regs, 0);
}

static int on_devmem_allowed(struct kprobe *probe, struct pt_regs *regs)
{
	return return_at_once(regs, 1);
}

static struct kprobe external_abort = {
	.symbol_name = "do_sea",
	.pre_handler = on_external_abort,
};

static struct kprobe devmem_allowed = {
	.symbol_name = "devmem_is_allowed",
	.pre_handler = on_devmem_allowed,
};

static struct kprobe *probes[] = { &external_abort, &devmem_allowed };

static void scan_page(struct hunter_scan *scan, u64 pfn, const void *page, u64 *copy)
{
	unsigned int pairs;

	if (hunter_copy(copy, page)) {
		scan->refused++;
		return;
	}
	pairs = secret_count(copy);
	if (pairs && !scan->pages++)
		scan->first = pfn;
	scan->pairs += pairs;
}

/* Visits each page of a range. `copy`: room for a page, to look for a secret; NULL: overwrites. */
static int visit_range(struct hunter_scan *scan, u64 *copy)
{
	u64 pfn;

	for (pfn = scan->pfn; pfn < scan->pfn + scan->count; pfn++) {
		/* The linear map where there is one, else a mapping of our own. */
		void *page = memremap(pfn << PAGE_SHIFT, PAGE_SIZE, MEMREMAP_WB);

		if (!page)
			return -ENXIO;
		if (copy)
			scan_page(scan, pfn, page, copy);
		else
			scan->refused += hunter_store(page, ~0ULL);
		memunmap(page);
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

static int scan_range(struct hunter_scan *scan)
{
	u64 *copy = vzalloc(PAGE_SIZE);
	int err;

	if (!copy)
		return -ENOMEM;
	err = visit_range(scan, copy);
	/* What was found is not to be found here. */
	memset(copy, 0, PAGE_SIZE);
	vfree(copy);
	return err;
}

static long hypercall(u32 number, u64 x1, u64 x2, u64 x3)
{
	struct arm_smccc_1_2_regs regs = { .a0 = number, .a1 = x1, .a2 = x2, .a3 = x3 };

	arm_smccc_1_2_hvc(&regs, &regs);
	return regs.a0;
}

static int take_range(struct hunter_scan *scan)
{
	long vm = hypercall(CV_CALL_REGISTER_KVM, CV_VM_FLAG_SHARED, 0, 0);
	long image;
	u64 pfn;

	if (vm < 0)
		return -EBUSY;
	image = hypercall(CV_CALL_SET_BOOT_INFO, vm, 1UL << 30, PAGE_SIZE);
	for (pfn = scan->pfn; image >= 0 && pfn < scan->pfn + scan->count; pfn++) {
		scan->refused += hypercall(CV_CALL_REMAP_VM_IMAGE, vm, pfn, image) == CV_DENIED;
		cond_resched();
	}
	while (hypercall(CV_CALL_DESTROY_VM, vm, 0, 0) > 0)
		cond_resched();
	return image < 0 ? -EINVAL : 0;
}

static long hunter_ioctl(struct file *file, unsigned int command, unsigned long arg)
{
	struct hunter_scan scan;
	long err;

	if (copy_from_user(&scan, (void __user *)arg, sizeof(scan)))
		return -EFAULT;
	scan.pairs = 0;
	scan.pages = 0;
	scan.refused = 0;
	scan.first = 0;
	switch (command) {
	case HUNTER_SCAN:
		err = scan_range(&scan);
		break;
	case HUNTER_OVERWRITE:
		err = visit_range(&scan, NULL);
		break;
	case HUNTER_TAKE:
		err = take_range(&scan);
		break;
	default:
		return -ENOTTY;
	}
	if (err)
		return err;
	return copy_to_user((void __user *)arg, &scan, sizeof(scan)) ? -EFAULT : 0;
}

static const struct file_operations hunter_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = hunter_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice hunter_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hunter",
	.fops = &hunter_fops,
};

static int __init hunter_init(void)
{
	int err = register_kprobes(probes, ARRAY_SIZE(probes));

	if (err)
		return err;
	err = misc_register(&hunter_device);
	if (err)
		unregister_kprobes(probes, ARRAY_SIZE(probes));
	return err;
}

static void __exit hunter_exit(void)
{
	misc_deregister(&hunter_device);
	unregister_kprobes(probes, ARRAY_SIZE(probes));
}

module_init(hunter_init);
module_exit(hunter_exit);

MODULE_DESCRIPTION("Hunts for the secrets of VMs");
MODULE_LICENSE("GPL");
