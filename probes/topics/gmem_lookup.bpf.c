/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The look-up of a guest_memfd page and the work for its first use: gmem.get, gmem.map, gmem.zero,
 * gmem.prepare, gmem.assign, gmem.split.  This file is compiled after gmem.bpf.c.
 */
/* ---- gmem.get ---- */
static __always_inline int mt_gmem_get_enter(void *ctx, enum mt_way way)
{
	struct mt_frame_t *f = mt_private(ctx, way, MT_EV_GMEM_GET, mt_top_vcpu(), mt_arg(ctx, way, 2));

	if (!f)
		return 0;
	f->gmem.vm = mt_vm(mt_arg(ctx, way, 0));
	f->gmem.get.pfn_at = mt_arg(ctx, way, 3);
	f->gmem.get.order_at = mt_arg(ctx, way, MT_GMEM_GET_ORDER_ARG);
	f->gmem.get.zero_from_ns = 0;
	mt_bind(mt_arg(ctx, way, 1), f->gmem.vm);
	return mt_stamp(f);
}

static __always_inline int mt_gmem_folio_order(u64 folio)
{
	u64 flags = 0;

	MT_READ(flags, folio + MT_PAGE_FLAGS);
	if (!(flags >> MT_PG_HEAD & 1))
		return 0;
	MT_READ(flags, folio + MT_FOLIO_FLAGS_1);
	return flags & 0xff;
}

/*
 * ---- gmem.zero ----
 *
 * A page is zeroed before its first use, when its folio is not up to date yet.  Kernels zero it
 * either after the return of __kvm_gmem_get_pfn() (up to the architecture's hook) or inside it,
 * after the return of kvm_gmem_get_folio(); the folio's flag at both returns tells which.  The
 * frame holds when zeroing can have begun (zero_from_ns; 0: nothing to zero).
 */
static __always_inline void mt_zeroed_until_now(void *ctx, struct mt_conf_t *conf, struct mt_frame_t *around,
						u64 gfn, u64 pfn, u64 order)
{
	struct mt_occurrence o = {};

	o.ts = bpf_ktime_get_boot_ns();
	o.task = bpf_get_current_pid_tgid();
	o.dur = o.ts - around->gmem.get.zero_from_ns;
	o.self = o.dur;
	o.event = MT_EV_GMEM_ZERO;
	o.site = MT_SITE_GMEM_ZERO_EITHER;
	o.parent = around->event;
	o.order = order;
	o.pages = 1U << (order & 31);
	o.nid = -1;
	o.nid_requested = -1;
	mt_guest(&o, around);
	o.gfn = gfn;
	mt_guest_pfn(conf, &o, pfn);
	around->child_ns += o.dur;
	around->gmem.get.zero_from_ns = 0;
	mt_emit(ctx, conf, &o);
}

/*
 * Returns the frame that a look-up is for, or 0.  A root.* frame of the same function may lie
 * inside it.
 */
static __always_inline struct mt_frame_t *mt_lookup_frame(void)
{
	struct mt_frames_t *frames = mt_frames();

	if (!frames)
		return 0;
#pragma unroll
	for (int i = 1; i <= 2; i++) {
		u64 at = frames->depth - i;
		struct mt_frame_t *f;

		if (at >= MT_DEPTH)
			return 0;
		f = mt_at(frames, at);
		if (f->event == MT_EV_GMEM_GET || f->event == MT_EV_GMEM_POPULATE ||
		    f->event == MT_EV_GMEM_MAP)
			return f;
		if (!MT_IS_ROOT(f->event))
			return 0;
	}
	return 0;
}

/* Returns whether a function's result is a folio, not an error, that is not up to date. */
static __always_inline int mt_not_uptodate(u64 folio)
{
	u64 flags = 0;

	if (!folio || folio >= (u64)-MT_MAX_ERRNO)
		return 0;
	MT_READ(flags, folio + MT_PAGE_FLAGS);
	return !(flags >> MT_PG_UPTODATE & 1);
}

/* When kvm_gmem_get_folio() returns, nothing can have zeroed the page yet. */
static __always_inline int mt_gmem_folio_exit(void *ctx, enum mt_way way)
{
	struct mt_frame_t *f = mt_lookup_frame();

	if (!f)
		return 0;
	f->gmem.flags &= ~MT_FRAME_FIRST;
	f->gmem.get.zero_from_ns = 0;
	if (!mt_not_uptodate(mt_result(ctx, way, MT_GMEM_FOLIO_ARGS)))
		return 0;
	f->gmem.flags |= MT_FRAME_FIRST;
	f->gmem.get.zero_from_ns = bpf_ktime_get_boot_ns();
	return 0;
}

