/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gmemtest - drive the real guest_memfd code of KVM with known answers.
 *
 * A "software-protected VM" (KVM_X86_SW_PROTECTED_VM) needs no SEV/TDX
 * hardware: its private pages come from a guest_memfd exactly as those of an
 * SNP guest do, only the RMP/SEPT step is missing.  Every phase below prints
 * what it did (WANT lines), and, where the kprobe events of group "gm" are
 * set up, the number of times each one fired in that phase, read from
 * /sys/kernel/tracing/kprobe_profile.
 *
 * usage: gmemtest [-n N] [-m M] [-V]
 *   -n N  private pages the vCPU touches first, 64 to 2048     (300)
 *   -m M  private->shared->private round trips of 16 pages      (20)
 *   -V    do not run the vCPU; fault with KVM_PRE_FAULT_MEMORY instead
 * exit status: 0 all checks held, 1 some check failed, 2 not possible here
 *
 * Build: gcc -O2 -Wall -static -o gmemtest gmemtest.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest_memfd.h"

#define PG	4096UL
#define KB	1024UL
#define MB	(1024UL * 1024)
#define GMEM	(64 * MB)		/* size of the guest_memfd            */
#define BASE	(256 * MB)		/* gpa where the private slot begins  */
#define LOWMEM	(1 * MB)		/* slot 0: shared memory for the code */
#define TR	"/sys/kernel/tracing/"

static int sys, vm, vcpu = -1, gmem, marker = -1, failures, use_vcpu = 1;
static struct kvm_run *run;
static char *shared;			/* host mapping behind the private slot */
static unsigned char resident[GMEM / PG];	/* our model of the page cache */
static unsigned char prepared[GMEM / PG];	/* ... and of its uptodate bit */

