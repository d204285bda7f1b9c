/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm - boot a Linux kernel as a guest of KVM, with part of its memory private.
 *
 * For a lab guest that is itself a KVM host: its guest's kernel has nothing but
 * RAM, a serial port and the old PIC and PIT, so that nothing has to be emulated
 * by reading the guest's memory, which KVM could not do where it is private.
 *
 * usage: vmm VMLINUX INIT PRIVATE_MIB [KERNEL ARGUMENT...]
 *   VMLINUX      ELF, entered at startup_64 (Documentation/arch/x86/boot.rst)
 *   INIT         static program, the guest's only file, run as /init
 *   PRIVATE_MIB  at 96 MiB, in a guest_memfd; as much below is the kernel's, and
 *                64 MiB above, from which Linux serves itself at boot, are not
 * The guest's serial port is stdout.  Where the guest raises OUT1 of the serial
 * port, vmm prints its own clock at that moment on stderr: "DOORBELL N BOOTTIME_NS".
 * exit status: 0 the guest rebooted, 1 it went wrong, 2 not possible here, 3 the guest hangs
 */
#define _GNU_SOURCE
#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "guest_memfd.h"

#define MB		(1024UL * 1024)
#define LOW		(96 * MB)
#define ABOVE		(64 * MB)
#define AT_GDT		0x6000
#define AT_PARAMS	0x7000
#define AT_TABLES	0x9000
#define AT_CMDLINE	0x20000
#define AT_INITRD	(64 * MB)
#define BOOT_CS		0x10
#define BOOT_DS		0x18
#define INTERRUPTS	0x200	/* in rflags */
#define PERIOD_S	3
#define LOOKS		4	/* so many in a row with the same registers */

static int sys, vm, vcpu;
static char *memory;

static void die(const char *what)
{
	fprintf(stderr, "vmm: %s: %s\n", what, strerror(errno));
	exit(2);
}

static char *contents(const char *path, size_t *size)
{
	struct stat st;
	int fd = open(path, O_RDONLY);
	char *data;

	if (fd < 0 || fstat(fd, &st))
		die(path);
	data = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		die(path);
	close(fd);
	*size = st.st_size;
	return data;
}

/* ---- memory ---- */
static void slot(int number, uint64_t start, uint64_t size, int gmem)
{
	struct kvm_userspace_memory_region2 r = {
		.slot = number,
		.flags = gmem < 0 ? 0 : KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = start,
		.memory_size = size,
		.userspace_addr = (uintptr_t)memory + start,
		.guest_memfd = gmem < 0 ? 0 : gmem,
	};

	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &r))
		die("KVM_SET_USER_MEMORY_REGION2");
}

static void make_memory(uint64_t private)
{
	struct kvm_create_guest_memfd create = { .size = private };
	struct kvm_memory_attributes a = { .address = LOW, .size = private,
		.attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE };
	int gmem = ioctl(vm, KVM_CREATE_GUEST_MEMFD, &create);

	if (gmem < 0)
		die("KVM_CREATE_GUEST_MEMFD");
	memory = mmap(NULL, LOW + private + ABOVE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	slot(0, 0, LOW, -1);
	slot(1, LOW, private, gmem);
	slot(2, LOW + private, ABOVE, -1);
	if (ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, &a))
		die("KVM_SET_MEMORY_ATTRIBUTES");
}

/* ---- what is loaded ---- */
static uint64_t load_kernel(const char *path)
{
	size_t size;
	char *image = contents(path, &size);
	Elf64_Ehdr *elf = (void *)image;
	Elf64_Phdr *part = (void *)(image + elf->e_phoff);

	if (size < sizeof(*elf) || memcmp(elf->e_ident, ELFMAG, SELFMAG)) {
		fprintf(stderr, "vmm: %s is not an ELF file\n", path);
		exit(2);
	}
	for (int i = 0; i < elf->e_phnum; i++, part++) {
		if (part->p_type != PT_LOAD)
			continue;
		if (part->p_paddr + part->p_memsz > AT_INITRD) {
			fprintf(stderr, "vmm: %s is too large\n", path);
			exit(2);
		}
		memcpy(memory + part->p_paddr, image + part->p_offset, part->p_filesz);
	}
	return elf->e_entry;
}

/* Adds a member to a cpio archive (Documentation/driver-api/early-userspace/buffer-format.rst). */
static size_t add(char *archive, size_t at, const char *name, unsigned mode, const char *data, size_t size)
{
	at += sprintf(archive + at, "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x", 1, mode,
		      0, 0, 1, 0, size, 0, 0, 0, 0, strlen(name) + 1, 0);
	strcpy(archive + at, name);
	at = (at + strlen(name) + 1 + 3) & ~3UL;
	memcpy(archive + at, data, size);
	return (at + size + 3) & ~3UL;
}

static size_t load_init(const char *path)
{
	static const char *const folders[] = { "dev", "proc", "sys" };
	size_t size, at = 0;
	char *data = contents(path, &size), *archive = memory + AT_INITRD;

	for (int i = 0; i < 3; i++)
		at = add(archive, at, folders[i], 0040755, "", 0);
	at = add(archive, at, "init", 0100755, data, size);
	return add(archive, at, "TRAILER!!!", 0, "", 0);
}

