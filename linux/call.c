// SPDX-License-Identifier: GPL-2.0-only
/* Corevisor's calls. */

#include <linux/errno.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include "call.h"

int cv_errno(long code)
{
	switch (code) {
	case CV_INVALID_PARAMETER:
		return -EINVAL;
	case CV_DENIED:
		return -EPERM;
	case CV_BUSY:
		return -EBUSY;
	case CV_NO_MEMORY:
		return -ENOMEM;
	case CV_NOT_SUPPORTED:
		return -EOPNOTSUPP;
	default:
		return -EIO;
	}
}

long cv_call(u32 number, struct arm_smccc_1_2_regs *args)
{
	long result;

	args->a0 = number;
	arm_smccc_1_2_hvc(args, args);
	result = args->a0;
	return result < 0 ? cv_errno(result) : result;
}

long cv_call_simple(u32 number, u64 x1, u64 x2, u64 x3)
{
	struct arm_smccc_1_2_regs args = { .a1 = x1, .a2 = x2, .a3 = x3 };

	return cv_call(number, &args);
}

long cv_call_until_done(u32 number, u64 vm, bool killable)
{
	long left;

	for (;;) {
		left = cv_call_simple(number, vm, 0, 0);
		if (left <= 0)
			return left;
		if (killable && fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
}
