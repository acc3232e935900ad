"""mm/vmscan.c: reclaim. Of a node it is an estimate (`node`), of a cgroup whose pages are known a model."""
