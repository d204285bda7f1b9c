/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init - the only process of a nested guest: traces the acceptance of all its memory.
 *
 * Prints files to the serial port, each after a line "#file NAME":
 *   doorbells  CLOCK_BOOTTIME before and after each ring of vmm's doorbell
 *   trace      text of tracefs: accept_memory() and what the architecture did, on
 *              trace_clock boot
 *   accepts    /sys/kernel/debug/unaccepted_emul: the kernel's own log of them
 *   clocksource  what CLOCK_BOOTTIME is read from, all the time
 *   end        nothing; says that all before is whole
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define TR	"/sys/kernel/tracing/"
#define CLOCKSOURCE "/sys/devices/system/clocksource/clocksource0/current_clocksource"
#ifndef TIOCM_OUT1
#define TIOCM_OUT1	0x2000	/* asm/termios.h, which termios.h excludes */
#endif
#define RINGS	16
#define STEP	4
#define MOST	1024

static int serial;
static char bells[4096];

static void put(const char *text, size_t size)
{
	while (size) {
		ssize_t done = write(serial, text, size);

		if (done <= 0)
			return;
		text += done;
		size -= done;
	}
}

static void file(const char *name, const char *path)
{
	char buffer[4096];
	int fd = open(path, O_RDONLY);
	ssize_t size;

	dprintf(serial, "#file %s\n", name);
	while (fd >= 0 && (size = read(fd, buffer, sizeof(buffer))) > 0)
		put(buffer, size);
}

static void set(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_APPEND);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		dprintf(serial, "init: cannot set %s\n", path);
	close(fd);
}

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void ring(int times)
{
	int line = TIOCM_OUT1;

	while (times--) {
		long long before = now();

		ioctl(serial, TIOCMBIS, &line);
		sprintf(bells + strlen(bells), "%lld %lld\n", before, now());
		ioctl(serial, TIOCMBIC, &line);
	}
}

static long unaccepted_kb(void)
{
	static char text[8192];
	int fd = open("/proc/meminfo", O_RDONLY);
	ssize_t size = read(fd, text, sizeof(text) - 1);
	char *line;

	close(fd);
	text[size > 0 ? size : 0] = 0;
	line = strstr(text, "Unaccepted:");
	return line ? atol(line + 11) : 0;
}

/* The change from tsc-early to tsc costs the clock what passes between a read of each: 100 us here. */
static void settle(void)
{
	for (int tries = 0; tries < 600; tries++) {
		char name[8] = "";
		int fd = open(CLOCKSOURCE, O_RDONLY);
		ssize_t size = read(fd, name, sizeof(name) - 1);

		close(fd);
		if (size == 4 && !strcmp(name, "tsc\n"))
			return;
		usleep(50000);
	}
}

int main(void)
{
	struct termios raw;
	char number[16];

	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	mount("trace", "/sys/kernel/tracing", "tracefs", 0, NULL);
	mount("debug", "/sys/kernel/debug", "debugfs", 0, NULL);
	klogctl(8, NULL, 1);	/* the serial port is ours alone */
	serial = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
	tcgetattr(serial, &raw);
	cfmakeraw(&raw);
	tcsetattr(serial, TCSANOW, &raw);

	settle();
	set(TR "trace_clock", "boot");
	set(TR "kprobe_events", "p:am accept_memory start=%di:x64 size=%si:x64\n");
	set(TR "kprobe_events", "r:am_r accept_memory\n");
	set(TR "kprobe_events", "p:ae unaccepted_emul_accept start=%di:x64 end=%si:x64\n");
	set(TR "kprobe_events", "r:ae_r unaccepted_emul_accept\n");
	set(TR "events/kprobes/enable", "1");
	ring(RINGS);
	/* Huge pages are allocated without being touched: all that touches memory is its acceptance. */
	set("/sys/module/unaccepted_emul/parameters/clear", "1");
	for (int pages = STEP; pages < MOST && unaccepted_kb(); pages += STEP) {
		sprintf(number, "%d", pages);
		set("/proc/sys/vm/nr_hugepages", number);
	}
	ring(RINGS);
	set(TR "tracing_on", "0");

	dprintf(serial, "\n#file doorbells\n");
	put(bells, strlen(bells));
	file("trace", TR "trace");
	file("accepts", "/sys/kernel/debug/unaccepted_emul");
	file("clocksource", CLOCKSOURCE);
	file("end", "/dev/null");
	tcdrain(serial);
	reboot(RB_AUTOBOOT);
	return 0;
}
