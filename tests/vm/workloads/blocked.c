/* SPDX-License-Identifier: Apache-2.0 */
/* blocked: threads that are all inside a page fault at once (userfaultfd).
 *
 *   blocked THREADS HOLD_SECONDS
 *
 * Each thread writes to a page of its own, and waits in its fault until all threads do and the
 * time to hold is over.  Prints how many faults were waiting then.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096
#define STACK (32 << 10)

static void *touch(void *page)
{
	*(volatile char *)page = 1;
	return 0;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	long threads = argc > 1 ? atol(argv[1]) : 100, waiting = 0;
	int hold = argc > 2 ? atoi(argv[2]) : 1, fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register all = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_zeropage zero = { 0 };
	pthread_t *ids = calloc(threads, sizeof(*ids));
	pthread_attr_t attributes;
	struct uffd_msg message;
	char *pages;

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		fail("userfaultfd");
	pages = mmap(NULL, threads * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		fail("mmap");
	all.range.start = zero.range.start = (unsigned long)pages;
	all.range.len = zero.range.len = threads * PAGE;
	if (ioctl(fd, UFFDIO_REGISTER, &all))
		fail("UFFDIO_REGISTER");
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK);
	pthread_attr_setguardsize(&attributes, 0);
	for (long i = 0; i < threads; i++)
		if (pthread_create(&ids[i], &attributes, touch, pages + i * PAGE))
			fail("pthread_create");
	for (; waiting < threads; waiting++)
		if (read(fd, &message, sizeof(message)) != sizeof(message))
			fail("read");
	sleep(hold);
	if (ioctl(fd, UFFDIO_ZEROPAGE, &zero))
		fail("UFFDIO_ZEROPAGE");
	for (long i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	printf("%ld\n", waiting);
	return 0;
}
