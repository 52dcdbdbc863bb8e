/* SPDX-License-Identifier: GPL-2.0-only */
/* How the program that hunts talks to the module: by ioctl on /dev/hunter. */
#ifndef HUNTER_H
#define HUNTER_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * struct hunter_scan - a range of pages, and what became of what the kernel tried there
 * @pfn:	in: the first page
 * @count:	in: how many
 * @pairs:	out: pairs of a secret's words
 * @pages:	out: pages that hold any
 * @refused:	out: pages at which a load or store ended in an external abort, or that Corevisor denied
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

/* Looks for a secret. */
#define HUNTER_SCAN	 _IOWR('H', 0, struct hunter_scan)
/* Writes to each page, whosever it is. */
#define HUNTER_OVERWRITE _IOWR('H', 1, struct hunter_scan)
/* Makes a VM whose memory the host can read, and wants each page to be an image of its. */
#define HUNTER_TAKE	 _IOWR('H', 2, struct hunter_scan)

#endif
