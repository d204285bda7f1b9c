/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * guest_memfd on the host (virt/kvm/guest_memfd.c, arch/x86/kvm, arch/x86/virt/svm/sev.c).
 *
 * Offsets are MT_KVM_* macros from BTF (probes/gmem.py); arguments that moved or swapped
 * between kernels are given by index, MT_GMEM_*_ARG.  Each program pair below is the
 * entry and the exit of one function; what is nested in what:
 *
 *   gmem.fault     kvm_mmu_page_fault(vcpu, gpa, error_code, ...)
 *     gmem.get     kvm_gmem_get_pfn(kvm, slot, gfn, *pfn, ..., *max_order)
 *       gmem.zero  from the return of __kvm_gmem_get_pfn() to gmem.prepare
 *       gmem.prepare   kvm_arch_gmem_prepare(kvm, gfn, pfn, max_order)
 *         gmem.assign  rmp_make_private(pfn, gpa, level, ...)
 *     gmem.assign  tdh_mem_page_aug(td, gpa, level, ...)
 *   gmem.punch     kvm_gmem_fallocate(file, mode, offset, len) with mode & 2
 *     gmem.free    kvm_gmem_free_folio(folio)
 *
 * Frames are keyed by a stack address of the call: the context of a fentry program lies
 * in its trampoline's frame and is the same at the exit.
 */
#define MT_KEEP_SIZE_PUNCH_HOLE 2
#define MT_KVM_SET_MEMORY_ATTRIBUTES 0x4020aed2
#define MT_KVM_PRE_FAULT_MEMORY 0xc040aed5
#define MT_ATTRIBUTE_PRIVATE 8
#define MT_PFERR_PRIVATE (1ULL << 49)
#define MT_FRAME_CHANGED (1U << 31)

struct mt_vm_t {
	u64 first_ns;
	s64 clock_offset;	/* guest's kvm-clock less the host's CLOCK_BOOTTIME */
	u32 pid;
	u8 kind;		/* KVM_X86_*_VM */
	u8 has_private;
	u16 pad;
	char comm[16];		/* of the thread that was met first */
};
struct mt_binding_t {
	u64 pgoff;
	u64 pages;
	u64 gfn;
};
struct mt_bindings_t {
	struct mt_binding_t of[4];
};
struct mt_file_t {
	u64 file;
	u64 vm;
};
BPF_HASH(mt_vms, u64, u32, 1024);
BPF_HASH(mt_vm_list, u32, struct mt_vm_t, 1024);
BPF_ARRAY(mt_vm_last, u32, 1);
BPF_HASH(mt_bindings, struct mt_file_t, struct mt_bindings_t, 1024);
BPF_PERCPU_ARRAY(mt_bindings_new, struct mt_bindings_t, 1);

#define MT_READ(to, at) bpf_probe_read_kernel(&(to), sizeof(to), (void *)(at))

/* The address of a program's context, as a number on which arithmetic is allowed. */
static __always_inline u64 mt_here(void *ctx)
{
	void *pointer = ctx;
	u64 address = 0;

	MT_READ(address, &pointer);
	return address;
}

static __always_inline u64 mt_pointer(u64 at)
{
	u64 value = 0;

	MT_READ(value, at);
	return value;
}

static __always_inline void mt_vm_describe(u64 kvm, struct mt_vm_t *vm)
{
	vm->first_ns = bpf_ktime_get_boot_ns();
	vm->has_private = 1;
	bpf_get_current_comm(vm->comm, sizeof(vm->comm));
#ifdef MT_KVM_PID
	MT_READ(vm->pid, kvm + MT_KVM_PID);
#endif
#ifdef MT_KVM_TYPE
	MT_READ(vm->kind, kvm + MT_KVM_TYPE);
	vm->has_private = vm->kind != 0;
#endif
#ifdef MT_KVM_HAS_PRIVATE
	MT_READ(vm->has_private, kvm + MT_KVM_HAS_PRIVATE);
#endif
#ifdef MT_KVM_CLOCK_OFFSET
	MT_READ(vm->clock_offset, kvm + MT_KVM_CLOCK_OFFSET);
#endif
}

/*
 * The number of a VM, given at first sight and never again to another: a struct kvm that is
 * freed leaves mt_vms (kvm_arch_destroy_vm()).  Numbers are claimed by inserting, so that
 * two CPUs never give one twice.  0: no number left.
 */
static __always_inline u32 mt_vm(u64 kvm)
{
	u32 *known = mt_vms.lookup(&kvm), *last, number;
	struct mt_vm_t vm = {};
	int zero = 0;

	if (known)
		return *known;
	last = mt_vm_last.lookup(&zero);
	if (!last)
		return 0;
	mt_vm_describe(kvm, &vm);
#pragma unroll
	for (int i = 0; i < 4; i++) {
		number = *last + 1;
		if (mt_vm_list.insert(&number, &vm)) {
			*last = number;
			continue;
		}
		*last = number;
		if (!mt_vms.insert(&kvm, &number))
			return number;
		mt_vm_list.delete(&number);
		break;
	}
	known = mt_vms.lookup(&kvm);
	return known ? *known : 0;
}

static __always_inline int mt_vm_has_private(u32 number)
{
	struct mt_vm_t *vm = mt_vm_list.lookup(&number);

	return !vm || vm->has_private;
}

