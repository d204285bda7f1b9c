/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Functions that work on a range of memory: entry and exit of (pfn, pages). */
static __always_inline int mt_span_enter(int event, u64 key, u64 pfn, u64 pages, s16 nid,
					 s16 nid_requested)
{
	struct mt_conf_t *conf = mt_gate();
	struct mt_frame_t *f;
	u64 task;

	if (!conf)
		return 0;
	task = bpf_get_current_pid_tgid();
	if (!mt_wanted(task, 127))
		return 0;
	f = mt_push(task, event, key);
	if (!f)
		return 0;
	f->arg = pfn;
	f->zero_pages = pages;
	f->nid = nid;
	f->nid_requested = nid_requested;
	f->start = bpf_ktime_get_boot_ns();
	return 0;
}

/* pfn: the range's, if it is known only now; else 0. */
static __always_inline int mt_span_exit(void *ctx, int event, u64 key, u8 site, u64 pfn)
{
	u64 now = bpf_ktime_get_boot_ns();
	u64 task = bpf_get_current_pid_tgid();
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf;
	int none = 0;

	conf = mt_conf.lookup(&none);
	if (!conf || !mt_pop(task, event, key, &f, &parent))
		return 0;
	o.dur = now - f.start;
	if (parent)
		parent->child_ns += o.dur;
	o.ts = now;
	o.self = o.dur - f.child_ns;
	o.task = task;
	o.pfn = pfn ? pfn : f.arg;
	o.pages = f.zero_pages;
	o.event = event;
	o.site = site;
	o.order = -1;
	o.parent = parent ? parent->event : MT_NO_PARENT;
	o.nid = f.nid;
	if (o.nid < 0 && o.pfn)
		o.nid = mt_pfn_nid(conf, o.pfn);
	o.nid_requested = f.nid_requested;
	mt_emit(ctx, conf, &o);
	return 0;
}
