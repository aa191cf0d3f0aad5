// Templates and groups, as the command line has them.
#include "cli/commands.h"
#include "cli/declare.h"

namespace hozon::cli {

void declare_templates(CLI::App& root, Arguments& a) {
  CLI::App* noun = add_noun(root, "template", "Settings and disks that machines are made from");
  const std::string which = "Name of the template";
  add_change(noun, a, "create", "Make a template from a snapshot, or from a machine as it is now",
             "hozon template create debian web clean", template_create)
      .required("TEMPLATE", a.object, "Name of the new template")
      .required("MACHINE", a.second, "Name or uuid of the machine")
      .optional("SNAPSHOT", a.third, "Name of its snapshot (default: the machine as it is now)")
      .text("--description", a.description, "What it is for");
  add_verb(noun, a, "list", "List templates", "hozon template list", template_list);
  add_verb(noun, a, "show", "Show a template", "hozon template show debian", template_show)
      .required("TEMPLATE", a.object, which);
  add_change(noun, a, "delete", "Delete a template; machines that were made from it stay",
             "hozon template delete debian", template_delete)
      .required("TEMPLATE", a.object, which)
      .confirmed();
}

void declare_groups(CLI::App& root, Arguments& a) {
  CLI::App* noun = add_noun(root, "group", "Snapshots of several machines of one instant");
  const std::string which = "Name of the group";
  add_change(noun, a, "create", "Keep the state of several machines, all of one instant",
             "hozon group create before-upgrade --machines web,db", group_create)
      .required("GROUP", a.object, "Name of the group, and of the snapshot of each machine")
      .list("--machines", a.machines, "The machines, of one pool")
      .must_have("--machines")
      .text("--quiesce", a.quiesce,
            "Freeze the guests' file systems meanwhile: require, try (default), skip")
      .list("--tags", a.tags, "Tags of the snapshots")
      .text("--expires", a.expires, "They go to the trash after this time, such as 12h or 3d")
      .text("--description", a.description, "What it is for");
  add_verb(noun, a, "list", "List groups, oldest first", "hozon group list", group_list);
  add_verb(noun, a, "show", "Show a group", "hozon group show before-upgrade", group_show)
      .required("GROUP", a.object, which);
  add_change(noun, a, "return", "Take all of its machines back; the states they left are kept",
             "hozon group return before-upgrade", group_return)
      .required("GROUP", a.object, which)
      .text("--state", a.state, "As what the machines end: as-captured (default), running, down")
      .confirmed();
  add_change(noun, a, "delete", "Delete its snapshots, all or none",
             "hozon group delete before-upgrade", group_delete)
      .required("GROUP", a.object, which)
      .confirmed();
}

}  // namespace hozon::cli