/* Remember which guest frames a range of the file stands for: struct kvm_memory_slot. */
static __always_inline void mt_bind(u64 slot, u32 vm)
{
	struct mt_file_t key = { .vm = vm };
	struct mt_bindings_t *known, *fresh;
	struct mt_binding_t now = {};
	int zero = 0;

	MT_READ(key.file, slot + MT_KVM_SLOT_FILE);
	MT_READ(now.pgoff, slot + MT_KVM_SLOT_PGOFF);
	MT_READ(now.pages, slot + MT_KVM_SLOT_PAGES);
	MT_READ(now.gfn, slot + MT_KVM_SLOT_GFN);
	if (!key.file || !now.pages)
		return;
	known = mt_bindings.lookup(&key);
	if (!known) {
		fresh = mt_bindings_new.lookup(&zero);
		if (!fresh)
			return;
		mt_bindings.insert(&key, fresh);
		known = mt_bindings.lookup(&key);
		if (!known)
			return;
	}
#pragma unroll
	for (int i = 0; i < 4; i++) {
		if (known->of[i].pages && known->of[i].pgoff != now.pgoff)
			continue;
		known->of[i] = now;
		return;
	}
}

static __always_inline u64 mt_file_gfn(u64 file, u32 vm, u64 index)
{
	struct mt_file_t key = { .file = file, .vm = vm };
	struct mt_bindings_t *known = mt_bindings.lookup(&key);

	if (!known)
		return MT_NO_GFN;
#pragma unroll
	for (int i = 0; i < 4; i++)
		if (index - known->of[i].pgoff < known->of[i].pages)
			return known->of[i].gfn + index - known->of[i].pgoff;
	return MT_NO_GFN;
}

static __always_inline s16 mt_top_vcpu(void)
{
	struct mt_frame_t *top = mt_top();

	return top ? top->vcpu : -1;
}

static __always_inline void mt_guest(struct mt_occurrence *o, struct mt_frame_t *f)
{
	o->gfn = f->gfn;
	o->requested = f->requested;
	o->vm = f->vm;
	o->vcpu = f->vcpu;
	o->flags |= f->flags & ~MT_FRAME_CHANGED;
}

static __always_inline void mt_guest_pfn(struct mt_conf_t *conf, struct mt_occurrence *o, u64 pfn)
{
	o->pfn = pfn;
	if (pfn)
		o->nid = mt_pfn_nid(conf, pfn);
}

/* ---- gmem.fault ---- */
#define MT_STAT(vcpu, name) mt_pointer((vcpu) + MT_KVM_STAT_##name)

/* kvm_mmu_page_fault() counts what became of a fault it took; one it only emulates it does not. */
static __always_inline u64 mt_settled(u64 vcpu)
{
#ifdef MT_KVM_STAT_FIXED
	return MT_STAT(vcpu, FIXED) + MT_STAT(vcpu, EMULATE) + MT_STAT(vcpu, SPURIOUS);
#else
	return 0;
#endif
}

static __always_inline int mt_fault_enter(u64 vcpu, u64 gpa, u64 error_code, u64 key)
{
	u32 vm;
	s32 id = -1;
	struct mt_frame_t *f;

	if (!mt_gate())
		return 0;
	vm = mt_vm(mt_pointer(vcpu + MT_KVM_VCPU_KVM));
	if (!mt_vm_has_private(vm))
		return 0;
	f = mt_begin(MT_EV_GMEM_FAULT, 127, key);
	if (!f)
		return 0;
	MT_READ(id, vcpu + MT_KVM_VCPU_ID);
	f->vm = vm;
	f->vcpu = id;
	f->gfn = gpa >> 12;
	f->arg = vcpu;
	f->scratch = mt_settled(vcpu);
#ifdef MT_KVM_STAT_TAKEN
	f->zero_ns = MT_STAT(vcpu, TAKEN);
#endif
	if (error_code & MT_PFERR_PRIVATE)
		f->flags |= MT_FLAG_PRIVATE;
	return mt_stamp(f);
}

static __always_inline int mt_fault_exit(void *ctx, s64 result, u64 key, u8 site)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_end(MT_EV_GMEM_FAULT, key, site, &o, &f, &parent);

	if (!conf)
		return 0;
#ifdef MT_KVM_STAT_TAKEN
	/* Access to a device, not to memory. */
	if (result >= 0 && f.zero_ns == MT_STAT(f.arg, TAKEN))
		return 0;
#endif
	mt_guest(&o, &f);
	if (result < 0)
		o.flags |= MT_FLAG_FAILED;
#ifdef MT_KVM_STAT_FIXED
	else if (f.scratch == mt_settled(f.arg))
		o.flags |= MT_FLAG_RETRIED;
#endif
	o.pages = result < 0 || o.flags & MT_FLAG_RETRIED ? 0 : 1U << (f.order > 0 ? f.order : 0);
	mt_guest_pfn(conf, &o, f.pfn);
	mt_emit(ctx, conf, &o);
	return 0;
}

#ifdef MT_FN_GMEM_FAULT
MT_FENTRY(MT_FN_GMEM_FAULT, unsigned long vcpu, unsigned long gpa, unsigned long error_code,
	  unsigned long insn, unsigned long insn_len)
{
	return mt_fault_enter(mt_argument(ctx, 0), mt_argument(ctx, 1), mt_argument(ctx, 2), mt_here(ctx));
}

MT_FEXIT(MT_FN_GMEM_FAULT, unsigned long vcpu, unsigned long gpa, unsigned long error_code,
	 unsigned long insn, unsigned long insn_len)
{
	return mt_fault_exit(ctx, (int)mt_argument(ctx, 5), mt_here(ctx), MT_SITE_GMEM_FAULT_FENTRY);
}
#endif

#ifdef MT_KPROBES
int mt_gmem_fault_kprobe(struct pt_regs *ctx)
{
	return mt_fault_enter(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx), PT_REGS_SP(ctx));
}

int mt_gmem_fault_kretprobe(struct pt_regs *ctx)
{
	return mt_fault_exit(ctx, (int)PT_REGS_RC(ctx), PT_REGS_SP(ctx) - 8, MT_SITE_GMEM_FAULT_KPROBE);
}
#endif

