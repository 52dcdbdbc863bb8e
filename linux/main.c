// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finds Corevisor, the hypervisor that this kernel runs under.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/arm-smccc.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/of.h>

#include "abi.h"

/* Whether what answers hypervisor calls, if anything does, is Corevisor. */
static bool cv_present(void)
{
	struct arm_smccc_res res;
	struct device_node *node;

	/* Without a hypervisor an HVC is an undefined instruction: first the device tree. */
	node = of_find_compatible_node(NULL, NULL, "corevisor,corevisor-1");
	if (!node)
		return false;
	of_node_put(node);

	arm_smccc_1_1_hvc(CV_CALL_UID, &res);
	return (u32)res.a0 == CV_UID_0 && (u32)res.a1 == CV_UID_1 &&
	       (u32)res.a2 == CV_UID_2 && (u32)res.a3 == CV_UID_3;
}

static int __init cv_init(void)
{
	struct arm_smccc_res res;

	if (!cv_present()) {
		pr_err("this kernel does not run under Corevisor\n");
		return -ENODEV;
	}
	arm_smccc_1_1_hvc(CV_CALL_VERSION, &res);
	if (res.a0 >> 16 != CV_VERSION >> 16) {
		pr_err("Corevisor has interface version %lu.%lu, this driver is for %u\n",
		       res.a0 >> 16, res.a0 & 0xffff, CV_VERSION >> 16);
		return -ENODEV;
	}
	pr_info("found Corevisor, interface version %lu.%lu\n", res.a0 >> 16, res.a0 & 0xffff);
	return 0;
}

static void __exit cv_exit(void)
{
}

module_init(cv_init);
module_exit(cv_exit);

MODULE_DESCRIPTION("KVM API for virtual machines under Corevisor");
MODULE_AUTHOR("The Corevisor authors");
MODULE_LICENSE("GPL");
