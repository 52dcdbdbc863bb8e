/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a guest hides, and what its host looks for: pairs of words of which one follows from the other. Any word begins
 * another pair, so that whoever looks for them holds none.
 */
#ifndef SECRET_H
#define SECRET_H

#include <linux/types.h>

#define SECRET_FACTOR	0xd1342543de82ef95ULL
#define SECRET_SUMMAND	0x9e3779b97f4a7c15ULL

static inline __u64 secret_follows(__u64 word)
{
	return word * SECRET_FACTOR + SECRET_SUMMAND;
}

/*
 * How many pairs there are in a page. Both sides of the comparison are multiplied by a number that the compiler does not
 * know: what follows from a word is in no register, which an interrupt would save beside the word, for the next scan to find.
 */
static inline unsigned int secret_count(const __u64 *page)
{
	__u64 blind = 0x5851f42d4c957f2dULL, factor, summand;
	unsigned int i, found = 0;

	asm("" : "+r"(blind));
	factor = SECRET_FACTOR * blind;
	summand = SECRET_SUMMAND * blind;
	for (i = 0; i + 1 < 512; i++)
		found += page[i + 1] * blind == page[i] * factor + summand;
	return found;
}

#endif
