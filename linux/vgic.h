/* SPDX-License-Identifier: GPL-2.0-only */
/* The vGIC's state: of a VM, and of a vCPU. Only vgic*.c look into it. */
#ifndef COREVISOR_VGIC_H
#define COREVISOR_VGIC_H

#include <linux/spinlock.h>
#include <linux/types.h>

struct cv_vgic {
	bool created;
	bool initialized;
};

struct cv_vgic_cpu {
	raw_spinlock_t lock;
};

#endif
