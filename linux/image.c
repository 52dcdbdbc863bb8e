// SPDX-License-Identifier: GPL-2.0-only
/*
 * Images of protected VMs: what they begin with. Each is copied into memory of the driver's,
 * contiguous and in blocks of 2 MiB that hold nothing else, as Corevisor takes whole blocks.
 */

#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "call.h"
#include "compat.h"
#include "corevisor.h"

#define CV_BLOCK_PAGES (PMD_SIZE >> PAGE_SHIFT)

void cv_unaccount(struct cv_vm *vm, unsigned long pages)
{
	/* Who has gone has nothing locked. */
	if (!pages || !mmget_not_zero(vm->mm))
		return;
	account_locked_vm(vm->mm, pages, false);
	mmput(vm->mm);
}

/*
 * Marks pages as ones that /proc/kcore and crash dumps leave alone. Everybody else has no business
 * with them: they are no files', no process', and no slab's.
 */
void cv_pages_leave(struct page *page, unsigned long count)
{
	while (count--)
		__SetPageOffline(page++);
}

void cv_pages_return(struct page *page, unsigned long count)
{
	while (count--)
		__ClearPageOffline(page++);
}

/* Whether a range of pages might become free, all of them; `free`: whether they are. */
static bool cv_range_suits(struct zone *zone, unsigned long start, unsigned long end, bool free)
{
	unsigned long pfn;

	for (pfn = start; pfn < end; pfn++) {
		struct page *page = pfn_to_online_page(pfn);

		if (!page || page_zone(page) != zone)
			return false;
		if (PageReserved(page) || PageOffline(page) || PageHuge(page))
			return false;
		if (page_count(page) && (free || !PageLRU(page)))
			return false;
	}
	return true;
}

/* Allocates `count` pages, whole blocks, out of a zone. */
static unsigned long cv_contig_in_zone(struct zone *zone, unsigned long count, bool free)
{
	unsigned long pfn = ALIGN_DOWN(zone_end_pfn(zone), CV_BLOCK_PAGES);

	while (pfn >= zone->zone_start_pfn + count && !fatal_signal_pending(current)) {
		unsigned long start = pfn - count;

		if (cv_range_suits(zone, start, pfn, free) && !cv_alloc_contig(start, pfn))
			return start;
		pfn -= CV_BLOCK_PAGES;
		cond_resched();
	}
	return 0;
}

/*
 * Allocates `count` pages that follow one another, whole blocks: those that are free before those
 * that must be made so.
 */
static unsigned long cv_contig_alloc(unsigned long count)
{
	unsigned long start;
	int nid, i, pass;

	for (pass = 0; pass < 2; pass++) {
		for_each_online_node(nid) {
			for (i = 0; i < MAX_NR_ZONES; i++) {
				struct zone *zone = &NODE_DATA(nid)->node_zones[i];

				/* What is movable has to stay so. */
				if (!populated_zone(zone) || i == ZONE_MOVABLE ||
				    zone_is_zone_device(zone))
					continue;
				start = cv_contig_in_zone(zone, count, pass == 0);
				if (start)
					return start;
			}
		}
	}
	return 0;
}

/*
 * Copies what a slot has at `gpa` to the image's pages; what is left of their blocks is zero.
 * slots_lock held.
 */
