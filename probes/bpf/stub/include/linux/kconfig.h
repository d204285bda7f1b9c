/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Stands in for a kernel tree's own: all that BCC asks of it. */
#define CONFIG_BPF_SYSCALL 1
