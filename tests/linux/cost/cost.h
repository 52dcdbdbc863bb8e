/* SPDX-License-Identifier: GPL-2.0-only */
/* What the guest that measures, and the program that runs it, agree upon. */
#ifndef COST_H
#define COST_H

#define COST_RAM	0x80000000
#define COST_RAM_SIZE	0x200000
#define COST_GICD	0x08000000
#define COST_GICR	0x080a0000
/* A device that user space emulates: what is read there is 0; a result is three words, the last of which sends it. */
#define COST_DEVICE	0x0a000000
#define COST_RESULT_ROW 0x100
#define COST_RESULT_COUNT 0x108
#define COST_RESULT_TICKS 0x110

/* In the order in which they are measured. */
enum cost_row {
	COST_HYPERCALL,
	COST_MMIO_KERNEL,
	COST_MMIO_USER,
	COST_EOI,
	COST_TIMER,
	COST_IPI,
	COST_ROWS,
};

#endif
