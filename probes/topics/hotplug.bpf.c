/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Each hot.* event is one function, from entry to return (mm/memory_hotplug.c, mm/sparse.c,
 * mm/sparse-vmemmap.c, mm/mm_init.c, drivers/base/memory.c).  User space finds each argument by
 * the parameter's name and gives its place as a number (-1: none):
 *
 *   MT_HOT_x_PFN, _PAGES     first page and length, in units of 1 << _SHIFT bytes
 *   MT_HOT_x_KEY             an argument that tells this call from its neighbours
 *   MT_HOT_x_NID, _WISH      node of the memory, node asked for
 *   MT_HOT_x_MGID            mhp_flags: with MHP_NID_IS_MGID the nid is a memory group
 *   MT_HOT_x_RESOURCE        a struct resource that holds the range
 *   MT_HOT_x_DEVICE          the struct device of a memory block
 *   MT_HOT_x_ALTMAP          a struct vmem_altmap, or NULL
 *   MT_HOT_x_RESULT          where fexit finds the returned value
 *   MT_HOT_x_FAILS           how the function reports failure: MT_HOT_NEVER, _ERRNO or _NULL
 */
#define MT_HOT_NEVER 0
#define MT_HOT_ERRNO 1
#define MT_HOT_NULL 2
#define MT_MHP_NID_IS_MGID 4	/* include/linux/memory_hotplug.h */

#define MT_HOT_ARGUMENT(n) ((n) < 0 ? 0 : mt_argument((unsigned long long *)ctx, (n)))
/*
 * Keys of different events must be far apart (see mt_stale()); no stack address has these top
 * bits.
 */
static __always_inline u64 mt_hot_key(int event, u64 value)
{
	return (u64)event << 48 | (value & 0xffffffffffffULL);
}

/*
 * Returns the node of a range whose struct pages may be poisoned, gone or not yet initialised;
 * -1 then.  Uninitialised struct pages are all zero (vmemmap_alloc_block_zero(), or zeroed by
 * the allocator) and would read as node 0.  Initialised ones are not zero, except in the lowest
 * zone of node 0.
 */
static __always_inline s16 mt_hot_nid(struct mt_conf_t *conf, u64 pfn)
{
	s16 nid = pfn ? mt_pfn_nid(conf, pfn) : -1;
#ifdef MT_NID_SHIFT
	u64 flags = 0;

	if (!nid && (bpf_probe_read_kernel(&flags, sizeof(flags), (void *)(conf->vmemmap_base +
					   pfn * MT_PAGE_SIZEOF + MT_PAGE_FLAGS)) || !flags))
		return -1;
#endif
	return nid < MT_NIDS ? nid : -1;
}

struct mt_hot_t {
	u64 pfn;
	u64 pages;
	s16 nid;
	s16 wish;
	u8 altmap;
};

static __always_inline void mt_hot_resource(struct mt_hot_t *h, u64 resource)
{
	u64 ends[2] = {};	/* struct resource: start, end (inclusive) */

	if (!resource || bpf_probe_read_kernel(&ends, sizeof(ends), (void *)resource))
		return;
	h->pfn = ends[0] >> 12;
	h->pages = (ends[1] + 1 - ends[0]) >> 12;
}

static __always_inline void mt_hot_device(struct mt_hot_t *h, u64 device)
{
#ifdef MT_MEMORY_BLOCK_PAGES
	u64 block = device - MT_MEMORY_BLOCK_DEVICE, section = 0;
	int nid = -1;

	if (bpf_probe_read_kernel(&section, sizeof(section), (void *)(block + MT_MEMORY_BLOCK_SECTION)))
		return;
	bpf_probe_read_kernel(&nid, sizeof(nid), (void *)(block + MT_MEMORY_BLOCK_NID));
	h->pfn = section * MT_SECTION_PAGES;
	h->pages = MT_MEMORY_BLOCK_PAGES;
	h->nid = nid >= 0 && nid < MT_NIDS ? nid : -1;
#endif
}