static void make_params(uint64_t private, size_t initrd, const char *cmdline)
{
	struct boot_params *p = (void *)(memory + AT_PARAMS);
	const struct boot_e820_entry ram[] = {
		{ 0, 0x9fc00, 1 }, { MB, LOW + private + ABOVE - MB, 1 },
	};

	p->hdr.type_of_loader = 0xff;
	p->hdr.boot_flag = 0xaa55;
	p->hdr.header = 0x53726448;
	p->hdr.loadflags = 1;
	p->hdr.kernel_alignment = 2 * MB;
	p->hdr.cmd_line_ptr = AT_CMDLINE;
	p->hdr.cmdline_size = strlen(cmdline);
	p->hdr.ramdisk_image = AT_INITRD;
	p->hdr.ramdisk_size = initrd;
	memcpy(p->e820_table, ram, sizeof(ram));
	p->e820_entries = 2;
	strcpy(memory + AT_CMDLINE, cmdline);
}

/* ---- the processor ---- */
static void make_vcpu(uint64_t entry)
{
	struct { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 entries[256]; } cpuid = { .head.nent = 256 };
	struct kvm_regs regs = { .rip = entry, .rsi = AT_PARAMS, .rflags = 2 };
	struct kvm_segment cs = { .limit = ~0u, .selector = BOOT_CS, .type = 11,
		.present = 1, .s = 1, .l = 1, .g = 1 }, ds = cs;
	uint64_t *gdt = (void *)(memory + AT_GDT), *tables = (void *)(memory + AT_TABLES);
	struct kvm_sregs s;

	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0 || ioctl(vcpu, KVM_GET_SREGS, &s))
		die("KVM_CREATE_VCPU");
	if (ioctl(sys, KVM_GET_SUPPORTED_CPUID, &cpuid) || ioctl(vcpu, KVM_SET_CPUID2, &cpuid))
		die("KVM_SET_CPUID2");
	gdt[BOOT_CS / 8] = 0x00af9a000000ffffULL;
	gdt[BOOT_DS / 8] = 0x00cf92000000ffffULL;
	/* The first GiB, one to one. */
	tables[0] = (AT_TABLES + 0x1000) | 3;
	tables[512] = (AT_TABLES + 0x2000) | 3;
	for (uint64_t i = 0; i < 512; i++)
		tables[1024 + i] = i << 21 | 0x83;
	ds.selector = BOOT_DS;
	ds.type = 3;
	ds.l = 0;
	ds.db = 1;
	s.cs = cs;
	s.ds = s.es = s.fs = s.gs = s.ss = ds;
	s.gdt.base = AT_GDT;
	s.gdt.limit = 0x1f;
	s.cr0 = 0x80000011;	/* PG, ET, PE */
	s.cr3 = AT_TABLES;
	s.cr4 = 0x20;		/* PAE */
	s.efer = 0x500;		/* LMA, LME */
	if (ioctl(vcpu, KVM_SET_SREGS, &s) || ioctl(vcpu, KVM_SET_REGS, &regs))
		die("KVM_SET_REGS");
}

/* ---- a 16550A that is always ready to send, on port 0x3f8 and IRQ 4 ---- */
static struct { uint8_t ier, lcr, mcr, fcr, scratch, divisor[2], pending; } uart;

static void interrupt(void)
{
	struct kvm_irq_level line = { .irq = 4, .level = 1 };

	uart.pending = 1;
	ioctl(vm, KVM_IRQ_LINE, &line);
	line.level = 0;
	ioctl(vm, KVM_IRQ_LINE, &line);
}

static void doorbell(void)
{
	static int rung;
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	fprintf(stderr, "DOORBELL %d %lld\n", rung++, now.tv_sec * 1000000000LL + now.tv_nsec);
}

static void uart_write(int reg, uint8_t value)
{
	uint8_t before;

	if (reg < 2 && uart.lcr & 0x80) {
		uart.divisor[reg] = value;
		return;
	}
	switch (reg) {
	case 0:
		putchar(value);
		if (uart.ier & 2)
			interrupt();
		break;
	case 1:
		before = uart.ier;
		uart.ier = value & 0xf;
		if (uart.ier & ~before & 2)
			interrupt();
		break;
	case 2: uart.fcr = value; break;
	case 3: uart.lcr = value; break;
	case 4:
		if (value & ~uart.mcr & 4 && !(value & 0x10))
			doorbell();
		uart.mcr = value;
		break;
	case 7: uart.scratch = value; break;
	}
}

