/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A task_struct that is freed leaves the table of open intervals (nest.h):
 * sched_process_free(task), include/trace/events/sched.h.  What it still had open has no
 * exit any more.
 */
int mt_task_freed(struct bpf_raw_tracepoint_args *ctx)
{
	u64 context = ctx->args[0];

	mt_open.delete(&context);
	return 0;
}
