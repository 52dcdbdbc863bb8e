// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM's memory: slots, and the pages that it gets when it stumbles over one that it has not got.
 *
 * A shared VM gets those pages that user space has in its slots, pinned until the VM ends:
 * Corevisor takes none back before. A protected VM gets pages that only the driver has, and that
 * nobody can refer to: a page that user space has had could still be in use anywhere in the kernel,
 * whose next access would find it out of reach, and end the kernel. What a protected VM is to begin
 * with are its images (image.c).
 */

#include <linux/capability.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "call.h"
#include "compat.h"
#include "corevisor.h"

#define CV_BLOCK_ORDER	 (PMD_SHIFT - PAGE_SHIFT)
#define CV_BLOCK_PAGES	 BIT(CV_BLOCK_ORDER)

/* An entry of vm->pages: a page, or the first of a block of 2 MiB. */
static void *cv_entry(struct page *page, bool block)
{
	return xa_tag_pointer(page, block);
}

static unsigned long cv_entry_count(void *entry)
{
	return xa_pointer_tag(entry) ? CV_BLOCK_PAGES : 1;
}

static struct cv_slot *cv_slot_find(struct cv_vm *vm, u64 gpa)
{
	int i;

	for (i = 0; i < CV_MAX_SLOTS; i++) {
		struct cv_slot *slot = &vm->slots[i];

		if (gpa >= slot->gpa && gpa - slot->gpa < slot->size)
			return slot;
	}
	return NULL;
}

bool cv_memory_is_ram(struct cv_vm *vm, u64 gpa)
{
	bool found;

	mutex_lock(&vm->slots_lock);
	found = cv_slot_find(vm, gpa);
	mutex_unlock(&vm->slots_lock);
	return found;
}

/* Whether the VM has pages of a slot. */
static bool cv_slot_in_use(struct cv_vm *vm, const struct cv_slot *slot)
{
	unsigned long first = ALIGN_DOWN(slot->gpa, PMD_SIZE) >> PAGE_SHIFT;
	unsigned int i;

	for (i = 0; i < vm->nr_images; i++) {
		if (vm->images[i].gpa >= slot->gpa && vm->images[i].gpa - slot->gpa < slot->size)
			return true;
	}
	/* A block is filed under its first page, and lies in one slot. */
	return xa_find(&vm->pages, &first, (slot->gpa + slot->size - 1) >> PAGE_SHIFT, XA_PRESENT);
}

/* Makes slot `id` what `new` says; size 0 removes it. */
static int cv_slot_change(struct cv_vm *vm, unsigned int id, const struct cv_slot *new)
{
	struct cv_slot *old = &vm->slots[id];
	int i;

	if (!old->size && !new->size)
		return -EINVAL;
	if (old->size && new->size && (old->size != new->size || old->uaddr != new->uaddr))
		return -EINVAL;
	if (old->size && old->gpa == new->gpa && new->size)
		return 0;
	for (i = 0; i < CV_MAX_SLOTS && new->size; i++) {
		const struct cv_slot *other = &vm->slots[i];

		if (i != id && new->gpa < other->gpa + other->size &&
		    other->gpa < new->gpa + new->size)
			return -EEXIST;
	}
	/*
	 * What a VM has been given can't be taken from it; and what a protected VM has been told
	 * must stay.
	 */
	if (old->size && cv_slot_in_use(vm, old))
		return -EBUSY;
	if (vm->protected && vm->ran)
		return -EBUSY;
	*old = *new;
	return 0;
}

int cv_memory_set_slot(struct cv_vm *vm, const struct kvm_userspace_memory_region *region)
{
	const struct cv_slot new = {
		.gpa = region->guest_phys_addr,
		.size = region->memory_size,
		.uaddr = region->userspace_addr,
	};
	int err;

	if (region->flags || region->slot >= CV_MAX_SLOTS)
		return -EINVAL;
	if (!PAGE_ALIGNED(new.gpa | new.size | new.uaddr) || new.gpa + new.size < new.gpa)
		return -EINVAL;
	if (new.size >> PAGE_SHIFT > INT_MAX ||
	    !access_ok((void __user *)(unsigned long)new.uaddr, new.size))
		return -EINVAL;
	if (new.gpa + new.size > 1ULL << vm->ipa_bits)
		return -EFAULT;
	if (new.size && new.gpa < CV_RAM_BASE)
		return -EINVAL;
	mutex_lock(&vm->lock);
	mutex_lock(&vm->slots_lock);
	err = cv_slot_change(vm, region->slot, &new);
	mutex_unlock(&vm->slots_lock);
	mutex_unlock(&vm->lock);
	return err;
}

