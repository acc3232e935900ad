"""Reports of failed allocations in a kernel's log: what was asked for, and the memory as it was dumped."""

from __future__ import annotations

from mmtool.observed.reports.events import CmaFailure, ReportKind, VmallocFailure, VmallocStep
from mmtool.observed.reports.mem_info import MemInfo, OrderCount, ZoneDump
from mmtool.observed.reports.report import Report, parse_reports, read_reports

__all__ = [
    "CmaFailure",
    "MemInfo",
    "OrderCount",
    "Report",
    "ReportKind",
    "VmallocFailure",
    "VmallocStep",
    "ZoneDump",
    "parse_reports",
    "read_reports",
]
