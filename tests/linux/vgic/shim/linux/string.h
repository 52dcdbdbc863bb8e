/* SPDX-License-Identifier: GPL-2.0-only */
void *memset(void *to, int value, __SIZE_TYPE__ size);
