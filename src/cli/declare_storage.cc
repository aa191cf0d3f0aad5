// The instance itself, pools, volumes and jobs, as the command line has them.
#include "cli/commands.h"
#include "cli/declare.h"

namespace hozon::cli {

void declare_instance(CLI::App& root, Arguments& a) {
  add_verb(&root, a, "up", "Start the instance in a directory, making it on first use",
           "hozon up --dir ~/vms --pool-size 20G", up)
      .here()
      .size("--pool-size", a.size_bytes, "Size of pool 'main' when it is made (default 20G)")
      .text("--listen", a.listen,
            "Serve the API on TCP, too: PORT, ADDRESS:PORT, or off (from the next start on)")
      .text("--certificate", a.certificate, "PEM file: needed for an ADDRESS other hosts can reach")
      .text("--key", a.key, "PEM file: the certificate's key");
  add_verb(&root, a, "down", "Shut down its machines, then stop the instance",
           "hozon down --dir ~/vms", down)
      .here()
      .flag("--kill", a.kill, "Power machines off instead of asking them to shut down")
      .seconds("--timeout", "How long machines may take to shut down (default 10)");
  add_verb(&root, a, "events", "Follow every change of every object, as it happens",
           "hozon events --kind machine,job --object web", events)
      .text("--kind", a.kinds, "Only of these kinds: machine, snapshot, job, pool, volume, point")
      .text("--object", a.of_object, "Only of the object of this name or uuid, and its parts")
      .text("--after", a.after, "Begin with what followed the event of this number")
      .count("--count", a.at_most, "Leave after so many events");
  add_verb(&root, a, "version", "Show the version", "hozon version", version).anywhere();
}

void declare_pools(CLI::App& root, Arguments& a) {
  CLI::App* noun = add_noun(root, "pool", "Places that store blocks");
  add_change(noun, a, "create", "Make a pool", "hozon pool create fast --size 50G", pool_create)
      .required("POOL", a.object, "Name of the new pool")
      .size("--size", a.size_bytes, "Its size; the file grows as it is used")
      .must_have("--size");
  add_verb(noun, a, "list", "List pools", "hozon pool list", pool_list);
  add_verb(noun, a, "show", "Show a pool", "hozon pool show main", pool_show)
      .required("POOL", a.object, "Name of the pool");
  add_verb(noun, a, "sizes", "Show who uses how much of a pool", "hozon pool sizes main",
           pool_sizes)
      .required("POOL", a.object, "Name of the pool");
  add_change(noun, a, "check", "Verify a pool while it is served", "hozon pool check main --data",
             pool_check)
      .required("POOL", a.object, "Name of the pool")
      .flag("--data", a.data, "Read and verify all data too");
  add_change(noun, a, "scrub", "Read and verify everything, in the background",
             "hozon pool scrub main --rate 100M --no-wait", pool_scrub)
      .required("POOL", a.object, "Name of the pool")
      .size("--rate", a.size_bytes, "At most so many bytes a second (default: no bound)");
  add_change(noun, a, "delete", "Delete a pool", "hozon pool delete fast", pool_delete)
      .required("POOL", a.object, "Name of the pool")
      .flag("--force", a.force, "Even when it has volumes, which are lost")
      .confirmed();
}

void declare_volumes(CLI::App& root, Arguments& a) {
  const std::string in_pool = "The pool, when two pools have a volume of that name";
  CLI::App* noun = add_noun(root, "volume", "Virtual disks and their points in time");
  add_change(noun, a, "create", "Make a volume, empty or from an image file",
             "hozon volume create web --from debian.qcow2", volume_create)
      .required("VOLUME", a.object, "Name of the new volume")
      .size("--size", a.size_bytes, "Its size; with --from at least that of the image")
      .text("--from", a.from, "Image file to import: raw or qcow2")
      .text("--pool", a.pool, "Pool that stores it (default main)");
  add_verb(noun, a, "list", "List volumes", "hozon volume list --pool main", volume_list)
      .text("--pool", a.pool, "Only this pool");
  add_verb(noun, a, "show", "Show a volume and its points", "hozon volume show web", volume_show)
      .required("VOLUME", a.object, "Name of the volume")
      .text("--pool", a.pool, in_pool);
  add_verb(noun, a, "uri", "Print the NBD URI of a volume or point",
           "nbdinfo \"$(hozon volume uri web@before)\"", volume_uri)
      .required("VOLUME[@POINT]", a.object, "The volume, or a point of it (read-only)")
      .text("--pool", a.pool, in_pool);
  add_change(noun, a, "resize", "Change the size of a volume", "hozon volume resize web --size 20G",
             volume_resize)
      .required("VOLUME", a.object, "Name of the volume")
      .size("--size", a.size_bytes, "The new size")
      .must_have("--size")
      .flag("--shrink", a.allow_shrink, "Allow it to become smaller (the end must be empty)")
      .text("--pool", a.pool, in_pool);
  add_change(noun, a, "defragment", "Put its scattered blocks in order, in the background",
             "hozon volume defragment web --rate 50M --no-wait", volume_defragment)
      .required("VOLUME", a.object, "Name of the volume")
      .size("--rate", a.size_bytes, "At most so many bytes a second (default: no bound)")
      .text("--pool", a.pool, in_pool);
  add_change(noun, a, "snapshot", "Keep the state of volumes, all at one instant",
             "hozon volume snapshot data log --name before", volume_snapshot)
      .some("VOLUME", a.others, "The volumes")
      .text("--name", a.name, "Name of the point")
      .must_have("--name")
      .text("--pool", a.pool, in_pool);
  add_change(noun, a, "clone", "Make a new volume from a point or from the volume as it is now",
             "hozon volume clone web@before web2", volume_clone)
      .required("VOLUME[@POINT]", a.object, "What to clone")
      .required("NEW", a.second, "Name of the new volume")
      .text("--pool", a.pool, in_pool);
  add_verb(noun, a, "diff", "Show what differs between two points, or a point and now",
           "hozon volume diff web@monday web@tuesday --ranges", volume_diff)
      .required("FROM", a.object, "VOLUME@POINT, or VOLUME as it is now")
      .required("TO", a.second, "VOLUME@POINT or VOLUME, of the same pool")
      .flag("--ranges", a.ranges, "Every range of bytes that differs")
      .text("--pool", a.pool, in_pool);
  add_change(noun, a, "export", "Write a volume, or a point of it, to an image file",
             "hozon volume export web@before web.qcow2", volume_export)
      .required("VOLUME[@POINT]", a.object, "What to export; a volume as it is at this instant")
      .required("FILE", a.second, "The file to make")
      .text("--format", a.image_format, "raw or qcow2 (default: qcow2 for FILE.qcow2, else raw)")
      .flag("--force", a.force, "Replace FILE when it exists")
      .flag("--skip-verify", a.skip_verify, "Do not read both again to compare them")
      .text("--pool", a.pool, in_pool);
  add_change(noun, a, "return", "Take a volume back to a point; the state it left is kept",
             "hozon volume return web@before", volume_return)
      .required("VOLUME@POINT", a.object, "Where to return to")
      .text("--pool", a.pool, in_pool)
      .confirmed();
  add_change(noun, a, "delete", "Delete a volume, or one point of it",
             "hozon volume delete web@before", volume_delete)
      .required("VOLUME[@POINT]", a.object, "What to delete")
      .flag("--with-points", a.with_points, "The volume together with all its points")
      .text("--pool", a.pool, in_pool)
      .confirmed();
}

void declare_jobs(CLI::App& root, Arguments& a) {
  CLI::App* noun = add_noun(root, "job", "What is running and what ran");
  add_verb(noun, a, "list", "List jobs, newest first", "hozon job list", job_list)
      .flag("--all", a.all, "More than the latest 20");
  add_verb(noun, a, "show", "Show a job", "hozon job show 7", job_show)
      .number("JOB", a.job, "Number of the job");
  add_verb(noun, a, "watch", "Follow a job until it has ended", "hozon job watch 7", job_watch)
      .number("JOB", a.job, "Number of the job");
  add_verb(noun, a, "cancel", "Ask a job to stop and take back what it began", "hozon job cancel 7",
           job_cancel)
      .number("JOB", a.job, "Number of the job");
}

}  // namespace hozon::cli
