/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Page faults, counted and timed: the workload of the benchmarks.
 *
 *   faults OUT CPUS MIB WARMUP ROUNDS SECONDS RATE
 *
 * One thread on each of CPUS (such as 0,1) writes to every 4 KiB page of MIB
 * mebibytes of fresh anonymous memory, gives the pages back and begins again:
 * WARMUP rounds that are not counted, then ROUNDS rounds, or rounds until
 * SECONDS are over (0: no limit of that kind).  RATE is faults a second, of all
 * threads together; 0: as fast as they can.
 *
 * OUT gets a line for each counted round: CPU, faults, wall ns, CPU ns of the
 * thread, both for the touching alone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE 4096UL
#define BATCH 64
#define MAX_CPUS 256

struct job {
	int cpu;
	size_t pages;
	long warmup, rounds;
	double seconds;
	double rate;
	FILE *out;
};

static int64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void sleep_until(int64_t when)
{
	struct timespec t = { when / 1000000000LL, when % 1000000000LL };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static void die(const char *what)
{
	fprintf(stderr, "faults: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Faults in all pages, no sooner than `period` ns each from `*due` on. */
static void touch(volatile char *memory, size_t pages, double period, double *due)
{
	for (size_t i = 0; i < pages; i++) {
		if (period > 0 && i % BATCH == 0) {
			/* Short sleeps cost more than they give: let a millisecond's worth gather. */
			if (*due - now(CLOCK_MONOTONIC) > 1e6)
				sleep_until((int64_t)*due);
			*due += BATCH * period;
		}
		memory[i * PAGE] = 1;
	}
}

static void *run(void *argument)
{
	struct job *job = argument;
	size_t size = job->pages * PAGE;
	double period = job->rate > 0 ? 1e9 / job->rate : 0;
	cpu_set_t set;
	char *memory;

	CPU_ZERO(&set);
	CPU_SET(job->cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	if (madvise(memory, size, MADV_NOHUGEPAGE) && errno != EINVAL)
		die("madvise(MADV_NOHUGEPAGE)");

	int64_t start = now(CLOCK_MONOTONIC);
	double due = start;

	for (long round = -job->warmup; !job->rounds || round < job->rounds; round++) {
		int64_t wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);

		if (job->seconds > 0 && wall - start >= job->seconds * 1e9)
			break;
		touch(memory, job->pages, period, &due);
		cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
		wall = now(CLOCK_MONOTONIC) - wall;
		if (round >= 0)
			fprintf(job->out, "%d %zu %lld %lld\n", job->cpu, job->pages, (long long)wall,
				(long long)cpu);
		if (madvise(memory, size, MADV_DONTNEED))
			die("madvise(MADV_DONTNEED)");
	}
	munmap(memory, size);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[MAX_CPUS];
	struct job jobs[MAX_CPUS];
	int count = 0;
	FILE *out;

	if (argc != 8) {
		fprintf(stderr, "usage: faults OUT CPUS MIB WARMUP ROUNDS SECONDS RATE\n");
		return 2;
	}
	out = fopen(argv[1], "w");
	if (!out)
		die(argv[1]);
	for (char *cpu = strtok(argv[2], ","); cpu && count < MAX_CPUS; cpu = strtok(NULL, ","))
		jobs[count++].cpu = atoi(cpu);
	for (int i = 0; i < count; i++) {
		jobs[i].pages = atol(argv[3]) << 8;
		jobs[i].warmup = atol(argv[4]);
		jobs[i].rounds = atol(argv[5]);
		jobs[i].seconds = atof(argv[6]);
		jobs[i].rate = atof(argv[7]) / count;
		jobs[i].out = out;
		if (pthread_create(&threads[i], NULL, run, &jobs[i]))
			die("pthread_create");
	}
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	if (fclose(out))
		die(argv[1]);
	return 0;
}
