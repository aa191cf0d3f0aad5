// src/cli/commands.h
// The commands, one function each: read Arguments, call the instance, print.
#pragma once

#include "cli/arguments.h"
#include "cli/context.h"

namespace hozon::cli {

using CommandResult = Result<ExitCode>;

CommandResult up(const Arguments& args, Context& context);
CommandResult down(const Arguments& args, Context& context);
CommandResult version(const Arguments& args, Context& context);
CommandResult manual(const Arguments& args, Context& context);
CommandResult complete(const Arguments& args, Context& context);

CommandResult pool_create(const Arguments& args, Context& context);
CommandResult pool_list(const Arguments& args, Context& context);
CommandResult pool_show(const Arguments& args, Context& context);
CommandResult pool_check(const Arguments& args, Context& context);
CommandResult pool_scrub(const Arguments& args, Context& context);
CommandResult pool_delete(const Arguments& args, Context& context);

CommandResult volume_create(const Arguments& args, Context& context);
CommandResult volume_list(const Arguments& args, Context& context);
CommandResult volume_show(const Arguments& args, Context& context);
CommandResult volume_uri(const Arguments& args, Context& context);
CommandResult volume_resize(const Arguments& args, Context& context);
CommandResult volume_defragment(const Arguments& args, Context& context);
CommandResult volume_snapshot(const Arguments& args, Context& context);
CommandResult volume_clone(const Arguments& args, Context& context);
CommandResult volume_export(const Arguments& args, Context& context);
CommandResult volume_return(const Arguments& args, Context& context);
CommandResult volume_delete(const Arguments& args, Context& context);

CommandResult machine_create(const Arguments& args, Context& context);
CommandResult machine_list(const Arguments& args, Context& context);
CommandResult machine_show(const Arguments& args, Context& context);
CommandResult machine_start(const Arguments& args, Context& context);
CommandResult machine_pause(const Arguments& args, Context& context);
CommandResult machine_resume(const Arguments& args, Context& context);
CommandResult machine_suspend(const Arguments& args, Context& context);
CommandResult machine_freeze(const Arguments& args, Context& context);
CommandResult machine_thaw(const Arguments& args, Context& context);
CommandResult machine_connect(const Arguments& args, Context& context);
CommandResult machine_shutdown(const Arguments& args, Context& context);
CommandResult machine_kill(const Arguments& args, Context& context);
CommandResult machine_console(const Arguments& args, Context& context);
CommandResult machine_delete(const Arguments& args, Context& context);

CommandResult snapshot_create(const Arguments& args, Context& context);
CommandResult snapshot_list(const Arguments& args, Context& context);
CommandResult snapshot_tree(const Arguments& args, Context& context);
CommandResult snapshot_show(const Arguments& args, Context& context);
CommandResult snapshot_return(const Arguments& args, Context& context);
CommandResult snapshot_diff(const Arguments& args, Context& context);
CommandResult volume_diff(const Arguments& args, Context& context);
CommandResult snapshot_preview(const Arguments& args, Context& context);
CommandResult snapshot_commit(const Arguments& args, Context& context);
CommandResult snapshot_undo(const Arguments& args, Context& context);
CommandResult snapshot_clone(const Arguments& args, Context& context);
CommandResult snapshot_rename(const Arguments& args, Context& context);
CommandResult snapshot_describe(const Arguments& args, Context& context);
CommandResult snapshot_delete(const Arguments& args, Context& context);

CommandResult snapshot_files(const Arguments& args, Context& context);
CommandResult snapshot_show_details(const Arguments& args, Context& context);
CommandResult snapshot_extract(const Arguments& args, Context& context);

CommandResult snapshot_tag(const Arguments& args, Context& context);
CommandResult snapshot_expire(const Arguments& args, Context& context);
CommandResult snapshot_pin(const Arguments& args, Context& context);
CommandResult snapshot_unpin(const Arguments& args, Context& context);
CommandResult trash_list(const Arguments& args, Context& context);
CommandResult trash_restore(const Arguments& args, Context& context);
CommandResult trash_empty(const Arguments& args, Context& context);
CommandResult machine_undo(const Arguments& args, Context& context);
CommandResult machine_quota(const Arguments& args, Context& context);

CommandResult token_create(const Arguments& args, Context& context);
CommandResult token_list(const Arguments& args, Context& context);
CommandResult token_revoke(const Arguments& args, Context& context);
CommandResult peer_set(const Arguments& args, Context& context);
CommandResult peer_list(const Arguments& args, Context& context);
CommandResult peer_remove(const Arguments& args, Context& context);
CommandResult audit_list(const Arguments& args, Context& context);

CommandResult events(const Arguments& args, Context& context);
CommandResult machine_tag(const Arguments& args, Context& context);

CommandResult machine_initial(const Arguments& args, Context& context);
CommandResult snapshot_sizes(const Arguments& args, Context& context);
CommandResult pool_sizes(const Arguments& args, Context& context);

CommandResult template_create(const Arguments& args, Context& context);
CommandResult template_list(const Arguments& args, Context& context);
CommandResult template_show(const Arguments& args, Context& context);
CommandResult template_delete(const Arguments& args, Context& context);

CommandResult group_create(const Arguments& args, Context& context);
CommandResult group_list(const Arguments& args, Context& context);
CommandResult group_show(const Arguments& args, Context& context);
CommandResult group_return(const Arguments& args, Context& context);
CommandResult group_delete(const Arguments& args, Context& context);

CommandResult schedule_create(const Arguments& args, Context& context);
CommandResult schedule_list(const Arguments& args, Context& context);
CommandResult schedule_show(const Arguments& args, Context& context);
CommandResult schedule_edit(const Arguments& args, Context& context);
CommandResult schedule_enable(const Arguments& args, Context& context);
CommandResult schedule_disable(const Arguments& args, Context& context);
CommandResult schedule_run(const Arguments& args, Context& context);
CommandResult schedule_preview(const Arguments& args, Context& context);
CommandResult schedule_delete(const Arguments& args, Context& context);

CommandResult job_list(const Arguments& args, Context& context);
CommandResult job_show(const Arguments& args, Context& context);
CommandResult job_watch(const Arguments& args, Context& context);
CommandResult job_cancel(const Arguments& args, Context& context);

}  // namespace hozon::cli
