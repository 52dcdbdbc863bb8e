// SPDX-License-Identifier: GPL-2.0-only
/*
 * Holds a secret that no one else knows: fills memory with it, says so, and stays.
 *
 *	secret [MEBIBYTES]	without a number, half of what is free
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "../hunter/secret.h"

int main(int argc, char **argv)
{
	struct sysinfo info;
	size_t bytes, i;
	__u64 *words;
	__u64 random;

	if (sysinfo(&info) || getrandom(&random, sizeof(random), 0) != sizeof(random))
		return 1;
	bytes = argc > 1 ? strtoul(argv[1], NULL, 0) << 20 : info.freeram * info.mem_unit / 2;
	bytes &= ~(size_t)0xfff;
	words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (words == MAP_FAILED) {
		perror("secret");
		return 1;
	}
	for (i = 0; i < bytes / sizeof(*words); i += 2) {
		words[i] = random;
		words[i + 1] = secret_follows(random);
		random = random * 6364136223846793005ULL + 1442695040888963407ULL;
	}
	printf("secret: %zu pages hold it\n", bytes / 4096);
	fflush(stdout);
	for (;;)
		pause();
}
