"""The page of a boot in a real browser: map, search, steps, and that all of it can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import WIDTHS, Page, browser
from support.captures import FIXTURES

from mmtool import api
from mmtool.answers.explain import explain_address
from mmtool.examples import resolved
from mmtool.linux.init.boot import Boot
from mmtool.report.html.boot import html
from mmtool.report.html.diff import html as diff
from mmtool.units import human

MACHINES = {
    "laptop": resolved("example:laptop"),
    "numa4": resolved("example:numa4"),
    "arm64": resolved("example:arm64"),
    **{
        name: str(FIXTURES / "captures" / name)
        for name in ("i386-6.1-pae-vmalloc256", "x86-6.12-64g", "x86-6.12-memmap-many", "x86-6.1-hotplug-slots")
    },
    **{name: str(FIXTURES / "logs" / f"{name}.txt") for name in ("hyperv-6.13-hotplug", "desktop-6.6-glued-lines")},
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Boot, Path]]:
    folder, made = tmp_path_factory.mktemp("pages"), {}
    for name, source in MACHINES.items():
        booted = api.boot(source)._boot
        made[name] = booted, folder / f"{name}.html"
        made[name][1].write_text(html(booted))
    return made


@pytest.fixture
def laptop(chromium: Any, pages: dict[str, tuple[Boot, Path]]) -> Iterator[Page]:
    with Page(chromium, pages["laptop"][1]) as opened:
        yield opened
        assert opened.errors == []


def window(opened: Page) -> tuple[int, int]:
    """The addresses that the map shows: the first, and one past the last."""
    opened.settle()
    first, last = opened.page.inner_text("#window").split("\u2013")
    return int(first, 16), int(last, 16) + 1


def ask(opened: Page, query: str) -> str:
    opened.page.fill("#q", query)
    opened.page.press("#q", "Enter")
    opened.settle()
    return str(opened.page.inner_text("#answer"))


def chain(opened: Page) -> list[str]:
    return [" ".join(text.split()) for text in opened.page.locator("#answer .chain li").all_inner_texts()]


def expected(boot: Boot, address: int) -> list[str]:
    """What --explain says, as the page writes it."""
    return [
        f"{f.stage}: {f.says}" + (f" {f.start:#x}\u2013{f.end - 1:#x}" if f.start is not None and f.end else "")
        for f in explain_address(boot, address)
    ]


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("width", WIDTHS)
def test_all_of_it_can_be_read(chromium: Any, pages: dict[str, tuple[Boot, Path]], name: str, width: int) -> None:
    scheme = "dark" if width == WIDTHS[0] else "light"
    with Page(chromium, pages[name][1], width=width, color_scheme=scheme) as opened:
        assert opened.faults() == []
        opened.page.evaluate("() => document.querySelectorAll('details').forEach((d) => (d.open = true))")
        assert opened.faults() == []


@pytest.mark.parametrize(("name", "width"), [("numa4", WIDTHS[0]), ("x86-6.12-memmap-many", WIDTHS[1])])
def test_it_can_be_read_wherever_one_looks(
    chromium: Any, pages: dict[str, tuple[Boot, Path]], name: str, width: int
) -> None:
    booted, path = pages[name]
    with Page(chromium, path, width=width) as opened:
        for query in ("kernel image", "per-CPU", "0/DMA32", f"{(booted.memblock.end_of_DRAM() or 1) - 1:#x}"):
            ask(opened, query)
            assert opened.faults() == [], query
            for _ in range(3):
                opened.page.click("#out")
            opened.settle()
            assert opened.faults() == [], query
        opened.page.locator("#step").fill(str(len(booted.steps) // 2))
        opened.settle()
        assert opened.faults() == []


@pytest.mark.parametrize("width", WIDTHS)
def test_it_can_be_read_without_a_script(chromium: Any, pages: dict[str, tuple[Boot, Path]], width: int) -> None:
    with Page(chromium, pages["numa4"][1], width=width, java_script_enabled=False) as opened:
        assert opened.faults() == []
        assert not opened.page.is_visible("#find") and not opened.page.is_visible("#step")
        assert opened.page.locator("svg[data-lane=zones] text").count() >= 4
        assert opened.page.locator("#steps > li").count() == len(pages["numa4"][0].steps)
        assert opened.page.locator("svg[data-lane=nodes] text:visible").filter(has_text="node 1").count() == 1
        assert opened.page.is_visible(".sum")


def test_the_check_finds_what_it_looks_for(chromium: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        "<!doctype html><p style='font-size:8px'>tiny</p><p style='width:2000px'>wide</p>"
        "<p style='position:absolute;top:0;left:0'>one</p><p style='position:absolute;top:2px;left:3px'>two</p>"
        "<svg width=20><text>longer than it</text></svg><script>console.error('x')</script>"
    )
    with Page(chromium, tmp_path / "bad.html") as opened:
        faults = " ".join(opened.faults())
    for fault in ("small, 8 px: tiny", "the page is 20", "one meets two", "cut: longer", "x"):
        assert fault in faults


def test_the_wheel_zooms_at_the_pointer_and_dragging_moves(laptop: Page) -> None:
    page = laptop.page
    whole = window(laptop)
    page.locator("#s-map").scroll_into_view_if_needed()
    box = page.locator("svg[data-lane=zones]").bounding_box()
    x, y = box["x"] + box["width"] / 4, box["y"] + 10
    page.mouse.move(x, y)
    for _ in range(5):
        page.mouse.wheel(0, -240)
    first, end = window(laptop)
    under = whole[0] + (whole[1] - whole[0]) / 4
    assert end - first < (whole[1] - whole[0]) / 4 and abs(first + (end - first) / 4 - under) < (end - first) / 50
    page.mouse.down()
    page.mouse.move(x - box["width"] / 2, y, steps=4)
    page.mouse.up()
    moved = window(laptop)
    assert abs(moved[0] - first - (end - first) / 2) < (end - first) / 20 and not page.inner_text("#answer")
    assert abs((moved[1] - moved[0]) - (end - first)) <= 2
    page.mouse.move(x, y)
    for _ in range(9):
        page.mouse.wheel(0, 480)
    assert window(laptop) == whole


def test_two_fingers_zoom(chromium: Any, pages: dict[str, tuple[Boot, Path]]) -> None:
    with Page(chromium, pages["laptop"][1], width=360, has_touch=True) as opened:
        whole = window(opened)
        opened.page.locator("#s-map").scroll_into_view_if_needed()
        box = opened.page.locator("svg[data-lane=zones]").bounding_box()
        session = opened.context.new_cdp_session(opened.page)
        y = box["y"] + 5

        def touch(kind: str, *places: float) -> None:
            points = [{"x": x, "y": y, "id": i} for i, x in enumerate(places)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", 150, 200)
        for by in (10, 20, 30, 40, 50):
            touch("touchMove", 150 - by, 200 + by)
        touch("touchEnd")
        first, end = window(opened)
        assert (end - first) * 2.5 < whole[1] - whole[0] and opened.errors == []


@pytest.mark.parametrize("name", ["laptop", "numa4", "arm64", "x86-6.12-memmap-many"])
def test_an_address_is_answered_as_explain_does(chromium: Any, pages: dict[str, tuple[Boot, Path]], name: str) -> None:
    booted, path = pages[name]
    mb = booted.memblock
    addresses = {0, 0x9F000, 0xFEE00000, 1 << 45, mb.end_of_DRAM() or 0}
    for regions in (mb.memory.regions, mb.reserved.regions):
        addresses |= {edge for r in regions[:: max(len(regions) // 5, 1)] for edge in (r.base, r.end - 1, r.end)}
    for node in booted.nodes.values():
        for zone in node.populated_zones():
            for order, _, runs in list(zone.free_lists())[::3]:
                pfn, count = runs[-1]
                addresses.add((pfn + (count << order) - 1 << booted.kernel.page_shift) + 7)
    with Page(chromium, path) as opened:
        for address in sorted(addresses):
            ask(opened, f"{address:#x}")
            assert chain(opened) == expected(booted, address), f"{address:#x}"
        assert opened.errors == []


@pytest.mark.parametrize("name", ["laptop", "numa4", "arm64", "i386-6.1-pae-vmalloc256"])
def test_pages_and_virtual_addresses_are_the_same_place(
    chromium: Any, pages: dict[str, tuple[Boot, Path]], name: str
) -> None:
    booted, path = pages[name]
    address = booted.nodes[0].populated_zones()[0].zone_start_pfn << booted.kernel.page_shift
    pfn, direct = address >> booted.kernel.page_shift, booted.direct_map
    with Page(chromium, path) as opened:
        ask(opened, f"pfn {pfn:#x}")
        assert chain(opened) == expected(booted, pfn << booted.kernel.page_shift)
        virtual = direct.start + address - direct.phys
        for query in (f"{virtual:#x}", f"{virtual:x}"):
            ask(opened, query)
            assert chain(opened) == expected(booted, virtual)
            assert chain(opened)[1:] == expected(booted, address)
        for area in booted.address_space.areas:
            for virtual in (area.start, area.start + 0x12345678, area.end - 1, area.end):
                ask(opened, f"{virtual:#x}")
                assert chain(opened) == expected(booted, virtual), f"{virtual:#x}"
        assert opened.errors == []


def test_names_are_found(laptop: Page, pages: dict[str, tuple[Boot, Path]]) -> None:
    booted = pages["laptop"][0]
    owned = [(a, b) for a, b, owner in booted.memblock.ledger.entries if owner == "swiotlb"]
    says = ask(laptop, "swiotlb")
    assert f"{len(owned)} ranges, 1 shown" in says and human(sum(b - a for a, b in owned)) in says
    assert chain(laptop) == expected(booted, owned[0][0])
    first, end = window(laptop)
    assert first < owned[0][0] and owned[0][1] < end < first + 4 * (owned[0][1] - owned[0][0])
    laptop.page.press("#q", "Enter")
    assert chain(laptop) == expected(booted, owned[1][0])
    zone = booted.nodes[0].populated_zones()[-1]
    ask(laptop, "normal")
    assert chain(laptop) == expected(booted, zone.zone_start_pfn << booted.kernel.page_shift)
    assert "Nothing here is called" in ask(laptop, "<img src=x>")


def test_names_of_strangers_are_not_run(chromium: Any, tmp_path: Path) -> None:
    name = "<img/src=x>"
    booted = api.boot(MACHINES["laptop"], cmdline=f"reserve_mem=4M:4096:{name} </script><img/onerror=alert(1)>")._boot
    (tmp_path / "page.html").write_text(html(booted))
    with Page(chromium, tmp_path / "page.html") as opened:
        opened.page.on("dialog", lambda dialog: opened.errors.append(dialog.message))
        assert f"reserve_mem {name}: one range, 4 MiB" in ask(opened, f"reserve_mem {name}")
        assert f"reserve_mem {name}, reserved in reserve_mem" in opened.page.inner_text("#answer")
        assert opened.page.locator("img").count() == 0 and opened.faults() == []


def test_the_end_of_the_address_space_can_be_looked_at(chromium: Any, tmp_path: Path) -> None:
    log = tmp_path / "dmesg.txt"
    log.write_text(
        "BIOS-e820: [mem 0x0000000000100000-0x000000003fffffff] usable\n"
        "BIOS-e820: [mem 0xfffffffffffff000-0xffffffffffffffff] reserved\n"
    )
    booted = api.boot(str(log))._boot
    (tmp_path / "page.html").write_text(html(booted))
    with Page(chromium, tmp_path / "page.html") as opened:
        assert window(opened) == (0, 0x40000000)
        ask(opened, "reserved")
        assert window(opened)[1] == 1 << 64 and opened.faults() == []
        for _ in range(40):
            opened.page.click("#in")
        assert window(opened)[1] <= 1 << 64 and opened.faults() == []
        opened.page.click("#all")
        assert window(opened) == (0, 0x40000000)
        opened.page.set_viewport_size({"width": 1, "height": 900})
        opened.settle()
        assert opened.errors == []


def test_what_was_asked_is_in_the_address(chromium: Any, pages: dict[str, tuple[Boot, Path]], laptop: Page) -> None:
    ask(laptop, "struct pages")
    address = laptop.page.url
    assert address.endswith("#struct%20pages")
    said, shown = chain(laptop), window(laptop)
    with Page(chromium, pages["laptop"][1], fragment="#struct%20pages") as again:
        assert chain(again) == said and window(again) == shown
        assert again.page.input_value("#q") == "struct pages" and again.errors == []
        again.page.click("a:text-is('swiotlb')")
        again.settle()
        assert "swiotlb" in again.page.inner_text("#answer")
        again.page.go_back()
        again.settle()
        assert chain(again) == said
    for fragment in ("#%", "#s-zones", "#%3Cscript%3E", "#0x", "#pfn"):
        with Page(chromium, pages["laptop"][1], fragment=fragment) as odd:
            assert odd.errors == []


def test_a_click_asks_and_keys_go_about(laptop: Page) -> None:
    page = laptop.page
    page.locator("svg[data-lane=zones]").click(position={"x": 800, "y": 10})
    laptop.settle()
    assert "0/Normal" not in page.url and page.url.rpartition("#")[2].startswith("0x")
    assert any("zone Normal" in line for line in chain(laptop))
    whole = window(laptop)
    page.focus(".map")
    page.keyboard.press("+")
    first, end = window(laptop)
    assert (end - first) * 2 - (whole[1] - whole[0]) in range(-4, 5)
    page.keyboard.press("ArrowRight")
    assert window(laptop)[0] > first
    page.keyboard.press("0")
    assert window(laptop) == whole
    page.keyboard.press("ArrowDown")
    page.keyboard.press(".")
    page.keyboard.press(".")
    laptop.settle()
    assert any(line.startswith("memblock.reserved") for line in chain(laptop))
    before = chain(laptop)
    page.keyboard.press(".")
    laptop.settle()
    assert chain(laptop) != before


def test_the_slider_shows_what_each_step_did(laptop: Page, pages: dict[str, tuple[Boot, Path]]) -> None:
    booted, page = pages["laptop"][0], laptop.page
    at = next(i for i, s in enumerate(booted.steps) if s.name == "swiotlb_init")

    def reserved(step: int) -> int:
        page.locator("#step").fill(str(step))
        laptop.settle()
        return int(page.locator("svg[data-lane=reserved] rect").count())

    final = reserved(len(booted.steps))
    assert page.inner_text("#step-name") == "init starts" and not page.is_visible("#step-now")
    assert reserved(0) < reserved(at) <= final + 3
    assert page.inner_text("#step-name") == "swiotlb_init"
    says = page.inner_text("#step-now")
    log = [line.text for line in booted.log.lines[booted.steps[at].log_start : booted.steps[at].log_end]]
    assert "bounce buffers" in says and log and all(line in says for line in log)
    assert page.locator("svg[data-lane=reserved] .new").count() >= 1
    assert page.locator("svg[data-lane=free] rect").count() == 0
    reserved(len(booted.steps))
    assert page.locator("svg[data-lane=free] rect").count() > 0


def test_nodes_tell_where_they_look(chromium: Any, pages: dict[str, tuple[Boot, Path]]) -> None:
    booted, path = pages["numa4"]
    with Page(chromium, path) as opened:
        for nid, how in ((2, "hover"), (3, "focus")):
            getattr(opened.page.locator(f"[data-node='{nid}']"), how)()
            names = " \u203a ".join(f"{n}/{zone}" for n, zone in booted.zonelists.fallback[nid])
            assert opened.page.inner_text("#looks") == f"node {nid} looks in {names}"


def test_two_boots_share_their_scale_and_are_asked_together(
    chromium: Any, pages: dict[str, tuple[Boot, Path]], tmp_path: Path
) -> None:
    booted = pages["numa4"][0]
    other = api.boot(MACHINES["numa4"], cmdline=f"{booted.cmdline.text} crashkernel=256M")._boot
    (tmp_path / "diff.html").write_text(diff(booted, other))
    for width in WIDTHS:
        with Page(chromium, tmp_path / "diff.html", width=width) as opened:
            assert opened.faults() == []
    with Page(chromium, tmp_path / "diff.html") as opened:
        taken = next(r for r in other.memblock.ledger.entries if r[2] == "crashkernel")
        says = ask(opened, "crashkernel")
        assert "one range, 256 MiB" in says and says.index("before") < says.index("after")
        assert chain(opened) == [*expected(booted, taken[0]), *expected(other, taken[0])]
        places = [svg.bounding_box()["x"] for svg in opened.page.locator("svg[data-lane=firmware]").all()]
        assert len(places) == 2 and len(set(places)) == 1
        assert opened.page.is_visible("text=MemTotal shrinks by 256 MiB") and opened.errors == []


def test_paper_has_everything_open(laptop: Page) -> None:
    laptop.page.emulate_media(media="print")
    laptop.page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert not laptop.page.is_visible("#find") and laptop.page.is_visible("#steps") and laptop.page.pdf()[:4] == b"%PDF"
