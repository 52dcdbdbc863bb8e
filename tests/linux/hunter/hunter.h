/* SPDX-License-Identifier: GPL-2.0-only */
/* How the program that hunts talks to the module: by ioctl on /dev/hunter. */
#ifndef HUNTER_H
#define HUNTER_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * struct hunter_scan - a range of pages, and what the kernel found there
 * @pfn:	in: the first page
 * @count:	in: how many
 * @pairs:	out: pairs of a secret's words
 * @pages:	out: pages that hold any
 * @refused:	out: pages at which a load ended in an external abort
 * @first:	out: the first page with a pair
 */
struct hunter_scan {
	__u64 pfn;
	__u64 count;
	__u64 pairs;
	__u64 pages;
	__u64 refused;
	__u64 first;
};

#define HUNTER_SCAN _IOWR('H', 0, struct hunter_scan)

#endif