/* Emits gmem.zero for a page that had been zeroed when the look-up returned its folio. */
static __always_inline void mt_cleared_inside(void *ctx, struct mt_frame_t *f, u64 folio)
{
#ifdef MT_WANT_GMEM_ZERO
	struct mt_conf_t *conf = mt_gate();
	u64 pfn;

	if (!conf)
		return;
	pfn = mt_page_pfn(conf, folio);
	/* A gmem.populate frame holds only the first gfn of its range. */
	mt_zeroed_until_now(ctx, conf, f, f->event == MT_EV_GMEM_GET ? f->gmem.gfn : MT_NO_GFN,
			    pfn == MT_NO_PFN ? 0 : pfn, mt_gmem_folio_order(folio));
#endif
}

/* __kvm_gmem_get_pfn() */
static __always_inline int mt_gmem_lookup_exit(void *ctx, enum mt_way way)
{
	struct mt_frame_t *f = mt_lookup_frame();
	u64 folio = mt_result(ctx, way, MT_GMEM_LOOKUP_ARGS);

	if (!f)
		return 0;
#ifdef MT_GMEM_SEES_FOLIO
	if (!(f->gmem.flags & MT_FRAME_FIRST))
		return 0;
	if (folio && folio < (u64)-MT_MAX_ERRNO && !mt_not_uptodate(folio)) {
		mt_cleared_inside(ctx, f, folio);
		f->gmem.get.zero_from_ns = 0;
		return 0;
	}
#endif
	f->gmem.get.zero_from_ns = 0;
	f->gmem.flags &= ~MT_FRAME_FIRST;
	if (!mt_not_uptodate(folio))
		return 0;
	f->gmem.flags |= MT_FRAME_FIRST;
	/* Pages of gmem.populate get their contents from user space. */
	if (f->event == MT_EV_GMEM_GET)
		f->gmem.get.zero_from_ns = bpf_ktime_get_boot_ns();
	return 0;
}

#ifdef MT_FN_GMEM_LOOKUP
MT_EXIT(GMEM_LOOKUP, gmem_lookup)
#endif
MT_KRETPROBE(gmem_lookup)

#ifdef MT_FN_GMEM_FOLIO
MT_EXIT(GMEM_FOLIO, gmem_folio)
#endif
MT_KRETPROBE(gmem_folio)

/* ---- end of gmem.get ---- */
/* Emits gmem.zero where no hook was called: zeroing ended before the look-up did. */
static __always_inline void mt_cleared_without_hook(void *ctx, int result)
{
#ifdef MT_WANT_GMEM_ZERO
	struct mt_frame_t *f = mt_lookup_frame();
	struct mt_conf_t *conf = mt_gate();
	s32 order = 0;

	if (!conf || !f || f->event != MT_EV_GMEM_GET || !f->gmem.get.zero_from_ns || result < 0)
		return;
	if (f->gmem.get.order_at)
		MT_READ(order, f->gmem.get.order_at);
	mt_zeroed_until_now(ctx, conf, f, f->gmem.gfn, mt_pointer(f->gmem.get.pfn_at), order);
#endif
}

static __always_inline int mt_gmem_get_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	int result = mt_result(ctx, way, MT_GMEM_GET_ARGS);
	s32 order = 0;
	struct mt_conf_t *conf;

	mt_cleared_without_hook(ctx, result);
	conf = mt_close(ctx, way, MT_EV_GMEM_GET, MT_SITE_BY(GMEM_GET, way), result < 0,
			&o, &f, &parent);
	if (!conf)
		return 0;
	if (result >= 0) {
		if (f.gmem.get.order_at)
			MT_READ(order, f.gmem.get.order_at);
		o.order = order;
		o.pages = 1U << (order & 31);
		mt_guest_pfn(conf, &o, mt_pointer(f.gmem.get.pfn_at));
		if (parent && parent->event == MT_EV_GMEM_FAULT) {
			parent->gmem.flags |= MT_FLAG_PRIVATE;
			parent->order = order;
			parent->gmem.pfn = o.pfn;
		}
	}
	return mt_done(ctx, conf, &o);
}

#ifdef MT_FN_GMEM_GET
MT_PAIR(GMEM_GET, gmem_get)
#endif
MT_KPROBE_PAIR(gmem_get)

/* ---- gmem.map: kvm_gmem_fault_user_mapping(vmf) ---- */
#ifdef MT_KVM_VMF_PAGE
static __always_inline int mt_gmem_map_enter(void *ctx, enum mt_way way)
{
	u64 vmf = mt_arg(ctx, way, 0), pgoff = 0;
	u64 file = mt_pointer(mt_pointer(vmf + MT_KVM_VMF_VMA) + MT_KVM_VMA_FILE);
	struct mt_frame_t *f = mt_private(ctx, way, MT_EV_GMEM_MAP, -1, MT_NO_GFN);

	if (!f)
		return 0;
	MT_READ(pgoff, vmf + MT_KVM_VMF_PGOFF);
	f->gmem.flags = 0;
	f->gmem.vm = mt_vm(mt_pointer(mt_pointer(file + MT_KVM_FILE_PRIVATE) + MT_KVM_GMEM_KVM));
	f->gmem.gfn = mt_file_gfn(file, f->gmem.vm, pgoff);
	f->gmem.get.pfn_at = vmf;
	f->gmem.get.zero_from_ns = 0;
	return mt_stamp(f);
}

