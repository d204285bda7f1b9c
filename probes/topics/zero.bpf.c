/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * zero.alloc: pages zeroed by the allocator, summed over one allocation.
 * zero.user: one folio zeroed by the caller (folio_zero_user(), before 6.11
 * clear_huge_page(), mm/memory.c).
 * zero.page: one page zeroed by a caller that zeroes page by page (shmem).
 * zero.free: pages zeroed as they are freed (init_on_free).
 *
 * post_alloc_hook() and clear_page_*() refuse probes, so zero.alloc comes from a
 * traceable leaf where one exists, else from the instructions that call them.
 */
static __always_inline int mt_order_of(u64 pages)
{
	int order = 0;

#pragma unroll
	for (int i = 1; i <= 20; i++)
		if (pages >> i)
			order = i;
	return order;
}

/* address: of the memory, or of its struct page (struct_page); 0 if unknown. */
static __always_inline int mt_zero_enter(u64 key, u64 pages, int order, u64 address, u8 site)
{
	struct mt_frame_t *f = mt_begin(MT_EV_ZERO_ALLOC, 127, key);

	if (!f)
		return 0;
	f->zero.pages = pages;
	f->zero.site = site;
	f->zero.address = address;
	f->order = order;
	return mt_stamp(f);
}

static __always_inline int mt_zero_exit(void *ctx, u64 key, int struct_page)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_end(MT_EV_ZERO_ALLOC, key, 0, &o, &f, &parent);

	if (!conf)
		return 0;
	if (parent && parent->event == MT_EV_ALLOC) {
		parent->alloc.zero_ns += o.dur;
		parent->alloc.zero_inside_ns += o.dur - o.self;
		parent->alloc.zero_end_ns = o.ts;
		parent->alloc.zero_pages += f.zero.pages;
		parent->alloc.zero_site = f.zero.site;
		return 0;
	}
#ifndef MT_MIN_ORDER
	o.kind = MT_KIND_GFP;
	o.site = f.zero.site;
	o.pages = f.zero.pages;
	o.flags = MT_FLAG_ZEROED;
	if (struct_page) {
		o.page = f.zero.address;
		o.nid = mt_page_nid(o.page);
	} else if (f.zero.address) {
		o.pfn = mt_virtual_pfn(f.zero.address);
		o.nid = o.pfn ? mt_pfn_nid(conf, o.pfn) : -1;
	}
	mt_emit(ctx, conf, &o);
#endif
	return 0;
}

#ifdef MT_CALLSITES
/* Before and after `call clear_page_*`: one page of an allocation whose order is not seen here. */
int mt_clear_call(struct pt_regs *ctx)
{
	return mt_zero_enter(PT_REGS_SP(ctx), 1, -1, PT_REGS_PARM1(ctx), MT_SITE_ZERO_ALLOC_CALLSITE);
}

int mt_clear_return(struct pt_regs *ctx)
{
	return mt_zero_exit(ctx, PT_REGS_SP(ctx), 0);
}

/* The same in the bulk allocator, whose pages are all of order 0. */
int mt_bulk_call(struct pt_regs *ctx)
{
	return mt_zero_enter(PT_REGS_SP(ctx), 1, 0, PT_REGS_PARM1(ctx), MT_SITE_ZERO_ALLOC_CALLSITE);
}

/* Before and after `call post_alloc_hook`: page, order, gfp in registers. */
int mt_hook_call(struct pt_regs *ctx)
{
	if (!mt_zeroed(PT_REGS_PARM3(ctx)))
		return 0;
	return mt_zero_enter(PT_REGS_SP(ctx), 1ULL << (PT_REGS_PARM2(ctx) & 31),
			     PT_REGS_PARM2(ctx) & 31, PT_REGS_PARM1(ctx), MT_SITE_ZERO_ALLOC_CALLSITE);
}

int mt_hook_return(struct pt_regs *ctx)
{
	return mt_zero_exit(ctx, PT_REGS_SP(ctx), 1);
}

/* Before and after a call of the leaf: page, number of pages. */
int mt_pages_call(struct pt_regs *ctx)
{
	u32 pages = PT_REGS_PARM2(ctx);

	return mt_zero_enter(PT_REGS_SP(ctx), pages, mt_order_of(pages), PT_REGS_PARM1(ctx),
			     MT_SITE_ZERO_ALLOC_CALLSITE);
}

