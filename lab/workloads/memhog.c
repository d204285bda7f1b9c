/* SPDX-License-Identifier: Apache-2.0 */
/* memhog: touch anonymous memory on a chosen NUMA node, one write per 4 KiB.
 *
 *   memhog MIB [NODE|-1 [HOLD_SECONDS [thp]]]
 *
 * A workload whose page count is known in advance: MIB * 256 pages of 4 KiB,
 * or MIB / 2 huge pages where "thp" is given and the kernel grants them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MPOL_BIND 2

int main(int argc, char **argv)
{
	long mib = argc > 1 ? atol(argv[1]) : 64;
	int node = argc > 2 ? atoi(argv[2]) : -1;
	int hold = argc > 3 ? atoi(argv[3]) : 0;
	size_t bytes = (size_t)mib << 20;
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	if (node >= 0) {
		unsigned long mask = 1UL << node;

		if (syscall(SYS_mbind, p, bytes, MPOL_BIND, &mask, 64, 0))
			perror("mbind");
	}
	madvise(p, bytes, argc > 4 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	for (size_t i = 0; i < bytes; i += 4096)
		p[i] = 1;
	printf("touched %ld MiB on node %d\n", mib, node);
	fflush(stdout);
	sleep(hold);
	return 0;
}