/* The entry that the VM has for page `gfn`. */
static void *cv_page_find(struct cv_vm *vm, unsigned long gfn)
{
	void *entry = xa_load(&vm->pages, ALIGN_DOWN(gfn, CV_BLOCK_PAGES));

	if (entry && xa_pointer_tag(entry))
		return entry;
	return xa_load(&vm->pages, gfn);
}

/*
 * Whether page `gfn` can be had as part of a block: that is all in the slot, at the same offset in
 * 2 MiB in user space, and no page of it was given to the VM yet.
 */
static bool cv_block_fits(struct cv_vm *vm, const struct cv_slot *slot, unsigned long gfn)
{
	unsigned long first = ALIGN_DOWN(gfn, CV_BLOCK_PAGES);
	u64 start = (u64)first << PAGE_SHIFT;
	unsigned long index = first;

	return start >= slot->gpa && start + PMD_SIZE <= slot->gpa + slot->size &&
	       IS_ALIGNED(slot->gpa - slot->uaddr, PMD_SIZE) &&
	       !xa_find(&vm->pages, &index, first + CV_BLOCK_PAGES - 1, XA_PRESENT);
}

/* Files pages that the VM is about to get. */
static int cv_page_store(struct cv_vm *vm, unsigned long gfn, struct page *page, bool block)
{
	return xa_err(xa_store(&vm->pages, gfn, cv_entry(page, block), GFP_KERNEL_ACCOUNT));
}

/* Only memory that nobody writes back, and that stays where it is, can be a VM's. */
static bool cv_page_suits(struct page *page)
{
	struct folio *folio = page_folio(page);

	return folio_test_anon(folio) || folio_test_swapbacked(folio) || folio_test_hugetlb(folio);
}

/* Pins the block that begins at `uaddr`, if it is one in memory, too. */
static struct page *cv_pin_block(u64 uaddr)
{
	struct page **pages, *first = NULL;
	unsigned long i;
	int pinned;

