/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a VM of the fuzz has what. */
#ifndef TINY_H
#define TINY_H

#define TINY_RAM	0x80000000
#define TINY_ROOM	128
#define TINY_DEVICE	0x09000000
#define TINY_DIST	0x08000000
#define TINY_REDIST	0x080a0000

/* Programs, in their order in the image. */
#ifndef __ASSEMBLER__
enum {
	TINY_CALLS, TINY_MMIO, TINY_WFI, TINY_SMP, TINY_RESET, TINY_TOUCH, TINY_NOWHERE, TINY_SPIN, TINY_GIC, TINY_SHARE,
	TINY_TIMER, TINY_ODD, TINY_WFE, TINY_OFF, TINY_SUSPEND, TINY_EDGE, TINY_PROGRAMS
};
#endif

#endif
