/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Both programs see the same kmem:mm_page_alloc, so that user space can compute vmemmap_base
 * (probes/sites/pfn.py): one takes the page pointer from the raw tracepoint, the other the pfn
 * from the record as tracefs describes it.
 */
struct mt_calibration_t {
	u64 page;
	u64 pfn;
};
BPF_PERCPU_ARRAY(mt_calibration, struct mt_calibration_t, 1);

int mt_calibrate_page(struct bpf_raw_tracepoint_args *ctx)
{
	struct mt_calibration_t *c;
	int zero = 0;

	c = mt_calibration.lookup(&zero);
	if (c) {
		c->page = ctx->args[0];
		c->pfn = 0;
	}
	return 0;
}

struct mt_mm_page_alloc {
	u64 common;
	u64 pfn;
};

int mt_calibrate_pfn(struct mt_mm_page_alloc *ctx)
{
	struct mt_calibration_t *c;
	int zero = 0;

	c = mt_calibration.lookup(&zero);
	if (c)
		c->pfn = ctx->pfn;
	return 0;
}
