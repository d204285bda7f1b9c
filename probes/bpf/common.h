/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * All topics' programs share this header: the gate, the filters, the per-CPU rings and the
 * kernel side's own counters.  Structures that the recorder reads too are declared ahead of
 * it (probes/recorder/layouts.py).
 *
 * User space defines these macros (probes/programs/module.py):
 *   MT_NEVENTS, MT_NIDS               how many events and nodes there are
 *   MT_EV_*, MT_SITE_*                event and site numbers
 *   MT_PAGE_SIZEOF, MT_PAGE_FLAGS     struct page: size, offset of flags (BTF)
 *   MT_NID_SHIFT                      page flags >> shift = node (BTF)
 *   MT_ONE_NODE                       there is only node 0
 *   MT_ZERO_GFP                       __GFP_ZERO
 *   MT_ZEROES_ASKED, MT_ZEROES_OTHERS whether the allocator zeroes for a request with and
 *                                     without it (traces/derived.py)
 *   MT_ACCEPTS_IRQS_OFF               accept_memory() keeps interrupts off (traces/derived.py)
 *   MT_MOVABLE_GFP                    __GFP_MOVABLE
 *   MT_PAGE_OFFSET, MT_PAGE_OFFSET_AT start of the direct map, or the address that holds it
 *   MT_STREAM_ALL, MT_TAIL_NS, MT_STACKS             what is streamed
 *   MT_HOT_STACKS                     hot.request has its stack, even without MT_STACKS
 *   MT_ACCEPT                         accept.* is watched: its rows have stack and cgroup
 *   MT_CGROUPS                        the kernel has cgroups
 *   MT_ALL_CGROUPS                    zero.* is watched: every record has its cgroup
 *   MT_TARGETS, MT_COMM_A/_B, MT_CPUS, MT_MIN_ORDER  filters, absent when off
 *   MT_PIDNS                          the recorder is in a PID namespace of its own
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
	u64 recorder;	/* its tgid, as the kernel numbers it */
	u64 only;	/* if not 0, the one tgid whose events are counted (known work of the recorder) */
	u64 pidns;	/* the recorder's struct pid_namespace, and how deep it lies (MT_PIDNS) */
	u64 pidns_level;
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

/* page_to_nid(), include/linux/mm.h, where the node is in page->flags; -1 if that is not known. */
static __always_inline s16 mt_page_nid(u64 page)
{
#ifdef MT_NID_SHIFT
	u64 flags = 0;

	if (bpf_probe_read_kernel(&flags, sizeof(flags), (void *)(page + MT_PAGE_FLAGS)))
		return -1;
	return flags >> MT_NID_SHIFT;
#elif defined(MT_ONE_NODE)
	return 0;
#else
	return -1;
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

/* Returns the flag of an allocation with these gfp flags: allocator_zeroes(), traces/derived.py. */
static __always_inline u32 mt_zeroed(u64 gfp)
{
	return (gfp & MT_ZERO_GFP ? MT_ZEROES_ASKED : MT_ZEROES_OTHERS) ? MT_FLAG_ZEROED : 0;
}

static __always_inline struct mt_counter_t *mt_counter(int event)
{
	return mt_counters.lookup(&event);
}
