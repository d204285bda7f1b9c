/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * hot.add     arch_add_memory(nid, start, size, params), arch/x86/mm/init_64.c: its nid
 *             is a node; that of add_memory*() may be a memory group.
 * hot.memmap  vmemmap_alloc_block(size, node), mm/sparse-vmemmap.c: node is a wish, the
 *             address returned says where the struct pages really are.
 * hot.online  online_pages(pfn, nr_pages, zone, group), mm/memory_hotplug.c.
 */
#ifdef MT_FN_HOT_ADD
MT_FENTRY(MT_FN_HOT_ADD, unsigned long nid, unsigned long start, unsigned long size)
{
	return mt_span_enter(MT_EV_HOT_ADD, start, start >> 12, size >> 12, (int)nid, -1);
}

MT_FEXIT(MT_FN_HOT_ADD, unsigned long nid, unsigned long start, unsigned long size)
{
	return mt_span_exit(ctx, MT_EV_HOT_ADD, start, MT_SITE_HOT_ADD_FENTRY, 0);
}
#endif

#ifdef MT_FN_HOT_MEMMAP
MT_FENTRY(MT_FN_HOT_MEMMAP, unsigned long size, unsigned long node)
{
	return mt_span_enter(MT_EV_HOT_MEMMAP, size, 0, size >> 12, -1, (int)node);
}

MT_FEXIT(MT_FN_HOT_MEMMAP, unsigned long size, unsigned long node, unsigned long address)
{
	return mt_span_exit(ctx, MT_EV_HOT_MEMMAP, size, MT_SITE_HOT_MEMMAP_FENTRY,
			    mt_virtual_pfn(mt_argument(ctx, 2)));
}
#endif

#ifdef MT_FN_HOT_ONLINE
MT_FENTRY(MT_FN_HOT_ONLINE, unsigned long pfn, unsigned long pages)
{
	return mt_span_enter(MT_EV_HOT_ONLINE, pfn, pfn, pages, -1, -1);
}

MT_FEXIT(MT_FN_HOT_ONLINE, unsigned long pfn, unsigned long pages)
{
	return mt_span_exit(ctx, MT_EV_HOT_ONLINE, pfn, MT_SITE_HOT_ONLINE_FENTRY, 0);
}
#endif

#ifdef MT_KPROBES
int mt_hot_add_kprobe(struct pt_regs *ctx)
{
	return mt_span_enter(MT_EV_HOT_ADD, PT_REGS_SP(ctx), PT_REGS_PARM2(ctx) >> 12,
			     PT_REGS_PARM3(ctx) >> 12, (int)PT_REGS_PARM1(ctx), -1);
}

int mt_hot_add_kretprobe(struct pt_regs *ctx)
{
	return mt_span_exit(ctx, MT_EV_HOT_ADD, PT_REGS_SP(ctx) - 8, MT_SITE_HOT_ADD_KPROBE, 0);
}

int mt_hot_memmap_kprobe(struct pt_regs *ctx)
{
	return mt_span_enter(MT_EV_HOT_MEMMAP, PT_REGS_SP(ctx), 0, PT_REGS_PARM1(ctx) >> 12, -1,
			     (int)PT_REGS_PARM2(ctx));
}

int mt_hot_memmap_kretprobe(struct pt_regs *ctx)
{
	return mt_span_exit(ctx, MT_EV_HOT_MEMMAP, PT_REGS_SP(ctx) - 8, MT_SITE_HOT_MEMMAP_KPROBE,
			    mt_virtual_pfn(PT_REGS_RC(ctx)));
}

int mt_hot_online_kprobe(struct pt_regs *ctx)
{
	return mt_span_enter(MT_EV_HOT_ONLINE, PT_REGS_SP(ctx), PT_REGS_PARM1(ctx),
			     PT_REGS_PARM2(ctx), -1, -1);
}

int mt_hot_online_kretprobe(struct pt_regs *ctx)
{
	return mt_span_exit(ctx, MT_EV_HOT_ONLINE, PT_REGS_SP(ctx) - 8, MT_SITE_HOT_ONLINE_KPROBE, 0);
}
#endif