/* tp kvm:kvm_page_fault(vcpu, fault_address, error_code): that it happened, not how it ended. */
int mt_gmem_fault_rawtp(struct bpf_raw_tracepoint_args *ctx)
{
	struct mt_conf_t *conf = mt_gate();
	struct mt_occurrence o = {};
	u64 vcpu = ctx->args[0];
	s32 id = -1;

	if (!conf)
		return 0;
	o.task = bpf_get_current_pid_tgid();
	if (!mt_wanted(o.task, 127))
		return 0;
	o.vm = mt_vm(mt_pointer(vcpu + MT_KVM_VCPU_KVM));
	if (!mt_vm_has_private(o.vm))
		return 0;
	MT_READ(id, vcpu + MT_KVM_VCPU_ID);
	o.vcpu = id;
	o.gfn = ctx->args[1] >> 12;
	o.dur = MT_UNKNOWN_NS;
	o.self = MT_UNKNOWN_NS;
	o.pages = MT_PAGES_UNKNOWN;
	o.flags = ctx->args[2] & MT_PFERR_PRIVATE ? MT_FLAG_PRIVATE : 0;
	o.event = MT_EV_GMEM_FAULT;
	o.site = MT_SITE_GMEM_FAULT_RAWTP;
	o.order = -1;
	o.parent = MT_NO_PARENT;
	o.nid = -1;
	o.nid_requested = -1;
	mt_emit(ctx, conf, &o);
	return 0;
}

/* kvm_tdp_page_fault(vcpu, fault): whether the fault is private is known only here. */
static __always_inline int mt_fault_detail(u64 fault)
{
	struct mt_frame_t *top = mt_top();
#ifdef MT_KVM_FAULT_PRIVATE
	u8 is_private = 0;

	if (!top || top->event != MT_EV_GMEM_FAULT)
		return 0;
	MT_READ(is_private, fault + MT_KVM_FAULT_PRIVATE);
	if (is_private)
		top->flags |= MT_FLAG_PRIVATE;
#endif
	return 0;
}

#ifdef MT_FN_GMEM_DETAIL
MT_FENTRY(MT_FN_GMEM_DETAIL, unsigned long vcpu, unsigned long fault)
{
	return mt_fault_detail(mt_argument(ctx, 1));
}
#endif

#ifdef MT_KPROBES
int mt_gmem_detail_kprobe(struct pt_regs *ctx)
{
	return mt_fault_detail(PT_REGS_PARM2(ctx));
}
#endif

/* ---- gmem.get ---- */
static __always_inline int mt_get_enter(u64 kvm, u64 slot, u64 gfn, u64 pfn, u64 order, u64 key)
{
	s16 vcpu = mt_top_vcpu();
	struct mt_frame_t *f;

	f = mt_begin(MT_EV_GMEM_GET, 127, key);
	if (!f)
		return 0;
	f->vm = mt_vm(kvm);
	f->vcpu = vcpu;
	f->gfn = gfn;
	f->arg = pfn;
	f->zero_ns = order;
	f->flags = MT_FLAG_PRIVATE;
	mt_bind(slot, f->vm);
	return mt_stamp(f);
}

static __always_inline int mt_get_exit(void *ctx, s64 result, u64 key, u8 site)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_end(MT_EV_GMEM_GET, key, site, &o, &f, &parent);
	s32 order = 0;

	if (!conf)
		return 0;
	mt_guest(&o, &f);
	if (result < 0) {
		o.flags |= MT_FLAG_FAILED;
	} else {
		if (f.zero_ns)
			MT_READ(order, f.zero_ns);
		o.order = order;
		o.pages = 1U << (order & 31);
		mt_guest_pfn(conf, &o, mt_pointer(f.arg));
		if (parent && parent->event == MT_EV_GMEM_FAULT) {
			parent->flags |= MT_FLAG_PRIVATE;
			parent->order = order;
			parent->pfn = o.pfn;
		}
	}
	mt_emit(ctx, conf, &o);
	return 0;
}

#ifdef MT_FN_GMEM_GET
MT_FENTRY(MT_FN_GMEM_GET, unsigned long kvm, unsigned long slot, unsigned long gfn, unsigned long pfn,
	  unsigned long fifth)
{
	return mt_get_enter(mt_argument(ctx, 0), mt_argument(ctx, 1), mt_argument(ctx, 2), mt_argument(ctx, 3),
			    mt_argument(ctx, MT_GMEM_GET_ORDER_ARG), mt_here(ctx));
}

MT_FEXIT(MT_FN_GMEM_GET, unsigned long kvm, unsigned long slot, unsigned long gfn, unsigned long pfn,
	 unsigned long fifth)
{
	return mt_get_exit(ctx, (int)mt_argument(ctx, MT_GMEM_GET_ORDER_ARG + 1), mt_here(ctx),
			   MT_SITE_GMEM_GET_FENTRY);
}
#endif

#ifdef MT_KPROBES
int mt_gmem_get_kprobe(struct pt_regs *ctx)
{
	u64 order = MT_GMEM_GET_ORDER_ARG == 5 ? PT_REGS_PARM6(ctx) : PT_REGS_PARM5(ctx);

	return mt_get_enter(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx), PT_REGS_PARM4(ctx),
			    order, PT_REGS_SP(ctx));
}

int mt_gmem_get_kretprobe(struct pt_regs *ctx)
{
	return mt_get_exit(ctx, (int)PT_REGS_RC(ctx), PT_REGS_SP(ctx) - 8, MT_SITE_GMEM_GET_KPROBE);
}
#endif

