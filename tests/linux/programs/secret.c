// SPDX-License-Identifier: GPL-2.0-only
/*
 * Holds a secret that no one else knows: fills memory with it, says so, and stays. At each SIGUSR1 it says whether all is as
 * it was.
 *
 *	secret [MEBIBYTES]	without a number, half of what is free
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "../hunter/secret.h"

static __u64 next(__u64 word)
{
	return word * 6364136223846793005ULL + 1442695040888963407ULL;
}

static int intact(const __u64 *words, size_t bytes, __u64 word)
{
	size_t i;

	for (i = 0; i < bytes / sizeof(*words); i += 2) {
		if (words[i] != word || words[i + 1] != secret_follows(word))
			return 0;
		word = next(word);
	}
	return 1;
}

static void on_signal(int signal)
{
	(void)signal;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct sysinfo info;
	__u64 *words, random, word;
	size_t bytes, i;

	if (sysinfo(&info) || getrandom(&random, sizeof(random), 0) != sizeof(random) ||
	    sigaction(SIGUSR1, &action, NULL))
		return 1;
	bytes = argc > 1 ? strtoul(argv[1], NULL, 0) << 20 : info.freeram * info.mem_unit / 2;
	bytes &= ~(size_t)0xfff;
	words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (words == MAP_FAILED) {
		perror("secret");
		return 1;
	}
	for (word = random, i = 0; i < bytes / sizeof(*words); i += 2) {
		words[i] = word;
		words[i + 1] = secret_follows(word);
		word = next(word);
	}
	printf("secret: %zu pages hold it\n", bytes / 4096);
	fflush(stdout);
	for (;;) {
		pause();
		printf("secret: %s\n", intact(words, bytes, random) ? "intact" : "SPOILT");
		fflush(stdout);
	}
}
