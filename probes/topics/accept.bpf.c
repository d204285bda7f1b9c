/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Acceptance events, from the outermost to the innermost.  Each lies inside the one before it,
 * where both exist:
 *
 *   accept.burst  the blocks that one look at a zone accepted: cond_accept_memory(),
 *                 mm/page_alloc.c
 *   accept.block  one block of the largest order, queued unaccepted: __accept_page()
 *   accept.call   accept_memory(), drivers/firmware/efi/unaccepted_memory.c: the wait for the
 *                 lock and for ranges that overlap, the bitmap, and
 *   accept.arch   the platform's accept, interrupts off: tdx_accept_memory() or
 *                 snp_accept_memory(), both with (start, end)
 *   accept.step   one attempt inside.  TDX: try_accept_one(start, len, level), which returns
 *                 the bytes it accepted, 0 if refused.  SEV-SNP: __set_pages_state(desc, vaddr,
 *                 vaddr_end, op), which returns the address it reached, or where that is inlined
 *                 set_pages_state(vaddr, npages, op), which does all and returns nothing
 *
 *   MT_ACCEPT_HAS_SIZE   accept_memory(start, size), from 6.12 on; else (start, end)
 *   MT_BLOCK_PAGES       pages of a block: 1 << MAX_PAGE_ORDER (BTF)
 *   MT_BLOCK_HAS_PAGE    the block's function has (zone, flags, page); else (zone)
 *   MT_BURST_ARGS        number of parameters of the burst's function, (zone, order, ...)
 *   MT_STEP_SNP          the steps are those of SEV-SNP, which have no fixed size
 *   MT_STEP_WHOLE        and they are calls of set_pages_state()
 */
#ifdef MT_ACCEPT_HAS_SIZE
#define MT_ACCEPT_PAGES(start, second) ((second) >> 12)
#else
#define MT_ACCEPT_PAGES(start, second) (((second) - (start)) >> 12)
#endif
#ifndef MT_BLOCK_PAGES
#define MT_BLOCK_PAGES 0
#endif
#define MT_SNP_PRIVATE 1 /* SNP_PAGE_STATE_PRIVATE, arch/x86/include/asm/sev-common.h */
#define MT_LEVELS 3      /* PG_LEVEL_4K, _2M, _1G: orders 0, 9, 18 */
#ifdef MT_STEP_SNP
#define MT_STEP_ORDER(level) -1
#ifdef MT_STEP_WHOLE
#define MT_STEP_START_ARG 0
#define MT_STEP_ARGS 3
#define MT_STEP_LEVEL(ctx, way) ((u32)mt_arg(ctx, way, 2) == MT_SNP_PRIVATE)
#else
#define MT_STEP_START_ARG 1
#define MT_STEP_ARGS 4
#define MT_STEP_LEVEL(ctx, way) ((u32)mt_arg(ctx, way, 3) == MT_SNP_PRIVATE)
#endif
#else
#define MT_STEP_ORDER(level) (((level) - 1) * 9)
#define MT_STEP_START_ARG 0
#define MT_STEP_ARGS 3
#define MT_STEP_LEVEL(ctx, way) ((u32)mt_arg(ctx, way, 2))
#endif
/*
 * snp_accept_memory() may end in a jump to set_pages_state(), whose kprobe then sees the stack
 * pointer of the other's.  The step is the inner one.
 */
#define MT_STEP_KEY(ctx, way) (mt_key(ctx, way) - 1)
#ifdef MT_BURST_ARGS
#define MT_BURST_KNOWN 1
#else
#define MT_BURST_KNOWN 0
#define MT_BURST_ARGS 0
#endif
#ifdef MT_BLOCK_HAS_PAGE
#define MT_BLOCK_PAGE(ctx, way) mt_arg(ctx, way, 2)
#else
#define MT_BLOCK_PAGE(ctx, way) 0
#endif
#if defined(MT_BLOCK_HAS_PAGE) || defined(MT_BLOCK_VOID)
#define MT_BLOCK_ACCEPTED(ctx, way) 1
#else
#define MT_BLOCK_ACCEPTED(ctx, way) ((u8)mt_result(ctx, way, 1))
#endif