int mt_pages_return(struct pt_regs *ctx)
{
	return mt_zero_exit(ctx, PT_REGS_SP(ctx), 1);
}
#endif

/*
 * Before and after `call clear_page_*` elsewhere: one page, by its address.  The same for
 * an inlined clear_pages() (arch/x86/include/asm/page_64.h), whose length in bytes is in %rcx.
 */
#ifdef MT_PAGE_CALLS
static __always_inline int mt_page_enter(int event, struct pt_regs *ctx, u64 bytes)
{
	u64 address = PT_REGS_PARM1(ctx);
	int order = mt_order_of(bytes >> 12);
	struct mt_frame_t *f;

	/* Other code may look the same, but does not zero whole pages. */
	if (!bytes || (bytes | address) & 4095)
		return 0;
	f = mt_begin(event, order, PT_REGS_SP(ctx));
	if (!f)
		return 0;
	f->zeroed.pfn = mt_virtual_pfn(address);
	f->zeroed.pages = bytes >> 12;
	f->order = order;
	return mt_stamp(f);
}

static __always_inline int mt_page_exit(struct pt_regs *ctx, int event, u8 site)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_end(event, PT_REGS_SP(ctx), site, &o, &f, &parent);

	if (!conf)
		return 0;
	o.pfn = f.zeroed.pfn;
	o.pages = f.zeroed.pages;
	o.flags = MT_FLAG_ZEROED;
	if (o.pfn)
		o.nid = mt_pfn_nid(conf, o.pfn);
	mt_emit(ctx, conf, &o);
	return 0;
}

int mt_page_call(struct pt_regs *ctx)
{
	return mt_page_enter(MT_EV_ZERO_PAGE, ctx, 4096);
}

int mt_page_range(struct pt_regs *ctx)
{
	return mt_page_enter(MT_EV_ZERO_PAGE, ctx, PT_REGS_PARM4(ctx));
}

int mt_page_return(struct pt_regs *ctx)
{
	return mt_page_exit(ctx, MT_EV_ZERO_PAGE, MT_SITE_ZERO_PAGE_CALLSITE);
}

int mt_free_call(struct pt_regs *ctx)
{
	return mt_page_enter(MT_EV_ZERO_FREE, ctx, 4096);
}

int mt_free_range(struct pt_regs *ctx)
{
	return mt_page_enter(MT_EV_ZERO_FREE, ctx, PT_REGS_PARM4(ctx));
}

int mt_free_return(struct pt_regs *ctx)
{
	return mt_page_exit(ctx, MT_EV_ZERO_FREE, MT_SITE_ZERO_FREE_CALLSITE);
}
#endif

/* Begins an event of its own for pages that are zeroed together; page is the first one's. */
static __always_inline int mt_pages_enter(int event, u64 key, u64 page, u32 pages, int order)
{
	struct mt_frame_t *f = mt_begin(event, order, key);

	if (!f)
		return 0;
	f->zeroed.page = page;
	f->zeroed.pages = pages;
	f->order = order;
	return mt_stamp(f);
}

static __always_inline int mt_pages_exit(void *ctx, int event, u64 key, u8 site)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_end(event, key, site, &o, &f, &parent);

	if (!conf)
		return 0;
	o.page = f.zeroed.page;
	o.pages = f.zeroed.pages;
	o.flags = MT_FLAG_ZEROED;
	o.nid = mt_page_nid(f.zeroed.page);
	mt_emit(ctx, conf, &o);
	return 0;
}

/* A leaf (page, number of pages) zeroes what is allocated or, with init_on_free, what is freed. */
#ifdef MT_LEAF_FREES
#define MT_LEAF_SITE(kind) MT_SITE_ZERO_FREE_##kind

static __always_inline int mt_leaf_enter(u64 key, u64 page, u32 pages, u8 site)
{
	return mt_pages_enter(MT_EV_ZERO_FREE, key, page, pages, mt_order_of(pages));
}

