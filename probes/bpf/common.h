/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * All topics' programs share this header: the gate, the filters, the per-CPU rings and the
 * kernel side's own counters.  Structures that the recorder reads too are declared ahead of
 * it (probes/recorder/layouts.py).
 *
 * User space defines these macros (probes/programs/module.py):
 *   MT_NEVENTS, MT_NIDS               how many events and nodes there are
 *   MT_EV_*, MT_SITE_*                event and site numbers
 *   MT_RECORDER                       tgid of the recorder
 *   MT_PAGE_SIZEOF, MT_PAGE_FLAGS     struct page: size, offset of flags (BTF)
 *   MT_NID_SHIFT                      page flags >> shift = node (BTF); absent: one node
 *   MT_ZERO_GFP, MT_INIT_ON_ALLOC, MT_INIT_ON_FREE   when the allocator zeroes
 *   MT_MOVABLE_GFP                    __GFP_MOVABLE
 *   MT_PAGE_OFFSET, MT_PAGE_OFFSET_AT start of the direct map, or the address that holds it
 *   MT_STREAM_ALL, MT_TAIL_NS, MT_STACKS             what is streamed
 *   MT_HOT_STACKS                     hot.request has its stack, even without MT_STACKS
 *   MT_ACCEPT                         accept.* is watched: its rows have stack and cgroup
 *   MT_CGROUPS                        the kernel has cgroups
 *   MT_ALL_CGROUPS                    zero.* is watched: every record has its cgroup
 *   MT_TARGETS, MT_COMM_A/_B, MT_CPUS, MT_MIN_ORDER  filters, absent when off
 */
#define MT_SIZED 1	/* a map that the loader sizes to the machine (probes/recorder/plan.py) */
#define MT_UNKNOWN_NS (~0ULL)
#define MT_NO_PFN (~0ULL)
#define MT_NO_PARENT 255

#define MT_IS_GUEST(event) ((event) >= MT_EV_GMEM_FIRST && (event) <= MT_EV_GMEM_LAST)
#define MT_IS_ROOT(event) ((event) >= MT_EV_ROOT_FIRST && (event) <= MT_EV_ROOT_LAST)

#define MT_FLAG_ZEROED 1
#define MT_FLAG_VICTIM 8
#define MT_FLAG_IRQ_OFF 16
#define MT_FLAG_AGGREGATED 32
#define MT_FLAG_TRACER 64
#define MT_FLAG_FAILED 256
#define MT_FLAG_ALTMAP 512
#define MT_FLAG_CGROUP_SHIFT 16
#define MT_FLAG_PRIVATE (1 << 12)
#define MT_FLAG_RETRIED (1 << 13)
#define MT_FLAG_NOOP (1 << 14)

#define MT_PAGES_UNKNOWN (~0U)
#define MT_NO_GFN (~0ULL)

/* One event, as a program describes it to mt_emit(). */
struct mt_occurrence {
	u64 ts;
	u64 dur;
	u64 self;
	u64 page;
	u64 pfn;	/* used where there is no page pointer; 0: unknown */
	u64 task;
	u32 gfp;
	u32 pages;
	u32 requested;	/* pages asked for (MT_KIND_REQUESTED) */
	u32 flags;
	u32 error;	/* errno returned, positive; else 0 */
	s32 stack;	/* id + 1 of a stack taken at the entry, else 0 */
	u32 count;	/* of a sum: number of events in it; 0: a single event */
	u8 event;
	u8 site;
	s8 order;
	u8 parent;
	u8 rare;	/* never summed; has a stack and a cgroup (MT_ACCEPT) */
	s16 nid;
	s16 nid_requested;
	u8 wake;	/* wake the reader at once */
	u8 kind;	/* MT_KIND_GFP, _REQUESTED, _GUEST; _PAGES: pages is known even if 0 */
	u8 root;	/* event number plus one of the outermost root.* around it; 0: none */
	u8 within;	/* the same for the innermost root.* */
	u64 gfn;
	u16 vm;
	s16 vcpu;
};

struct mt_conf_t {
	u64 on;
	u64 vmemmap_base;
	u64 sees_arch;	/* accept.arch has a site: the pages of an accept.call are known */
};
BPF_ARRAY(mt_conf, struct mt_conf_t, 1);

/* The kernel side's sums.  User space checks the file against them. */
BPF_PERCPU_ARRAY(mt_counters, struct mt_counter_t, MT_NEVENTS);

/* One ring per CPU, because a shared ring collapses with many producers. */
BPF_RINGBUF_OUTPUT(mt_ring_like, 1);
BPF_TABLE("array_of_maps$mt_ring_like", u32, u32, mt_rings, MT_SIZED);

