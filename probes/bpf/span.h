/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Functions that work on a range of memory: entry and exit of (pfn, pages). */
static __always_inline int mt_span_enter(int event, u64 key, u64 pfn, u64 pages, s16 nid,
					 s16 nid_requested)
{
	struct mt_frame_t *f = mt_begin(event, 127, key);

	if (!f)
		return 0;
	f->arg = pfn;
	f->zero_pages = pages;
	f->nid = nid;
	f->nid_requested = nid_requested;
	return mt_stamp(f);
}

/* pfn: the range's, if it is known only now; else 0. */
static __always_inline int mt_span_exit(void *ctx, int event, u64 key, u8 site, u64 pfn)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_end(event, key, site, &o, &f, &parent);

	if (!conf)
		return 0;
	o.pfn = pfn ? pfn : f.arg;
	o.pages = f.zero_pages;
	o.nid = f.nid;
	if (o.nid < 0 && o.pfn)
		o.nid = mt_pfn_nid(conf, o.pfn);
	mt_emit(ctx, conf, &o);
	return 0;
}