/*
 * Sums of the steps inside an accept.arch that runs with interrupts off, so that no other task
 * gets in between on this CPU.  With interrupts on, as on PREEMPT_RT, each step is a row.  On a host that maps
 * 4 KiB at a time, 2 MiB take 513 steps.  The index is level - 1 for accepted steps, plus
 * MT_LEVELS for refused ones.
 */
struct mt_step_t {
	u64 count;
	u64 pages;
	u64 ns;
	u64 site;
};
BPF_PERCPU_ARRAY(mt_steps, struct mt_step_t, 2 * MT_LEVELS);

static __always_inline int mt_is_accept(u8 event)
{
	return event >= MT_EV_ACCEPT_BURST && event <= MT_EV_ACCEPT_STEP;
}

/* Returns the task's innermost open frame that is an accept.* (or is none: accepts 0), or 0. */
static __always_inline struct mt_frame_t *mt_innermost(int accepts)
{
	struct mt_frames_t *frames = mt_frames();
	struct mt_frame_t *found = 0;

	if (!frames)
		return 0;
#pragma unroll
	for (int i = 0; i < MT_DEPTH; i++)
		if (i < frames->depth && mt_is_accept(frames->frame[i].event) == accepts)
			found = &frames->frame[i];
	return found;
}

/*
 * Ends an accept.* interval: *o gets what its frame and an alloc around it know.  Returns 0 if
 * no such interval was open.
 */
static __always_inline struct mt_conf_t *mt_accept_end(int event, u64 key, u8 site,
						       struct mt_occurrence *o,
						       struct mt_frame_t *f,
						       struct mt_frame_t **parent)
{
	struct mt_conf_t *conf = mt_end(event, key, site, o, f, parent);
	struct mt_frame_t *alloc;

	if (!conf)
		return 0;
	o->pfn = event == MT_EV_ACCEPT_STEP ? 0 : f->accept.pfn;
	o->nid = f->nid;
	if (o->nid < 0 && o->pfn)
		o->nid = mt_pfn_nid(conf, o->pfn);
	o->flags = 0;
	o->rare = 1;
	alloc = mt_innermost(0);
	if (alloc && alloc->event == MT_EV_ALLOC) {
		o->order = alloc->order;
		o->gfp = alloc->alloc.gfp;
		if (o->gfp)
			o->kind = MT_KIND_GFP;
		o->nid_requested = alloc->nid_requested;
	}
	return conf;
}

/*
 * Tells the frame around an acceptance where it was and how much it accepted.  An acceptance
 * without such a frame is itself the victim.  given: pages that the frame around may count as
 * accepted inside.
 */
static __always_inline void mt_accept_tell(struct mt_occurrence *o, struct mt_frame_t *parent,
					   u32 given)
{
	if (!parent) {
		o->flags |= MT_FLAG_VICTIM;
		return;
	}
	parent->accepts = 1;
	parent->accepted += given;
	if (!mt_is_accept(parent->event))
		return;
	if (!parent->accept.pfn)
		parent->accept.pfn = o->pfn;
	if (parent->nid < 0)
		parent->nid = o->nid;
}

/* accept.burst */
static __always_inline int mt_accept_burst_enter(void *ctx, enum mt_way way)
{
	struct mt_frame_t *f;

	if (!mt_unaccepted())
		return 0;
	f = mt_begin(MT_EV_ACCEPT_BURST, 127, mt_key(ctx, way));
	if (!f)
		return 0;
	f->accept.pfn = 0;
	/* An .isra or .part clone may pass other arguments, so its order is left unknown. */
	f->order = MT_BURST_KNOWN ? (int)mt_arg(ctx, way, 1) : -1;
	return mt_stamp(f);
}

static __always_inline int mt_accept_burst_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf;

	if (!mt_unaccepted() && !mt_innermost_is(MT_EV_ACCEPT_BURST))
		return 0;
	conf = mt_accept_end(MT_EV_ACCEPT_BURST, mt_key(ctx, way), MT_SITE_BY(ACCEPT_BURST, way),
			     &o, &f, &parent);
	if (!conf)
		return 0;
	if (!f.accepts && !(u8)mt_result(ctx, way, MT_BURST_ARGS)) {
		/* A look at a zone that accepted nothing is time of the frame around it. */
		if (parent)
			parent->child_ns -= o.self;
		return 0;
	}
	o.pages = f.accepted;
	mt_accept_tell(&o, parent, f.accepted);
	mt_emit(ctx, conf, &o);
	return 0;
}

