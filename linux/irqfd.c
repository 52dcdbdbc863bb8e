// SPDX-License-Identifier: GPL-2.0-only
/*
 * irqfd: an eventfd that raises an interrupt.
 *
 * An irqfd ends once: when user space takes it away, when the VM ends, or when the last file of its
 * eventfd is closed. The last of these happens with that eventfd's queue locked, so that the
 * workqueue does it: out of the queue first, then out of the VM's list. The VM waits until its list
 * is empty.
 *
 * Under vm->irqfds_lock eventfds are signalled, so that no queue's lock may be held when that is
 * taken.
 */

#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "corevisor.h"

#define MAX_IRQFDS 1024

/**
 * struct cv_irqfd - one of them
 * @list:	vm->irqfds
 * @vm:		whose interrupt it is
 * @gsi:	which
 * @eventfd:	what raises it
 * @resample:	what is told of its end, if its line stays high until then; or NULL
 * @wait:	in @eventfd's queue
 * @table:	how it gets there
 * @ending:	@work is on its way
 * @work:	ends it
 */
struct cv_irqfd {
	struct list_head list;
	struct cv_vm *vm;
	u32 gsi;
	struct eventfd_ctx *eventfd;
	struct eventfd_ctx *resample;
	wait_queue_entry_t wait;
	poll_table table;
	atomic_t ending;
	struct work_struct work;
};

static struct workqueue_struct *workqueue;

static void raise(struct cv_irqfd *irqfd)
{
	int intid = cv_irq_of_gsi(irqfd->vm, irqfd->gsi);

	if (intid < 0)
		return;
	cv_vgic_set_level(irqfd->vm, NULL, intid, true);
	if (!irqfd->resample)
		cv_vgic_set_level(irqfd->vm, NULL, intid, false);
}

static void free_irqfd(struct cv_irqfd *irqfd)
{
	if (irqfd->resample)
		eventfd_ctx_put(irqfd->resample);
	if (irqfd->eventfd)
		eventfd_ctx_put(irqfd->eventfd);
	kfree(irqfd);
}

static void end(struct work_struct *work)
{
	struct cv_irqfd *irqfd = container_of(work, struct cv_irqfd, work);
	struct cv_vm *vm = irqfd->vm;
	u64 count;

	/* After this nobody is in raise(), nor will be. */
	eventfd_ctx_remove_wait_queue(irqfd->eventfd, &irqfd->wait, &count);
	spin_lock_irq(&vm->irqfds_lock);
	list_del(&irqfd->list);
	if (irqfd->resample)
		WRITE_ONCE(vm->vgic.resamplers, vm->vgic.resamplers - 1);
	spin_unlock_irq(&vm->irqfds_lock);
	free_irqfd(irqfd);
}

/* It is still there: in its list, whose lock is held, or in its eventfd's queue, likewise. */
static void begin_end(struct cv_irqfd *irqfd)
{
	if (!atomic_xchg(&irqfd->ending, 1))
		queue_work(workqueue, &irqfd->work);
}

/* The eventfd was written, or is closed. Its queue's lock is held, and interrupts are off. */
static int wake(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct cv_irqfd *irqfd = container_of(wait, struct cv_irqfd, wait);
	__poll_t events = key_to_poll(key);
	u64 count;

	if (events & EPOLLIN) {
		eventfd_ctx_do_read(irqfd->eventfd, &count);
		raise(irqfd);
	}
	if (events & EPOLLHUP)
		begin_end(irqfd);
	return 0;
}

static void queue(struct file *file, wait_queue_head_t *head, poll_table *table)
{
	struct cv_irqfd *irqfd = container_of(table, struct cv_irqfd, table);

	add_wait_queue(head, &irqfd->wait);
}

/* Adds it to the list, unless there is one with the same eventfd. */
static int add(struct cv_irqfd *irqfd)
{
	struct cv_vm *vm = irqfd->vm;
	unsigned int count = 0;
	struct cv_irqfd *other;
	int ret = 0;

	spin_lock_irq(&vm->irqfds_lock);
	list_for_each_entry(other, &vm->irqfds, list) {
		if (other->eventfd == irqfd->eventfd)
			ret = -EBUSY;
		count++;
	}
	if (!ret && count >= MAX_IRQFDS)
		ret = -ENOSPC;
	if (!ret) {
		list_add_tail(&irqfd->list, &vm->irqfds);
		if (irqfd->resample)
			WRITE_ONCE(vm->vgic.resamplers, vm->vgic.resamplers + 1);
	}
	spin_unlock_irq(&vm->irqfds_lock);
	return ret;
}

