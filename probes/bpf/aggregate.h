/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Order-0 allocation and zeroing events are summed in the kernel, in dense cells
 * (cpu, event, node, zeroed, tracer, bucket).  Each CPU writes only its own cells.
 * root.* events below the tail threshold are summed too, without buckets.
 * User space maps the array and takes differences.  Nothing is ever reset, so the
 * sums stay exact however often user space reads them.
 *
 *   MT_AGG_BUCKETS   duration buckets below the tail threshold, plus one for unknown durations
 *   MT_AGG_EVENTS    2, or 4 where pages are zeroed outside the allocator too
 */
BPF_F_TABLE("array", int, struct mt_cell_t, mt_cells, MT_SIZED, 1024 /* BPF_F_MMAPABLE */);

BPF_PERCPU_ARRAY(mt_flat, struct mt_flat_t, MT_NEVENTS);

static __always_inline int mt_aggregate_root(struct mt_occurrence *o)
{
	int event = o->event;
	struct mt_flat_t *flat;

	if (o->dur >= MT_TAIL_NS)
		return 0;
	flat = mt_flat.lookup(&event);
	if (!flat)
		return 0;
	flat->count++;
	flat->total_ns += o->dur;
	flat->self_ns += o->self;
	return 1;
}

/* Log-linear, 16 buckets per octave, as bucket_of() in traces/histogram.py. */
static __always_inline u32 mt_bucket(u64 ns)
{
	u32 top = 0;
	u64 v = ns;

	if (ns < 16)
		return ns;
	if (v >> 32) { top += 32; v >>= 32; }
	if (v >> 16) { top += 16; v >>= 16; }
	if (v >> 8) { top += 8; v >>= 8; }
	if (v >> 4) { top += 4; v >>= 4; }
	if (v >> 2) { top += 2; v >>= 2; }
	if (v >> 1) top += 1;
	return (top - 3) * 16 + ((ns >> (top - 4)) & 15);
}

/* Returns 1 if the event was summed, 0 if it must be streamed. */
static __always_inline int mt_aggregate(struct mt_occurrence *o)
{
	int event;
	u32 bucket = MT_AGG_BUCKETS - 1;
	struct mt_cell_t *cell;
	int index;

	if (MT_IS_ROOT(o->event) && !(o->flags & MT_FLAG_TRACER))
		return mt_aggregate_root(o);
	if (o->order != 0)
		return 0;
	if (o->event == MT_EV_ALLOC)
		event = 0;
	else if (o->event == MT_EV_ZERO_ALLOC)
		event = 1;
	else if (o->event == MT_EV_ZERO_PAGE && MT_AGG_EVENTS > 2)
		event = 2;
	else if (o->event == MT_EV_ZERO_FREE && MT_AGG_EVENTS > 2)
		event = 3;
	else
		return 0;
	if (o->nid < 0 || o->nid >= MT_NIDS)
		return 0;
#ifdef MT_GMEM
	/* Under a gmem.* event it matters which page the guest got: stream it. */
	if (MT_IS_GUEST(o->parent))
		return 0;
#endif
	if (o->dur != MT_UNKNOWN_NS) {
		if (o->dur >= MT_TAIL_NS)
			return 0;
		bucket = mt_bucket(o->dur);
		if (bucket >= MT_AGG_BUCKETS - 1)
			return 0;
	}
	index = bpf_get_smp_processor_id();
	index = index * MT_AGG_EVENTS + event;
	index = index * MT_NIDS + o->nid;
	index = index * 4 + (o->flags & MT_FLAG_ZEROED ? 1 : 0) + (o->flags & MT_FLAG_TRACER ? 2 : 0);
	index = index * MT_AGG_BUCKETS + bucket;
	cell = mt_cells.lookup(&index);
	if (!cell)
		return 0;
	cell->count++;
	cell->pages += o->pages;
	if (o->dur != MT_UNKNOWN_NS) {
		cell->total_ns += o->dur;
		cell->self_ns += o->self;
	}
	return 1;
}