static void die(const char *what)
{
	printf("gmemtest: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* ---- counting: kprobe_profile lines are "  event   hits   misses" ---- */
#define NEV 40
static struct ev { char name[48]; unsigned long hits, missed; } evs[NEV];
static int nev;

static int counters(struct ev *e)
{
	FILE *f = fopen(TR "kprobe_profile", "r");
	int n = 0;

	while (f && n < NEV &&
	       fscanf(f, "%47s %lu %lu", e[n].name, &e[n].hits, &e[n].missed) == 3)
		n++;
	if (f)
		fclose(f);
	return n;
}

static void phase(const char *name)
{
	dprintf(marker, "gmemtest: phase %s", name);
	printf("PHASE %s\n", name);
	nev = counters(evs);
}

/*
 * What the phase must have caused; -1: no claim.  "attr_pre" and
 * "inval_begin" stand in where set_attr and punch_hole are inlined: once for
 * each memslot touched by a change of attributes, once for each hole (and once
 * for the release of the file).
 */
struct want {
	long get_pfn, get_folio, prepare, falloc, punch, alloc, free, attr, pop, pre, inval;
};
static const char *const wname[] = { "get_pfn", "get_folio", "prepare",
	"fallocate", "punch_hole", "allocate", "free_folio", "set_attr",
	"populate", "attr_pre", "inval_begin" };

#define NWANT (int)(sizeof(wname) / sizeof(*wname))
static long total[NWANT];	/* of all phases */

/* Print the deltas; compare those that have a claim. */
static void done(struct want w)
{
	struct ev now[NEV];
	int n = counters(now), i, k;
	const long *c = &w.get_pfn;

	for (k = 0; k < NWANT; k++)
		total[k] += c[k] > 0 ? c[k] : 0;

	for (i = 0; i < n; i++) {
		unsigned long before = 0, d;
		const char *verdict = "";
		char v[64];

		for (k = 0; k < nev; k++)
			if (!strcmp(evs[k].name, now[i].name))
				before = evs[k].hits;
		d = now[i].hits - before;
		for (k = 0; k < NWANT; k++)
			if (!strcmp(now[i].name, wname[k]) && c[k] >= 0) {
				int ok = d == (unsigned long)c[k];

				snprintf(v, sizeof(v), "want %ld %s", c[k], ok ? "ok" : "FAIL");
				failures += !ok;
				verdict = v;
			}
		if (d || *verdict)
			printf("  %-24s %8lu  %s%s\n", now[i].name, d, verdict,
			       now[i].missed ? " (missed!)" : "");
	}
	if (!n)		/* untraced: print the known answers alone */
		for (k = 0; k < NWANT; k++)
			if (c[k] > 0)
				printf("  WANT %-12s %ld\n", wname[k], c[k]);
}

static void check(int ok, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("  CHECK ");
	vprintf(fmt, ap);
	printf(": %s\n", ok ? "ok" : "FAIL");
	va_end(ap);
	failures += !ok;
}

/* ---- the guest: flat 32-bit code, no paging, no stack, no interrupts ---- */
static const unsigned char code_write[] = {
	0x89, 0x07,		/* 1: mov %eax,(%edi) */
	0x01, 0xdf,		/*    add %ebx,%edi   */
	0x49,			/*    dec %ecx        */
	0x75, 0xf9,		/*    jnz 1b          */
	0xf4,			/*    hlt             */
};
static const unsigned char code_read[] = {
	0x03, 0x07,		/* 1: add (%edi),%eax */
	0x01, 0xdf, 0x49, 0x75, 0xf9, 0xf4,
};

static void vcpu_setup(void)
{
	struct kvm_sregs s;
	struct kvm_segment cs = { .limit = ~0u, .selector = 8, .type = 11,
		.present = 1, .s = 1, .db = 1, .g = 1 }, ds = cs;

	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		die("KVM_CREATE_VCPU");
	run = mmap(NULL, ioctl(sys, KVM_GET_VCPU_MMAP_SIZE, 0),
		   PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED || ioctl(vcpu, KVM_GET_SREGS, &s))
		die("vCPU");
	ds.selector = 16;
	ds.type = 3;
	s.cs = cs;
	s.ds = s.es = s.fs = s.gs = s.ss = ds;
	s.cr0 |= 1;		/* PE */
	if (ioctl(vcpu, KVM_SET_SREGS, &s))
		die("KVM_SET_SREGS");
}

/* Run one of the loops over n pages from off; returns the guest's eax. */
static uint32_t guest(uint64_t rip, uint64_t off, unsigned n, uint32_t eax)
{
	struct kvm_regs r = { .rip = rip, .rflags = 2, .rdi = BASE + off,
		.rcx = n, .rbx = PG, .rax = eax };

	if (ioctl(vcpu, KVM_SET_REGS, &r))
		die("KVM_SET_REGS");
	do {
		if (ioctl(vcpu, KVM_RUN, 0) && errno != EINTR)
			die("KVM_RUN");
	} while (run->exit_reason == KVM_EXIT_INTR);
	if (run->exit_reason != KVM_EXIT_HLT) {
		ioctl(vcpu, KVM_GET_REGS, &r);
		printf("gmemtest: vCPU exit %u (hw %llx) rip %llx rdi %llx\n",
		       run->exit_reason, (unsigned long long)run->hw.hardware_exit_reason,
		       r.rip, r.rdi);
		exit(1);
	}
	ioctl(vcpu, KVM_GET_REGS, &r);
	return r.rax;
}

/* Fault n private pages in by KVM_PRE_FAULT_MEMORY; returns pages done. */
static long prefault(uint64_t off, unsigned n)
{
	struct kvm_pre_fault_memory p = { .gpa = BASE + off, .size = n * PG };

	while (p.size && (!ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &p) || errno == EINTR))
		;
	if (p.size)
		printf("gmemtest: KVM_PRE_FAULT_MEMORY: %s\n", strerror(errno));
	return n - p.size / PG;
}

/* Touch n private pages, whichever way is possible; returns the pages prepared. */
static long touch(uint64_t off, unsigned n, uint32_t val)
{
	long fresh = 0;

	for (unsigned i = 0; i < n; i++) {
		fresh += !prepared[off / PG + i];
		resident[off / PG + i] = prepared[off / PG + i] = 1;
	}
	if (use_vcpu)
		guest(0, off, n, val);
	else
		prefault(off, n);
	return fresh;
}

static void set_private(uint64_t off, uint64_t len, int private)
{
	struct kvm_memory_attributes a = { .address = BASE + off, .size = len,
		.attributes = private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0 };

	if (ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, &a))
		die("KVM_SET_MEMORY_ATTRIBUTES");
}