static __always_inline int mt_gmem_map_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	int failed = (int)mt_result(ctx, way, MT_GMEM_MAP_ARGS) & MT_VM_FAULT_ERROR;
	struct mt_frame_t f, *parent, *open = mt_top();
	struct mt_conf_t *conf = mt_gate();
	u64 page = 0, pfn = 0;

	if (open && open->event == MT_EV_GMEM_MAP) {
		page = mt_pointer(open->gmem.get.pfn_at + MT_KVM_VMF_PAGE);
		pfn = conf && page ? mt_page_pfn(conf, page) : 0;
		if (pfn == MT_NO_PFN)
			pfn = 0;
#ifdef MT_WANT_GMEM_ZERO
		if (conf && !failed && open->gmem.get.zero_from_ns)
			mt_zeroed_until_now(ctx, conf, open, open->gmem.gfn, pfn, 0);
#endif
	}
	conf = mt_close(ctx, way, MT_EV_GMEM_MAP, MT_SITE_BY(GMEM_MAP, way), failed, &o, &f, &parent);
	if (!conf)
		return 0;
	if (!failed) {
		o.order = 0;
		o.pages = 1;
		o.page = page;
		o.nid = page ? mt_page_nid(page) : -1;
	}
	return mt_done(ctx, conf, &o);
}

#ifdef MT_FN_GMEM_MAP
MT_PAIR(GMEM_MAP, gmem_map)
#endif
MT_KPROBE_PAIR(gmem_map)
#endif

/* ---- gmem.prepare ---- */
#define MT_LOG2(pages) ((pages) >> 18 ? 18 : (pages) >> 9 ? 9 : 0)
#ifdef MT_GMEM_PREPARE_HAS_PAGES
#define MT_GMEM_PREPARE_ORDER(fourth) MT_LOG2(fourth)
#else
#define MT_GMEM_PREPARE_ORDER(fourth) ((s32)(fourth))
#endif

static __always_inline int mt_gmem_prepare_enter(void *ctx, enum mt_way way)
{
	u64 pfn = mt_arg(ctx, way, MT_GMEM_PREPARE_PFN_ARG);
	int order = MT_GMEM_PREPARE_ORDER(mt_arg(ctx, way, 3));
	struct mt_frame_t *get = mt_lookup_frame(), *f;
	s16 vcpu = get ? get->gmem.vcpu : -1;
	u32 first = get ? get->gmem.flags & MT_FRAME_FIRST : 0;
	struct mt_conf_t *conf = mt_gate();

	if (!conf)
		return 0;
#ifdef MT_WANT_GMEM_ZERO
	if (get && get->event == MT_EV_GMEM_GET && get->gmem.get.zero_from_ns)
		mt_zeroed_until_now(ctx, conf, get, get->gmem.gfn, pfn, order);
#endif
#ifndef MT_WANT_GMEM_PREPARE
	return 0;
#endif
	f = mt_private(ctx, way, MT_EV_GMEM_PREPARE, vcpu, mt_arg(ctx, way, MT_GMEM_PREPARE_GFN_ARG));
	if (!f)
		return 0;
	f->gmem.vm = mt_vm(mt_arg(ctx, way, 0));
	f->gmem.pfn = pfn;
	f->order = order;
	f->gmem.flags |= first;
	return mt_stamp(f);
}

/* Ends an interval that worked on pages of the frame's order, from its pfn on. */
static __always_inline int mt_made(void *ctx, enum mt_way way, int event, u8 site, int failed)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_close(ctx, way, event, site, failed, &o, &f, &parent);

	if (!conf)
		return 0;
#ifdef MT_GMEM_HOOK_FOR_ALL
	/* The hook is called for each look-up; for a page in use it has nothing to do. */
	if (event == MT_EV_GMEM_PREPARE && !failed && !(f.gmem.flags & (MT_FRAME_FIRST | MT_FRAME_ASSIGNED))) {
		if (parent)
			parent->child_ns -= o.dur;
		return 0;
	}
#endif
	if (event == MT_EV_GMEM_ASSIGN && parent && parent->event == MT_EV_GMEM_PREPARE)
		parent->gmem.flags |= MT_FRAME_ASSIGNED;
	o.pages = failed ? 0 : 1U << (f.order & 31);
	mt_guest_pfn(conf, &o, f.gmem.pfn);
	return mt_done(ctx, conf, &o);
}

