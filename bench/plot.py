"""The picture: depth against the speed of random reads."""
import re

LABELS = {"hozon": ("Hozon", "#c0392b", "o"), "raw": ("raw file, no snapshots", "#555555", "x"),
          "qcow2_external": ("qcow2, external chain", "#2980b9", "s"),
          "qcow2_external_l2": ("qcow2, external chain, extended_l2", "#16a085", "D"),
          "qcow2_internal": ("qcow2, internal", "#8e44ad", "^")}


def lines(report, in_flight):
    """{system: [(depth, IOPS)]} of the cells read.DEPTH.qdN."""
    found = {}
    for cell in report.cells():
        match = re.fullmatch(rf"read\.(\d+)\.qd{in_flight}", cell.name)
        for system in LABELS if match else ():
            if cell.median(system) is not None:
                found.setdefault(system, []).append((int(match[1]), cell.median(system)))
    return found


def draw(report, path):
    """False when there is nothing to draw."""
    panels = {in_flight: lines(report, in_flight) for in_flight in (1, 16)}
    if not panels[16]:
        return False
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "hozon", "font.size": 10}
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5))
    for axis, (in_flight, found) in zip(axes, panels.items()):
        for system, places in found.items():
            label, colour, marker = LABELS[system]
            axis.plot(*zip(*places), label=label, color=colour, marker=marker)
        depths = [at for at, _ in found["hozon"]]
        axis.set_xscale("symlog", linthresh=10)
        axis.set_xticks(depths, [f"{at:,}" for at in depths])
        axis.set_xlabel("snapshots")
        axis.set_ylabel("IOPS")
        axis.set_ylim(bottom=0)
        axis.set_title(f"4 KiB random read, {in_flight} in flight")
        axis.grid(alpha=0.3)
    axes[1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    return True
