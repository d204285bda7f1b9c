/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Follows a COMMAND or process and everything it forks, by the raw tracepoints
 * sched_process_fork(parent, child) and sched_process_free(task),
 * include/trace/events/sched.h.  MT_TASK_PID and MT_TASK_TGID are offsets in
 * task_struct (BTF).
 */
#ifdef MT_TARGETS
static __always_inline u32 mt_task_field(u64 task, int offset)
{
	u32 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)(task + offset));
	return value;
}

int mt_target_fork(struct bpf_raw_tracepoint_args *ctx)
{
	u32 parent = mt_task_field(ctx->args[0], MT_TASK_TGID);
	u32 child = mt_task_field(ctx->args[1], MT_TASK_TGID);
	u8 one = 1;

	if (child != parent && mt_targets.lookup(&parent))
		mt_targets.update(&child, &one);
	return 0;
}

int mt_target_free(struct bpf_raw_tracepoint_args *ctx)
{
	u32 pid = mt_task_field(ctx->args[0], MT_TASK_PID);
	u32 tgid = mt_task_field(ctx->args[0], MT_TASK_TGID);

	if (pid == tgid)
		mt_targets.delete(&tgid);
	return 0;
}
#endif