	pages = kvmalloc_array(CV_BLOCK_PAGES, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return NULL;
	pinned = pin_user_pages_fast(uaddr, CV_BLOCK_PAGES, FOLL_WRITE | FOLL_LONGTERM, pages);
	if (pinned <= 0)
		goto out;
	for (i = 0; i < pinned; i++) {
		if (page_to_pfn(pages[i]) != page_to_pfn(pages[0]) + i || !cv_page_suits(pages[i]))
			break;
	}
	if (i == CV_BLOCK_PAGES && IS_ALIGNED(page_to_pfn(pages[0]), CV_BLOCK_PAGES))
		first = pages[0];
	else
		unpin_user_pages(pages, pinned);
out:
	kvfree(pages);
	return first;
}

/* User space's page for `gfn`, or the block that it is in. */
static int cv_page_pin(struct cv_vm *vm, const struct cv_slot *slot, unsigned long gfn)
{
	u64 uaddr = slot->uaddr + (((u64)gfn << PAGE_SHIFT) - slot->gpa);
	struct page *page, *block;
	int err;

	err = account_locked_vm(vm->mm, 1, true);
	if (err)
		return err;
	err = pin_user_pages_fast(uaddr, 1, FOLL_WRITE | FOLL_LONGTERM, &page);
	if (err != 1) {
		account_locked_vm(vm->mm, 1, false);
		return err < 0 ? err : -EFAULT;
	}
	err = -EFAULT;
	if (!cv_page_suits(page))
		goto unpin;
	if (folio_order(page_folio(page)) >= CV_BLOCK_ORDER && cv_block_fits(vm, slot, gfn) &&
	    !account_locked_vm(vm->mm, CV_BLOCK_PAGES - 1, true)) {
		block = cv_pin_block(ALIGN_DOWN(uaddr, PMD_SIZE));
		if (block) {
			unpin_user_page(page);
			err = cv_page_store(vm, ALIGN_DOWN(gfn, CV_BLOCK_PAGES), block, true);
			if (!err)
				return 0;
			unpin_user_page_range_dirty_lock(block, CV_BLOCK_PAGES, false);
			account_locked_vm(vm->mm, CV_BLOCK_PAGES, false);
			return err;
		}
		account_locked_vm(vm->mm, CV_BLOCK_PAGES - 1, false);
	}
	err = cv_page_store(vm, gfn, page, false);
	if (!err)
		return 0;
unpin:
	unpin_user_page(page);
	account_locked_vm(vm->mm, 1, false);
	return err;
}

/* A page of the driver's own for `gfn`, or a block that it is in. */
static int cv_page_alloc(struct cv_vm *vm, const struct cv_slot *slot, unsigned long gfn)
{
	const gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN;
	struct page *page = NULL;
	unsigned long count;
	int err;

	if (cv_block_fits(vm, slot, gfn) && !account_locked_vm(vm->mm, CV_BLOCK_PAGES, true)) {
		page = alloc_pages(gfp | __GFP_NORETRY, CV_BLOCK_ORDER);
		if (!page)
			account_locked_vm(vm->mm, CV_BLOCK_PAGES, false);
	}
	count = page ? CV_BLOCK_PAGES : 1;
	if (!page) {
		err = account_locked_vm(vm->mm, 1, true);
		if (err)
			return err;
		page = alloc_page(gfp);
		if (!page) {
			account_locked_vm(vm->mm, 1, false);
			return -ENOMEM;
		}
	}
	err = cv_page_store(vm, ALIGN_DOWN(gfn, count), page, count > 1);
	if (err) {
		__free_pages(page, count > 1 ? CV_BLOCK_ORDER : 0);
		account_locked_vm(vm->mm, count, false);
		return err;
	}
	cv_pages_leave(page, count);
	return 0;
}

/* Writes an offer into the run page. */
static void cv_page_offer(struct cv_vcpu *vcpu, u64 gpa, void *entry)
{
	struct page *page = xa_untag_pointer(entry);

	vcpu->page[CV_RUN_NEW_PAGE / 8] = page_to_phys(page);
	vcpu->page[CV_RUN_NEW_LEVEL / 8] = cv_entry_count(entry) > 1 ? 2 : 3;
	vcpu->page[CV_RUN_FAULT_ADDR / 8] = gpa & PAGE_MASK;
}

int cv_memory_fault(struct cv_vcpu *vcpu, u64 gpa)
{
	struct cv_vm *vm = vcpu->vm;
	struct cv_slot *slot;
	void *entry;
	int err = 0;

	if (mutex_lock_interruptible(&vm->slots_lock))
		return -EINTR;
	/* Who ends a VM takes its pages back under this lock, after the life has changed. */
	if (vcpu->life != READ_ONCE(vm->life)) {
		err = -EAGAIN;
		goto out;
	}
	entry = cv_page_find(vm, gpa >> PAGE_SHIFT);
	if (!entry) {
		slot = cv_slot_find(vm, gpa);
		if (!slot)
			err = -ENOENT;
		else if (vm->protected)
			err = cv_page_alloc(vm, slot, gpa >> PAGE_SHIFT);
		else
			err = cv_page_pin(vm, slot, gpa >> PAGE_SHIFT);
		if (err)
			goto out;
		entry = cv_page_find(vm, gpa >> PAGE_SHIFT);
	}
	cv_page_offer(vcpu, gpa, entry);
out:
	mutex_unlock(&vm->slots_lock);
	return err;
}

void cv_memory_release(struct cv_vm *vm)
{
	unsigned long gfn, count, total = 0;
	void *entry;

	mutex_lock(&vm->slots_lock);
	xa_for_each(&vm->pages, gfn, entry) {
		struct page *page = xa_untag_pointer(entry);

		count = cv_entry_count(entry);
		total += count;
		if (vm->protected) {
			cv_pages_return(page, count);
			__free_pages(page, count > 1 ? CV_BLOCK_ORDER : 0);
		} else {
			unpin_user_page_range_dirty_lock(page, count, true);
		}
		cond_resched();
	}
	xa_destroy(&vm->pages);
	mutex_unlock(&vm->slots_lock);
	cv_unaccount(vm, total);
}