/* ---- gmem.zero: begun here, ended by gmem.prepare ---- */
static __always_inline int mt_looked_up(void)
{
	struct mt_frame_t *top = mt_top();

	if (top && top->event == MT_EV_GMEM_GET)
		top->scratch = bpf_ktime_get_boot_ns();
	return 0;
}

#ifdef MT_FN_GMEM_LOOKUP
MT_FEXIT(MT_FN_GMEM_LOOKUP, unsigned long file)
{
	return mt_looked_up();
}
#endif

#ifdef MT_KPROBES
int mt_gmem_lookup_kretprobe(struct pt_regs *ctx)
{
	return mt_looked_up();
}
#endif

static __always_inline void mt_zeroed_until_now(void *ctx, struct mt_conf_t *conf, struct mt_frame_t *get,
						u64 pfn, u64 order)
{
	struct mt_occurrence o = {};

	o.ts = bpf_ktime_get_boot_ns();
	o.task = bpf_get_current_pid_tgid();
	o.dur = o.ts - get->scratch;
	o.self = o.dur;
	o.event = MT_EV_GMEM_ZERO;
	o.site = MT_SITE_GMEM_ZERO;
	o.parent = MT_EV_GMEM_GET;
	o.order = order;
	o.pages = 1U << (order & 31);
	o.nid = -1;
	o.nid_requested = -1;
	mt_guest(&o, get);
	mt_guest_pfn(conf, &o, pfn);
	get->child_ns += o.dur;
	get->scratch = 0;
	mt_emit(ctx, conf, &o);
}

/* ---- gmem.prepare ---- */
static __always_inline int mt_prepare_enter(void *ctx, u64 kvm, u64 gfn, u64 pfn, u64 order, u64 key)
{
	struct mt_frame_t *top = mt_top(), *f;
	s16 vcpu = top ? top->vcpu : -1;
	struct mt_conf_t *conf = mt_gate();

	if (!conf)
		return 0;
#ifdef MT_WANT_GMEM_ZERO
	if (top && top->event == MT_EV_GMEM_GET && top->scratch)
		mt_zeroed_until_now(ctx, conf, top, pfn, order);
#endif
#ifndef MT_WANT_GMEM_PREPARE
	return 0;
#endif
	f = mt_begin(MT_EV_GMEM_PREPARE, 127, key);
	if (!f)
		return 0;
	f->vm = mt_vm(kvm);
	f->vcpu = vcpu;
	f->gfn = gfn;
	f->arg = pfn;
	f->order = order;
	f->flags = MT_FLAG_PRIVATE;
	return mt_stamp(f);
}

static __always_inline int mt_prepare_exit(void *ctx, s64 result, u64 key, u8 site)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_end(MT_EV_GMEM_PREPARE, key, site, &o, &f, &parent);

	if (!conf)
		return 0;
	mt_guest(&o, &f);
	o.pages = 1U << (f.order & 31);
	if (result < 0) {
		o.flags |= MT_FLAG_FAILED;
		o.pages = 0;
	}
	mt_guest_pfn(conf, &o, f.arg);
	mt_emit(ctx, conf, &o);
	return 0;
}

#define MT_LOG2(pages) ((pages) >> 18 ? 18 : (pages) >> 9 ? 9 : 0)
#ifdef MT_GMEM_PREPARE_HAS_PAGES
#define MT_GMEM_PREPARE_ORDER(fourth) MT_LOG2(fourth)
#else
#define MT_GMEM_PREPARE_ORDER(fourth) ((s32)(fourth))
#endif

#ifdef MT_FN_GMEM_PREPARE
MT_FENTRY(MT_FN_GMEM_PREPARE, unsigned long kvm, unsigned long second, unsigned long third,
	  unsigned long fourth)
{
	return mt_prepare_enter(ctx, mt_argument(ctx, 0), mt_argument(ctx, MT_GMEM_PREPARE_GFN_ARG),
				mt_argument(ctx, MT_GMEM_PREPARE_PFN_ARG),
				MT_GMEM_PREPARE_ORDER(mt_argument(ctx, 3)), mt_here(ctx));
}

MT_FEXIT(MT_FN_GMEM_PREPARE, unsigned long kvm, unsigned long second, unsigned long third,
	 unsigned long fourth)
{
	return mt_prepare_exit(ctx, (int)mt_argument(ctx, 4), mt_here(ctx), MT_SITE_GMEM_PREPARE_FENTRY);
}
#endif

#ifdef MT_KPROBES
int mt_gmem_prepare_kprobe(struct pt_regs *ctx)
{
	u64 second = PT_REGS_PARM2(ctx), third = PT_REGS_PARM3(ctx);

	return mt_prepare_enter(ctx, PT_REGS_PARM1(ctx), MT_GMEM_PREPARE_GFN_ARG == 1 ? second : third,
				MT_GMEM_PREPARE_GFN_ARG == 1 ? third : second,
				MT_GMEM_PREPARE_ORDER(PT_REGS_PARM4(ctx)), PT_REGS_SP(ctx));
}

int mt_gmem_prepare_kretprobe(struct pt_regs *ctx)
{
	return mt_prepare_exit(ctx, (int)PT_REGS_RC(ctx), PT_REGS_SP(ctx) - 8, MT_SITE_GMEM_PREPARE_KPROBE);
}
#endif

/* ---- gmem.assign and gmem.split: the RMP or the secure EPT ---- */
static __always_inline int mt_assign_enter(int event, u64 pfn, u64 gfn, int order, u64 key)
{
	struct mt_frame_t *top = mt_top(), *f;
	u16 vm = top ? top->vm : 0;
	s16 vcpu = top ? top->vcpu : -1;

	f = mt_begin(event, 127, key);
	if (!f)
		return 0;
	f->vm = vm;
	f->vcpu = vcpu;
	f->gfn = gfn;
	f->arg = pfn;
	f->order = order;
	f->flags = MT_FLAG_PRIVATE;
	return mt_stamp(f);
}