/* accept.block */
static __always_inline int mt_accept_block_enter(void *ctx, enum mt_way way)
{
	struct mt_frame_t *f = mt_begin(MT_EV_ACCEPT_BLOCK, 127, mt_key(ctx, way));
	struct mt_conf_t *conf = mt_gate();
	u64 page = MT_BLOCK_PAGE(ctx, way), pfn;

	if (!f)
		return 0;
	f->accept.pfn = 0;
	if (page && conf) {
		f->nid = mt_page_nid(page);
		pfn = mt_page_pfn(conf, page);
		f->accept.pfn = pfn == MT_NO_PFN ? 0 : pfn;
	}
	return mt_stamp(f);
}

static __always_inline int mt_accept_block_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_accept_end(MT_EV_ACCEPT_BLOCK, mt_key(ctx, way),
					       MT_SITE_BY(ACCEPT_BLOCK, way), &o, &f, &parent);

	if (!conf)
		return 0;
	if (!f.accepts && !MT_BLOCK_ACCEPTED(ctx, way)) {
		if (parent)
			parent->child_ns -= o.self;
		return 0;
	}
	o.pages = MT_BLOCK_PAGES;
	mt_accept_tell(&o, parent, MT_BLOCK_PAGES);
	mt_emit(ctx, conf, &o);
	return 0;
}

/* accept.call */
static __always_inline int mt_accept_call_enter(void *ctx, enum mt_way way)
{
	u64 start = mt_arg(ctx, way, 0), second = mt_arg(ctx, way, 1);
	struct mt_frame_t *f = mt_begin(MT_EV_ACCEPT_CALL, 127, mt_key(ctx, way));

	if (!f)
		return 0;
	f->accept.pfn = start >> 12;
	f->accept.pages = MT_ACCEPT_PAGES(start, second);
	return mt_stamp(f);
}

static __always_inline int mt_accept_call_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_accept_end(MT_EV_ACCEPT_CALL, mt_key(ctx, way),
					       MT_SITE_BY(ACCEPT_CALL, way), &o, &f, &parent);

	if (!conf)
		return 0;
	o.pages = f.accepted;
	o.kind = MT_KIND_REQUESTED | (conf->sees_arch ? MT_KIND_PAGES : 0);
	o.requested = f.accept.pages;
	mt_accept_tell(&o, parent, f.accept.pages);
	mt_emit(ctx, conf, &o);
	return 0;
}

/* accept.arch; interrupts_off(), traces/derived.py, says when they are */
static __always_inline int mt_accept_arch_enter(void *ctx, enum mt_way way)
{
	u64 start = mt_arg(ctx, way, 0), end = mt_arg(ctx, way, 1);
	struct mt_frame_t *f, *around;
	int off;

	if (!mt_gate())
		return 0;
	around = mt_innermost(1);
	off = around && around->event == MT_EV_ACCEPT_CALL && MT_ACCEPTS_IRQS_OFF;
	f = mt_begin(MT_EV_ACCEPT_ARCH, 127, mt_key(ctx, way));
	if (!f)
		return 0;
	f->accept.pfn = start >> 12;
	f->accept.pages = (end - start) >> 12;
	f->accept.irqs_off = off;
	return mt_stamp(f);
}

static __always_inline void mt_steps_emit(void *ctx, struct mt_conf_t *conf,
					  struct mt_occurrence *arch)
{
	struct mt_occurrence o;

	for (int i = 0; i < 2 * MT_LEVELS; i++) {
		int at = i;
		struct mt_step_t *step = mt_steps.lookup(&at);

		if (!step || !step->count)
			continue;
		o = *arch;
		o.event = MT_EV_ACCEPT_STEP;
		o.site = step->site;
		o.parent = MT_EV_ACCEPT_ARCH;
		o.order = MT_STEP_ORDER(i % MT_LEVELS + 1);
		o.pfn = 0;
		o.dur = step->ns;
		o.self = step->ns;
		o.pages = step->pages;
		o.count = step->count;
		o.kind = 0;
		o.flags = MT_FLAG_IRQ_OFF | MT_FLAG_AGGREGATED;
		if (i >= MT_LEVELS)
			o.flags |= MT_FLAG_FAILED;
		mt_emit(ctx, conf, &o);
		step->count = 0;
		step->pages = 0;
		step->ns = 0;
	}
}

