/* SPDX-License-Identifier: GPL-2.0-only */
/* Where vCPUs begin, the MMU off: x0 is 0 for the first. Each has a stack of its own. */

	.section .text.entry, "ax"
	.globl	entry
entry:
	adr	x1, vectors
	msr	vbar_el1, x1
	mov	x1, #(3 << 20)			/* CPACR_EL1.FPEN */
	msr	cpacr_el1, x1
	isb
	adrp	x1, stacks
	add	x1, x1, :lo12:stacks
	mov	x2, #0x1000
	add	x0, x0, #1
	madd	x1, x0, x2, x1
	sub	x0, x0, #1
	mov	sp, x1
	cbnz	x0, 1f
	bl	measure_all
1:	bl	answer_ipis

	/* An interrupt at EL1, by SP_EL1: its only work is on_interrupt's. Whatever else comes is a mistake. */
	.balign	2048
vectors:
	.rept	5
	b	wrong
	.balign	128
	.endr
	stp	x0, x1, [sp, #-160]!
	stp	x2, x3, [sp, #16]
	stp	x4, x5, [sp, #32]
	stp	x6, x7, [sp, #48]
	stp	x8, x9, [sp, #64]
	stp	x10, x11, [sp, #80]
	stp	x12, x13, [sp, #96]
	stp	x14, x15, [sp, #112]
	stp	x16, x17, [sp, #128]
	stp	x18, x30, [sp, #144]
	bl	on_interrupt
	ldp	x18, x30, [sp, #144]
	ldp	x16, x17, [sp, #128]
	ldp	x14, x15, [sp, #112]
	ldp	x12, x13, [sp, #96]
	ldp	x10, x11, [sp, #80]
	ldp	x8, x9, [sp, #64]
	ldp	x6, x7, [sp, #48]
	ldp	x4, x5, [sp, #32]
	ldp	x2, x3, [sp, #16]
	ldp	x0, x1, [sp], #160
	eret
	.balign	128
	.rept	10
	b	wrong
	.balign	128
	.endr

wrong:
	mrs	x0, esr_el1
	mrs	x1, elr_el1
	bl	power_off

	.bss
	.balign	4096
stacks:
	.skip	2 * 0x1000