static __always_inline int mt_assign_exit(void *ctx, int event, int failed, u64 key, u8 site)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_end(event, key, site, &o, &f, &parent);

	if (!conf)
		return 0;
	mt_guest(&o, &f);
	o.pages = failed ? 0 : 1U << (f.order & 31);
	if (failed)
		o.flags |= MT_FLAG_FAILED;
	mt_guest_pfn(conf, &o, f.arg);
	mt_emit(ctx, conf, &o);
	return 0;
}

/* enum pg_level: 1 = 4 KiB, 2 = 2 MiB, 3 = 1 GiB; the TDX module counts from 0. */
#ifdef MT_GMEM_ASSIGN_TDX
#define MT_ASSIGN_ENTER(first, gpa, level, key) \
	mt_assign_enter(MT_EV_GMEM_ASSIGN, 0, (gpa) >> 12, 9 * (int)(level), key)
#define MT_ASSIGN_FAILED(result) ((u64)(result) >> 63)
#else
#define MT_ASSIGN_ENTER(first, gpa, level, key) \
	mt_assign_enter(MT_EV_GMEM_ASSIGN, first, (gpa) >> 12, 9 * ((int)(level) - 1), key)
#define MT_ASSIGN_FAILED(result) ((int)(result) != 0)
#endif

#ifdef MT_FN_GMEM_ASSIGN
MT_FENTRY(MT_FN_GMEM_ASSIGN, unsigned long first, unsigned long gpa, unsigned long level,
	  unsigned long fourth, unsigned long fifth)
{
	return MT_ASSIGN_ENTER(mt_argument(ctx, 0), mt_argument(ctx, 1), mt_argument(ctx, 2), mt_here(ctx));
}

MT_FEXIT(MT_FN_GMEM_ASSIGN, unsigned long first, unsigned long gpa, unsigned long level,
	 unsigned long fourth, unsigned long fifth)
{
	u64 result = mt_argument(ctx, MT_GMEM_ASSIGN_ARGS);

	return mt_assign_exit(ctx, MT_EV_GMEM_ASSIGN, MT_ASSIGN_FAILED(result), mt_here(ctx),
			      MT_SITE_GMEM_ASSIGN_FENTRY);
}
#endif

#ifdef MT_FN_GMEM_SPLIT
MT_FENTRY(MT_FN_GMEM_SPLIT, unsigned long pfn)
{
	return mt_assign_enter(MT_EV_GMEM_SPLIT, mt_argument(ctx, 0), MT_NO_GFN, 9, mt_here(ctx));
}

MT_FEXIT(MT_FN_GMEM_SPLIT, unsigned long pfn)
{
	return mt_assign_exit(ctx, MT_EV_GMEM_SPLIT, (int)mt_argument(ctx, 1) != 0, mt_here(ctx),
			      MT_SITE_GMEM_SPLIT_FENTRY);
}
#endif

#ifdef MT_KPROBES
int mt_gmem_assign_kprobe(struct pt_regs *ctx)
{
	return MT_ASSIGN_ENTER(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx), PT_REGS_SP(ctx));
}

int mt_gmem_assign_kretprobe(struct pt_regs *ctx)
{
	return mt_assign_exit(ctx, MT_EV_GMEM_ASSIGN, MT_ASSIGN_FAILED(PT_REGS_RC(ctx)), PT_REGS_SP(ctx) - 8,
			      MT_SITE_GMEM_ASSIGN_KPROBE);
}

int mt_gmem_split_kprobe(struct pt_regs *ctx)
{
	return mt_assign_enter(MT_EV_GMEM_SPLIT, PT_REGS_PARM1(ctx), MT_NO_GFN, 9, PT_REGS_SP(ctx));
}

int mt_gmem_split_kretprobe(struct pt_regs *ctx)
{
	return mt_assign_exit(ctx, MT_EV_GMEM_SPLIT, (int)PT_REGS_RC(ctx) != 0, PT_REGS_SP(ctx) - 8,
			      MT_SITE_GMEM_SPLIT_KPROBE);
}
#endif

/* tp kvm:kvm_rmp_fault(vcpu, gpa, pfn, error_code, rmp_level, psmash_ret) */
int mt_gmem_split_rawtp(struct bpf_raw_tracepoint_args *ctx)
{
	struct mt_conf_t *conf = mt_gate();
	struct mt_occurrence o = {};

	/* At 4 KiB there is nothing to split. */
	if (!conf || (int)ctx->args[4] <= 1)
		return 0;
	o.task = bpf_get_current_pid_tgid();
	if (!mt_wanted(o.task, 127))
		return 0;
	o.vm = mt_vm(mt_pointer(ctx->args[0] + MT_KVM_VCPU_KVM));
	o.vcpu = -1;
	o.gfn = ctx->args[1] >> 12;
	o.dur = MT_UNKNOWN_NS;
	o.self = MT_UNKNOWN_NS;
	o.flags = MT_FLAG_PRIVATE | ((int)ctx->args[5] ? MT_FLAG_FAILED : 0);
	o.pages = (int)ctx->args[5] ? 0 : 512;
	o.event = MT_EV_GMEM_SPLIT;
	o.site = MT_SITE_GMEM_SPLIT_RAWTP;
	o.order = 9;
	o.parent = MT_NO_PARENT;
	o.nid = -1;
	o.nid_requested = -1;
	mt_guest_pfn(conf, &o, ctx->args[2] & ~511ULL);
	mt_emit(ctx, conf, &o);
	return 0;
}

