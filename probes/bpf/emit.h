/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* All events leave through here: each is counted, then aggregated or streamed. */
static __always_inline s32 mt_stack(void *ctx, struct mt_occurrence *o)
{
	if (o->stack)
		return o->stack - 1;
#if defined(MT_STACKS)
	return mt_stacks.get_stackid(ctx, 0);
#elif defined(MT_ACCEPT)
	return o->rare ? mt_stacks.get_stackid(ctx, 0) : -1;
#else
	return -1;
#endif
}

/*
 * Returns the task's cgroup as a number that fits a record: the index, plus one, of its id in
 * this CPU's table, from which no id is ever removed.  0: unknown, or no free slot near the
 * id's place.
 */
static __always_inline u32 mt_cgroup_slot(struct mt_occurrence *o)
{
#ifdef MT_CGROUP_SLOTS
	u64 id;

#ifndef MT_ALL_CGROUPS
	if (!o->rare)
		return 0;
#endif
	id = bpf_get_current_cgroup_id();
	if (!id)
		return 0;
#pragma unroll
	for (int i = 0; i < 8; i++) {
		int at = (id + i) % MT_CGROUP_SLOTS;
		u64 *slot = mt_cgroups.lookup(&at);

		if (!slot)
			return 0;
		if (!*slot)
			*slot = id;
		if (*slot == id)
			return at + 1;
	}
#endif
	return 0;
}

static __always_inline void mt_stream(void *ctx, struct mt_conf_t *conf, struct mt_occurrence *o,
				      u64 pfn, struct mt_counter_t *counter)
{
	u32 cpu = bpf_get_smp_processor_id();
	u64 shown = mt_shown(conf, o->task);
	struct mt_record *r;
	void *ring;

	ring = mt_rings.lookup(&cpu);
	if (!ring) {
		counter->ring_full += o->count ? o->count : 1;
		return;
	}
	r = bpf_ringbuf_reserve(ring, sizeof(*r), 0);
	if (!r) {
		counter->ring_full += o->count ? o->count : 1;
		return;
	}
	r->ts = o->ts ? o->ts : bpf_ktime_get_boot_ns();
	r->dur = o->dur;
	r->self = o->self;
	r->pfn = pfn;
	r->kind = o->kind;
	if (o->count) {
		r->kind |= MT_KIND_COUNT;
		r->count = o->count;
	} else if (o->kind & MT_KIND_REQUESTED) {
		r->requested = o->requested;
	} else {
		r->gfp = o->gfp;
	}
	r->tid = shown;
	r->pid = shown >> 32;
	r->stack = mt_stack(ctx, o);
	if (o->error) {
		r->kind |= MT_KIND_ERROR;
		r->error = o->error;
	} else {
		if (o->pages)
			r->kind |= MT_KIND_PAGES;
		if (o->pages == MT_PAGES_UNKNOWN)
			r->kind &= ~MT_KIND_PAGES;
		r->pages = o->pages;
	}
	r->flags = o->flags | mt_cgroup_slot(o) << MT_FLAG_CGROUP_SHIFT;
	r->event = o->event;
	r->site = o->site;
	r->order = o->order;
	r->parent = o->parent;
	r->nid = o->nid;
	r->nid_requested = o->nid_requested;
	bpf_get_current_comm(r->comm, sizeof(r->comm));
#ifdef MT_GMEM
	r->gfn = o->gfn;
	r->vm = o->vm;
	r->vcpu = o->vcpu;
#endif
	bpf_ringbuf_submit(r, o->wake ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
	if (o->count)
		counter->aggregated += o->count;
	else
		counter->streamed++;
}

static __always_inline void mt_emit(void *ctx, struct mt_conf_t *conf, struct mt_occurrence *o)
{
	struct mt_counter_t *counter = mt_counter(o->event);
	u64 pfn = o->pfn ? o->pfn : MT_NO_PFN;

	if (!counter)
		return;
	if (o->page)
		pfn = mt_page_pfn(conf, o->page);
	if (o->task >> 32 == conf->recorder)
		o->flags |= MT_FLAG_TRACER;
	counter->seen += o->count ? o->count : 1;
	counter->sum_order += o->order > 0 ? o->order * (o->count ? o->count : 1) : 0;
	if (pfn != MT_NO_PFN)
		counter->sum_pfn += pfn;
	mt_task_add(conf, o);
#ifndef MT_STREAM_ALL
	if (!o->rare && mt_aggregate(o)) {
		counter->aggregated++;
		return;
	}
#endif
	mt_stream(ctx, conf, o, pfn, counter);
}
