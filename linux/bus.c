// SPDX-License-Identifier: GPL-2.0-only
/* Devices in the kernel, other than the vGIC: eventfds that writes to an address signal. */

#include <linux/eventfd.h>
#include <linux/list.h>
#include <linux/rculist.h>
#include <linux/slab.h>

#include "compat.h"
#include "corevisor.h"

/* At most: user space can't make the list long. */
#define CV_MAX_IOEVENTFDS 1000

/**
 * struct cv_ioeventfd - an eventfd that is signalled instead of an exit to user space
 * @list:	in vm->ioeventfds
 * @eventfd:	which
 * @addr:	guest address
 * @len:	bytes of the write: 1, 2, 4, 8; 0: any
 * @datamatch:	what must be written
 * @match:	only that counts
 */
struct cv_ioeventfd {
	struct list_head list;
	struct eventfd_ctx *eventfd;
	u64 addr;
	u64 datamatch;
	u32 len;
	bool match;
};

bool cv_bus_write(struct cv_vm *vm, u64 addr, unsigned int len, u64 data)
{
	struct cv_ioeventfd *p;
	bool found = false;

	if (len < sizeof(data))
		data &= BIT_ULL(8 * len) - 1;
	rcu_read_lock();
	list_for_each_entry_rcu(p, &vm->ioeventfds, list) {
		if (p->addr == addr && (!p->len || p->len == len) &&
		    (!p->match || p->datamatch == data)) {
			cv_eventfd_signal(p->eventfd);
			found = true;
			break;
		}
	}
	rcu_read_unlock();
	return found;
}

static void cv_ioeventfd_free(struct cv_ioeventfd *p)
{
	eventfd_ctx_put(p->eventfd);
	kfree(p);
}

static bool cv_ioeventfd_same(const struct cv_ioeventfd *a, const struct cv_ioeventfd *b)
{
	return a->addr == b->addr && (!a->len || !b->len || a->len == b->len) &&
	       (!a->match || !b->match || a->datamatch == b->datamatch);
}

static int cv_ioeventfd_assign(struct cv_vm *vm, const struct cv_ioeventfd *wanted)
{
	struct cv_ioeventfd *new, *p;
	unsigned int count = 0;
	int err = 0;

	new = kmemdup(wanted, sizeof(*wanted), GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;
	mutex_lock(&vm->slots_lock);
	list_for_each_entry(p, &vm->ioeventfds, list) {
		if (cv_ioeventfd_same(p, new))
			err = -EEXIST;
		if (++count == CV_MAX_IOEVENTFDS)
			err = -ENOSPC;
	}
	if (!err)
		list_add_tail_rcu(&new->list, &vm->ioeventfds);
	mutex_unlock(&vm->slots_lock);
	if (err)
		kfree(new);
	return err;
}

static int cv_ioeventfd_deassign(struct cv_vm *vm, const struct cv_ioeventfd *gone)
{
	struct cv_ioeventfd *p, *found = NULL;

	mutex_lock(&vm->slots_lock);
	list_for_each_entry(p, &vm->ioeventfds, list) {
		if (p->eventfd == gone->eventfd && p->addr == gone->addr && p->len == gone->len &&
		    p->match == gone->match && p->datamatch == gone->datamatch) {
			found = p;
			list_del_rcu(&p->list);
			break;
		}
	}
	mutex_unlock(&vm->slots_lock);
	if (!found)
		return -ENOENT;
	synchronize_rcu();
	cv_ioeventfd_free(found);
	return 0;
}

int cv_ioeventfd(struct cv_vm *vm, const struct kvm_ioeventfd *args)
{
	struct cv_ioeventfd event = {
		.addr = args->addr,
		.len = args->len,
		.match = args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH,
		.datamatch = args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH ? args->datamatch : 0,
	};
	int err;

	if (args->flags & ~(KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_DEASSIGN))
		return -EINVAL;
	if (args->len != 0 && args->len != 1 && args->len != 2 && args->len != 4 && args->len != 8)
		return -EINVAL;
	if (args->addr + args->len < args->addr || (!args->len && event.match))
		return -EINVAL;
	event.eventfd = eventfd_ctx_fdget(args->fd);
	if (IS_ERR(event.eventfd))
		return PTR_ERR(event.eventfd);
	if (args->flags & KVM_IOEVENTFD_FLAG_DEASSIGN) {
		err = cv_ioeventfd_deassign(vm, &event);
		eventfd_ctx_put(event.eventfd);
		return err;
	}
	err = cv_ioeventfd_assign(vm, &event);
	if (err)
		eventfd_ctx_put(event.eventfd);
	return err;
}

/* Nobody can use the VM any more. */
void cv_bus_destroy(struct cv_vm *vm)
{
	struct cv_ioeventfd *p, *next;

	list_for_each_entry_safe(p, next, &vm->ioeventfds, list) {
		list_del(&p->list);
		cv_ioeventfd_free(p);
	}
}