static uint8_t uart_read(int reg)
{
	uint8_t fifo = uart.fcr & 1 ? 0xc0 : 0, found;

	if (reg < 2 && uart.lcr & 0x80)
		return uart.divisor[reg];
	switch (reg) {
	case 1: return uart.ier;
	case 2:
		found = uart.pending && uart.ier & 2 ? 2 : 1;
		if (found == 2)
			uart.pending = 0;
		return fifo | found;
	case 3: return uart.lcr;
	case 4: return uart.mcr;
	case 5: return 0x60;
	case 6:	/* looped back: DTR, RTS, OUT1, OUT2 as DSR, CTS, RI, DCD */
		if (uart.mcr & 0x10)
			return (uart.mcr & 1) << 5 | (uart.mcr & 2) << 3 | (uart.mcr & 12) << 4;
		return 0xb0;
	case 7: return uart.scratch;
	}
	return 0;
}

/* ---- running ---- */
static int port(struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned at = run->io.port, out = run->io.direction == KVM_EXIT_IO_OUT;

	for (unsigned i = 0; i < run->io.count; i++, data += run->io.size) {
		if (at >= 0x3f8 && at < 0x400 && out)
			uart_write(at - 0x3f8, *data);
		else if (at >= 0x3f8 && at < 0x400)
			*data = uart_read(at - 0x3f8);
		else if (out && at == 0x64 && *data == 0xfe)
			return 1;	/* the keyboard controller's reset line */
		else if (!out)	/* nothing there; controller and clock are never busy */
			memset(data, at == 0x64 || at == 0x71 ? 0 : 0xff, run->io.size);
	}
	return 0;
}

/*
 * Emulated SVM now and then delivers the timer's interrupt once more while the first one is
 * being handled, with interrupts off: the guest then waits for a lock that it holds itself.
 */
static void look(void)
{
	static struct kvm_regs before;
	static int same;
	struct kvm_regs now;

	if (ioctl(vcpu, KVM_GET_REGS, &now))
		die("KVM_GET_REGS");
	same = now.rflags & INTERRUPTS || memcmp(&now, &before, sizeof(now)) ? 0 : same + 1;
	before = now;
	if (same == LOOKS) {
		fprintf(stderr, "vmm: the guest hangs, rip %llx\n", now.rip);
		exit(3);
	}
}

static volatile sig_atomic_t due;

static void tick(int number)
{
	(void)number;
	due = 1;
}

static void run_guest(void)
{
	const struct itimerval period = { .it_interval.tv_sec = PERIOD_S, .it_value.tv_sec = PERIOD_S };
	struct sigaction action = { .sa_handler = tick };
	struct kvm_run *run = mmap(NULL, ioctl(sys, KVM_GET_VCPU_MMAP_SIZE, 0),
				   PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	struct kvm_regs regs;

	if (run == MAP_FAILED)
		die("vCPU");
	if (sigaction(SIGALRM, &action, NULL) || setitimer(ITIMER_REAL, &period, NULL))
		die("setitimer");
	for (;;) {
		if (due) {
			due = 0;
			look();
		}
		if (ioctl(vcpu, KVM_RUN, 0) && errno != EINTR && errno != EAGAIN)
			die("KVM_RUN");
		if (run->exit_reason == KVM_EXIT_IO) {
			if (port(run))
				return;
		} else if (run->exit_reason == KVM_EXIT_SHUTDOWN) {
			return;
		} else if (run->exit_reason == KVM_EXIT_MMIO) {
			if (!run->mmio.is_write)
				memset(run->mmio.data, 0xff, run->mmio.len);
		} else if (run->exit_reason != KVM_EXIT_INTR) {
			ioctl(vcpu, KVM_GET_REGS, &regs);
			fprintf(stderr, "vmm: exit %u, rip %llx\n", run->exit_reason, regs.rip);
			exit(1);
		}
	}
}

int main(int argc, char **argv)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	/* A tick that the guest does not take in time is lost: none waits for another's end. */
	struct kvm_reinject_control ticks = { .pit_reinject = 0 };
	uint64_t private, entry;
	char cmdline[2048];
	int at, khz;

	if (argc < 4)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	private = strtoul(argv[3], NULL, 0) * MB;
	sys = open("/dev/kvm", O_RDWR);
	if (sys < 0)
		die("/dev/kvm");
	vm = ioctl(sys, KVM_CREATE_VM, KVM_X86_SW_PROTECTED_VM);
	if (vm < 0)
		die("KVM_CREATE_VM");
	if (ioctl(vm, KVM_CREATE_IRQCHIP, 0) || ioctl(vm, KVM_CREATE_PIT2, &pit) ||
	    ioctl(vm, KVM_REINJECT_CONTROL, &ticks))
		die("KVM_CREATE_IRQCHIP");
	make_memory(private);
	entry = load_kernel(argv[1]);
	make_vcpu(entry);
	khz = ioctl(vcpu, KVM_GET_TSC_KHZ, 0);
	at = snprintf(cmdline, sizeof(cmdline),
		      "console=ttyS0 nolapic noapic acpi=off pci=off nokaslr panic=-1 reboot=k "
		      "tsc=reliable tsc_early_khz=%d no_timer_check nohz=off highres=off", khz);
	for (int i = 4; i < argc; i++)
		at += snprintf(cmdline + at, sizeof(cmdline) - at, " %s", argv[i]);
	make_params(private, load_init(argv[2]), cmdline);
	run_guest();
	return 0;
}
