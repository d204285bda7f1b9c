/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What every topic's programs share: the gate, the filters, the record, the
 * per-CPU rings and the kernel side's own counters.
 *
 * Compiled with numbers from user space (probes/module.py):
 *   MT_NCPU, MT_NEVENTS, MT_NIDS      sizes of this machine
 *   MT_EV_*, MT_SITE_*                event and site numbers
 *   MT_RECORDER                       tgid of the recorder
 *   MT_PAGE_SIZEOF, MT_PAGE_FLAGS     struct page: size, offset of flags (BTF)
 *   MT_NID_SHIFT                      page flags >> shift = node (BTF); absent: one node
 *   MT_ZERO_GFP, MT_INIT_ON_ALLOC, MT_INIT_ON_FREE   when the allocator zeroes
 *   MT_STREAM_ALL, MT_TAIL_NS, MT_STACKS             what is streamed
 *   MT_TARGETS, MT_COMM_A/_B, MT_CPUS, MT_MIN_ORDER  filters, absent when off
 */
#include <uapi/linux/ptrace.h>

#define MT_UNKNOWN_NS (~0ULL)
#define MT_NO_PFN (~0ULL)
#define MT_NO_PARENT 255

#define MT_FLAG_ZEROED 1
#define MT_FLAG_TRACER 64
#define MT_FLAG_INFERRED 128
#define MT_FLAG_FAILED 256
#define MT_FLAG_PRIVATE (1 << 12)
#define MT_FLAG_RETRIED (1 << 13)
#define MT_FLAG_NOOP (1 << 14)

#define MT_PAGES_UNKNOWN (~0U)
#define MT_NO_GFN (~0ULL)

/* One occurrence, as it travels in a ring.  probes/ring.py has the same layout. */
struct mt_record {
	u64 ts;
	u64 dur;
	u64 self;
	u64 pfn;
	u32 gfp;
	u32 tid;
	u32 pid;
	s32 stack;
	u32 pages;
	u32 flags;
	u8 event;
	u8 site;
	s8 order;
	u8 parent;
	s16 nid;
	s16 nid_requested;
	char comm[16];
	u64 gfn;	/* this and what follows: gmem.* only */
	u32 requested;	/* pages asked for */
	u16 vm;		/* 0: unknown */
	s16 vcpu;
};

/* One occurrence, as a program describes it to mt_emit(). */
struct mt_occurrence {
	u64 ts;
	u64 dur;
	u64 self;
	u64 page;
	u64 pfn;	/* where there is no page pointer */
	u64 task;
	u32 gfp;
	u32 pages;
	u32 flags;
	u8 event;
	u8 site;
	s8 order;
	u8 parent;
	s16 nid;
	s16 nid_requested;
	u64 gfn;
	u32 requested;
	u16 vm;
	s16 vcpu;
};

struct mt_conf_t {
	u64 on;
	u64 vmemmap_base;
};
BPF_ARRAY(mt_conf, struct mt_conf_t, 1);

/* The kernel side's sums, which user space holds the file against. */
struct mt_counter_t {
	u64 seen;
	u64 streamed;
	u64 aggregated;
	u64 ring_full;
	u64 sum_order;
	u64 sum_pfn;
	u64 unmatched_entry;
	u64 failed;
};
BPF_PERCPU_ARRAY(mt_counters, struct mt_counter_t, MT_NEVENTS);

/* One ring a CPU: a shared ring collapses with many producers. */
BPF_RINGBUF_OUTPUT(mt_ring_like, 1);
BPF_TABLE("array_of_maps$mt_ring_like", u32, u32, mt_rings, MT_NCPU);

#ifdef MT_STACKS
BPF_STACK_TRACE(mt_stacks, 16384);
#endif
#ifdef MT_TARGETS
BPF_HASH(mt_targets, u32, u8, 65536);
#endif
#ifdef MT_CPUS
BPF_ARRAY(mt_cpus, u32, MT_NCPU);
#endif

/*
 * Argument n of a fentry or fexit program as a number: what it reads there the
 * verifier otherwise takes for a typed pointer, on which it allows no arithmetic.
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

/* include/linux/mm.h: page_to_nid() where the node is in page->flags. */
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

/* Node of a pfn; -1 where neither the machine has one node nor vmemmap_base is known. */
static __always_inline s16 mt_pfn_nid(struct mt_conf_t *conf, u64 pfn)
{
#ifdef MT_NID_SHIFT
	if (!conf->vmemmap_base)
		return -1;
#endif
	return mt_page_nid(conf->vmemmap_base + pfn * MT_PAGE_SIZEOF);
}

/* include/linux/mm.h: want_init_on_alloc() and want_init_on_free(). */
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

static __always_inline void mt_stream(void *ctx, struct mt_occurrence *o, u64 pfn,
				      struct mt_counter_t *counter)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct mt_record *r;
	void *ring;

	ring = mt_rings.lookup(&cpu);
	if (!ring) {
		counter->ring_full++;
		return;
	}
	r = bpf_ringbuf_reserve(ring, sizeof(*r), 0);
	if (!r) {
		counter->ring_full++;
		return;
	}
	r->ts = o->ts ? o->ts : bpf_ktime_get_boot_ns();
	r->dur = o->dur;
	r->self = o->self;
	r->pfn = pfn;
	r->gfp = o->gfp;
	r->tid = o->task;
	r->pid = o->task >> 32;
#ifdef MT_STACKS
	r->stack = mt_stacks.get_stackid(ctx, 0);
#else
	r->stack = -1;
#endif
	r->pages = o->pages;
	r->flags = o->flags;
	r->event = o->event;
	r->site = o->site;
	r->order = o->order;
	r->parent = o->parent;
	r->nid = o->nid;
	r->nid_requested = o->nid_requested;
	bpf_get_current_comm(r->comm, sizeof(r->comm));
	r->gfn = o->gfn;
	r->requested = o->requested;
	r->vm = o->vm;
	r->vcpu = o->vcpu;
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	counter->streamed++;
}
