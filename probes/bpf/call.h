/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * How a program reads the arguments and the return value of the function it is attached to.
 * The way it was attached is a constant to the compiler, so that one mt_x_enter(ctx, way)
 * and one mt_x_exit(ctx, way) serve both fentry and kprobe.
 */
#define MT_READ(to, at) bpf_probe_read_kernel(&(to), sizeof(to), (void *)(at))

/* Returns the address of a program's context as a number, on which arithmetic is allowed. */
static __always_inline u64 mt_here(void *ctx)
{
	void *pointer = ctx;
	u64 address = 0;

	MT_READ(address, &pointer);
	return address;
}

static __always_inline u64 mt_pointer(u64 at)
{
	u64 value = 0;

	MT_READ(value, at);
	return value;
}

enum mt_way { MT_BY_FENTRY, MT_BY_KPROBE, MT_BY_KRETPROBE };

static __always_inline u64 mt_arg(void *ctx, enum mt_way way, int n)
{
	struct pt_regs *regs = ctx;

	if (way == MT_BY_FENTRY)
		return mt_argument(ctx, n);
	switch (n) {
	case 0: return PT_REGS_PARM1(regs);
	case 1: return PT_REGS_PARM2(regs);
	case 2: return PT_REGS_PARM3(regs);
	case 3: return PT_REGS_PARM4(regs);
	case 4: return PT_REGS_PARM5(regs);
	default: return PT_REGS_PARM6(regs);
	}
}

/* Returns the return value of a function that has this many arguments. */
static __always_inline u64 mt_result(void *ctx, enum mt_way way, int arguments)
{
	return way == MT_BY_FENTRY ? mt_argument(ctx, arguments) : PT_REGS_RC((struct pt_regs *)ctx);
}

static __always_inline u64 mt_key(void *ctx, enum mt_way way)
{
	if (way == MT_BY_FENTRY)
		return mt_here(ctx);
	return PT_REGS_SP((struct pt_regs *)ctx) - (way == MT_BY_KRETPROBE ? 8 : 0);
}

/* An event with both kinds of site has its fentry site numbered first, its kprobe site next. */
#define MT_SITE_BY(NAME, way) (MT_SITE_##NAME##_FENTRY + ((way) != MT_BY_FENTRY))

/* The fentry and fexit programs of MT_FN_NAME, which call mt_x_enter() and mt_x_exit(). */
#define MT_ENTRY(NAME, x)                                               \
	MT_FENTRY(MT_FN_##NAME, unsigned long first)                    \
	{                                                               \
		return mt_##x##_enter(ctx, MT_BY_FENTRY);               \
	}
#define MT_EXIT(NAME, x)                                                \
	MT_FEXIT(MT_FN_##NAME, unsigned long first)                     \
	{                                                               \
		return mt_##x##_exit(ctx, MT_BY_FENTRY);                \
	}
#define MT_PAIR(NAME, x) MT_ENTRY(NAME, x) MT_EXIT(NAME, x)

#ifdef MT_KPROBES
#define MT_KPROBE(x)                                                    \
	int mt_##x##_kprobe(struct pt_regs *ctx)                        \
	{                                                               \
		return mt_##x##_enter(ctx, MT_BY_KPROBE);               \
	}
#define MT_KRETPROBE(x)                                                 \
	int mt_##x##_kretprobe(struct pt_regs *ctx)                     \
	{                                                               \
		return mt_##x##_exit(ctx, MT_BY_KRETPROBE);             \
	}
#else
#define MT_KPROBE(x)
#define MT_KRETPROBE(x)
#endif
#define MT_KPROBE_PAIR(x) MT_KPROBE(x) MT_KRETPROBE(x)
