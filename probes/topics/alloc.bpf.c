/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * alloc: one page allocation.
 *
 * get_page_from_freelist(gfp_mask, order, alloc_flags, ac), mm/page_alloc.c, has
 * had these arguments from 5.15 to 7.3 and is the one function that contains
 * acceptance and zeroing on every kernel.  Where functions can't be hooked, the
 * tracepoint kmem:mm_page_alloc(page, order, gfp_flags, migratetype) shows the
 * end of each allocation, without its duration.
 */
static __always_inline s16 mt_requested_nid(u64 ac)
{
#if defined(MT_AC_ZONEREF) && defined(MT_NID_SHIFT)
	u64 zoneref = 0, zone = 0;
	int nid = -1;

	/* struct alloc_context, mm/internal.h: preferred_zoneref->zone->node */
	if (bpf_probe_read_kernel(&zoneref, sizeof(zoneref), (void *)(ac + MT_AC_ZONEREF)) || !zoneref)
		return -1;
	if (bpf_probe_read_kernel(&zone, sizeof(zone), (void *)(zoneref + MT_ZONEREF_ZONE)) || !zone)
		return -1;
	if (bpf_probe_read_kernel(&nid, sizeof(nid), (void *)(zone + MT_ZONE_NODE)))
		return -1;
	return nid;
#else
	return -1;
#endif
}

static __always_inline int mt_alloc_enter(u64 gfp, u64 order, u64 ac, u64 key)
{
	struct mt_frame_t *f;

#ifdef MT_VICTIMS_ONLY
	if (!mt_unaccepted())
		return 0;
#endif
	f = mt_begin(MT_EV_ALLOC, order, key);
	if (!f)
		return 0;
	f->alloc.gfp = gfp;
	f->alloc.zero_ns = 0;
	f->alloc.zero_inside_ns = 0;
	f->alloc.zero_pages = 0;
	f->order = order;
	f->nid_requested = mt_requested_nid(ac);
	return mt_stamp(f);
}

/* An allocation that failed.  It is counted, unless it has a row. */
static __always_inline int mt_alloc_failed(u64 task, int has_row)
{
	struct mt_counter_t *counter = mt_counter(MT_EV_ALLOC);

#ifdef MT_SAMPLE
	mt_sample_unsettled(task);
#endif
	if (counter && !has_row)
		counter->failed++;
	return 0;
}

static __always_inline int mt_alloc_exit(void *ctx, u64 page, u64 key, u8 site)
{
	struct mt_occurrence o = {}, zero;
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf;

#ifdef MT_VICTIMS_ONLY
	/* mt_unaccepted() won't do: the alloc that accepted the last block is still open. */
	if (!mt_any_open())
		return 0;
#endif
	conf = mt_end(MT_EV_ALLOC, key, site, &o, &f, &parent);
	if (!conf)
		return 0;
	o.kind = MT_KIND_GFP;
	o.gfp = f.alloc.gfp;
	if (!page) {
		mt_alloc_failed(o.task, f.accepts);
		if (!f.accepts)
			return 0;
		o.flags |= MT_FLAG_FAILED;
		mt_emit(ctx, conf, &o);
		return 0;
	}
	if (parent && parent->event == MT_EV_ALLOC_BULK)
		parent->many.pages += 1 << f.order;
#ifdef MT_VICTIMS_ONLY
	if (!f.accepts)
		return 0;
#endif
	o.page = page;
	o.pages = 1 << f.order;
	o.flags |= mt_zeroed(f.alloc.gfp);
	o.nid = mt_page_nid(page);
#ifdef MT_SAMPLE
	mt_sample_settle(&o);
#endif
	if (f.alloc.zero_pages) {
		zero = o;
		zero.flags &= ~MT_FLAG_VICTIM;
		zero.rare = 0;
		zero.ts = f.alloc.zero_end_ns;
		zero.dur = f.alloc.zero_ns;
		zero.self = f.alloc.zero_ns - f.alloc.zero_inside_ns;
		zero.pages = f.alloc.zero_pages;
		zero.event = MT_EV_ZERO_ALLOC;
		zero.site = f.alloc.zero_site;
		zero.parent = MT_EV_ALLOC;
		mt_emit(ctx, conf, &zero);
	}
	mt_emit(ctx, conf, &o);
	return 0;
}

#ifdef MT_FN_ALLOC
MT_FENTRY(MT_FN_ALLOC, unsigned long gfp, unsigned long order, unsigned long alloc_flags,
	  unsigned long ac)
{
	u64 key = mt_argument(ctx, 3);

	return mt_alloc_enter((u32)gfp, (u32)order, key, key);
}

MT_FEXIT(MT_FN_ALLOC, unsigned long gfp, unsigned long order, unsigned long alloc_flags,
	 unsigned long ac, unsigned long page)
{
	return mt_alloc_exit(ctx, mt_argument(ctx, 4), mt_argument(ctx, 3), MT_SITE_ALLOC_FENTRY);
}
#endif

#ifdef MT_KPROBES
int mt_alloc_kprobe(struct pt_regs *ctx)
{
	return mt_alloc_enter(PT_REGS_PARM1(ctx), (u32)PT_REGS_PARM2(ctx), PT_REGS_PARM4(ctx),
			      PT_REGS_SP(ctx));
}

