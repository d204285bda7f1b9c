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

/* The parent is the current task. */
int mt_target_fork(struct bpf_raw_tracepoint_args *ctx)
{
	u32 parent = mt_task_field(ctx->args[0], MT_TASK_TGID);
	u32 child = mt_task_field(ctx->args[1], MT_TASK_TGID);
	u32 listed = 0;
	int zero = 0;
	struct mt_conf_t *conf;

	conf = mt_conf.lookup(&zero);
	if (conf && child != parent && mt_target(conf, parent))
		mt_targets.update(&child, &listed);
	return 0;
}

int mt_target_free(struct bpf_raw_tracepoint_args *ctx)
{
	u32 pid = mt_task_field(ctx->args[0], MT_TASK_PID);
	u32 tgid = mt_task_field(ctx->args[0], MT_TASK_TGID);

	if (pid != tgid)
		return 0;
#ifdef MT_PIDNS
	u32 *listed = mt_targets.lookup(&tgid);

	if (listed && *listed)
		mt_listed.delete(listed);
#endif
	mt_targets.delete(&tgid);
	return 0;
}
#endif

#ifdef MT_PIDNS
/* What a task in a PID namespace is to the kernel: its tgid, and its namespace and how deep that lies. */
BPF_ARRAY(mt_self, struct mt_self_t, 1);

/* Fills in mt_self for the task that runs this program by BPF_PROG_TEST_RUN. */
int mt_who_am_i(struct bpf_raw_tracepoint_args *ctx)
{
	u64 pid = 0, at;
	u32 level = 0;
	int zero = 0;
	struct mt_self_t *self = mt_self.lookup(&zero);

	if (!self)
		return 0;
	bpf_probe_read_kernel(&pid, sizeof(pid), (void *)(bpf_get_current_task() + MT_TASK_THREAD_PID));
	bpf_probe_read_kernel(&level, sizeof(level), (void *)(pid + MT_PID_LEVEL));
	at = pid + MT_PID_NUMBERS + (u64)level * MT_UPID_SIZEOF;
	bpf_probe_read_kernel(&self->pidns, sizeof(self->pidns), (void *)(at + MT_UPID_NS));
	self->level = level;
	self->tgid = bpf_get_current_pid_tgid() >> 32;
	return 0;
}
#endif
