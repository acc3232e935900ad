"""mm/oom_kill.c: how processes are weighed, and what a choice entails."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, Mark, between, since


class OomFacts(Facts):
    """mm/oom_kill.c: how processes are weighed, and what a choice entails."""

    oom_badness_by_size: bool = since("2.6.36", "oom: badness heuristic rewrite")
    """Resident pages and swap count; before, the size of the address space, of the children's, run time and nice."""
    oom_points_are_thousandths: bool = between(
        Change("2.6.36", "oom: badness heuristic rewrite"),
        Change("3.5", "mm, oom: normalize oom scores to oom_score_adj scale only for userspace"),
    )
    """Points are whole thousandths of what may be used, at most 1000; later they are pages."""
    oom_counts_page_tables: bool = since("2.6.39", "oom: use pte pages in OOM score")
    """Page tables count too."""
    oom_root_bonus_of_total: bool = between(
        Change("2.6.36", "oom: badness heuristic rewrite"),
        Change("3.14", "mm, oom: base root bonus on current usage"),
    )
    """Processes with CAP_SYS_ADMIN count 30 thousandths of what may be used less."""
    oom_root_bonus_of_usage: bool = between(
        Change("3.14", "mm, oom: base root bonus on current usage"),
        Change("4.17", "mm, oom: remove 3% bonus for CAP_SYS_ADMIN processes"),
        marks=Mark("mm/oom_kill.c", "points -= (points * 3) / 100"),
    )
    """Processes with CAP_SYS_ADMIN count 3% of what they use less."""
    oom_points_below_one: bool = since(
        "5.9", "mm, oom: make the calculation of oom badness more accurate",
        marks=Mark("mm/oom_kill.c", "chosen_points = LONG_MIN"),
    )  # fmt: skip
    """Points may be negative; before, every process that may be killed had one at least, so that all with a low
    oom_score_adj were equal."""
    oom_tie_goes_to_last: bool = since(
        "5.3", "mm: memcontrol: use CSS_TASK_ITER_PROCS at mem_cgroup_scan_tasks()",
        marks=Mark("mm/oom_kill.c", "Prefer thread group leaders", gone=True),
    )  # fmt: skip
    """Of equal points the process that comes later in the list dies; before, the first."""
    oom_kills_groups: bool = since(
        "4.19", "mm, oom: introduce memory.oom.group",
        marks=Mark("mm/oom_kill.c", "mem_cgroup_get_oom_group("),
    )  # fmt: skip
    """With memory.oom.group all of a cgroup dies with the victim."""