int mt_alloc_kretprobe(struct pt_regs *ctx)
{
	/* The return address has been popped by now. */
	return mt_alloc_exit(ctx, PT_REGS_RC(ctx), PT_REGS_SP(ctx) - 8, MT_SITE_ALLOC_KPROBE);
}
#endif

/*
 * One allocation of which the end alone is seen, inside the interval ``around``, or 0.  Its page
 * is 0 if it failed.
 */
static __always_inline int mt_alloc_ended(void *ctx, u64 page, u32 order, u64 gfp, s16 nid_requested,
					  struct mt_frame_t *around, u8 site)
{
	struct mt_conf_t *conf = mt_gate();
	struct mt_occurrence o = {};

	if (!conf)
		return 0;
	o.task = bpf_get_current_pid_tgid();
	if (!mt_wanted(conf, o.task, order)) {
#if defined(MT_SAMPLE) && defined(MT_MIN_ORDER)
		if (site == MT_SITE_ALLOC_RAWTP)
			mt_sample_forget(o.task);
#endif
		return 0;
	}
	if (!page)
		return mt_alloc_failed(o.task, 0);
	o.page = page;
	o.dur = MT_UNKNOWN_NS;
	o.self = MT_UNKNOWN_NS;
	o.kind = MT_KIND_GFP;
	o.gfp = gfp;
	o.pages = 1 << (order & 31);
	o.flags = mt_zeroed(o.gfp);
	o.event = MT_EV_ALLOC;
	o.site = site;
	o.order = order;
	o.parent = MT_NO_PARENT;
	o.nid = mt_page_nid(o.page);
	o.nid_requested = nid_requested;
	if (around) {
		o.parent = around->event;
		o.root = around->root;
		o.within = around->within;
		if (around->event == MT_EV_ALLOC_BULK)
			around->many.pages += o.pages;
	}
#ifdef MT_SAMPLE
	/* A captured page is zeroed later. */
	if (site == MT_SITE_ALLOC_RAWTP)
		mt_sample_settle(&o);
#endif
	mt_emit(ctx, conf, &o);
	return 0;
}

int mt_alloc_rawtp(struct bpf_raw_tracepoint_args *ctx)
{
	struct mt_frame_t *around = 0;

#if defined(MT_BULK_ARGS) && (defined(MT_FN_ALLOC_BULK) || defined(MT_KPROBES))
	around = mt_top();
#endif
	return mt_alloc_ended(ctx, ctx->args[0], ctx->args[1], ctx->args[2], -1, around,
			      MT_SITE_ALLOC_RAWTP);
}

/*
 * A page that direct compaction captured: try_to_compact_pages(gfp_mask, order, alloc_flags, ac,
 * prio, capture), mm/compaction.c; MT_CAPTURE_PAGE is its offset in what capture points at (BTF).
 * None is ever accepted for it.
 */
#if defined(MT_CAPTURE_PAGE) && !defined(MT_VICTIMS_ONLY)
static __always_inline int mt_alloc_captured(void *ctx, u64 at, u32 order, u64 gfp, s16 nid_requested,
					     u8 site)
{
	u64 page = mt_pointer(at + MT_CAPTURE_PAGE);

	return page ? mt_alloc_ended(ctx, page, order, gfp, nid_requested, mt_top(), site) : 0;
}

#ifdef MT_FN_ALLOC_CAPTURE
MT_FEXIT(MT_FN_ALLOC_CAPTURE, unsigned long gfp, unsigned long order, unsigned long alloc_flags,
	 unsigned long ac, unsigned long prio, unsigned long capture)
{
	return mt_alloc_captured(ctx, mt_argument(ctx, 5), order, (u32)gfp,
				 mt_requested_nid(mt_argument(ctx, 3)), MT_SITE_ALLOC_CAPTURE_FENTRY);
}
#endif

#ifdef MT_KPROBES
int mt_alloc_capture_kprobe(struct pt_regs *ctx)
{
	struct mt_counter_t *counter = mt_counter(MT_EV_ALLOC);
	struct mt_conf_t *conf = mt_gate();
	struct mt_frames_t *frames;

	if (!conf || !counter)
		return 0;
	if (!mt_wanted(conf, bpf_get_current_pid_tgid(), (u32)PT_REGS_PARM2(ctx)))
		return 0;
	frames = mt_own_frames();
	if (!frames) {
		counter->no_room++;
		return 0;
	}
	/* Where the last return was missed, so perhaps was a page. */
	counter->begun++;
	frames->capture.at = PT_REGS_PARM6(ctx);
	frames->capture.gfp = PT_REGS_PARM1(ctx);
	frames->capture.order = PT_REGS_PARM2(ctx);
	frames->capture.nid_requested = mt_requested_nid(PT_REGS_PARM4(ctx));
	return 0;
}

int mt_alloc_capture_kretprobe(struct pt_regs *ctx)
{
	struct mt_counter_t *counter = mt_counter(MT_EV_ALLOC);
	struct mt_frames_t *frames = mt_frames();
	u64 at;

	if (!counter || !frames || !frames->capture.at)
		return 0;
	at = frames->capture.at;
	frames->capture.at = 0;
	counter->ended++;
	return mt_alloc_captured(ctx, at, frames->capture.order, frames->capture.gfp,
				 frames->capture.nid_requested, MT_SITE_ALLOC_CAPTURE_KPROBE);
}
#endif
#endif