static int cv_image_copy(struct cv_vm *vm, const struct cv_image *image)
{
	u64 offset = image->pfn - image->start, done;
	u8 *to = page_to_virt(pfn_to_page(image->start));
	const struct cv_slot *slot = NULL;
	int i;

	for (i = 0; i < CV_MAX_SLOTS && !slot; i++) {
		slot = &vm->slots[i];
		if (image->gpa < slot->gpa || image->gpa + image->size > slot->gpa + slot->size)
			slot = NULL;
	}
	if (!slot)
		return -EFAULT;
	memset(to, 0, image->blocks * PMD_SIZE);
	to += offset << PAGE_SHIFT;
	for (done = 0; done < image->size; done += PMD_SIZE) {
		void __user *from = u64_to_user_ptr(slot->uaddr + (image->gpa - slot->gpa) + done);

		if (copy_from_user(to + done, from, min_t(u64, image->size - done, PMD_SIZE)))
			return -EFAULT;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

/* Tells Corevisor of an image, and where its pages are. */
static int cv_image_announce(struct cv_vm *vm, const struct cv_image *image, const u8 *signature)
{
	struct arm_smccc_1_2_regs args = { .a1 = vm->id, .a2 = image->gpa, .a3 = image->size };
	unsigned long i, pages = DIV_ROUND_UP_ULL(image->size, PAGE_SIZE);
	long number, err;

	memcpy(cv_words(&args) + 4, signature, 8 * sizeof(args.a4));
	number = cv_call(CV_CALL_SET_BOOT_INFO, &args);
	if (number < 0)
		return number;
	for (i = 0; i < pages; i++) {
		err = cv_call_simple(CV_CALL_REMAP_VM_IMAGE, vm->id, image->pfn + i, number);
		if (err)
			return err;
		cond_resched();
	}
	return 0;
}

static void cv_image_free(struct cv_vm *vm, const struct cv_image *image)
{
	free_contig_range(image->start, image->blocks * CV_BLOCK_PAGES);
	cv_unaccount(vm, image->blocks * CV_BLOCK_PAGES);
}

/* Whether an image shares a block of the VM's with another, or a page that the VM has. */
static bool cv_image_collides(struct cv_vm *vm, const struct cv_image *image)
{
	u64 start = ALIGN_DOWN(image->gpa, PMD_SIZE), end = start + image->blocks * PMD_SIZE;
	unsigned int i;

	for (i = 0; i < vm->nr_images; i++) {
		const struct cv_image *other = &vm->images[i];
		u64 other_start = ALIGN_DOWN(other->gpa, PMD_SIZE);

		if (start < other_start + other->blocks * PMD_SIZE && other_start < end)
			return true;
	}
	return false;
}

int cv_image_add(struct cv_vm *vm, const struct corevisor_image *args)
{
	struct cv_image image = { .gpa = args->guest_addr, .size = args->size };
	u64 end;
	int err;

	lockdep_assert_held(&vm->lock);
	if (!vm->protected || vm->ran)
		return vm->protected ? -EBUSY : -EINVAL;
	if (!image.size || !PAGE_ALIGNED(image.gpa) ||
	    check_add_overflow(image.gpa, image.size, &end) ||
	    end > 1ULL << vm->ipa_bits)
		return -EINVAL;
	if (vm->nr_images == CV_MAX_IMAGES)
		return -ENOSPC;
	image.blocks = (ALIGN(end, PMD_SIZE) - ALIGN_DOWN(image.gpa, PMD_SIZE)) >> PMD_SHIFT;
	if (cv_image_collides(vm, &image))
		return -EEXIST;
	err = account_locked_vm(vm->mm, image.blocks * CV_BLOCK_PAGES, true);
	if (err)
		return err;
	image.start = cv_contig_alloc(image.blocks * CV_BLOCK_PAGES);
	if (!image.start) {
		account_locked_vm(vm->mm, image.blocks * CV_BLOCK_PAGES, false);
		return fatal_signal_pending(current) ? -EINTR : -ENOMEM;
	}
	image.pfn = image.start + ((image.gpa & ~PMD_MASK) >> PAGE_SHIFT);

	mutex_lock(&vm->slots_lock);
	err = cv_image_copy(vm, &image);
	mutex_unlock(&vm->slots_lock);
	if (!err)
		err = cv_vm_register(vm);
	if (err) {
		cv_image_free(vm, &image);
		return err;
	}
	/* From here on Corevisor may know of the pages: they go when the VM does. */
	cv_pages_leave(pfn_to_page(image.start), image.blocks * CV_BLOCK_PAGES);
	vm->images[vm->nr_images++] = image;
	err = cv_image_announce(vm, &image, args->signature);
	if (err)
		cv_vm_stop(vm);
	return err;
}

void cv_images_release(struct cv_vm *vm)
{
	while (vm->nr_images) {
		const struct cv_image *image = &vm->images[--vm->nr_images];

		cv_pages_return(pfn_to_page(image->start), image->blocks * CV_BLOCK_PAGES);
		cv_image_free(vm, image);
	}
}

static vm_fault_t cv_hidden_fault(struct vm_fault *vmf)
{
	return VM_FAULT_SIGBUS;
}

static const struct vm_operations_struct cv_hidden_vm_ops = { .fault = cv_hidden_fault };

static int cv_hidden_mmap(struct file *file, struct vm_area_struct *vma)
{
	/* Nobody gets a page of this: neither by access nor by reference. */
	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = &cv_hidden_vm_ops;
	return 0;
}

static const struct file_operations cv_hidden_fops = {
	.owner = THIS_MODULE,
	.mmap = cv_hidden_mmap,
};

int cv_image_hide_slots(struct cv_vm *vm)
{
	struct cv_slot slots[CV_MAX_SLOTS];
	struct file *file;
	int i, err = 0;

	file = anon_inode_getfile("kvm-protected", &cv_hidden_fops, NULL, O_RDWR);
	if (IS_ERR(file))
		return PTR_ERR(file);
	mutex_lock(&vm->slots_lock);
	memcpy(slots, vm->slots, sizeof(slots));
	mutex_unlock(&vm->slots_lock);
	for (i = 0; i < CV_MAX_SLOTS && !err; i++) {
		unsigned long at;

		if (!slots[i].size)
			continue;
		at = vm_mmap(file, slots[i].uaddr, slots[i].size, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_FIXED, 0);
		if (IS_ERR_VALUE(at))
			err = at;
	}
	fput(file);
	return err;
}