static __always_inline int mt_accept_arch_exit(void *ctx, enum mt_way way)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_accept_end(MT_EV_ACCEPT_ARCH, mt_key(ctx, way),
					       MT_SITE_BY(ACCEPT_ARCH, way), &o, &f, &parent);

	if (!conf)
		return 0;
	o.pages = f.accept.pages;
	o.flags = f.accept.irqs_off ? MT_FLAG_IRQ_OFF : 0;
	/* The time of a stack walk here would look like waiting in the accept.call. */
	o.rare = !f.accept.irqs_off;
	mt_accept_tell(&o, parent, o.pages);
	mt_emit(ctx, conf, &o);
	if (f.accept.irqs_off)
		mt_steps_emit(ctx, conf, &o);
	return 0;
}

/* accept.step */
static __always_inline int mt_accept_step_enter(void *ctx, enum mt_way way)
{
	u64 start = mt_arg(ctx, way, MT_STEP_START_ARG);
	u32 level = MT_STEP_LEVEL(ctx, way);
	struct mt_frame_t *f;

	if (level < 1 || level > MT_LEVELS)
		return 0;
	f = mt_begin(MT_EV_ACCEPT_STEP, 127, MT_STEP_KEY(ctx, way));
	if (!f)
		return 0;
	f->step.address = start;
	f->step.level = level;
#ifdef MT_STEP_WHOLE
	f->step.pages = mt_arg(ctx, way, 1);
#endif
	return mt_stamp(f);
}

static __always_inline int mt_accept_step_exit(void *ctx, enum mt_way way)
{
#ifndef MT_STEP_WHOLE
	u64 result = mt_result(ctx, way, MT_STEP_ARGS);
#endif
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_accept_end(MT_EV_ACCEPT_STEP, MT_STEP_KEY(ctx, way),
					       MT_SITE_BY(ACCEPT_STEP, way), &o, &f, &parent);
	struct mt_step_t *step;
	int at;

	if (!conf)
		return 0;
	o.rare = 0;
	o.order = MT_STEP_ORDER(f.step.level);
#ifdef MT_STEP_SNP
#ifdef MT_STEP_WHOLE
	o.pages = f.step.pages;
#else
	o.pages = (result - f.step.address) >> 12;
#endif
#ifdef MT_PAGE_OFFSET
	o.pfn = (f.step.address - MT_PAGE_OFFSET) >> 12;
#else
	o.pfn = 0;
#endif
#else
	o.pages = result >> 12;
	o.pfn = f.step.address >> 12;
#endif
	if (!o.pages)
		o.flags |= MT_FLAG_FAILED;
	if (!parent || parent->event != MT_EV_ACCEPT_ARCH || !parent->accept.irqs_off) {
		o.kind = 0;
		mt_emit(ctx, conf, &o);
		return 0;
	}
	at = f.step.level - 1 + (o.pages ? 0 : MT_LEVELS);
	step = mt_steps.lookup(&at);
	if (!step)
		return 0;
	step->count++;
	step->pages += o.pages;
	step->ns += o.dur;
	step->site = MT_SITE_BY(ACCEPT_STEP, way);
	return 0;
}

#ifdef MT_FN_ACCEPT_BURST
MT_PAIR(ACCEPT_BURST, accept_burst)
#endif
MT_KPROBE_PAIR(accept_burst)

#ifdef MT_FN_ACCEPT_BLOCK
MT_PAIR(ACCEPT_BLOCK, accept_block)
#endif
MT_KPROBE_PAIR(accept_block)

#ifdef MT_FN_ACCEPT_CALL
MT_PAIR(ACCEPT_CALL, accept_call)
#endif
MT_KPROBE_PAIR(accept_call)

#ifdef MT_FN_ACCEPT_ARCH
MT_PAIR(ACCEPT_ARCH, accept_arch)
#endif
MT_KPROBE_PAIR(accept_arch)

#ifdef MT_FN_ACCEPT_STEP
MT_PAIR(ACCEPT_STEP, accept_step)
#endif
MT_KPROBE_PAIR(accept_step)
