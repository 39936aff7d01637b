'use strict';
(() => {
  const D = JSON.parse(document.getElementById('data').textContent);
  const $ = (id) => document.getElementById(id);
  // The only way in which anything gets onto the page: as text, never as markup.
  const el = (tag, props, ...kids) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(props || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
      else if (key === 'class') node.className = value;
      else node.setAttribute(key, value === true ? '' : value);
    }
    for (const kid of kids.flat()) if (kid !== null && kid !== undefined) node.append(kid);
    return node;
  };
  const num = (n) => String(n).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
  const hex = (n) => '0x' + n.toString(16);
  const share = (part, whole) => {
    if (!whole) return '';
    if (part === whole) return '100 %';
    const text = (part / whole * 100).toFixed(2);
    return (text === '100.00' ? '> 99.99' : text === '0.00' && part ? '< 0.01' : text) + ' %';
  };
  const seconds = (s) => s === null || s === undefined ? '' : s < 1 ? (s * 1000).toFixed(1) + ' ms' : s.toFixed(2) + ' s';
  const words = { match: 'match', divergence: 'divergence', inconclusive: 'inconclusive', error: 'no report', not_run: 'not run', failed: 'failed' };
  const state = { filter: 'all', query: '', at: -1, tab: null, sort: 'stops', up: false, open: -1, all: false };
  const live = (r) => r.values.live.located + r.values.live.derived + r.values.live.constant + r.values.live.unavailable;
  const rank = (c) => c.f.length && c.o !== 'divergence' ? 'failed' : c.o;

  // ---- heat ------------------------------------------------------------
  const unpackHeat = (text) => {
    const cells = [];
    for (const m of text.matchAll(/([-a-kA-K])(\d*)/g)) {
      const count = m[2] ? Number(m[2]) : 1;
      const value = m[1] === '-' ? -1 : m[1] >= 'a' ? m[1].charCodeAt(0) - 97 : m[1].charCodeAt(0) - 65 + 100;
      for (let i = 0; i < count; i++) cells.push(value);
    }
    return cells;
  };
  const unpackSteps = (first, text) => {
    const at = [first];
    for (const m of text.matchAll(/\((\d+)\)|([0-9a-z])/g)) at.push(at[at.length - 1] + (m[1] ? Number(m[1]) : parseInt(m[2], 36)));
    return at;
  };
  const colour = (value) => {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    if (value < 0) return [of('--hn'), 1];
    const tenths = value % 100;
    return [of(tenths === 10 ? '--h10' : tenths >= 8 ? '--h9' : tenths >= 3 ? '--h5' : '--h0'), value >= 100 ? 1 : .32];
  };
  const palette = () => { const known = new Map(); return (v) => { if (!known.has(v)) known.set(v, colour(v)); return known.get(v); }; };
  const drawStrip = (canvas, cells) => {
    const width = 260, height = 14, scale = window.devicePixelRatio || 1;
    canvas.width = width * scale; canvas.height = height * scale;
    const g = canvas.getContext('2d'), get = palette();
    g.scale(scale, scale);
    const worse = (a, b) => (a < 0 || b < 0 ? Math.min(a, b) : (a % 100) !== (b % 100) ? ((a % 100) < (b % 100) ? a : b) : Math.max(a, b));
    // A column stands for many boundaries: it shows the worst of them.
    for (let x = 0; x < width; x++) {
      const from = Math.floor(x * cells.length / width), to = Math.max(from + 1, Math.floor((x + 1) * cells.length / width));
      let value = cells[from];
      for (let i = from + 1; i < to; i++) value = worse(value, cells[i]);
      const [fill, alpha] = get(value);
      g.globalAlpha = alpha; g.fillStyle = fill; g.fillRect(x, 0, 1, height);
    }
  };
  const CELL = 11;
  const drawBig = (canvas, cells) => {
    const width = Math.max(canvas.clientWidth, 200), across = Math.floor(width / CELL), scale = window.devicePixelRatio || 1;
    const rows = Math.ceil(cells.length / across);
    canvas.style.height = rows * CELL + 'px';
    canvas.width = width * scale; canvas.height = rows * CELL * scale;
    const g = canvas.getContext('2d'), get = palette();
    g.scale(scale, scale);
    cells.forEach((value, i) => {
      const [fill, alpha] = get(value);
      g.globalAlpha = alpha; g.fillStyle = fill;
      g.fillRect((i % across) * CELL, Math.floor(i / across) * CELL, CELL - 1, CELL - 1);
    });
    return across;
  };
  const tip = (event, text) => {
    const t = $('tip');
    if (!text) { t.style.display = 'none'; return; }
    t.textContent = text; t.style.display = 'block';
    t.style.left = Math.min(event.clientX + 14, innerWidth - t.offsetWidth - 8) + 'px';
    t.style.top = Math.min(event.clientY + 14, innerHeight - t.offsetHeight - 8) + 'px';
  };

  // ---- overview --------------------------------------------------------
  const shown = (c) => {
    const kind = rank(c);
    if (state.filter === 'bad' && !(kind === 'divergence' || kind === 'failed')) return false;
    if (state.filter === 'open' && !(['inconclusive', 'error', 'not_run'].includes(kind))) return false;
    if (state.filter === 'match' && kind !== 'match') return false;
    return true;
  };
  const matches = (index) => {
    const query = state.query.toLowerCase();
    if (!query || D.programs[index].toLowerCase().includes(query)) return true;
    return D.cases.some((c) => c.p === index && ((c.fn || []).some((f) => functionName(f).toLowerCase().includes(query))
      || c.f.some((x) => (x[1] + ' ' + x[2]).toLowerCase().includes(query))));
  };
  const functionName = (f) => '#' + f[1] + (f[2] >= 0 ? ' ' + D.strings[f[2]] : '') + (f[0] ? ' (instance ' + f[0] + ')' : '');
  const cellText = (c) => {
    const kind = rank(c);
    if (kind === 'divergence') return '✗ ' + (c.x ? c.x.kind : 'divergence');
    if (kind === 'failed') return '✗ ' + c.f[0][0].replace('_', ' ') + (c.f.length > 1 ? ' +' + (c.f.length - 1) : '');
    if (kind !== 'match') return (c.a ? '○ ' : '? ') + words[kind];
    const all = live(c.r);
    return '✓ ' + (all ? share(all - c.r.values.live.unavailable, all) : 'match');
  };
  const chips = () => {
    const counts = { all: D.cases.length, bad: 0, open: 0, match: 0 };
    for (const c of D.cases) { const k = rank(c); counts[k === 'divergence' || k === 'failed' ? 'bad' : k === 'match' ? 'match' : 'open']++; }
    const names = { all: 'all', bad: 'failing', open: 'without an answer', match: 'match' };
    $('chips').replaceChildren(...Object.keys(names).map((key) => el('button', { 'data-filter': key, 'aria-pressed': String(state.filter === key),
      onclick: () => { state.filter = key; chips(); matrix(); } }, names[key] + ' ' + num(counts[key]))));
  };
  const matrix = () => {
    const by = new Map(D.cases.map((c, i) => [c.p + ' ' + c.c, i]));
    const rows = [];
    D.programs.forEach((name, p) => {
      if (!matches(p)) return;
      const cells = D.configs.map((_, c) => by.get(p + ' ' + c));
      if (!cells.some((i) => i !== undefined && shown(D.cases[i]))) return;
      rows.push(el('tr', {}, el('td', { class: 'mono', title: name }, name), cells.map((i) => el('td', {}, i === undefined ? null :
        el('button', { class: 'cell ' + rank(D.cases[i]), 'data-case': i, tabindex: '-1', 'aria-current': String(i === state.at),
          title: D.cases[i].d || D.cases[i].f.map((f) => f[1] + ' ' + f[2]).slice(0, 3).join('\n') || undefined,
          onclick: () => select(i) }, cellText(D.cases[i]))))));
    });
    $('matrix').replaceChildren(el('thead', {}, el('tr', {}, el('th', {}, 'program'), D.configs.map((c) => el('th', {}, c)))), el('tbody', {}, rows));
    $('empty').hidden = rows.length > 0;
    const first = $('matrix').querySelector('[aria-current=true]') || $('matrix').querySelector('.cell');
    if (first) first.tabIndex = 0;
  };
  const select = (i, tab) => {
    state.at = i; state.tab = tab || null; state.open = -1; state.all = false;
    for (const b of $('matrix').querySelectorAll('.cell')) b.setAttribute('aria-current', String(Number(b.dataset.case) === i));
    history.replaceState(null, '', '#' + i + (tab ? '/' + tab : ''));
    detail();
  };

  // ---- one case --------------------------------------------------------
  const code = (lines) => el('div', { class: 'code' }, lines);
  const divergence = (x) => {
    const where = [];
    const row = (label, text) => { if (text) where.push(el('dt', {}, label), el('dd', { class: 'mono' }, text)); };
    if (x.func !== null) row('function', '#' + x.func + ' ' + (x.name || '') + ', instance ' + x.instance);
    if (x.offset !== null) row('boundary', hex(x.offset) + '  ' + (x.instruction || ''));
    row('source', x.source_line);
    if (x.after) row('executed last', hex(x.after.offset) + '  ' + (x.after.instruction || '') + (x.after.source_line ? '  (' + x.after.source_line + ')' : ''));
    row('reached after', num(x.boundary_index) + ' boundaries');
    if (x.witness) row('witness', x.witness.engine + ' ' + x.witness.verdict + (x.witness.reason ? ': ' + x.witness.reason : ''));
    const wasm = (x.listing || []).map((l) => el('div', { class: l.offset === x.offset ? 'here' : '' }, el('i', {}, hex(l.offset).padStart(8) + '  '), l.text));
    const pc = x.native_pc ? BigInt(x.native_pc) : null;
    const native = x.native_disassembly.map((line) => {
      const m = line.match(/^(0x[0-9a-f]+):\s?(.*)$/);
      const here = m && pc !== null && BigInt(m[1]) === pc;
      return el('div', { class: here ? 'here' : '' }, m ? [el('i', {}, m[1] + '  '), m[2]] : line);
    });
    const wrong = new Map(x.slots.map((s) => [s.slot, s]));
    const expected = new Map(), actual = new Map(), order = [];
    const read = (lines, into) => (lines || []).forEach((line) => { const at = line.search(/\s/); const key = at < 0 ? line : line.slice(0, at);
      if (!expected.has(key) && !actual.has(key)) order.push(key); into.set(key, at < 0 ? '' : line.slice(at).trim()); });
    read(x.state_diff && x.state_diff.expected, expected); read(x.state_diff && x.state_diff.actual, actual);
    for (const s of x.slots) if (!expected.has(s.slot) && !actual.has(s.slot)) { order.unshift(s.slot); expected.set(s.slot, s.type + ' ' + (s.expected || 'none')); actual.set(s.slot, s.type + ' ' + (s.actual || 'none')); }
    const rows = order.slice(0, 400).map((key) => {
      const e = expected.get(key), a = actual.get(key), s = wrong.get(key);
      return el('tr', { class: e !== a ? 'wrong' : '' }, el('td', { class: 'mono' }, key + (s && s.name ? ' ' + s.name : '')), el('td', { class: 'mono v' }, e === undefined ? 'none' : e),
        el('td', { class: 'mono v' }, a === undefined ? 'none' : a), el('td', { class: 'mono' }, s && s.location || ''));
    });
    const out = [el('p', { class: 'what' }, x.summary || x.kind), el('dl', {}, where),
      el('div', { class: 'sides' },
        el('div', { id: 'wasm' }, el('h3', {}, 'Wasm'), code(wasm)),
        el('div', { id: 'native' }, el('h3', {}, 'Native'), code(native)),
        el('div', { id: 'state' }, el('h3', {}, 'State'), el('div', { class: 'scroll' }, el('table', {}, el('thead', {}, el('tr', {}, ['slot', 'oracle', 'subject', 'read from'].map((t) => el('th', {}, t)))), el('tbody', {}, rows))),
          order.length > 400 ? el('p', { class: 'note' }, num(order.length - 400) + ' more in the JSON report') : null))];
    if ((x.timeline || []).length) out.push(...timeline(x));
    if (x.frames.length) out.push(el('h3', {}, 'Call stack'), code(x.frames.map((f, i) => el('div', { class: i ? '' : 'here' }, String(i).padStart(2) + '  #' + f.func + ' ' + (f.name || '') + '  ' + hex(f.offset) + '  ' + (f.source_line || '')))));
    if (x.rerun) out.push(el('h3', {}, 'Again'), el('pre', { id: 'rerun' }, x.rerun.map((w) => /^[A-Za-z0-9_.\/:=+,@%-]+$/.test(w) ? w : "'" + w.replaceAll("'", "'\\''") + "'").join(' ')));
    return out;
  };
  const command = (words) => words.map((w) => /^[A-Za-z0-9_.\/:=+,@%-]+$/.test(w) ? w : "'" + w.replaceAll("'", "'\\''") + "'").join(' ');
  const bisected = (b) => {
    const found = [];
    const row = (list, label, text) => { if (text) list.push(el('dt', {}, label), el('dd', {}, text)); };
    for (const a of b.axes) row(found, a.axis, a.answer);
    if (b.code) for (const m of b.code.mixes) row(found, 'mixed', 'function #' + m.func + ' at ' + m.how + ': ' + m.result + ', ' + m.detail);
    const out = [el('p', { class: 'what', id: 'title' }, b.title || 'nothing diverged'), el('dl', {}, found)];
    const r = b.reproducer;
    if (r) {
      const about = [];
      row(about, 'size', num(r.wasm_bytes) + ' bytes of ' + num(r.module_bytes) + '; ' + num(r.instructions) + ' instructions, cut out of ' + num(r.span) + ' executed ones');
      row(about, 'right', r.expected); row(about, 'wrong', r.actual); row(about, 'right with', r.good || 'no compiler that was tried'); row(about, 'witness', r.witness);
      out.push(el('h3', {}, 'Reproducer ' + r.file), el('dl', {}, about), el('pre', { id: 'script' }, r.text.join('\n')), el('h3', {}, 'Again'), el('pre', { id: 'shown' }, command(r.command)));
    } else if (b.no_reproducer) out.push(el('h3', {}, 'No reproducer'), el('p', {}, b.no_reproducer));
    const table = (id, head, rows) => el('div', { class: 'scroll' }, el('table', { id }, el('thead', {}, el('tr', {}, head.map((t) => el('th', {}, t)))), el('tbody', {}, rows)));
    if (b.native.length) out.push(el('h3', {}, 'Native code of the reproducer'), table('both', ['at fault', 'right'], b.native.map((n) =>
      el('tr', { class: n.bad !== n.good ? 'wrong' : '' }, el('td', { class: 'mono' }, n.bad || ''), el('td', { class: 'mono' }, n.good || '')))));
    if (b.settings.length) out.push(el('h3', {}, 'Settings'), table('settings', ['', 'setting', 'gives'], b.settings.map((s) =>
      el('tr', { class: s.result === 'bad' ? 'wrong' : '' }, el('td', {}, s.result), el('td', { class: 'mono' }, s.setting), el('td', { class: 'mono' }, s.detail)))));
    if (b.history.length) out.push(el('h3', {}, 'Where the map has the value'), code(b.history.map((line) => el('div', {}, line))));
    return out;
  };
  const timeline = (x) => {
    const steps = x.timeline.slice(-50), last = steps.length - 1;
    const info = el('p', { class: 'mono', id: 'moment' });
    const show = (i) => {
      const t = steps[i];
      for (const b of strip.children) b.setAttribute('aria-pressed', String(Number(b.dataset.step) === i));
      info.textContent = (i === last ? 'here' : String(i - last)) + '   #' + t.func + '  ' + hex(t.offset) + '  ' + (t.instruction || '') + (t.instance ? '   instance ' + t.instance : '');
    };
    const strip = el('div', { class: 'strip', id: 'timeline', role: 'toolbar', 'aria-label': 'last boundaries' }, steps.map((t, i) => el('button', {
      'data-step': i, class: i === last ? 'here' : '', style: 'background:hsl(' + (t.func * 47 + t.instance * 90) % 360 + ' 45% 58%)', 'aria-label': hex(t.offset) + ' ' + (t.instruction || ''),
      onmouseenter: () => show(i), onfocus: () => show(i), onclick: () => show(i),
      onkeydown: (e) => { const to = e.key === 'ArrowLeft' ? i - 1 : e.key === 'ArrowRight' ? i + 1 : -1; if (to >= 0 && to <= last) { e.preventDefault(); e.stopPropagation(); strip.children[to].focus(); } } })));
    show(last);
    return [el('h3', {}, 'The last ' + steps.length + ' boundaries, a colour per function'), strip, info];
  };
  const functions = (c) => {
    const query = state.query.toLowerCase();
    const keys = { func: (f) => f[1], stops: (f) => f[5], code: (f) => f[3], missing: (f) => f[7], boundaries: (f) => f[4] };
    let list = c.fn.map((f, i) => [f, i]);
    const found = list.filter(([f]) => functionName(f).toLowerCase().includes(query));
    if (query && found.length) list = found;
    list.sort(([a], [b]) => (state.up ? 1 : -1) * (keys[state.sort](a) - keys[state.sort](b)) || a[1] - b[1]);
    const head = (key, text) => el('th', { class: 'num sort', tabindex: '0', 'data-sort': key, 'aria-sort': state.sort === key ? (state.up ? 'ascending' : 'descending') : undefined,
      onclick: () => { state.up = state.sort === key ? !state.up : false; state.sort = key; detail(); }, onkeydown: (e) => { if (e.key === 'Enter') e.currentTarget.click(); } }, text + (state.sort === key ? (state.up ? ' ↑' : ' ↓') : ''));
    const rows = [];
    const limit = state.all ? list.length : 150;
    for (const [f, i] of list.slice(0, limit)) {
      const canvas = el('canvas', { class: 'heat', role: 'img', 'aria-label': 'availability of ' + functionName(f) });
      const cells = unpackHeat(D.strings[f[10]] || '');
      if (cells.length) drawStrip(canvas, cells);
      const open = () => { state.open = state.open === i ? -1 : i; detail(); const again = document.querySelector('[data-func="' + i + '"]'); if (again) again.focus(); };
      rows.push(el('tr', {}, el('td', {}, el('button', { class: 'mono', 'data-func': i, 'aria-expanded': String(state.open === i), onclick: open }, functionName(f))), el('td', { onclick: open }, canvas),
        el('td', { class: 'num' }, share(f[6], f[6] + f[7])), el('td', { class: 'num' }, num(f[7])), el('td', { class: 'num' }, num(f[4])), el('td', { class: 'num' }, num(f[5])), el('td', { class: 'num' }, num(f[3]))));
      if (state.open === i) rows.push(el('tr', {}, el('td', { colspan: '7' }, heatOf(f, cells))));
    }
    return [el('p', { class: 'legend note' }, ['--h10 every live value', '--h9 from 80 %', '--h5 from 30 %', '--h0 less', '--hn no anchor'].map((t) => { const [v, ...rest] = t.split(' '); return el('span', {}, el('i', { style: 'background:var(' + v + ')' }), rest.join(' ')); }), el('span', {}, 'pale: not executed')),
      el('div', { class: 'scroll' }, el('table', { id: 'functions' }, el('thead', {}, el('tr', {}, el('th', {}, 'function'), el('th', {}, 'availability by boundary'), el('th', { class: 'num' }, 'live available'), head('missing', 'missing'), head('boundaries', 'boundaries'), head('stops', 'stops'), head('code', 'code bytes'))), el('tbody', {}, rows))),
      list.length > limit ? el('p', {}, el('button', { onclick: () => { state.all = true; detail(); } }, 'show all ' + num(list.length))) : null];
  };
  const heatOf = (f, cells) => {
    const steps = D.strings[f[9]];
    const at = steps === undefined ? null : unpackSteps(f[8], steps);
    const canvas = el('canvas', { class: 'big', id: 'big' });
    // As soon as it is on the page and has a width; a frame may be long in coming.
    queueMicrotask(() => {
      const across = drawBig(canvas, cells);
      const over = (e) => { const box = canvas.getBoundingClientRect(); return Math.floor((e.clientY - box.top) / CELL) * across + Math.floor((e.clientX - box.left) / CELL); };
      canvas.onmousemove = (e) => { const i = over(e), v = cells[i];
        tip(e, v === undefined ? '' : (at ? hex(at[i]) : 'boundary ' + i) + ': ' + (v < 0 ? 'no anchor' : (v % 100 === 10 ? 'every live value' : 'at least ' + (v % 100) * 10 + ' % of the live values') + (v >= 100 ? '' : ', not executed'))); };
      canvas.onmouseleave = (e) => tip(e, '');
    });
    const lacks = f[11].slice(0, 200).map(([offset, stable, slots]) => el('div', {}, el('i', {}, hex(offset).padStart(8) + '  '), slots + (stable ? '   stable point' : '')));
    return el('div', {}, canvas, lacks.length ? [el('h3', {}, 'Live values without a location'), code(lacks)] : el('p', { class: 'note' }, f[12].length ? 'Boundaries without an anchor: ' + f[12].slice(0, 200).map(hex).join(', ') : 'Every live value has a location at every boundary.'));
  };
  const figures = (c) => {
    const r = c.r, v = r.values, b = r.boundaries, all = live(r);
    const list = (title, rows) => el('div', {}, el('h3', {}, title), el('dl', {}, rows.filter((x) => x[1] !== '' && x[1] !== undefined && x[1] !== null).flatMap(([k, t]) => [el('dt', {}, k), el('dd', { class: 'mono' }, String(t))])));
    const pairs = (o) => Object.entries(o).map(([k, n]) => k + ' ' + num(n)).join(', ');
    return [el('div', { class: 'cols' },
      list('Program', [['file', r.program.path], ['SHA-256', r.program.sha256], ['functions', num(r.program.functions)], ['exit code', r.program.exit_code], ['trap', r.program.trap], ['code', r.code ? num(r.code.bytes) + ' bytes' : '']]),
      list('Boundaries', [['static', num(b.static)], ['anchored', num(b.anchored) + '  ' + share(b.anchored, b.static)], ['merged', num(b.merged)], ['threaded', num(b.threaded)], ['eliminated', num(b.eliminated)], ['executed', num(b.executed)], ['stops', num(b.stops)]]),
      list('Values', [['compared', num(v.compared)], ['wrong', num(v.wrong)], ['located', num(v.located)], ['derived', num(v.derived)], ['constant', num(v.constant)], ['unavailable', num(v.unavailable)], ['why', pairs(v.reasons)]]),
      list('Live values', [['located', num(v.live.located) + '  ' + share(v.live.located, all)], ['derived', num(v.live.derived) + '  ' + share(v.live.derived, all)], ['constant', num(v.live.constant) + '  ' + share(v.live.constant, all)], ['unavailable', num(v.live.unavailable) + '  ' + share(v.live.unavailable, all)]]),
      list('Stable points', [['static', num(r.stable_points.static)], ['executed', num(r.stable_points.executed)], ['full', num(r.stable_points.full)], ['walks', num(r.stable_points.walks)], ['witnessed', num(r.stable_points.witnessed)]]),
      list('The rest', [['memory', num(r.memory.bytes_compared) + ' bytes compared'], ['host calls', num(r.host_calls)], ['adoptions', pairs(r.adoptions)], ['run', seconds(r.time.wall_s)], ['compile', seconds(r.time.compile_s)], ['CPU features', c.cpu >= 0 ? D.strings[c.cpu] : '']]),
      r.wast ? list('Scripts', [['instances', num(r.wast.instances)], ['assertions in lockstep', num(r.wast.lockstep)], ['validation', num(r.wast.validation)], ['text format', num(r.wast.text_format)], ['not run', pairs(r.wast.not_run)], ['failures', r.wast.failures.join('; ')]]) : null)];
  };
  const failures = (c) => [el('table', { id: 'failures' }, el('thead', {}, el('tr', {}, ['what', 'where', ''].map((t) => el('th', {}, t)))), el('tbody', {}, c.f.map(([kind, place, text]) => el('tr', { class: 'wrong' }, el('td', {}, kind.replace('_', ' ')), el('td', { class: 'mono' }, place), el('td', { style: 'white-space:normal' }, text)))))];
  const detail = () => {
    const c = D.cases[state.at], box = $('detail');
    box.hidden = !c;
    if (!c) return;
    const tabs = [];
    if (D.bisect) tabs.push(['bisect', 'Bisected', () => bisected(D.bisect)]);
    if (c.x) tabs.push(['divergence', 'Divergence', () => divergence(c.x)]);
    if (c.f.length && !(c.x && c.f.length === 1)) tabs.push(['failures', 'Failures ' + c.f.length, () => failures(c)]);
    if (c.fn && c.fn.length) tabs.push(['functions', 'Functions ' + c.fn.length, () => functions(c)]);
    if (c.r) tabs.push(['figures', 'Figures', () => figures(c)]);
    const now = tabs.find((t) => t[0] === state.tab) || tabs[0];
    const top = box.querySelector('.scroll') ? box.querySelector('.scroll').scrollTop : 0;
    box.replaceChildren(el('h2', {}, el('span', { class: 'pill ' + rank(c) }, words[rank(c)]), '  ', D.programs[c.p], el('span', { class: 'note' }, '   ' + D.configs[c.c])),
      c.d ? el('p', { class: 'what' }, c.d + (c.a ? ' (accepted by the baseline)' : '')) : '',
      c.cut ? el('p', { class: 'note' }, 'This divergence in full is in the JSON report.') : '',
      el('div', { class: 'tabs', role: 'tablist' }, tabs.map((t) => el('button', { role: 'tab', 'data-tab': t[0], 'aria-selected': String(t === now), onclick: () => { state.tab = t[0]; history.replaceState(null, '', '#' + state.at + '/' + t[0]); detail(); } }, t[1]))),
      ...(now ? now[2]() : []).filter(Boolean));
    if (box.querySelector('.scroll')) box.querySelector('.scroll').scrollTop = top;
  };

  // ---- keyboard --------------------------------------------------------
  const move = (dx, dy) => {
    const here = document.activeElement;
    if (!here || !here.classList.contains('cell')) return false;
    const cell = here.closest('td'), row = cell.parentElement;
    let target = null;
    if (dx) { let td = cell; do td = dx > 0 ? td.nextElementSibling : td.previousElementSibling; while (td && !td.querySelector('.cell')); target = td; }
    else { let tr = row; do { tr = dy > 0 ? tr.nextElementSibling : tr.previousElementSibling; target = tr && tr.children[cell.cellIndex]; } while (tr && !(target && target.querySelector('.cell'))); }
    const button = target && target.querySelector('.cell');
    if (button) { here.tabIndex = -1; button.tabIndex = 0; button.focus(); }
    return true;
  };
  const jump = (by) => {
    const bad = D.cases.map((c, i) => [rank(c), i]).filter(([k]) => k === 'divergence' || k === 'failed').map(([, i]) => i);
    if (!bad.length) return;
    const at = bad.indexOf(state.at);
    select(bad[at < 0 ? 0 : (at + by + bad.length) % bad.length]);
  };
  const theme = () => {
    const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    document.documentElement.dataset.theme = dark ? 'light' : 'dark';
    detail();
  };
  document.addEventListener('keydown', (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.target === $('search')) {
      if (e.key === 'Escape') { $('search').value = ''; state.query = ''; matrix(); detail(); $('search').blur(); }
      if (e.key === 'Enter') { const b = $('matrix').querySelector('.cell'); if (b) { b.focus(); b.click(); } }
      return;
    }
    const keys = { ArrowRight: () => move(1, 0), ArrowLeft: () => move(-1, 0), ArrowDown: () => move(0, 1), ArrowUp: () => move(0, -1),
      '/': () => { $('search').focus(); return true; }, t: () => { theme(); return true; }, n: () => { jump(1); return true; }, p: () => { jump(-1); return true; },
      Escape: () => { state.at = -1; history.replaceState(null, '', '#'); matrix(); detail(); return true; } };
    if (keys[e.key] && keys[e.key]()) e.preventDefault();
  });

  // ---- page ------------------------------------------------------------
  $('verdict').textContent = D.head; $('verdict').className = 'pill ' + D.verdict;
  $('subtitle').textContent = D.subtitle; $('subtitle').title = D.subtitle;
  $('tiles').replaceChildren(...D.tiles.map(([label, text, kind]) => el('div', { class: 'tile ' + kind }, el('div', { class: 'n' }, text), el('div', { class: 'l' }, label))));
  $('notes').replaceChildren(...D.notes.map((text) => el('p', { class: 'note' }, text)));
  $('notes').hidden = !D.notes.length;
  $('theme').addEventListener('click', theme);
  $('search').addEventListener('input', () => { state.query = $('search').value.trim(); matrix(); detail(); });
  let waiting = 0;
  addEventListener('resize', () => { clearTimeout(waiting); waiting = setTimeout(detail, 150); });
  chips(); matrix();
  $('overview').hidden = D.cases.length === 1;
  const [at, tab] = location.hash.slice(1).split('/');
  const worst = D.cases.findIndex((c) => rank(c) === 'divergence');
  const failed = D.cases.findIndex((c) => rank(c) === 'failed');
  const start = at !== '' && D.cases[Number(at)] ? Number(at) : worst >= 0 ? worst : failed >= 0 ? failed : D.cases.length === 1 ? 0 : -1;
  if (start >= 0) select(start, tab); else detail();
})();
