/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * root.*: why memory was allocated and zeroed.  One pair of programs serves every
 * function; the function's address tells which event it stands for.
 */
BPF_HASH(mt_root_of, u64, u32, 64);

static __always_inline int mt_root_exit(void *ctx, int event, u64 key, u8 site)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_end(event, key, site, &o, &f, &parent);

	if (!conf)
		return 0;
	o.within = parent ? parent->within : 0;
	mt_emit(ctx, conf, &o);
	return 0;
}

int mt_root_kprobe(struct pt_regs *ctx)
{
	u64 function = bpf_get_func_ip(ctx);
	u32 *event = mt_root_of.lookup(&function);
	struct mt_frame_t *f;

	if (!event)
		return 0;
	f = mt_begin(*event, 127, PT_REGS_SP(ctx));
	return f ? mt_stamp(f) : 0;
}

/* Sites are numbered in the order of the events, fentry before kprobe for each. */
int mt_root_kretprobe(struct pt_regs *ctx)
{
	u64 function = bpf_get_func_ip(ctx);
	u32 *event = mt_root_of.lookup(&function);

	if (!event)
		return 0;
	return mt_root_exit(ctx, *event, PT_REGS_SP(ctx) - 8,
			    MT_SITE_ROOT_FAULT_KPROBE + 2 * (*event - MT_EV_ROOT_FIRST));
}

/* handle_mm_fault(vma, address, flags, regs), mm/memory.c: too frequent for a kretprobe. */
#ifdef MT_FN_ROOT_FAULT
MT_FENTRY(MT_FN_ROOT_FAULT, unsigned long vma)
{
	struct mt_frame_t *f = mt_begin(MT_EV_ROOT_FAULT, 127, mt_argument(ctx, 0));

	return f ? mt_stamp(f) : 0;
}

MT_FEXIT(MT_FN_ROOT_FAULT, unsigned long vma)
{
	return mt_root_exit(ctx, MT_EV_ROOT_FAULT, mt_argument(ctx, 0), MT_SITE_ROOT_FAULT_FENTRY);
}
#endif
