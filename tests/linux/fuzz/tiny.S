/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the VMs of the fuzz run: an image for TINY_RAM of programs of a few instructions, TINY_ROOM bytes apart, any of which
 * can be where a vCPU starts, and is that of vCPU 1 if vCPU 0 turns it on. No stack, no MMU, no vectors.
 */
#include "tiny.h"

.macro call number
	movz	w0, #(\number >> 16), lsl #16
	movk	w0, #(\number & 0xffff)
	hvc	#0
.endm

.macro program
	.balign TINY_ROOM
.endm

	.text
start:
	program /* TINY_CALLS: a call that nobody knows, for ever */
1:	call	0xc6001234
	b	1b

	program /* TINY_MMIO */
	movz	x1, #(TINY_DEVICE >> 16), lsl #16
	mov	w2, #0x5a
1:	strb	w2, [x1]
	ldrsh	x3, [x1, #2]
	str	w3, [x1, #4]
	ldr	x4, [x1, #8]
	str	x4, [x1, #0x1000]
	strh	w4, [x1, #16]
	add	w2, w2, #1
	cmp	w2, #0x70
	b.ne	1b
	call	0x84000008

	program /* TINY_WFI */
1:	wfi
	b	1b

	program /* TINY_SMP: starts vCPU 1 as TINY_CALLS, asks after it, and ends itself */
	mov	x1, #1
	adr	x2, start
	mov	x3, #7
	call	0xc4000003
	mov	x1, #1
	mov	x2, #0
	call	0xc4000004
	mov	x1, #2
	adr	x2, start
	call	0xc4000003
	call	0x84000002
	b	.

	program /* TINY_RESET */
	call	0x84000009

	program /* TINY_TOUCH: pages of its memory, from the block after the image's on, until there are none */
	adr	x1, start
	add	x1, x1, #0x200000
1:	str	x1, [x1]
	ldr	x2, [x1]
	add	x1, x1, #0x1000
	b	1b

	program /* TINY_NOWHERE: jumps to where no memory is */
	mov	x1, #0x5000
	br	x1

	program /* TINY_SPIN */
	b	.

	program /* TINY_GIC: uses the distributor and its redistributor, sends SGIs, and takes them */
	movz	x1, #(TINY_DIST >> 16), lsl #16
	movz	x2, #(TINY_REDIST >> 16), lsl #16
	mov	w3, #0x12
	mov	w5, #-1
	str	w3, [x1]
	ldr	w4, [x1, #4]
	str	wzr, [x2, #0x14]
	add	x2, x2, #0x10, lsl #12
	str	w5, [x2, #0x80]
	str	w5, [x2, #0x100]
	str	w5, [x1, #0x104]
	str	w5, [x1, #0x204]
	str	w5, [x1, #0x304]
	mov	x4, #0xff
	msr	S3_0_C4_C6_0, x4 /* ICC_PMR_EL1 */
	mov	x4, #1
	msr	S3_0_C12_C12_7, x4 /* ICC_IGRPEN1_EL1 */
1:	mov	x4, #0x3
	msr	S3_0_C12_C11_5, x4 /* ICC_SGI1R_EL1 */
	isb
	mrs	x6, S3_0_C12_C12_0 /* ICC_IAR1_EL1 */
	msr	S3_0_C12_C12_1, x6 /* ICC_EOIR1_EL1 */
	b	1b

	program /* TINY_SHARE: shares a page that it has touched with the host, and takes it back */
	adr	x4, start
	add	x4, x4, #0x200000
	str	x4, [x4]
1:	mov	x1, x4
	mov	x2, #0
	mov	x3, #0
	call	0xc6000003
	str	x4, [x4, #8]
	call	0xc6000004
	mov	x1, #0x5000
	call	0xc6000007
	call	0xc6001025
	call	0xc4000053
	b	1b

	program /* TINY_TIMER: waits for it, again and again */
1:	mrs	x1, cntvct_el0
	add	x1, x1, #0x1000
	msr	cntv_cval_el0, x1
	mov	x1, #1
	msr	cntv_ctl_el0, x1
	wfi
	b	1b

	program /* TINY_ODD: accesses that do not say what they are, and instructions that are not for VMs */
	movz	x1, #(TINY_DEVICE >> 16), lsl #16
	adr	x2, 1f
	msr	vbar_el1, x2
	ldr	w3, [x1, #4]!
1:	ldp	x3, x4, [x1]
	stp	x3, x4, [x1]
	ldxr	x3, [x1]
	dc	ivac, x1
	smc	#0
	mrs	x3, id_aa64pfr0_el1
	msr	S3_0_C15_C1_0, x3
	hvc	#1
	b	1b

	program /* TINY_WFE */
1:	wfe
	b	1b

	program /* TINY_OFF */
	call	0x84000008

	program /* TINY_SUSPEND: sleeps by PSCI, then all its calls */
	mov	w4, #0
1:	movz	w0, #0xc400, lsl #16
	orr	w0, w0, w4
	mov	x1, #0
	mov	x2, #0
	mov	x3, #0
	hvc	#0
	add	w4, w4, #1
	and	w4, w4, #0x1f
	b	1b

	program /* TINY_EDGE: the ends of what devices and memory can be */
	mov	x1, #0x3ffffff8
	ldr	x2, [x1]
	str	x2, [x1]
	ldr	x2, [x1, #8]
	mov	x1, #0xfffffff000
	ldr	x2, [x1]
	mov	x1, #0x10000000000
	ldr	x2, [x1]
	b	.
	.balign TINY_ROOM
