/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* All events leave through here: each is counted, then aggregated or streamed. */
static __always_inline void mt_emit(void *ctx, struct mt_conf_t *conf, struct mt_occurrence *o)
{
	struct mt_counter_t *counter = mt_counter(o->event);
	u64 pfn = o->pfn ? o->pfn : MT_NO_PFN;

	if (!counter)
		return;
	if (o->page)
		pfn = mt_page_pfn(conf, o->page);
	if (o->task >> 32 == MT_RECORDER)
		o->flags |= MT_FLAG_TRACER;
	counter->seen += o->count ? o->count : 1;
	counter->sum_order += o->order > 0 ? o->order * (o->count ? o->count : 1) : 0;
	if (pfn != MT_NO_PFN)
		counter->sum_pfn += pfn;
	mt_task_add(o);
#ifndef MT_STREAM_ALL
	if (!o->rare && mt_aggregate(o)) {
		counter->aggregated++;
		return;
	}
#endif
	mt_stream(ctx, o, pfn, counter);
}