static __always_inline int mt_hot_enter(void *ctx, int event, u64 key, struct mt_hot_t *h,
					int early_nid)
{
	struct mt_frame_t *f = mt_begin(event, 127, key);
	struct mt_conf_t *conf;
	int zero = 0;

	if (!f)
		return 0;
	f->hot.pfn = h->pfn;
	f->hot.pages = h->pages;
	f->hot.given = 0;
	f->nid = h->nid;
	f->nid_requested = h->wish;
	f->hot.altmap = h->altmap;
	f->hot.stack = -1;
	if (early_nid) {
		conf = mt_conf.lookup(&zero);
		if (conf)
			f->nid = mt_hot_nid(conf, h->pfn);
	}
#ifdef MT_HOT_STACKS
	if (event == MT_EV_HOT_REQUEST)
		f->hot.stack = mt_stacks.get_stackid(ctx, 0);
#endif
	return mt_stamp(f);
}

/* Set by user space where generic_online_page() could be hooked. */
BPF_ARRAY(mt_hot_counted, u64, 1);

/* Sets the pages asked for; the pages given are then known too, even if none. */
static __always_inline void mt_hot_requested(struct mt_occurrence *o, u32 pages)
{
	o->requested = pages;
	o->kind = pages ? MT_KIND_REQUESTED | MT_KIND_PAGES : 0;
}

static __always_inline int mt_hot_exit(void *ctx, int event, u64 key, u8 site, int fails, u64 result)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_end(event, key, site, &o, &f, &parent);
	int zero = 0;

	if (!conf)
		return 0;
	o.pfn = f.hot.pfn;
	o.pages = f.hot.pages;
	o.nid = f.nid;
	o.wake = 1;
	if (f.hot.altmap)
		o.flags |= MT_FLAG_ALTMAP;
	if (f.hot.stack >= 0)
		o.stack = f.hot.stack + 1;
	if (event == MT_EV_HOT_ONLINE) {
		u64 *counted = mt_hot_counted.lookup(&zero);

		if (counted && *counted) {
			mt_hot_requested(&o, o.pages);
			o.pages = f.hot.given;
		}
	}
	if (event == MT_EV_HOT_MEMMAP && result)
		o.pfn = mt_virtual_pfn(result);
	if ((fails == MT_HOT_ERRNO && (int)result) || (fails == MT_HOT_NULL && !result)) {
		o.flags |= MT_FLAG_FAILED;
		mt_hot_requested(&o, f.hot.pages);
		o.pages = 0;
		if (fails == MT_HOT_ERRNO && (int)result < 0)
			o.error = -(int)result;
	}
	/* A memmap lies in memory that was in use before: its struct pages are initialised. */
	if (o.nid < 0)
		o.nid = event == MT_EV_HOT_MEMMAP && o.pfn ? mt_pfn_nid(conf, o.pfn) : mt_hot_nid(conf, o.pfn);
	mt_emit(ctx, conf, &o);
	return 0;
}

/* A function and the positions of its arguments; 255: none. */
struct mt_hot_function_t {
	u64 address;
	u8 pfn;
	u8 pages;
	u8 nid;
	u8 wish;
	u8 mgid;
	u8 resource;
	u8 device;
	u8 altmap;
	u8 shift;
	u8 fails;
	u8 early;
	u8 unused[5];
};
#define MT_HOT_EVENTS (MT_EV_HOT_REMOVE - MT_EV_HOT_REQUEST + 1)
BPF_ARRAY(mt_hot_functions, struct mt_hot_function_t, MT_HOT_EVENTS);
#define MT_ENTRY_BYTES 16	/* a kprobe at a function's entry lies within these */

