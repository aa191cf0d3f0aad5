// Machines and snapshots, as the command line has them.
#include "cli/commands.h"
#include "cli/declare.h"

namespace hozon::cli {

void declare_machines(CLI::App& root, Arguments& a) {
  CLI::App* noun = add_noun(root, "machine", "Virtual machines");
  const std::string which = "Name or uuid of the machine";
  add_change(noun, a, "create", "Make a machine",
             "hozon machine create web --image debian.qcow2 --memory 1G --cpus 2", machine_create)
      .required("MACHINE", a.object, "Name of the new machine")
      .text("--image", a.image, "Image file of its first disk: raw or qcow2")
      .sizes("--disk", a.disk_sizes, "A further, empty disk of this size; may be repeated")
      .size("--memory", a.memory_bytes, "Memory (default 512M)")
      .count("--cpus", a.cpus, "Processors (default 1)")
      .text("--kernel", a.kernel, "Kernel file to boot directly")
      .text("--initrd", a.initrd, "Initial RAM disk for the kernel")
      .text("--append", a.append, "Command line of the kernel")
      .text("--firmware", a.firmware, "What it boots with: bios (default), uefi, uefi-secure")
      .flag("--tpm", a.tpm, "With a TPM, whose state belongs to every snapshot")
      .list("--tags", a.tags, "Tags, by which schedules choose machines")
      .text("--template", a.from_template, "Made from this template: disks and devices are its")
      .text("--return-on-shutdown", a.return_on_shutdown,
            "A snapshot of this name is made with it; it returns to that whenever it goes down")
      .text("--description", a.description, "What it is for")
      .text("--pool", a.pool, "Pool of its disks (default main)");
  add_verb(noun, a, "list", "List machines", "hozon machine list", machine_list);
  add_verb(noun, a, "show", "Show a machine", "hozon machine show web", machine_show)
      .required("MACHINE", a.object, which);
  add_change(noun, a, "start", "Start a machine", "hozon machine start web", machine_start)
      .required("MACHINE", a.object, which)
      .flag("--paused", a.paused, "Do not let it run yet");
  add_change(noun, a, "pause", "Stop a machine's clock", "hozon machine pause web", machine_pause)
      .required("MACHINE", a.object, which);
  add_change(noun, a, "suspend", "Keep the memory in the pool and end QEMU; resume goes on there",
             "hozon machine suspend web", machine_suspend)
      .required("MACHINE", a.object, which);
  add_change(noun, a, "resume", "Let a paused or suspended machine go on",
             "hozon machine resume web", machine_resume)
      .required("MACHINE", a.object, which)
      .flag("--connect", a.connect, "Plug the network of a clone with memory in at once")
      .flag(
          "--instant", a.instant,
          "Of a suspended one: its memory comes page by page, see `hozon snapshot return --help`");
  add_change(noun, a, "freeze", "Let the guest's agent freeze its file systems",
             "hozon machine freeze web --timeout 5", machine_freeze)
      .required("MACHINE", a.object, which)
      .seconds("--timeout", "Thaw after this time at the latest (default 10)");
  add_change(noun, a, "thaw", "Thaw the guest's file systems", "hozon machine thaw web",
             machine_thaw)
      .required("MACHINE", a.object, which);
  add_change(noun, a, "connect", "Plug the network in that a clone with memory starts without",
             "hozon machine connect web2", machine_connect)
      .required("MACHINE", a.object, which);
  add_change(noun, a, "shutdown", "Ask the guest to shut down and wait for it",
             "hozon machine shutdown web --timeout 60", machine_shutdown)
      .required("MACHINE", a.object, which)
      .seconds("--timeout", "How long it may take (default 120)");
  add_change(noun, a, "kill", "Power a machine off at once", "hozon machine kill web", machine_kill)
      .required("MACHINE", a.object, which)
      .confirmed();
  add_verb(noun, a, "console",
           "Connect to the serial console. Ctrl-] leaves. In a pipe: sends the input, prints the\n"
           "output until the input ended and the guest is quiet",
           "echo uptime | hozon machine console web", machine_console)
      .required("MACHINE", a.object, which)
      .seconds("--timeout", "Leave after this time at the latest")
      .text("--until", a.until,
            "Leave when this text appeared; not before the timeout is an error");
  add_change(noun, a, "undo", "Undo the last return, or the last deletion of snapshots",
             "hozon machine undo web", machine_undo)
      .required("MACHINE", a.object, which);
  add_change(noun, a, "quota", "Limit how many snapshots a machine may have",
             "hozon machine quota web 30", machine_quota)
      .required("MACHINE", a.object, which)
      .required("N", a.second, "The number, those made by the system counted; or off");
  add_change(noun, a, "tag",
             "Set a machine's tags, by which schedules choose it; none takes them away",
             "hozon machine tag web production db", machine_tag)
      .required("MACHINE", a.object, which)
      .any("TAG", a.others, "The tags");
  add_change(noun, a, "initial", "Say to which snapshot a machine returns whenever it goes down",
             "hozon machine initial kiosk clean", machine_initial)
      .required("MACHINE", a.object, which)
      .required("NAME", a.second, "Name of the snapshot, which is pinned for it; or off");
  add_change(noun, a, "delete", "Delete a machine with its disks and snapshots",
             "hozon machine delete web", machine_delete)
      .required("MACHINE", a.object, which)
      .confirmed();
}

namespace {

void declare_marks(CLI::App* noun, Arguments& a, const std::string& which, const std::string& one) {
  add_change(noun, a, "tag", "Set a snapshot's tags; none takes them away",
             "hozon snapshot tag web before nightly db", snapshot_tag)
      .required("MACHINE", a.object, which)
      .required("NAME", a.second, one)
      .any("TAG", a.others, "The tags");
  add_change(noun, a, "expire", "Say when a snapshot goes to the trash by itself",
             "hozon snapshot expire web before 3d", snapshot_expire)
      .required("MACHINE", a.object, which)
      .required("NAME", a.second, one)
      .required("TIME", a.third, "How long from now, such as 12h, 3d or 2w, or never");
  add_change(noun, a, "pin", "Protect a snapshot from being deleted and from expiring",
             "hozon snapshot pin web before 'the auditors need it'", snapshot_pin)
      .required("MACHINE", a.object, which)
      .required("NAME", a.second, one)
      .required("REASON", a.third, "Shown to whoever wants to delete it");
  add_change(noun, a, "unpin", "Take the protection away", "hozon snapshot unpin web before",
             snapshot_unpin)
      .required("MACHINE", a.object, which)
      .required("NAME", a.second, one);
  CLI::App* trash = add_noun(*noun, "trash", "Deleted snapshots that can still come back");
  add_verb(trash, a, "list", "List what was deleted, and until when it is kept",
           "hozon snapshot trash list web", trash_list)
      .required("MACHINE", a.object, which);
  add_change(trash, a, "restore", "Bring a deleted snapshot back",
             "hozon snapshot trash restore web before", trash_restore)
      .required("MACHINE", a.object, which)
      .required("NAME", a.second, "Name that it had, or its uuid");
  add_change(trash, a, "empty", "Delete everything in the trash for good",
             "hozon snapshot trash empty web", trash_empty)
      .required("MACHINE", a.object, which)
      .confirmed();
}

void declare_files(CLI::App* noun, Arguments& a, const std::string& which, const std::string& one) {
  add_verb(noun, a, "files", "List the file systems of a snapshot, or the files at a place in one",
           "hozon snapshot files web before-upgrade vda1:/etc", snapshot_files)
      .required("MACHINE", a.object, which)
      .required("NAME", a.second, one)
      .optional("PLACE", a.third,
                "Where: vda1:/etc, or /etc when only one file system has that. A byte that is no\n"
                "text is \\xHH (default: the file systems)");
  add_verb(noun, a, "extract", "Copy a file or a directory out of a snapshot",
           "hozon snapshot extract web before-upgrade /etc/fstab .", snapshot_extract)
      .required("MACHINE", a.object, which)
      .required("NAME", a.second, one)
      .required("PLACE", a.third, "What: vda1:/etc/fstab, or /etc/fstab")
      .required("TO", a.destination, "A directory, or its new name; - is standard output")
      .flag("--recursive", a.recursive, "A directory with all below it")
      .flag("--force", a.force, "Replace a file that exists");
}

}  // namespace

void declare_snapshots(CLI::App& root, Arguments& a) {
  CLI::App* noun = add_noun(root, "snapshot", "States of a machine that can be returned to");
  const std::string which = "Name or uuid of the machine";
  const std::string one = "Name of the snapshot";
  add_change(noun, a, "create", "Keep the machine's state of this instant",
             "hozon snapshot create web before-upgrade --memory", snapshot_create)
      .required("MACHINE", a.object, which)
      .optional("NAME", a.second, "Name of the snapshot (default: made from the time)")
      .flag("--memory", a.with_memory, "With memory, so that the guest goes on where it was")
      .list("--disks", a.disks, "Only these disks, such as vda,vdb")
      .flag("--settings-only", a.settings_only, "No disk: memory size, processors, devices")
      .list("--tags", a.tags, "Tags, such as nightly,db")
      .text("--expires", a.expires, "Goes to the trash after this time, such as 12h or 3d")
      .text("--quiesce", a.quiesce,
            "Freeze the guest's file systems meanwhile: require, try (default), skip")
      .text("--description", a.description, "What it is for");
  add_verb(noun, a, "list", "List snapshots, oldest first", "hozon snapshot list web -o json",
           snapshot_list)
      .required("MACHINE", a.object, which)
      .flag("--sizes", a.with_sizes, "With the space that deleting each alone would free");
  add_verb(noun, a, "tree", "Show how the snapshots grew, and where the machine stands now",
           "hozon snapshot tree web", snapshot_tree)
      .required("MACHINE", a.object, which);
  add_verb(noun, a, "sizes", "Show what snapshots cost, one by one and together",
           "hozon snapshot sizes web before after", snapshot_sizes)
      .required("MACHINE", a.object, which)
      .any("NAME", a.others, "Names of the snapshots (default: all)");
  add_verb(noun, a, "show", "Show a snapshot", "hozon snapshot show web before-upgrade",
           snapshot_show)
      .required("MACHINE", a.object, which)
      .required("NAME", a.second, one)
      .flag(
          "--details", a.details,
          "Its system, disks, network interfaces and installed applications, read from its disks");
  add_change(noun, a, "return", "Take the machine back; the state it left is kept",
             "hozon snapshot return web before-upgrade", snapshot_return)
      .required("MACHINE", a.object, which)
      .required("NAME", a.second, one)
      .list("--disks", a.disks, "Of its parts only these disks (vda,vdb or all), and what is named")
      .flag("--settings", a.settings, "Of its parts only the settings, and what is named")
      .flag("--memory", a.with_memory, "Of its parts only the memory, and what is named")
      .flag("--disk-only", a.disks_only, "Without its memory: the guest boots from its disks")
      .flag("--reset-nvram", a.reset_nvram, "With the firmware's variables as of a new machine")
      .flag("--discard-newer", a.discard_newer, "What grew from the snapshot goes to the trash")
      .flag("--instant", a.instant,
            "At once: its memory comes page by page; until it is suspended and resumed, snapshots\n"
            "with memory stop it while they are written")
      .text("--state", a.state,
            "As what the machine ends: as-captured (default), running, paused, suspended, down")
      .confirmed();
  add_verb(noun, a, "diff", "Show what differs between two snapshots, or a snapshot and now",
           "hozon snapshot diff web before-upgrade after-upgrade --ranges", snapshot_diff)
      .required("MACHINE", a.object, which)
      .required("FROM", a.second, one)
      .optional("TO", a.third, "Name of the other snapshot (default: the machine as it is now)")
      .flag("--ranges", a.ranges, "Every range of bytes that differs");
  declare_files(noun, a, which, one);
  add_change(noun, a, "preview", "Try a snapshot out: the machine stands on it until you decide",
             "hozon snapshot preview web before-upgrade --disks vdb=after-upgrade",
             snapshot_preview)
      .required("MACHINE", a.object, which)
      .required("NAME", a.second, one)
      .text("--settings-from", a.settings_from, "Settings of this snapshot, or current")
      .text("--memory-from", a.memory_from, "Memory of this snapshot, or none")
      .list("--disks", a.disks, "Disks of other snapshots: vda=NAME,vdb=current");
  add_change(noun, a, "commit", "Keep what is in preview; what was before can be undone to",
             "hozon snapshot commit web", snapshot_commit)
      .required("MACHINE", a.object, which)
      .flag("--discard-newer", a.discard_newer, "What grew from the snapshot goes to the trash")
      .confirmed();
  add_change(noun, a, "undo", "Leave a preview: everything is as it was before",
             "hozon snapshot undo web", snapshot_undo)
      .required("MACHINE", a.object, which)
      .confirmed();
  add_change(noun, a, "clone", "Make a new machine from a snapshot",
             "hozon snapshot clone web before-upgrade web2", snapshot_clone)
      .required("MACHINE", a.object, which)
      .required("NAME", a.second, one)
      .required("NEW", a.third, "Name of the new machine")
      .flag("--memory", a.with_memory,
            "With the snapshot's memory: it starts suspended, and its network unplugged")
      .flag("--full", a.full, "Copy every block, so that nothing is shared with the original")
      .text("--pool", a.pool, "Pool of a full clone (default: that of the original)")
      .text("--description", a.description, "What it is for");
  add_change(noun, a, "rename", "Rename a snapshot", "hozon snapshot rename web before good",
             snapshot_rename)
      .required("MACHINE", a.object, which)
      .required("NAME", a.second, one)
      .required("NEW", a.third, "The new name");
  add_change(noun, a, "describe", "Change a snapshot's description",
             "hozon snapshot describe web before 'before the upgrade to 13'", snapshot_describe)
      .required("MACHINE", a.object, which)
      .required("NAME", a.second, one)
      .required("TEXT", a.third, "The description");
  add_change(noun, a, "delete", "Delete snapshots; newer and older ones stay",
             "hozon snapshot delete web before after", snapshot_delete)
      .required("MACHINE", a.object, which)
      .some_unless("--all", a.all, "NAME", a.others, "Names of the snapshots")
      .flag("--subtree", a.subtree, "And everything that grew from them")
      .flag("--all", a.all, "All of the machine's that are not pinned")
      .flag("--for-good", a.for_good, "Not through the trash: this cannot be undone")
      .flag("--metadata-only", a.metadata_only, "Only the record; points stay in the trash")
      .confirmed();
  declare_marks(noun, a, which, one);
}

}  // namespace hozon::cli
