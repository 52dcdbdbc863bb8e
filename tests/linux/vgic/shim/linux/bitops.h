/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_BITOPS_H
#define SHIM_BITOPS_H

#include <linux/bits.h>

#define __ffs(x) ((unsigned int)__builtin_ctzl(x))
#define __ffs64(x) ((unsigned int)__builtin_ctzll(x))

#endif
