/* SPDX-License-Identifier: GPL-2.0-only */
/* Corevisor's calls (docs/abi.md). */
#ifndef COREVISOR_CALL_H
#define COREVISOR_CALL_H

#include <linux/arm-smccc.h>
#include <linux/types.h>

#include "abi.h"

#ifndef CV_CALL_PAGE_OWNER
#define CV_CALL_PAGE_OWNER 0xc6001026U
#define CV_CALL_VM_ID_REGISTER 0xc6001027U
#endif

/**
 * cv_call() - make a host call
 * @number:	which
 * @args:	x1 on in; x0 on out, of which a0 is kept for the caller
 *
 * Return: what x0 said: 0 or more, or an errno.
 */
long cv_call(u32 number, struct arm_smccc_1_2_regs *args);

/* The same with up to three arguments, of which nothing but x0 is wanted. */
long cv_call_simple(u32 number, u64 x1, u64 x2, u64 x3);

/* x0 and on, as words. */
static inline unsigned long *cv_words(struct arm_smccc_1_2_regs *args)
{
	return (unsigned long *)args;
}

/* An errno for a number of Corevisor's. */
int cv_errno(long code);

/*
 * Repeats a call that does a part at a time (DESTROY_VM, VERIFY_VM_IMAGE) until nothing is left, or
 * a signal kills.
 */
long cv_call_until_done(u32 number, u64 vm, bool killable);

/**
 * cv_enter() - VCPU_RUN: the vCPU runs until it stops. Interrupts off.
 *
 * Corevisor changes no register but x0; what it writes is the run page.
 */
static inline long cv_enter(u32 vm, u32 vcpu)
{
	register u64 x0 asm("x0") = CV_CALL_VCPU_RUN;
	register u64 x1 asm("x1") = vm;
	register u64 x2 asm("x2") = vcpu;

	asm volatile("hvc #0" : "+r"(x0) : "r"(x1), "r"(x2) : "memory");
	return x0;
}

#endif
