/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a guest hides, and what its host looks for: pairs of words of which one follows from the other. Any word begins
 * another pair, so that whoever looks for them holds none.
 */
#ifndef SECRET_H
#define SECRET_H

#include <linux/types.h>

static inline __u64 secret_follows(__u64 word)
{
	return (word ^ 0x9e3779b97f4a7c15ULL) * 0xd1342543de82ef95ULL;
}

/* How many pairs there are in a page. */
static inline unsigned int secret_count(const __u64 *page)
{
	unsigned int i, found = 0;

	for (i = 0; i + 1 < 512; i++)
		found += page[i + 1] == secret_follows(page[i]);
	return found;
}

#endif
