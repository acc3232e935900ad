"use strict";
// The map of the report: it draws what the element "view" holds, looks addresses up in it, and follows the boot's steps.
// Addresses are BigInt where they are said or compared, Number where they are drawn. Ranges are half-open.
(async () => {
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const LEAST_WINDOW = 4096;
  const FINEST = 2 ** -40; // of an address: a window that is smaller would be at the end of what numbers tell apart
  const DRAWN_TO_BE_SEEN = 12;
  const MOST_RANGES = 8;

  const hex = (n) => "0x" + n.toString(16);
  const big = (text) => BigInt("0x" + text);
  const range = (r) => hex(r.a) + "\u2013" + hex(r.b - 1n);

  // As the program says sizes: two decimals at most, ties to the even hundredth.
  function human(size) {
    const units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    for (let i = 5; i >= 0; i--) {
      const unit = 1n << BigInt(10 * (i + 1));
      if (size < unit) continue;
      let hundredths = (size * 100n) / unit;
      const rest = (size * 100n) % unit;
      if (rest * 2n > unit || (rest * 2n === unit && hundredths % 2n)) hundredths++;
      const text = `${hundredths / 100n}.${String(hundredths % 100n).padStart(2, "0")}`;
      return text.replace(/\.?0+$/, "") + " " + units[i];
    }
    return `${size} B`;
  }

  function el(name, content = [], attributes = {}) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...[content].flat());
    return made;
  }

  function shape(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  const pen = document.createElement("canvas").getContext("2d");
  function textWidth(text) {
    if (!pen.sized) {
      pen.font = "12px " + getComputedStyle(document.body).fontFamily;
      pen.sized = true;
    }
    return pen.measureText(text).width;
  }

  // What there is: one side, or two of a comparison that share their scale.

  function piece(a, b, look, says) {
    return { a, b, x: Number(a), y: Number(b), look, says };
  }

  function readSide(side, index) {
    const name = (i) => side.names[i];
    const stage = (rows) => rows.map(([a, b, says, ...more]) => ({ a: big(a), b: big(b), says: name(says), more }));
    const root = document.querySelector(`.map[data-side="${index}"]`);
    const read = {
      title: side.title, shift: BigInt(side.shift), first: Number(big(side.first)), last: Number(big(side.last)),
      limit: Number(big(side.limit)), firmware: stage(side.firmware), edited: side.edited && stage(side.edited),
      memory: stage(side.memory), names: side.names,
      taken: stage(side.taken).sort((p, q) => (p.a < q.a ? -1 : p.a > q.a ? 1 : 0)),
      zones: side.zones.map(([a, b, nid, zone]) => ({ a: big(a), b: big(b), nid, zone: name(zone) })),
      free: side.free.map(([a, b, order, kind]) => ({ a: big(a), b: big(b), order: BigInt(order), kind: name(kind) })),
      bits: side.bits, areas: stage(side.areas),
      vmemmap: { name: side.vmemmap[0], size: BigInt(side.vmemmap[1]) },
      direct: {
        a: big(side.direct[0]), phys: big(side.direct[1]), known: side.direct[2],
        other: side.other_direct === null ? null : big(side.other_direct),
      },
      steps: side.steps.map(([step, does]) => ({
        step, does: does.map(([reserved, add, a, b]) => ({ reserved, add, a: big(a), b: big(b) })),
      })),
    };
    read.lanes = side.lanes.map(([lane, rows]) => {
      const pieces = rows.map(([a, b, look, says]) => piece(big(a), big(b), name(look), name(says)));
      const svg = root.querySelector(`svg[data-lane="${lane}"]`);
      return { name: lane, side: read, pieces, final: pieces, svg, row: svg.closest(".lane") };
    });
    read.ruler = root.querySelector(".ruler");
    read.root = root;
    return read;
  }

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  if (!globalThis.DecompressionStream) return; // the page is read without a map to move about in
  const sides = (await unpacked($("view").textContent)).map(readSide);
  const lanes = sides.flatMap((side) => side.lanes);
  const whole = { a: Math.min(...sides.map((s) => s.first)), b: Math.max(...sides.map((s) => s.last)) };
  const limit = Math.max(...sides.map((s) => s.limit));
  const shown = { ...whole };
  let chosen = lanes[0];
  let hit = null; // the piece that was asked for
  let asked = null; // the address that was asked for
  let again = { query: null, at: 0 };

  // Drawing.

  function visible(pieces, scale) {
    const out = [];
    for (const p of pieces) {
      if (p.y <= shown.a || p.x >= shown.b) continue;
      const x = Math.max(0, (p.x - shown.a) * scale);
      const end = (Math.min(p.y, shown.b) - shown.a) * scale;
      const last = out[out.length - 1];
      if (last && last.p.look === p.look && p !== hit && last.p !== hit && x - last.end < 0.5 && end - x < 1) {
        last.end = end;
      } else {
        out.push({ p, x, end });
      }
    }
    return out;
  }

  function drawLane(lane) {
    const width = lane.svg.clientWidth;
    const scale = width / (shown.b - shown.a);
    const parts = [];
    let mark = null;
    for (const { p, x, end } of visible(lane.pieces, scale)) {
      const room = end - x;
      const look = { x, y: 0, width: Math.max(room, 0.8), height: "100%", class: "p " + p.look };
      parts.push(shape("rect", look));
      if (p === hit) mark = shape("rect", { ...look, y: 1, height: 24, class: "hit", fill: "none" });
      const label = [`${p.says} ${human(p.b - p.a)}`, p.says].find((text) => textWidth(text) + 8 < room);
      if (label) parts.push(shape("text", { x: x + room / 2, y: "50%", class: "l" }, label));
    }
    if (mark) parts.push(mark);
    if (asked !== null) {
      const x = (Number(asked) - shown.a) * scale;
      if (x >= 0 && x <= width) parts.push(shape("line", { x1: x, x2: x, y1: 0, y2: "100%", class: "at" }));
    }
    lane.svg.replaceChildren(...parts);
    lane.row.classList.toggle("chosen", lane === chosen);
  }

  function drawRuler(svg) {
    const width = svg.clientWidth;
    if (!width) return;
    const span = shown.b - shown.a;
    const widest = Math.max(textWidth(hex(BigInt(Math.ceil(shown.b)))), textWidth("1000.25 GiB"));
    let step = 1;
    while ((step / span) * width < widest + 14) step *= 2;
    const unit = 2 ** (10 * Math.floor(Math.log2(Math.max(shown.b, 1024)) / 10));
    const say = (at) => (step * 4 >= unit ? human(BigInt(at)) : hex(BigInt(at)));
    const parts = [];
    for (let at = Math.ceil(shown.a / step) * step; at <= shown.b; at += step) {
      const x = ((at - shown.a) / span) * width;
      const half = textWidth(say(at)) / 2;
      parts.push(shape("line", { x1: x, x2: x, y1: 0, y2: 4, stroke: "currentColor" }));
      if (x - half < 0 && at !== 0) continue;
      if (x + half > width) continue;
      parts.push(shape("text", { x, y: 16, "text-anchor": at ? "middle" : "start" }, say(at)));
    }
    svg.replaceChildren(...parts);
  }

  function drawOverview() {
    const width = $("over").clientWidth;
    const scale = width / (whole.b - whole.a);
    const parts = [];
    for (const p of sides[0].lanes.find((lane) => lane.name === "zones").final) {
      parts.push(shape("rect", {
        x: (p.x - whole.a) * scale, y: 4, width: Math.max((p.y - p.x) * scale, 0.8), height: 8, class: "p " + p.look,
      }));
    }
    if (shown.a > whole.a || shown.b < whole.b) {
      const x = Math.max(0, (shown.a - whole.a) * scale);
      const end = Math.min(width, (shown.b - whole.a) * scale);
      const frame = { x: Math.min(x + 1, width - 4), y: 1, width: Math.max(end - x - 2, 3), height: 14, rx: 2 };
      parts.push(shape("rect", { ...frame, class: "win" }));
    }
    $("over").replaceChildren(...parts);
  }

  let pending = 0;
  function draw() {
    pending = 0;
    lanes.forEach(drawLane);
    sides.forEach((side) => drawRuler(side.ruler));
    drawOverview();
    $("window").textContent = range({ a: BigInt(Math.round(shown.a)), b: BigInt(Math.round(shown.b)) });
  }
  const redraw = () => (pending ||= requestAnimationFrame(draw));

  // Moving about.

  function show(a, b) {
    const span = Math.min(Math.max(b - a, LEAST_WINDOW, b * FINEST), limit);
    const from = Math.min(Math.max((a + b - span) / 2, 0), limit - span);
    shown.a = from;
    shown.b = from + span;
    redraw();
  }
  const zoom = (factor, at) => show(at - (at - shown.a) * factor, at + (shown.b - at) * factor);
  const pan = (share) => {
    const by = Math.min(Math.max((shown.b - shown.a) * share, -shown.a), limit - shown.b);
    show(shown.a + by, shown.b + by);
  };
  const middle = () => (shown.a + shown.b) / 2;

  function addressAt(event) {
    const box = lanes[0].svg.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    return shown.a + (shown.b - shown.a) * share;
  }

  function laneAt(event) {
    const row = event.target.closest(".lane");
    return lanes.find((lane) => lane.row === row);
  }

  // The piece under the pointer, or one that is drawn so thin that the pointer only nearly is on it.
  function pieceAt(lane, at) {
    const near = ((shown.b - shown.a) / lane.svg.clientWidth) * 2;
    return lane.pieces.find((p) => p.x <= at && at < p.y) || lane.pieces.find((p) => p.x - near <= at && at < p.y + near);
  }

  const pointers = new Map();
  let moved = 0;
  for (const { root } of sides) {
    root.tabIndex = 0;
    root.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      if (!pointers.size) moved = 0;
      pointers.set(event.pointerId, event.clientX);
      root.setPointerCapture(event.pointerId);
    });
    root.addEventListener("pointermove", (event) => {
      if (!pointers.has(event.pointerId)) {
        hover(event);
        return;
      }
      const before = [...pointers.values()];
      moved += Math.abs(event.clientX - pointers.get(event.pointerId));
      pointers.set(event.pointerId, event.clientX);
      const after = [...pointers.values()];
      const { left, width } = lanes[0].svg.getBoundingClientRect();
      const scale = (shown.b - shown.a) / width;
      if (after.length === 1 && moved > 3) {
        pan((before[0] - after[0]) / width);
      } else if (after.length === 2 && after[0] !== after[1]) {
        const held = before.map((x) => shown.a + (x - left) * scale);
        const span = Math.abs((held[1] - held[0]) / (after[1] - after[0])) * width;
        const from = (held[0] + held[1]) / 2 - (((after[0] + after[1]) / 2 - left) / width) * span;
        show(from, from + span);
      }
    });
    const ended = (event) => pointers.delete(event.pointerId);
    root.addEventListener("pointerup", ended);
    root.addEventListener("pointercancel", ended);
    root.addEventListener("click", (event) => {
      const under = document.elementFromPoint(event.clientX, event.clientY);
      const lane = under && laneAt({ target: under });
      if (moved > 3 || !lane) return;
      chosen = lane;
      const at = addressAt(event);
      const found = pieceAt(lane, at);
      const inside = found && found.x <= at && at < found.y;
      go(hex(found && !inside ? found.a : (BigInt(Math.floor(at)) >> lane.side.shift) << lane.side.shift));
    });
    root.addEventListener("dblclick", (event) => {
      const lane = laneAt({ target: document.elementFromPoint(event.clientX, event.clientY) });
      const found = lane && pieceAt(lane, addressAt(event));
      if (found) showPiece(found);
    });
    root.addEventListener("wheel", (event) => {
      const by = event.deltaMode ? 16 : 1;
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        pan((event.deltaX * by) / 1000);
      } else if (event.deltaY < 0 || shown.b - shown.a < whole.b - whole.a) {
        zoom(Math.exp(event.deltaY * by * 0.002), addressAt(event));
        if (shown.b - shown.a > whole.b - whole.a) show(whole.a, whole.b);
      } else {
        return; // nothing more to see: the page may scroll
      }
      event.preventDefault();
    }, { passive: false });
    root.addEventListener("keydown", (event) => {
      const keys = {
        ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2),
        ArrowUp: () => choose(-1), ArrowDown: () => choose(1),
        "+": () => zoom(0.5, middle()), "=": () => zoom(0.5, middle()), "-": () => zoom(2, middle()),
        0: () => show(whole.a, whole.b), ",": () => next(-1), ".": () => next(1),
      };
      if (event.ctrlKey || event.altKey || event.metaKey || !keys[event.key]) return;
      keys[event.key]();
      event.preventDefault();
    });
  }

  function hover(event) {
    const lane = laneAt(event);
    if (!lane) return;
    const at = addressAt(event);
    const found = pieceAt(lane, at);
    const says = found ? `${found.says}, ${range(found)}, ${human(found.b - found.a)}` : "nothing";
    $("tip").textContent = `${hex(BigInt(Math.floor(at)))} \u00b7 ${lane.name}: ${says}`;
  }

  function choose(by) {
    chosen = lanes[(lanes.indexOf(chosen) + by + lanes.length) % lanes.length];
    $("tip").textContent = `lane ${chosen.name}, ${chosen.pieces.length} ranges`;
    redraw();
  }

  function next(by) {
    const { pieces } = chosen;
    if (!pieces.length) return;
    const here = pieces.indexOf(hit);
    const at = here < 0 ? pieces.findIndex((p) => p.y > shown.a) : here + by;
    const found = pieces[(at + pieces.length) % pieces.length];
    answer(found.a, [], found);
  }

  function showPiece(p) {
    const around = Math.max((p.y - p.x) * 0.6, LEAST_WINDOW);
    show(p.x - around, p.y + around);
  }

  const over = $("over");
  const centre = (event) => {
    const box = over.getBoundingClientRect();
    const at = whole.a + ((event.clientX - box.left) / box.width) * (whole.b - whole.a);
    const half = (shown.b - shown.a) / 2;
    show(at - half, at + half);
  };
  over.addEventListener("pointerdown", (event) => {
    over.setPointerCapture(event.pointerId);
    centre(event);
  });
  over.addEventListener("pointermove", (event) => event.buttons && centre(event));
  $("in").addEventListener("click", () => zoom(0.5, middle()));
  $("out").addEventListener("click", () => zoom(2, middle()));
  $("all").addEventListener("click", () => {
    hit = asked = null;
    show(whole.a, whole.b);
  });

  // Asking: what every stage of the boot says of an address, in the words of mmtool boot --explain.

  const holder = (rows, address) => rows.find((r) => r.a <= address && address < r.b);

  function isVirtual(side, address) {
    if (side.bits === 64) return address >> 63n === 1n;
    return !holder(side.memory, address) && Boolean(holder(side.areas, address));
  }

  // Which area a virtual address is in, and the physical address behind it, where one follows from it.
  function inAddressSpace(side, address) {
    const { direct, vmemmap } = side;
    const area = holder(side.areas, address);
    const says = (text, r, physical = null) => ({ finding: ["address space", text, r], physical });
    if (!area) {
      const other = direct.other === null ? -1n : address - direct.other;
      if (!holder(side.memory, other)) return says("in no area of this kernel's");
      return says(`physical ${hex(other)} with another number of levels of page tables`, undefined, other);
    }
    let physical = address - direct.a + direct.phys;
    let what = "physical";
    if (area.says === vmemmap.name) {
      const pfn = (direct.phys >> side.shift) + (address - area.a) / vmemmap.size;
      physical = pfn << side.shift;
      what = `struct page of page ${hex(pfn)}, physical`;
    } else if (area.a !== direct.a) {
      return says(`${area.says}: no physical address follows from it`, area);
    }
    if (!direct.known && !holder(side.memory, physical)) {
      return says(`${area.says}, moved by KASLR: what is behind it cannot be told`, area);
    }
    return says(`${area.says}: ${what} ${hex(physical)}${direct.known ? "" : ", unless KASLR moved it"}`, area, physical);
  }

  // The physical address that an address is or has behind it; null where none follows.
  const physicalOf = (side, address) => (isVirtual(side, address) ? inAddressSpace(side, address).physical : address);

  function findings(side, address) {
    if (isVirtual(side, address)) {
      const { finding, physical } = inAddressSpace(side, address);
      return physical === null ? [finding] : [finding, ...findings(side, physical)];
    }
    const within = (rows) => holder(rows, address);
    const out = [];
    for (const [stage, rows] of [["firmware map", side.firmware], ["kernel's E820 map", side.edited]]) {
      if (!rows) continue;
      const found = within(rows);
      out.push(found ? [stage, found.says, found] : [stage, "in no entry: a hole, or a device"]);
    }
    const memory = within(side.memory);
    if (!memory) return [...out, ["memblock.memory", "not memory to the kernel"]];
    out.push(["memblock.memory", memory.says, memory]);
    for (const r of side.taken) {
      if (r.a <= address && address < r.b) {
        out.push(["memblock.reserved", `${r.says}, reserved in ${side.names[r.more[0]]}`, r]);
      }
    }
    const zone = within(side.zones);
    if (!zone) return [...out, ["zone", "in no zone"]];
    const pfn = address >> side.shift;
    out.push(["zone", `page ${hex(pfn)} is in node ${zone.nid}'s zone ${zone.zone}`, zone]);
    const run = within(side.free);
    if (!run) return [...out, ["page allocator", "not free when init starts"]];
    const size = 1n << (run.order + side.shift);
    const a = run.a + ((address - run.a) / size) * size;
    const says = `free, in a block of order ${run.order} and type ${run.kind}`;
    return [...out, ["page allocator", says, { a, b: a + size }]];
  }

  function chain(side, address) {
    const rows = findings(side, address).map(([stage, says, r]) =>
      el("li", [el("b", stage + ": "), says, ...(r ? [" ", el("code", range(r))] : [])]));
    return [...(side.title ? [el("h3", side.title)] : []), el("ol", rows, { class: "chain" })];
  }

  function answer(address, notes, found) {
    asked = physicalOf(sides[0], address);
    hit = found || null;
    const where = asked === null ? "" : ` \u00b7 pfn ${hex(asked >> sides[0].shift)} \u00b7 ${human(asked)} from the start`;
    const head = el("p", [el("b", hex(address)), where]);
    $("answer").replaceChildren(...notes, head, ...sides.flatMap((side) => chain(side, address)));
    const place = asked === null && found ? found.a : asked;
    if (place === null) return void redraw();
    const scale = lanes[0].svg.clientWidth / (shown.b - shown.a);
    const at = Number(place);
    const aside = at < shown.a || at >= shown.b;
    if (found && (aside || (found.y - found.x) * scale < DRAWN_TO_BE_SEEN)) showPiece(found);
    else if (aside) show(at - (shown.b - shown.a) / 2, at + (shown.b - shown.a) / 2);
    else redraw();
  }

  // What owns the address in the map: the reserved range, else the free one, else whatever lies there.
  function owner(address) {
    for (const name of ["reserved", "free", "zones", "firmware"]) {
      for (const lane of lanes.filter((l) => l.name === name)) {
        const found = lane.pieces.find((p) => p.a <= address && address < p.b);
        if (found) return found;
      }
    }
    return null;
  }

  const SUFFIX = { "": 0n, k: 10n, m: 20n, g: 30n, t: 40n, p: 50n, e: 60n };

  // The address that a query is, in bytes; null for a name.
  function parse(query) {
    const page = /^pfn\s*[:=]?\s*(0x[0-9a-f]+|\d+)$/i.exec(query);
    if (page) return BigInt(page[1]) << sides[0].shift;
    const number = /^(0x[0-9a-f]+|\d+)([kmgtpe]?)$/i.exec(query);
    const bare = /^(?=.*[a-f])(?=.*\d)[0-9a-f]{8,16}$/i.exec(query);
    if (!number && !bare) return null;
    return number ? BigInt(number[1]) << SUFFIX[number[2].toLowerCase()] : big(query);
  }

  function named(query) {
    const wanted = query.toLowerCase();
    const rows = ["zones", "reserved", "nodes", "firmware", "free"].map((name) =>
      lanes.filter((lane) => lane.name === name).flatMap((lane) => lane.pieces));
    for (const side of sides) rows.push(side.taken.map((r) => piece(r.a, r.b, "t", r.says)));
    const fits = [
      (says) => says === wanted, (says) => says.endsWith("/" + wanted), (says) => says.startsWith(wanted),
      (says) => says.includes(wanted),
    ];
    for (const fit of fits) {
      for (const pieces of rows) {
        const found = pieces.filter((p) => fit(p.says.toLowerCase()));
        if (found.length) return found;
      }
    }
    return [];
  }

  function search(query) {
    const wanted = query.trim();
    if (!wanted) return;
    const address = parse(wanted);
    if (address !== null) {
      const physical = physicalOf(sides[0], address);
      answer(address, [], physical === null ? null : owner(physical));
      return;
    }
    const found = named(wanted);
    if (!found.length) {
      hit = asked = null;
      $("answer").replaceChildren(el("p", `Nothing here is called \u201c${wanted}\u201d; the list of the field has the names.`));
      redraw();
      return;
    }
    again = { query: wanted, at: again.query === wanted ? (again.at + 1) % found.length : 0 };
    const size = found.reduce((sum, p) => sum + (p.b - p.a), 0n);
    const count = found.length === 1 ? "one range" : `${found.length} ranges, ${again.at + 1} shown (Find again: the next)`;
    const notes = [el("p", `${found[again.at].says}: ${count}, ${human(size)}.`)];
    if (found.length > 1) {
      const links = found.slice(0, MOST_RANGES).flatMap((p) => [el("a", hex(p.a), { href: "#" + hex(p.a) }), " "]);
      notes.push(el("p", found.length > MOST_RANGES ? [...links, `and ${found.length - MOST_RANGES} more`] : links));
    }
    const p = found[again.at];
    if (!lanes.some((lane) => lane.pieces.includes(p))) chosen = lanes.find((lane) => lane.name === "reserved");
    answer(p.a, notes, p);
  }

  // The page's fragment is what was asked for.
  function go(query) {
    const fragment = "#" + encodeURIComponent(query);
    if (location.hash === fragment) search(query);
    else location.hash = fragment;
  }

  function follow() {
    const fragment = location.hash.slice(1);
    if (!fragment || $(fragment)) return;
    let query = fragment;
    try {
      query = decodeURIComponent(fragment);
    } catch {
      // not encoded: taken as it is
    }
    $("q").value = query;
    search(query);
  }

  $("find").addEventListener("submit", (event) => {
    event.preventDefault();
    if ($("q").value.trim()) go($("q").value.trim());
  });
  addEventListener("hashchange", () => {
    follow();
    if (hit || asked !== null) $("s-map").scrollIntoView({ block: "nearest" });
  });

  // The boot's steps: what memblock held after each.

  function cut(list, a, b) {
    return list.flatMap((r) => {
      if (r.b <= a || r.a >= b) return [r];
      return [{ ...r, b: a < r.b ? a : r.b }, { ...r, a: b > r.a ? b : r.a }].filter((part) =>
        part.a < part.b && part.a >= r.a && part.b <= r.b);
    });
  }

  function heldAfter(steps, last, reserved) {
    let list = [];
    for (let i = 0; i <= last; i++) {
      for (const does of steps[i].does) {
        if (does.reserved !== reserved) continue;
        list = cut(list, does.a, does.b);
        if (does.add) list.push({ a: does.a, b: does.b, i });
      }
    }
    return list.sort((p, q) => (p.a < q.a ? -1 : 1));
  }

  // Ranges of memblock as pieces, with the names that they have in the end as far as they have any.
  function asPieces(list, final, last, look, says) {
    const out = [];
    for (const r of list) {
      let at = r.a;
      const put = (a, b, l, s) => a < b && out.push(piece(a, b, r.i === last ? "new" : l, s));
      for (const p of final) {
        if (p.b <= at || p.a >= r.b) continue;
        const a = p.a > at ? p.a : at;
        const b = p.b < r.b ? p.b : r.b;
        put(at, a, look, says(r));
        put(a, b, p.look, p.says);
        at = b;
      }
      put(at, r.b, look, says(r));
    }
    return out;
  }

  function toStep(n) {
    const [side] = sides;
    const lane = (name) => side.lanes.find((l) => l.name === name);
    const finished = n >= side.steps.length;
    for (const l of side.lanes) l.pieces = l.final;
    if (!finished) {
      const kept = heldAfter(side.steps, n, true);
      lane("reserved").pieces = asPieces(kept, lane("reserved").final, n, "t", (r) => side.steps[r.i].step);
      lane("nodes").pieces = asPieces(heldAfter(side.steps, n, false), lane("nodes").final, n, "memory", () => "memory");
      if (!side.steps.slice(0, n + 1).some(({ step }) => step === "free_area_init")) lane("zones").pieces = [];
      lane("free").pieces = [];
    }
    $("step-name").textContent = finished ? "init starts" : side.steps[n].step;
    const told = finished ? [] : [...$("steps").children[n].children].map((child) => child.cloneNode(true));
    $("step-now").replaceChildren(...told);
    hit = asked = null;
    redraw();
  }
  if ($("step")) {
    $("step").value = $("step").max;
    $("step").addEventListener("input", () => toStep(Number($("step").value)));
  }

  // Nodes: where each looks.
  for (const link of document.querySelectorAll("[data-node]")) {
    const list = $("node-" + link.dataset.node);
    const mark = (on) => () => {
      list.classList.toggle("on", on);
      if (on) $("looks").textContent = list.textContent;
    };
    for (const [event, on] of [["pointerenter", true], ["focus", true], ["pointerleave", false], ["blur", false]]) {
      link.closest("tr").addEventListener(event, mark(on), true);
    }
  }

  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => (d.open = true)));
  addEventListener("resize", redraw);
  document.documentElement.classList.add("live");
  draw();
  follow();
})();
