/* SPDX-License-Identifier: Apache-2.0 */
/* fragmented: huge pages asked for where memory is in small pieces, so that each needs compaction.
 *
 *   fragmented HUGE_PAGES COMMAND
 *
 * Fills what is free on node 0 with small pages, but for SPARE, gives back every other one of the first
 * FREED, and touches HUGE_PAGES huge pages.  Prints its process number and how many of them it got.
 * It gives these back, and runs COMMAND while it has the small ones.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096UL
#define HUGE (2UL << 20)
#define SPARE (64UL << 20)
#define FREED (768UL << 20)

static char *mapped(unsigned long bytes, int advice)
{
	char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED || madvise(at, bytes, advice)) {
		perror("mmap");
		exit(1);
	}
	return at;
}

static long huge_kib(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "r");
	char line[256];
	long kib = 0;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "AnonHugePages: %ld kB", &kib) == 1)
			break;
	return kib;
}

static unsigned long free_bytes(void)
{
	FILE *file = fopen("/sys/devices/system/node/node0/meminfo", "r");
	unsigned long kib = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Node 0 MemFree: %lu kB", &kib) == 1)
			break;
	return kib << 10;
}

int main(int argc, char **argv)
{
	unsigned long huge = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
	unsigned long pages = (free_bytes() - SPARE) / PAGE, at;
	char *small = mapped(pages * PAGE, MADV_NOHUGEPAGE), *large, *first;

	for (at = 0; at < pages; at++)
		small[at * PAGE] = 1;
	for (at = 1; at < pages && at < FREED / PAGE; at += 2)
		madvise(small + at * PAGE, PAGE, MADV_DONTNEED);
	large = mapped((huge + 1) * HUGE, MADV_HUGEPAGE);
	first = large + (-(unsigned long)large & (HUGE - 1));
	for (at = 0; at < huge; at++)
		first[at * HUGE] = 1;
	printf("%d %ld\n", getpid(), huge_kib() * 1024 / HUGE);
	fflush(stdout);
	munmap(large, (huge + 1) * HUGE);
	return argc > 2 ? system(argv[2]) : 0;
}
