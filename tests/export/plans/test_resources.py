"""Protects that a build that can't fit is refused before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from fgdm.export.errors import ExportError
from fgdm.export.plans import resources
from fgdm.export.plans.order import Order


def order(weight_bytes: int) -> Order:
    profiles = [{"rows": 2, "height": 256, "width": 256}]
    covers = {"target": "tensorrt-rtx", "graph": "backbone", "profiles": profiles}
    return Order(Path("bundle"), covers, weight_bytes, None)


def test_jobs_are_lowered_to_what_memory_allows() -> None:
    orders = [order(2_000_000_000)] * 5
    each = resources.memory_needed(orders[0])
    assert 5e9 < each < 9e9
    assert resources.affordable_jobs(orders, 4, 3 * each) == 3
    assert resources.affordable_jobs(orders, 2, 100 * each) == 2
    assert resources.affordable_jobs(orders[:1], 4, 100 * each) == 1
    with pytest.raises(ExportError, match=r"backbone 256×256, 2 rows takes about .* of memory"):
        resources.affordable_jobs([order(1000), *orders], 4, each - 1)


def test_disk_is_checked_for_all_plans_together(tmp_path: Path) -> None:
    resources.check_disk(tmp_path, [order(1000)])
    with pytest.raises(ExportError, match=r"3 plans will take about .* free"):
        resources.check_disk(tmp_path, [order(10**18)] * 3)


def test_memory_is_the_containers_where_that_is_less(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(
        "MemTotal: 9000 kB\nMemAvailable: 4000 kB\nSwapFree: 1000 kB\n"
    )
    assert resources.available_memory(tmp_path) == 5000 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("1024\n")
    assert resources.available_memory(tmp_path) == 5000 * 1024
    (group / "memory.max").write_text("3072\n")
    assert resources.available_memory(tmp_path) == 2048
    (group / "memory.max").write_text("1000\n")
    assert resources.available_memory(tmp_path) == 0