/* ---- gmem.allocate, gmem.punch ---- */
static __always_inline u64 mt_file_pages(u64 file)
{
	return mt_pointer(mt_pointer(mt_pointer(file + MT_KVM_FILE_INODE) + MT_KVM_INODE_MAPPING) +
			  MT_KVM_MAPPING_PAGES);
}

static __always_inline int mt_fallocate_enter(u64 file, u64 mode, u64 offset, u64 len, u64 key)
{
	struct mt_frame_t *f;
	int event = mode & MT_KEEP_SIZE_PUNCH_HOLE ? MT_EV_GMEM_PUNCH : MT_EV_GMEM_ALLOCATE;

#ifndef MT_WANT_GMEM_ALLOCATE
	if (event == MT_EV_GMEM_ALLOCATE)
		return 0;
#endif
#ifndef MT_WANT_GMEM_PUNCH
	if (event == MT_EV_GMEM_PUNCH)
		return 0;
#endif
	f = mt_begin(event, 127, key);
	if (!f)
		return 0;
	f->vm = mt_vm(mt_pointer(mt_pointer(file + MT_KVM_FILE_PRIVATE) + MT_KVM_GMEM_KVM));
	f->gfn = mt_file_gfn(file, f->vm, offset >> 12);
	f->arg = file;
	f->requested = len >> 12;
	f->scratch = mt_file_pages(file);
	f->flags = MT_FLAG_PRIVATE;
	return mt_stamp(f);
}

static __always_inline int mt_fallocate_exit(void *ctx, int event, s64 result, u64 key, u8 site)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_end(event, key, site, &o, &f, &parent);
	s64 change;

	if (!conf)
		return 0;
	mt_guest(&o, &f);
	if (result < 0)
		o.flags |= MT_FLAG_FAILED;
	/* Freed inside, as gmem.free counts it; else what the file holds, which other CPUs may change. */
	change = mt_file_pages(f.arg) - f.scratch;
	if (event == MT_EV_GMEM_PUNCH)
		change = f.zero_pages ? f.zero_pages : -change;
	o.pages = change > 0 ? change : 0;
	mt_emit(ctx, conf, &o);
	return 0;
}

static __always_inline int mt_fallocate_done(void *ctx, s64 result, u64 key, int fentry)
{
	struct mt_frame_t *top = mt_top();

	if (!top)
		return 0;
	if (top->event == MT_EV_GMEM_PUNCH)
		return mt_fallocate_exit(ctx, MT_EV_GMEM_PUNCH, result, key,
					 fentry ? MT_SITE_GMEM_PUNCH_FENTRY : MT_SITE_GMEM_PUNCH_KPROBE);
	if (top->event == MT_EV_GMEM_ALLOCATE)
		return mt_fallocate_exit(ctx, MT_EV_GMEM_ALLOCATE, result, key,
					 fentry ? MT_SITE_GMEM_ALLOCATE_FENTRY : MT_SITE_GMEM_ALLOCATE_KPROBE);
	return 0;
}

#ifdef MT_FN_GMEM_FALLOCATE
MT_FENTRY(MT_FN_GMEM_FALLOCATE, unsigned long file, unsigned long mode, unsigned long offset,
	  unsigned long len)
{
	return mt_fallocate_enter(mt_argument(ctx, 0), mt_argument(ctx, 1), mt_argument(ctx, 2),
				  mt_argument(ctx, 3), mt_here(ctx));
}

MT_FEXIT(MT_FN_GMEM_FALLOCATE, unsigned long file, unsigned long mode, unsigned long offset,
	 unsigned long len)
{
	return mt_fallocate_done(ctx, (long)mt_argument(ctx, 4), mt_here(ctx), 1);
}
#endif

#ifdef MT_KPROBES
int mt_gmem_fallocate_kprobe(struct pt_regs *ctx)
{
	return mt_fallocate_enter(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx),
				  PT_REGS_PARM4(ctx), PT_REGS_SP(ctx));
}

int mt_gmem_fallocate_kretprobe(struct pt_regs *ctx)
{
	return mt_fallocate_done(ctx, (long)PT_REGS_RC(ctx), PT_REGS_SP(ctx) - 8, 0);
}
#endif

/* ---- gmem.free ---- */
static __always_inline int mt_gmem_folio_order(u64 folio)
{
	u64 flags = 0;

	MT_READ(flags, folio + MT_PAGE_FLAGS);
	if (!(flags >> MT_PG_HEAD & 1))
		return 0;
	MT_READ(flags, folio + MT_FOLIO_FLAGS_1);
	return flags & 0xff;
}

static __always_inline int mt_free_enter(u64 folio, u64 key)
{
	struct mt_frame_t *top = mt_top(), *f;
	u64 index = 0, file = 0, vm = 0;

	if (top && top->event == MT_EV_GMEM_PUNCH) {
		file = top->arg;
		vm = top->vm;
	}
	f = mt_begin(MT_EV_GMEM_FREE, 127, key);
	if (!f)
		return 0;
	f->arg = folio;
	f->order = mt_gmem_folio_order(folio);
	f->vm = vm;
	f->flags = MT_FLAG_PRIVATE;
	if (file) {
		MT_READ(index, folio + MT_KVM_FOLIO_INDEX);
		f->gfn = mt_file_gfn(file, vm, index);
	}
	return mt_stamp(f);
}

static __always_inline int mt_free_exit(void *ctx, u64 key, u8 site)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_end(MT_EV_GMEM_FREE, key, site, &o, &f, &parent);

	if (!conf)
		return 0;
	mt_guest(&o, &f);
	o.pages = 1U << (f.order & 31);
	o.page = f.arg;
	o.nid = mt_page_nid(f.arg);
	if (parent && parent->event == MT_EV_GMEM_PUNCH)
		parent->zero_pages += o.pages;
	mt_emit(ctx, conf, &o);
	return 0;
}