int mt_hot_kprobe(struct pt_regs *ctx)
{
	/* The last element, index 255 & 7, stands for arguments that the function does not have. */
	u64 args[8] = {PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx),
		       PT_REGS_PARM4(ctx), PT_REGS_PARM5(ctx), PT_REGS_PARM6(ctx)};
	struct mt_hot_function_t *fn = 0;
	struct mt_hot_t h = {};
	int event = 0;

#pragma unroll
	for (int i = 0; i < MT_HOT_EVENTS; i++) {
		int at = i;
		struct mt_hot_function_t *f = mt_hot_functions.lookup(&at);

		if (!fn && f && f->address && PT_REGS_IP(ctx) - f->address < MT_ENTRY_BYTES) {
			fn = f;
			event = MT_EV_HOT_REQUEST + i;
		}
	}
	if (!fn)
		return 0;
	h.pfn = args[fn->pfn & 7] >> ((12 - fn->shift) & 63);
	h.pages = args[fn->pages & 7] >> ((12 - fn->shift) & 63);
	h.nid = fn->nid > 5 ? -1 : (int)args[fn->nid & 7];
	h.wish = fn->wish > 5 ? -1 : (int)args[fn->wish & 7];
	h.altmap = args[fn->altmap & 7] != 0;
	if (fn->resource <= 5)
		mt_hot_resource(&h, args[fn->resource & 7]);
	if (fn->device <= 5)
		mt_hot_device(&h, args[fn->device & 7]);
	if (fn->mgid <= 5 && (args[fn->mgid & 7] & MT_MHP_NID_IS_MGID))
		h.nid = -1;
	return mt_hot_enter(ctx, event, PT_REGS_SP(ctx), &h, fn->early);
}

/* The frame with the key says which event's return this is. */
int mt_hot_kretprobe(struct pt_regs *ctx)
{
	struct mt_frames_t *frames = mt_frames();
	u64 key = PT_REGS_SP(ctx) - 8;
	struct mt_hot_function_t *fn;
	int at, event = -1;

	if (!frames)
		return 0;
#pragma unroll
	for (int i = 0; i < MT_DEPTH; i++)
		if (i < frames->depth && frames->frame[i].key == key)
			event = frames->frame[i].event;
	at = event - MT_EV_HOT_REQUEST;
	if (at < 0 || at >= MT_HOT_EVENTS)
		return 0;
	fn = mt_hot_functions.lookup(&at);
	if (!fn)
		return 0;
	/* Sites are numbered in the order of the events, fentry before kprobe for each. */
	return mt_hot_exit(ctx, event, key, MT_SITE_HOT_REQUEST_KPROBE + 2 * at, fn->fails,
			   PT_REGS_RC(ctx));
}