static int assign(struct cv_vm *vm, const struct kvm_irqfd *args)
{
	struct cv_irqfd *irqfd;
	struct file *file;
	int ret;

	if (!vm->vgic.initialized)
		return -EAGAIN;
	if (args->gsi >= CV_MAX_ROUTES)
		return -EINVAL;
	irqfd = kzalloc(sizeof(*irqfd), GFP_KERNEL_ACCOUNT);
	if (!irqfd)
		return -ENOMEM;
	irqfd->vm = vm;
	irqfd->gsi = args->gsi;
	INIT_LIST_HEAD(&irqfd->list);
	INIT_WORK(&irqfd->work, end);
	init_waitqueue_func_entry(&irqfd->wait, wake);
	init_poll_funcptr(&irqfd->table, queue);

	file = fget(args->fd);
	if (!file) {
		ret = -EBADF;
		goto free;
	}
	irqfd->eventfd = eventfd_ctx_fileget(file);
	if (IS_ERR(irqfd->eventfd)) {
		ret = PTR_ERR(irqfd->eventfd);
		irqfd->eventfd = NULL;
		goto put;
	}
	if (args->flags & KVM_IRQFD_FLAG_RESAMPLE) {
		irqfd->resample = eventfd_ctx_fdget(args->resamplefd);
		if (IS_ERR(irqfd->resample)) {
			ret = PTR_ERR(irqfd->resample);
			irqfd->resample = NULL;
			goto put;
		}
	}
	ret = add(irqfd);
	if (ret)
		goto put;
	/*
	 * irq_lock keeps the irqfd, which is in the list, from anyone but HUP, and that can't come
	 * while we hold the file.
	 */
	if (vfs_poll(file, &irqfd->table) & EPOLLIN)
		raise(irqfd);
	fput(file);
	return 0;

put:
	fput(file);
free:
	free_irqfd(irqfd);
	return ret;
}

static int deassign(struct cv_vm *vm, const struct kvm_irqfd *args)
{
	struct eventfd_ctx *eventfd = eventfd_ctx_fdget(args->fd);
	struct cv_irqfd *irqfd;

	if (IS_ERR(eventfd))
		return PTR_ERR(eventfd);
	spin_lock_irq(&vm->irqfds_lock);
	list_for_each_entry(irqfd, &vm->irqfds, list)
		if (irqfd->eventfd == eventfd && irqfd->gsi == args->gsi)
			begin_end(irqfd);
	spin_unlock_irq(&vm->irqfds_lock);
	eventfd_ctx_put(eventfd);
	/* It raises nothing any more once we return. */
	flush_workqueue(workqueue);
	return 0;
}

int cv_irqfd(struct cv_vm *vm, const struct kvm_irqfd *args)
{
	int ret;

	if (args->flags & ~(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE))
		return -EINVAL;
	mutex_lock(&vm->irq_lock);
	ret = args->flags & KVM_IRQFD_FLAG_DEASSIGN ? deassign(vm, args) : assign(vm, args);
	mutex_unlock(&vm->irq_lock);
	return ret;
}

/* The end of a level interrupt: its line goes low, and who holds it up is asked to say so again. */
void cv_irqfd_resample(struct cv_vm *vm, u32 intid)
{
	struct cv_irqfd *irqfd;
	unsigned long flags;
	bool lowered = false;

	spin_lock_irqsave(&vm->irqfds_lock, flags);
	list_for_each_entry(irqfd, &vm->irqfds, list) {
		if (!irqfd->resample || cv_irq_of_gsi(vm, irqfd->gsi) != intid)
			continue;
		if (!lowered)
			cv_vgic_set_level(vm, NULL, intid, false);
		lowered = true;
		cv_eventfd_signal(irqfd->resample);
	}
	spin_unlock_irqrestore(&vm->irqfds_lock, flags);
}

/* Nobody else has the VM any more, but for eventfds that are closed just now. */
void cv_irqfd_vm_destroy(struct cv_vm *vm)
{
	struct cv_irqfd *irqfd;
	bool empty;

	do {
		spin_lock_irq(&vm->irqfds_lock);
		empty = list_empty(&vm->irqfds);
		list_for_each_entry(irqfd, &vm->irqfds, list)
			begin_end(irqfd);
		spin_unlock_irq(&vm->irqfds_lock);
		/* One that someone else began to end may not be in the queue yet. */
		flush_workqueue(workqueue);
		cond_resched();
	} while (!empty);
}

int cv_irqfd_module_init(void)
{
	workqueue = alloc_workqueue("corevisor-irqfd", WQ_UNBOUND, 0);
	return workqueue ? 0 : -ENOMEM;
}

void cv_irqfd_module_exit(void)
{
	destroy_workqueue(workqueue);
}
