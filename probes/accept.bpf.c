/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * accept.call: accept_memory(start, end) until 6.11, accept_memory(start, size)
 * from 6.12 on (drivers/firmware/efi/unaccepted_memory.c): which of the two, BTF
 * says by the parameter's name.
 */
#ifdef MT_ACCEPT_HAS_SIZE
#define MT_ACCEPT_PAGES(start, second) ((second) >> 12)
#else
#define MT_ACCEPT_PAGES(start, second) (((second) - (start)) >> 12)
#endif

#ifdef MT_FN_ACCEPT
MT_FENTRY(MT_FN_ACCEPT, unsigned long start, unsigned long second)
{
	return mt_span_enter(MT_EV_ACCEPT_CALL, start, start >> 12, MT_ACCEPT_PAGES(start, second), -1, -1);
}

MT_FEXIT(MT_FN_ACCEPT, unsigned long start, unsigned long second)
{
	return mt_span_exit(ctx, MT_EV_ACCEPT_CALL, start, MT_SITE_ACCEPT_FENTRY, 0);
}
#endif

#ifdef MT_KPROBES
int mt_accept_kprobe(struct pt_regs *ctx)
{
	u64 start = PT_REGS_PARM1(ctx), second = PT_REGS_PARM2(ctx);

	return mt_span_enter(MT_EV_ACCEPT_CALL, PT_REGS_SP(ctx), start >> 12,
			     MT_ACCEPT_PAGES(start, second), -1, -1);
}

int mt_accept_kretprobe(struct pt_regs *ctx)
{
	return mt_span_exit(ctx, MT_EV_ACCEPT_CALL, PT_REGS_SP(ctx) - 8, MT_SITE_ACCEPT_KPROBE, 0);
}
#endif