#ifdef MT_HOT_FENTRY
#define MT_HOT_DESCRIBE(X)                                                                      \
	struct mt_hot_t h = {                                                                   \
		.pfn = MT_HOT_ARGUMENT(MT_HOT_##X##_PFN) >> (12 - MT_HOT_##X##_SHIFT),          \
		.pages = MT_HOT_ARGUMENT(MT_HOT_##X##_PAGES) >> (12 - MT_HOT_##X##_SHIFT),      \
		.nid = MT_HOT_##X##_NID < 0 ? -1 : (int)MT_HOT_ARGUMENT(MT_HOT_##X##_NID),      \
		.wish = MT_HOT_##X##_WISH < 0 ? -1 : (int)MT_HOT_ARGUMENT(MT_HOT_##X##_WISH),   \
		.altmap = MT_HOT_ARGUMENT(MT_HOT_##X##_ALTMAP) != 0,                            \
	};                                                                                      \
	if (MT_HOT_##X##_RESOURCE >= 0)                                                         \
		mt_hot_resource(&h, MT_HOT_ARGUMENT(MT_HOT_##X##_RESOURCE));                    \
	if (MT_HOT_##X##_DEVICE >= 0)                                                           \
		mt_hot_device(&h, MT_HOT_ARGUMENT(MT_HOT_##X##_DEVICE));                        \
	if (MT_HOT_##X##_MGID >= 0 && (MT_HOT_ARGUMENT(MT_HOT_##X##_MGID) & MT_MHP_NID_IS_MGID)) \
		h.nid = -1

#define MT_HOT_ENTRY(X)                                                                         \
	MT_FENTRY(MT_FN_HOT_##X, unsigned long first)                                           \
	{                                                                                       \
		u64 key = mt_hot_key(MT_EV_HOT_##X, MT_HOT_ARGUMENT(MT_HOT_##X##_KEY));         \
		MT_HOT_DESCRIBE(X);                                                             \
		return mt_hot_enter(ctx, MT_EV_HOT_##X, key, &h, MT_HOT_##X##_EARLY);           \
	}

#define MT_HOT_RETURN(X)                                                                        \
	MT_FEXIT(MT_FN_HOT_##X, unsigned long first)                                            \
	{                                                                                       \
		u64 key = mt_hot_key(MT_EV_HOT_##X, MT_HOT_ARGUMENT(MT_HOT_##X##_KEY));         \
		return mt_hot_exit(ctx, MT_EV_HOT_##X, key, MT_SITE_HOT_##X##_FENTRY,           \
				   MT_HOT_##X##_FAILS, MT_HOT_ARGUMENT(MT_HOT_##X##_RESULT));   \
	}

#ifdef MT_FN_HOT_REQUEST
MT_HOT_ENTRY(REQUEST)
MT_HOT_RETURN(REQUEST)
#endif
#ifdef MT_FN_HOT_ADD
MT_HOT_ENTRY(ADD)
MT_HOT_RETURN(ADD)
#endif
#ifdef MT_FN_HOT_SECTION
MT_HOT_ENTRY(SECTION)
MT_HOT_RETURN(SECTION)
#endif
#ifdef MT_FN_HOT_MEMMAP
MT_HOT_ENTRY(MEMMAP)
MT_HOT_RETURN(MEMMAP)
#endif
#ifdef MT_FN_HOT_ALTMAP
MT_HOT_ENTRY(ALTMAP)
MT_HOT_RETURN(ALTMAP)
#endif
#ifdef MT_FN_HOT_INIT
MT_HOT_ENTRY(INIT)
MT_HOT_RETURN(INIT)
#endif
#ifdef MT_FN_HOT_ZONE
MT_HOT_ENTRY(ZONE)
MT_HOT_RETURN(ZONE)
#endif
#ifdef MT_FN_HOT_ONLINE
MT_HOT_ENTRY(ONLINE)
MT_HOT_RETURN(ONLINE)
#endif
#ifdef MT_FN_HOT_BLOCK
MT_HOT_ENTRY(BLOCK)
MT_HOT_RETURN(BLOCK)
#endif
#ifdef MT_FN_HOT_OFFLINE
MT_HOT_ENTRY(OFFLINE)
MT_HOT_RETURN(OFFLINE)
#endif
#ifdef MT_FN_HOT_REMOVE
MT_HOT_ENTRY(REMOVE)
MT_HOT_RETURN(REMOVE)
#endif
#endif

/*
 * generic_online_page(page, order) gives pages to the allocator.  Balloon drivers call it for
 * only a part of a block (set_online_page_callback()), so the sum over all calls is what came
 * online.
 */
static __always_inline int mt_hot_page(u64 order)
{
	struct mt_frame_t *top = mt_top();

	if (top && top->event == MT_EV_HOT_ONLINE)
		top->hot.given += 1ULL << (order & 31);
	return 0;
}

#if defined(MT_HOT_FENTRY) && defined(MT_FN_HOT_PAGE)
MT_FENTRY(MT_FN_HOT_PAGE, unsigned long page, unsigned long order)
{
	return mt_hot_page((u32)order);
}
#endif

int mt_hot_page_kprobe(struct pt_regs *ctx)
{
	return mt_hot_page((u32)PT_REGS_PARM2(ctx));
}