#ifdef MT_FN_GMEM_FREE
MT_FENTRY(MT_FN_GMEM_FREE, unsigned long folio)
{
	return mt_free_enter(mt_argument(ctx, 0), mt_here(ctx));
}

MT_FEXIT(MT_FN_GMEM_FREE, unsigned long folio)
{
	return mt_free_exit(ctx, mt_here(ctx), MT_SITE_GMEM_FREE_FENTRY);
}
#endif

#ifdef MT_KPROBES
int mt_gmem_free_kprobe(struct pt_regs *ctx)
{
	return mt_free_enter(PT_REGS_PARM1(ctx), PT_REGS_SP(ctx));
}

int mt_gmem_free_kretprobe(struct pt_regs *ctx)
{
	return mt_free_exit(ctx, PT_REGS_SP(ctx) - 8, MT_SITE_GMEM_FREE_KPROBE);
}
#endif

/* ---- gmem.convert: kvm_vm_ioctl(filp, ioctl, arg) ---- */
static __always_inline int mt_convert_enter(u64 filp, u32 number, u64 argument, u64 key)
{
	u64 attributes[4] = {};	/* struct kvm_memory_attributes: address, size, attributes, flags */
	struct mt_frame_t *f;

	if (number != MT_KVM_SET_MEMORY_ATTRIBUTES)
		return 0;
	f = mt_begin(MT_EV_GMEM_CONVERT, 127, key);
	if (!f)
		return 0;
	f->vm = mt_vm(mt_pointer(filp + MT_KVM_FILE_PRIVATE));
	if (!bpf_probe_read_user(attributes, sizeof(attributes), (void *)argument)) {
		f->gfn = attributes[0] >> 12;
		f->requested = attributes[1] >> 12;
		if (attributes[2] & MT_ATTRIBUTE_PRIVATE)
			f->flags |= MT_FLAG_PRIVATE;
	}
	return mt_stamp(f);
}

static __always_inline int mt_convert_exit(void *ctx, s64 result, u64 key, u8 site)
{
	struct mt_frame_t *top = mt_top(), f, *parent;
	struct mt_occurrence o = {};
	struct mt_conf_t *conf;

	if (!top || top->event != MT_EV_GMEM_CONVERT)
		return 0;
	conf = mt_end(MT_EV_GMEM_CONVERT, key, site, &o, &f, &parent);
	if (!conf)
		return 0;
	mt_guest(&o, &f);
	o.pages = MT_PAGES_UNKNOWN;
	if (result < 0) {
		o.flags |= MT_FLAG_FAILED;
		o.pages = 0;
	}
#ifdef MT_GMEM_SEES_CHANGES
	else if (f.flags & MT_FRAME_CHANGED) {
		o.pages = f.requested;
	} else {
		o.flags |= MT_FLAG_NOOP;
		o.pages = 0;
	}
#endif
	mt_emit(ctx, conf, &o);
	return 0;
}

/* kvm_arch_pre_set_memory_attributes(): for each memslot that a change touches. */
static __always_inline int mt_converts(void)
{
	struct mt_frame_t *top = mt_top();

	if (top && top->event == MT_EV_GMEM_CONVERT)
		top->flags |= MT_FRAME_CHANGED;
	return 0;
}

#ifdef MT_FN_GMEM_CONVERT
MT_FENTRY(MT_FN_GMEM_CONVERT, unsigned long filp, unsigned long number, unsigned long argument)
{
	return mt_convert_enter(mt_argument(ctx, 0), mt_argument(ctx, 1), mt_argument(ctx, 2), mt_here(ctx));
}

MT_FEXIT(MT_FN_GMEM_CONVERT, unsigned long filp, unsigned long number, unsigned long argument)
{
	return mt_convert_exit(ctx, (long)mt_argument(ctx, 3), mt_here(ctx), MT_SITE_GMEM_CONVERT_FENTRY);
}
#endif

#ifdef MT_FN_GMEM_CHANGE
MT_FENTRY(MT_FN_GMEM_CHANGE, unsigned long kvm)
{
	return mt_converts();
}
#endif

#ifdef MT_KPROBES
int mt_gmem_convert_kprobe(struct pt_regs *ctx)
{
	return mt_convert_enter(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx), PT_REGS_SP(ctx));
}

int mt_gmem_convert_kretprobe(struct pt_regs *ctx)
{
	return mt_convert_exit(ctx, (long)PT_REGS_RC(ctx), PT_REGS_SP(ctx) - 8, MT_SITE_GMEM_CONVERT_KPROBE);
}

int mt_gmem_change_kprobe(struct pt_regs *ctx)
{
	return mt_converts();
}
#endif

/* ---- gmem.populate: kvm_gmem_populate(kvm, start_gfn, src, npages, ...) ---- */
static __always_inline int mt_populate_enter(u64 kvm, u64 gfn, u64 pages, u64 key)
{
	struct mt_frame_t *f = mt_begin(MT_EV_GMEM_POPULATE, 127, key);

	if (!f)
		return 0;
	f->vm = mt_vm(kvm);
	f->gfn = gfn;
	f->requested = pages;
	f->flags = MT_FLAG_PRIVATE;
	return mt_stamp(f);
}

static __always_inline int mt_populate_exit(void *ctx, s64 result, u64 key, u8 site)
{
	struct mt_occurrence o = {};
	struct mt_frame_t f, *parent;
	struct mt_conf_t *conf = mt_end(MT_EV_GMEM_POPULATE, key, site, &o, &f, &parent);

	if (!conf)
		return 0;
	mt_guest(&o, &f);
	o.pages = result > 0 ? result : 0;
	if (result < 0)
		o.flags |= MT_FLAG_FAILED;
	mt_emit(ctx, conf, &o);
	return 0;
}