#if defined(MT_STACKS)
BPF_STACK_TRACE(mt_stacks, 16384);
#elif defined(MT_ACCEPT)
BPF_STACK_TRACE(mt_stacks, 4096);
#elif defined(MT_HOT_STACKS)
BPF_STACK_TRACE(mt_stacks, 256);
#endif
#if defined(MT_CGROUPS) && (defined(MT_ACCEPT) || defined(MT_ALL_CGROUPS))
#define MT_CGROUP_SLOTS 512
BPF_PERCPU_ARRAY(mt_cgroups, u64, MT_CGROUP_SLOTS);
#endif
#ifdef MT_TARGETS
BPF_HASH(mt_targets, u32, u8, 65536);
#endif
#ifdef MT_CPUS
BPF_ARRAY(mt_cpus, u32, MT_SIZED);
#endif

/*
 * Returns argument n of a fentry or fexit program as a number.  If it is read directly, the
 * verifier takes it for a typed pointer, on which it allows no arithmetic.
 */
static __always_inline u64 mt_argument(unsigned long long *ctx, int n)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), ctx + n);
	return value;
}

static __always_inline struct mt_conf_t *mt_gate(void)
{
	int zero = 0;
	struct mt_conf_t *conf = mt_conf.lookup(&zero);

	return conf && conf->on ? conf : 0;
}

static __always_inline int mt_wanted(u64 task, int order)
{
#ifdef MT_MIN_ORDER
	if (order < MT_MIN_ORDER)
		return 0;
#endif
#ifdef MT_CPUS
	int cpu = bpf_get_smp_processor_id();
	u32 *listed = mt_cpus.lookup(&cpu);

	if (!listed || !*listed)
		return 0;
#endif
#ifdef MT_TARGETS
	u32 tgid = task >> 32;

	if (!mt_targets.lookup(&tgid))
		return 0;
#endif
#ifdef MT_COMM_A
	u64 comm[2];

	bpf_get_current_comm(comm, sizeof(comm));
	if (comm[0] != MT_COMM_A || comm[1] != MT_COMM_B)
		return 0;
#endif
	return 1;
}

/* page_to_nid(), include/linux/mm.h, where the node is in page->flags; -1 if unreadable. */
static __always_inline s16 mt_page_nid(u64 page)
{
#ifdef MT_NID_SHIFT
	u64 flags = 0;

	if (bpf_probe_read_kernel(&flags, sizeof(flags), (void *)(page + MT_PAGE_FLAGS)))
		return -1;
	return flags >> MT_NID_SHIFT;
#else
	return 0;
#endif
}

static __always_inline u64 mt_page_pfn(struct mt_conf_t *conf, u64 page)
{
	if (!conf->vmemmap_base)
		return MT_NO_PFN;
	return (page - conf->vmemmap_base) / MT_PAGE_SIZEOF;
}

/* Returns the node of a pfn; -1 if there are several nodes and vmemmap_base is unknown. */
static __always_inline s16 mt_pfn_nid(struct mt_conf_t *conf, u64 pfn)
{
#ifdef MT_NID_SHIFT
	if (!conf->vmemmap_base)
		return -1;
#endif
	return mt_page_nid(conf->vmemmap_base + pfn * MT_PAGE_SIZEOF);
}

/* Returns the pfn of an address in the direct map, 0 if unknown. */
static __always_inline u64 mt_virtual_pfn(u64 address)
{
	u64 base = 0;

#if defined(MT_PAGE_OFFSET)
	base = MT_PAGE_OFFSET;
#elif defined(MT_PAGE_OFFSET_AT)
	bpf_probe_read_kernel(&base, sizeof(base), (void *)MT_PAGE_OFFSET_AT);
#endif
	return base && address >= base ? (address - base) >> 12 : 0;
}

/* want_init_on_alloc() and want_init_on_free(), include/linux/mm.h. */
static __always_inline u32 mt_zeroed(u64 gfp)
{
	if (MT_INIT_ON_FREE)
		return 0;
	return MT_INIT_ON_ALLOC || (gfp & MT_ZERO_GFP) ? MT_FLAG_ZEROED : 0;
}

static __always_inline struct mt_counter_t *mt_counter(int event)
{
	return mt_counters.lookup(&event);
}

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

static __always_inline void mt_stream(void *ctx, struct mt_occurrence *o, u64 pfn,
				      struct mt_counter_t *counter)
{
	u32 cpu = bpf_get_smp_processor_id();
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
	r->tid = o->task;
	r->pid = o->task >> 32;
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
