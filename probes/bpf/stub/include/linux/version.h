/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Only BCC's own feature switches read it; programs never decide by version. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 15, 0)