#ifdef MT_FN_GMEM_POPULATE
MT_FENTRY(MT_FN_GMEM_POPULATE, unsigned long kvm, unsigned long gfn, unsigned long source,
	  unsigned long pages, unsigned long function, unsigned long opaque)
{
	return mt_populate_enter(mt_argument(ctx, 0), mt_argument(ctx, 1), mt_argument(ctx, 3), mt_here(ctx));
}

MT_FEXIT(MT_FN_GMEM_POPULATE, unsigned long kvm, unsigned long gfn, unsigned long source,
	 unsigned long pages, unsigned long function, unsigned long opaque)
{
	return mt_populate_exit(ctx, (long)mt_argument(ctx, 6), mt_here(ctx), MT_SITE_GMEM_POPULATE_FENTRY);
}
#endif

#ifdef MT_KPROBES
int mt_gmem_populate_kprobe(struct pt_regs *ctx)
{
	return mt_populate_enter(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM4(ctx), PT_REGS_SP(ctx));
}

int mt_gmem_populate_kretprobe(struct pt_regs *ctx)
{
	return mt_populate_exit(ctx, (long)PT_REGS_RC(ctx), PT_REGS_SP(ctx) - 8, MT_SITE_GMEM_POPULATE_KPROBE);
}
#endif

/* ---- gmem.prefault: kvm_vcpu_ioctl(filp, ioctl, arg) ---- */
static __always_inline int mt_prefault_enter(u64 filp, u32 number, u64 argument, u64 key)
{
	u64 range[2] = {};	/* struct kvm_pre_fault_memory: gpa, size; both move on as it works */
	struct mt_frame_t *f;
	u64 vcpu;
	s32 id = -1;

	if (number != MT_KVM_PRE_FAULT_MEMORY)
		return 0;
	f = mt_begin(MT_EV_GMEM_PREFAULT, 127, key);
	if (!f)
		return 0;
	vcpu = mt_pointer(filp + MT_KVM_FILE_PRIVATE);
	MT_READ(id, vcpu + MT_KVM_VCPU_ID);
	f->vm = mt_vm(mt_pointer(vcpu + MT_KVM_VCPU_KVM));
	f->vcpu = id;
	f->arg = argument;
	if (!bpf_probe_read_user(range, sizeof(range), (void *)argument)) {
		f->gfn = range[0] >> 12;
		f->requested = range[1] >> 12;
	}
	return mt_stamp(f);
}

static __always_inline int mt_prefault_exit(void *ctx, s64 result, u64 key, u8 site)
{
	struct mt_frame_t *top = mt_top(), f, *parent;
	struct mt_occurrence o = {};
	struct mt_conf_t *conf;
	u64 range[2] = {};

	if (!top || top->event != MT_EV_GMEM_PREFAULT)
		return 0;
	conf = mt_end(MT_EV_GMEM_PREFAULT, key, site, &o, &f, &parent);
	if (!conf)
		return 0;
	mt_guest(&o, &f);
	o.pages = MT_PAGES_UNKNOWN;
	if (!bpf_probe_read_user(range, sizeof(range), (void *)f.arg))
		o.pages = f.requested - (u32)(range[1] >> 12);
	if (result < 0)
		o.flags |= MT_FLAG_FAILED;
	mt_emit(ctx, conf, &o);
	return 0;
}

#ifdef MT_FN_GMEM_PREFAULT
MT_FENTRY(MT_FN_GMEM_PREFAULT, unsigned long filp, unsigned long number, unsigned long argument)
{
	return mt_prefault_enter(mt_argument(ctx, 0), mt_argument(ctx, 1), mt_argument(ctx, 2), mt_here(ctx));
}

MT_FEXIT(MT_FN_GMEM_PREFAULT, unsigned long filp, unsigned long number, unsigned long argument)
{
	return mt_prefault_exit(ctx, (long)mt_argument(ctx, 3), mt_here(ctx), MT_SITE_GMEM_PREFAULT_FENTRY);
}
#endif

#ifdef MT_KPROBES
int mt_gmem_prefault_kprobe(struct pt_regs *ctx)
{
	return mt_prefault_enter(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx), PT_REGS_SP(ctx));
}

int mt_gmem_prefault_kretprobe(struct pt_regs *ctx)
{
	return mt_prefault_exit(ctx, (long)PT_REGS_RC(ctx), PT_REGS_SP(ctx) - 8, MT_SITE_GMEM_PREFAULT_KPROBE);
}
#endif

/* ---- what a VM leaves, and what a slot binds before its first fault ---- */
static __always_inline int mt_vm_gone(u64 kvm)
{
	mt_vms.delete(&kvm);
	return 0;
}

#ifdef MT_FN_GMEM_DESTROY
MT_FENTRY(MT_FN_GMEM_DESTROY, unsigned long kvm)
{
	return mt_vm_gone(mt_argument(ctx, 0));
}
#endif

#ifdef MT_FN_GMEM_BIND
/* kvm_gmem_bind(kvm, slot, fd, offset) */
MT_FEXIT(MT_FN_GMEM_BIND, unsigned long kvm, unsigned long slot, unsigned long fd, unsigned long offset)
{
	if (mt_gate() && !(int)mt_argument(ctx, 4))
		mt_bind(mt_argument(ctx, 1), mt_vm(mt_argument(ctx, 0)));
	return 0;
}
#endif

#ifdef MT_KPROBES
int mt_gmem_destroy_kprobe(struct pt_regs *ctx)
{
	return mt_vm_gone(PT_REGS_PARM1(ctx));
}
#endif