/* Punch; returns how many resident pages that must have freed. */
static long punch(uint64_t off, uint64_t len)
{
	long freed = 0;

	for (uint64_t i = off / PG; i < (off + len) / PG; i++) {
		freed += resident[i];
		resident[i] = prepared[i] = 0;
	}
	if (fallocate(gmem, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, off, len))
		die("fallocate punch");
	printf("  hole offset 0x%lx len 0x%lx frees %ld pages\n", off, len, freed);
	return freed;
}

/* What SNP_LAUNCH_UPDATE would do; returns pages populated, or -1. */
static int populate(uint64_t off, void *src, uint64_t npages)
{
	struct { uint64_t gpa, uaddr, npages; } a = { BASE + off, (uintptr_t)src, npages };

	return ioctl(vm, KVM_MEMORY_ENCRYPT_OP, &a);
}

int main(int argc, char **argv)
{
	long n = 300, m = 20, i, c, f, populated = 0, refused = 0;
	uint32_t word;
	struct kvm_create_guest_memfd cg = { .size = GMEM };
	struct kvm_userspace_memory_region2 r = { 0 };
	char *low;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((c = getopt(argc, argv, "n:m:V")) != -1)
		switch (c) {
		case 'n': n = atol(optarg); break;
		case 'm': m = atol(optarg); break;
		case 'V': use_vcpu = 0; break;
		default: return 2;
		}
	if (n < 64 || n > 2048)
		return 2;

	marker = open(TR "trace_marker", O_WRONLY);
	sys = open("/dev/kvm", O_RDWR);
	if (sys < 0)
		die("/dev/kvm");
	printf("vm types 0x%x guest_memfd %d pre_fault %d\n",
	       ioctl(sys, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES),
	       ioctl(sys, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD),
	       ioctl(sys, KVM_CHECK_EXTENSION, KVM_CAP_PRE_FAULT_MEMORY));
	vm = ioctl(sys, KVM_CREATE_VM, KVM_X86_SW_PROTECTED_VM);
	if (vm < 0)
		die("KVM_CREATE_VM");
	gmem = ioctl(vm, KVM_CREATE_GUEST_MEMFD, &cg);
	if (gmem < 0)
		die("KVM_CREATE_GUEST_MEMFD");

	/* slot 0: ordinary memory for the guest's code */
	low = mmap(NULL, LOWMEM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	shared = mmap(NULL, GMEM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(low, code_write, sizeof(code_write));
	memcpy(low + 0x100, code_read, sizeof(code_read));
	r.memory_size = LOWMEM;
	r.userspace_addr = (uintptr_t)low;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &r))
		die("slot 0");
	/* slot 1: each page is either in "shared" or in the guest_memfd */
	r.slot = 1;
	r.flags = KVM_MEM_GUEST_MEMFD;
	r.guest_phys_addr = BASE;
	r.memory_size = GMEM;
	r.userspace_addr = (uintptr_t)shared;
	r.guest_memfd = gmem;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &r))
		die("slot 1");
	vcpu_setup();

	phase("attr: whole 64 MiB private, one ioctl");
	set_private(0, GMEM, 1);
	done((struct want){ 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0 });

	phase("fault: n fresh pages at 0");
	f = touch(0, n, 0x11);
	done((struct want){ n, n, f, 0, 0, 0, 0, 0 });

	if (use_vcpu) {
		phase("again: the same n pages, already mapped");
		touch(0, n, 0x11);
		check(guest(0x100, 0, n, 0) == n * 0x11, "sum of n words");
		done((struct want){ 0, 0, 0, 0, 0, 0, 0, 0 });
	}

	phase("prealloc: fallocate 4 MiB at 32 MiB, twice");
	for (i = 0; i < 2; i++)
		if (fallocate(gmem, FALLOC_FL_KEEP_SIZE, 32 * MB, 4 * MB))
			die("fallocate");
	memset(resident + 32 * MB / PG, 1, 4 * MB / PG);
	done((struct want){ 0, 2048, 0, 2, 0, 2, 0, 0 });

	phase("fault: 200 preallocated pages at 32 MiB");
	f = touch(32 * MB, 200, 0x22);
	done((struct want){ 200, 200, f, 0, 0, 0, 0, 0 });

	phase("prefault: KVM_PRE_FAULT_MEMORY, 128 fresh pages at 16 MiB");
	for (f = i = 0; i < 128; i++) {
		f += !prepared[16 * MB / PG + i];
		resident[16 * MB / PG + i] = prepared[16 * MB / PG + i] = 1;
	}
	check(prefault(16 * MB, 128) == 128, "128 pages done");
	done((struct want){ 128, 128, f, 0, 0, 0, 0, 0 });

	phase("punch: 4K 64K 64K+4K 2M 2M+4K, a void one");
	f = punch(8 * PG, 4 * KB);			/* 1 page             */
	f += punch(64 * KB, 64 * KB);			/* aligned, 16 pages  */
	f += punch(128 * KB + PG, 64 * KB);		/* off by one page    */
	f += punch(32 * MB, 2 * MB);			/* aligned, 512 pages */
	f += punch(34 * MB + PG, 2 * MB);		/* off by one: 511    */
	f += punch(60 * MB, 2 * MB);			/* nothing there      */
	done((struct want){ 0, 0, 0, 6, 6, 0, f, 0, 0, 0, 6 });

	phase("errors: unaligned, no KEEP_SIZE, past the end");
	check(fallocate(gmem, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 100, PG) &&
	      errno == EINVAL, "unaligned offset EINVAL");
	check(fallocate(gmem, 0, 0, PG) && errno == EOPNOTSUPP, "mode 0 EOPNOTSUPP");
	check(fallocate(gmem, FALLOC_FL_KEEP_SIZE, GMEM - PG, 2 * PG) &&
	      errno == EINVAL, "past the end EINVAL");
	done((struct want){ 0, 0, 0, 3, 0, 1, 0, 0 });

	phase("refault: the first n pages; holes come back as zero");
	if (use_vcpu) {		/* read first: punched pages must read 0 */
		long left = 0;

		for (f = i = 0; i < n; i++) {
			left += prepared[i];
			f += !prepared[i];
			resident[i] = prepared[i] = 1;
		}
		check(guest(0x100, 0, n, 0) == left * 0x11, "sum without holes");
		done((struct want){ f, f, f, 0, 0, 0, 0, 0 });
	} else {		/* prefault visits mapped pages too */
		f = touch(0, n, 0);
		done((struct want){ n, n, f, 0, 0, 0, 0, 0 });
	}

	phase("conv: m times 16 pages private->shared->private, contents kept");
	for (f = i = 0; i < m; i++) {
		set_private(256 * KB, 64 * KB, 0);
		set_private(256 * KB, 64 * KB, 1);
		f += touch(256 * KB, 16, 0x33);
	}
	done((struct want){ 16 * m, 16 * m, f, 0, 0, 0, 0, 2 * m, 0, 2 * m, 0 });

	phase("convp: m times 16 pages, hole punched while shared (as QEMU does)");
	for (f = i = 0; i < m; i++) {
		set_private(256 * KB, 64 * KB, 0);
		for (long j = 0; j < 16; j++)
			resident[64 + j] = prepared[64 + j] = 0;
		if (fallocate(gmem, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
			      256 * KB, 64 * KB))
			die("punch");
		if (use_vcpu) {		/* the guest writes shared memory */
			guest(0, 256 * KB, 16, 0x44);
			f += *(uint32_t *)(shared + 256 * KB + PG) == 0x44;
		}
		set_private(256 * KB, 64 * KB, 1);
		touch(256 * KB, 16, 0x55);
	}
	if (use_vcpu)
		check(f == m, "shared writes seen by the host");
	done((struct want){ 16 * m, 16 * m, 16 * m, m, m, 0, 16 * m, 2 * m,
			     0, 2 * m, m });

	/*
	 * kvm_gmem_populate() has no caller without SNP/TDX; the test-only patch
	 * 0003-kvm-sw-test-populate.patch makes KVM_MEMORY_ENCRYPT_OP one.
	 */
	phase("populate: 40 fresh pages from user memory at 48 MiB");
	memset(shared, 0x66, 40 * PG);
	f = populate(48 * MB, shared, 40);
	if (f < 0) {
		printf("  not possible on this kernel: %s\n", strerror(errno));
		done((struct want){ 0, -1, 0, 0, 0, 0, 0, 0, -1 });
	} else {
		check(f == 40, "40 pages populated");
		memset(resident + 48 * MB / PG, 1, 40);
		memset(prepared + 48 * MB / PG, 1, 40);
		populated = f;
		/*
		 * A kernel that tracks what is prepared refuses a page that is; one that
		 * leaves this to the platform fills it again.  It says which it is.
		 */
		memset(shared, 0x77, 40 * PG);
		f = populate(48 * MB, shared, 40);
		if (f < 0) {
			check(errno == EEXIST, "a second time EEXIST");
			refused = 1;
			word = 0x66666666u;
		} else {
			check(f == 40, "a second time filled again");
			populated += f;
			word = 0x77777777u;
		}
		/* 40 folios, and as many again, or one more looked up before EEXIST */
		done((struct want){ 0, f < 0 ? 41 : 80, 0, 0, 0, 0, 0, 0, 2 });
		if (use_vcpu) {
			phase("popread: the vCPU reads them; no second prepare");
			check(guest(0x100, 48 * MB, 40, 0) == 40 * word, "contents");
			done((struct want){ 40, 40, 0, 0, 0, 0, 0, 0, 0 });
		}
	}

	phase("noop: 5 ioctls that change nothing");
	for (i = 0; i < 5; i++)
		set_private(0, GMEM, 1);
	done((struct want){ 0, 0, 0, 0, 0, 0, 0, 5 });

	phase("teardown: all that is resident is freed");
	for (f = i = 0; i < (long)(GMEM / PG); i++)
		f += resident[i];
	munmap(run, ioctl(sys, KVM_GET_VCPU_MMAP_SIZE, 0));
	close(vcpu);
	close(gmem);
	close(vm);
	usleep(200000);
	done((struct want){ 0, 0, 0, 0, 0, 0, f, 0, 0, 0, 1 });

	for (i = 0; i < NWANT; i++)
		printf("COUNT %s %ld\n", wname[i], total[i]);
	/* Each get_pfn but those of the prefault; shared pages written; the page of the code. */
	printf("COUNT faults %ld\n", use_vcpu ? total[0] - 128 + 16 * m + 1 : 0);
	/* Pages filled by populating, and calls of it that were refused. */
	printf("COUNT populated_pages %ld\nCOUNT populate_refused %ld\n", populated, refused);
	printf("RESULT %s (%d failed)\n", failures ? "FAIL" : "PASS", failures);
	return !!failures;
}