static __always_inline int mt_gmem_prepare_exit(void *ctx, enum mt_way way)
{
	return mt_made(ctx, way, MT_EV_GMEM_PREPARE, MT_SITE_BY(GMEM_PREPARE, way),
		       (int)mt_result(ctx, way, MT_GMEM_PREPARE_ARGS) < 0);
}

#ifdef MT_FN_GMEM_PREPARE
MT_PAIR(GMEM_PREPARE, gmem_prepare)
#endif
MT_KPROBE_PAIR(gmem_prepare)

/* ---- gmem.assign and gmem.split: the RMP or the secure EPT ---- */
static __always_inline int mt_make(void *ctx, enum mt_way way, int event, u64 pfn, u64 gfn, int order)
{
	struct mt_frame_t *top = mt_guest_top(), *f;
	u16 vm = top ? top->gmem.vm : 0;
	s16 vcpu = top ? top->gmem.vcpu : -1;

	f = mt_private(ctx, way, event, vcpu, gfn);
	if (!f)
		return 0;
	f->gmem.vm = vm;
	f->gmem.pfn = pfn;
	f->order = order;
	return mt_stamp(f);
}

/*
 * enum pg_level: 1 = 4 KiB, 2 = 2 MiB, 3 = 1 GiB.  The TDX module counts from 0 and names no
 * pfn.
 */
#ifdef MT_GMEM_ASSIGN_TDX
#define MT_ASSIGN_LEVEL_0 0
#define MT_ASSIGN_PFN(first) 0
#define MT_ASSIGN_FAILED(result) ((u64)(result) >> 63)
#else
#define MT_ASSIGN_LEVEL_0 1
#define MT_ASSIGN_PFN(first) (first)
#define MT_ASSIGN_FAILED(result) ((int)(result) != 0)
#endif

static __always_inline int mt_gmem_assign_enter(void *ctx, enum mt_way way)
{
	return mt_make(ctx, way, MT_EV_GMEM_ASSIGN, MT_ASSIGN_PFN(mt_arg(ctx, way, 0)),
		       mt_arg(ctx, way, 1) >> 12, 9 * ((int)mt_arg(ctx, way, 2) - MT_ASSIGN_LEVEL_0));
}

static __always_inline int mt_gmem_assign_exit(void *ctx, enum mt_way way)
{
	return mt_made(ctx, way, MT_EV_GMEM_ASSIGN, MT_SITE_BY(GMEM_ASSIGN, way),
		       MT_ASSIGN_FAILED(mt_result(ctx, way, MT_GMEM_ASSIGN_ARGS)));
}

static __always_inline int mt_gmem_split_enter(void *ctx, enum mt_way way)
{
	return mt_make(ctx, way, MT_EV_GMEM_SPLIT, mt_arg(ctx, way, 0), MT_NO_GFN, 9);
}

static __always_inline int mt_gmem_split_exit(void *ctx, enum mt_way way)
{
	return mt_made(ctx, way, MT_EV_GMEM_SPLIT, MT_SITE_BY(GMEM_SPLIT, way),
		       (int)mt_result(ctx, way, MT_GMEM_SPLIT_ARGS) != 0);
}

#ifdef MT_FN_GMEM_ASSIGN
MT_PAIR(GMEM_ASSIGN, gmem_assign)
#endif
MT_KPROBE_PAIR(gmem_assign)

#ifdef MT_FN_GMEM_SPLIT
MT_PAIR(GMEM_SPLIT, gmem_split)
#endif
MT_KPROBE_PAIR(gmem_split)

/* Tracepoint kvm:kvm_rmp_fault(vcpu, gpa, pfn, error_code, rmp_level, psmash_ret) */
int mt_gmem_split_rawtp(struct bpf_raw_tracepoint_args *ctx)
{
	struct mt_conf_t *conf = mt_gate();
	struct mt_occurrence o = {};

	/* At 4 KiB there is nothing to split. */
	if (!conf || (int)ctx->args[4] <= 1 || !mt_moment(conf, &o, MT_EV_GMEM_SPLIT, MT_SITE_GMEM_SPLIT_RAWTP))
		return 0;
	o.vm = mt_vm(mt_pointer(ctx->args[0] + MT_KVM_VCPU_KVM));
	o.vcpu = -1;
	o.gfn = ctx->args[1] >> 12;
	o.flags = MT_FLAG_PRIVATE | ((int)ctx->args[5] ? MT_FLAG_FAILED : 0);
	o.pages = (int)ctx->args[5] ? 0 : 512;
	o.order = 9;
	mt_guest_pfn(conf, &o, ctx->args[2] & ~511ULL);
	mt_emit(ctx, conf, &o);
	return 0;
}