static __always_inline int mt_leaf_exit(void *ctx, u64 key, u8 site)
{
	return mt_pages_exit(ctx, MT_EV_ZERO_FREE, key, site);
}
#else
#define MT_LEAF_SITE(kind) MT_SITE_ZERO_ALLOC_##kind

static __always_inline int mt_leaf_enter(u64 key, u64 page, u32 pages, u8 site)
{
	return mt_zero_enter(key, pages, mt_order_of(pages), page, site);
}

static __always_inline int mt_leaf_exit(void *ctx, u64 key, u8 site)
{
	return mt_zero_exit(ctx, key, 1);
}
#endif

#ifdef MT_KPROBES
int mt_zero_leaf_kprobe(struct pt_regs *ctx)
{
	return mt_leaf_enter(PT_REGS_SP(ctx), PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx),
			     MT_LEAF_SITE(KPROBE));
}

int mt_zero_leaf_kretprobe(struct pt_regs *ctx)
{
	return mt_leaf_exit(ctx, PT_REGS_SP(ctx) - 8, MT_LEAF_SITE(KPROBE));
}
#endif

#ifdef MT_FN_ZERO_LEAF
MT_FENTRY(MT_FN_ZERO_LEAF, unsigned long page, unsigned long pages)
{
	u64 first = mt_argument(ctx, 0);

	return mt_leaf_enter(first, first, pages, MT_LEAF_SITE(FENTRY));
}

MT_FEXIT(MT_FN_ZERO_LEAF, unsigned long page, unsigned long pages)
{
	return mt_leaf_exit(ctx, mt_argument(ctx, 0), MT_LEAF_SITE(FENTRY));
}
#endif

/* folio_order(), include/linux/mm.h: 0 without PG_head, else from the second page; -1: unknown. */
static __always_inline int mt_folio_order(u64 folio)
{
#if defined(MT_FOLIO_FLAGS_1)
	u64 flags = 0;

	if (bpf_probe_read_kernel(&flags, sizeof(flags), (void *)(folio + MT_PAGE_FLAGS)))
		return -1;
	if (!(flags >> MT_PG_HEAD & 1))
		return 0;
	if (bpf_probe_read_kernel(&flags, sizeof(flags), (void *)(folio + MT_FOLIO_FLAGS_1)))
		return -1;
	return flags & 0xff;
#else
	return -1;
#endif
}

static __always_inline int mt_user_enter(u64 page, int order, u64 key)
{
	return mt_pages_enter(MT_EV_ZERO_USER, key, page, order < 0 ? 0 : 1 << order, order);
}

static __always_inline int mt_user_exit(void *ctx, u64 key, u8 site)
{
	return mt_pages_exit(ctx, MT_EV_ZERO_USER, key, site);
}

/* folio_zero_user(folio, addr_hint) or clear_huge_page(page, addr_hint, pages). */
#ifdef MT_USER_HAS_PAGES
#define MT_USER_PARAMETERS unsigned long folio, unsigned long addr_hint, unsigned long pages
#define MT_USER_ORDER(folio, pages) mt_order_of((u32)(pages))
#else
#define MT_USER_PARAMETERS unsigned long folio, unsigned long addr_hint
#define MT_USER_ORDER(folio, pages) mt_folio_order(folio)
#endif

#ifdef MT_FN_ZERO_USER
MT_FENTRY(MT_FN_ZERO_USER, MT_USER_PARAMETERS)
{
	u64 first = mt_argument(ctx, 0);

	return mt_user_enter(first, MT_USER_ORDER(first, pages), first);
}

MT_FEXIT(MT_FN_ZERO_USER, MT_USER_PARAMETERS)
{
	return mt_user_exit(ctx, mt_argument(ctx, 0), MT_SITE_ZERO_USER_FENTRY);
}
#endif

#ifdef MT_KPROBES
int mt_zero_user_kprobe(struct pt_regs *ctx)
{
	return mt_user_enter(PT_REGS_PARM1(ctx),
			     MT_USER_ORDER(PT_REGS_PARM1(ctx), PT_REGS_PARM3(ctx)),
			     PT_REGS_SP(ctx));
}

int mt_zero_user_kretprobe(struct pt_regs *ctx)
{
	return mt_user_exit(ctx, PT_REGS_SP(ctx) - 8, MT_SITE_ZERO_USER_KPROBE);
}
#endif
