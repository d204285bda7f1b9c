/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * alloc.bulk: one call of __alloc_pages_bulk(gfp, preferred_nid, nodemask, nr_pages, page_list,
 * page_array), mm/page_alloc.c; page_list is gone from 6.14 on.  It returns how many entries of
 * the array hold a page now, or the length of the list.  Entries that held one before stay.
 *
 * alloc.contig: one call of alloc_contig_range(start, end, migratetype, gfp_mask),
 * mm/page_alloc.c, which returns 0 or an error.
 */
#ifdef MT_BULK_ARGS

/*
 * Returns whether an array of n entries holds pages already, by the first and the last entry.  To look
 * at all would take the verifier too long.
 */
static __always_inline int mt_bulk_holds(u64 array, u32 n)
{
	u64 first = 0, last = 0;

	if (!array || !n)
		return 0;
	if (bpf_probe_read_kernel(&first, sizeof(first), (void *)array) ||
	    bpf_probe_read_kernel(&last, sizeof(last), (void *)(array + (n - 1ULL) * sizeof(u64))))
		return 1;
	return first || last;
}

static __always_inline int mt_alloc_bulk_enter(void *ctx, enum mt_way way)
{
	struct mt_frame_t *f = mt_begin(MT_EV_ALLOC_BULK, 0, mt_key(ctx, way));

	if (!f)
		return 0;
	f->nid_requested = mt_arg(ctx, way, MT_BULK_NID);
	f->many.gfp = mt_arg(ctx, way, 0);
	f->many.pages = 0;
	f->many.holds = mt_bulk_holds(mt_arg(ctx, way, MT_BULK_ARRAY), mt_arg(ctx, way, MT_BULK_PAGES));
	return mt_stamp(f);
}

static __always_inline int mt_alloc_bulk_exit(void *ctx, enum mt_way way)
{
	u32 got = mt_result(ctx, way, MT_BULK_ARGS);
	struct mt_frame_t f, *parent;
	struct mt_occurrence o = {};
	struct mt_conf_t *conf = mt_end(MT_EV_ALLOC_BULK, mt_key(ctx, way), MT_SITE_BY(ALLOC_BULK, way),
					&o, &f, &parent);

	if (!conf)
		return 0;
	o.pages = f.many.holds || got < f.many.pages ? MT_PAGES_UNKNOWN : got - f.many.pages;
	o.kind = MT_KIND_GFP | MT_KIND_PAGES;
	o.gfp = f.many.gfp;
	o.flags |= mt_zeroed(o.gfp);
	mt_emit(ctx, conf, &o);
	return 0;
}

#ifdef MT_FN_ALLOC_BULK
MT_PAIR(ALLOC_BULK, alloc_bulk)
#endif
MT_KPROBE_PAIR(alloc_bulk)
#endif

static __always_inline int mt_alloc_contig_enter(void *ctx, enum mt_way way)
{
	u64 start = mt_arg(ctx, way, 0), end = mt_arg(ctx, way, 1);
	/* A filter on order lets all of them in: no range is that small. */
	struct mt_frame_t *f = mt_begin(MT_EV_ALLOC_CONTIG, 127, mt_key(ctx, way));

	if (!f)
		return 0;
	f->many.gfp = mt_arg(ctx, way, 3);
	f->many.pages = end - start;
	f->many.pfn = start;
	return mt_stamp(f);
}

static __always_inline int mt_alloc_contig_exit(void *ctx, enum mt_way way)
{
	int error = mt_result(ctx, way, 4);
	struct mt_frame_t f, *parent;
	struct mt_occurrence o = {};
	struct mt_conf_t *conf = mt_end(MT_EV_ALLOC_CONTIG, mt_key(ctx, way),
					MT_SITE_BY(ALLOC_CONTIG, way), &o, &f, &parent);
	struct mt_counter_t *counter;

	if (!conf)
		return 0;
	if (error) {
		counter = mt_counter(MT_EV_ALLOC_CONTIG);
		if (counter)
			counter->failed++;
		return 0;
	}
	o.pfn = f.many.pfn;
	o.pages = f.many.pages;
	o.nid = mt_pfn_nid(conf, o.pfn);
	o.kind = MT_KIND_GFP;
	o.gfp = f.many.gfp;
	o.flags |= mt_zeroed(o.gfp);
	mt_emit(ctx, conf, &o);
	return 0;
}

#ifdef MT_FN_ALLOC_CONTIG
MT_PAIR(ALLOC_CONTIG, alloc_contig)
#endif
MT_KPROBE_PAIR(alloc_contig)
