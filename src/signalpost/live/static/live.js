/* The live page: polls data.json, and draws it by textContent only. */
const $ = id => document.getElementById(id);
const KEPT = 400, PATIENCE_MS = 10_000, REPEATED = 5, OTHER = "<other>";

function make(tag, attributes = {}, ...children) {
	const space = /^(svg|line|rect|path)$/.test(tag) ? "2000/svg" : "1999/xhtml";
	const node = document.createElementNS(`http://www.w3.org/${space}`, tag);
	for (const name in attributes) node.setAttribute(name, attributes[name]);
	node.append(...children);
	return node;
}

const button = (label, onclick, attributes) =>
	Object.assign(make("button", attributes, label), { onclick });

function write(node, text) {
	if (node.textContent !== text) node.textContent = text;
}

// Alt and an arrow is the browser's, which goes back.
const keyOf = event => event.altKey || event.ctrlKey || event.metaKey ? "" : event.key;

const plain = value => `${value ?? "–"}`;
const joined = (...parts) => parts.filter(Boolean).join("; ");
const count = n => n?.toLocaleString("en") ?? "–";
const rate = n => n < 99.95 ? n.toFixed(1) : count(Math.round(n));
const share = n => `${+(n * 100).toFixed(n < 0.0995 ? 1 : 0)} %`;
const bytes = n => n < 1e3 ? `${n} B`
	: n < 999500 ? `${(n / 1e3).toPrecision(3)} kB` : `${+(n / 1e6).toPrecision(3)} MB`;
const day = epoch => new Date(epoch * 1000).toLocaleString("sv");
const clock = epoch => epoch == null ? "–" : day(epoch).slice(11);
const file = place => plain(place).replace(/^.*\//, "");

function time(seconds) {
	if (seconds == null) return "–";
	if (seconds < 0.0009995) return `${Math.max(0, seconds * 1e6).toFixed()} µs`;
	if (seconds < 0.9995) return `${(seconds * 1e3).toPrecision(3)} ms`;
	if (seconds < 59.95) return `${seconds.toPrecision(3)} s`;
	const [s, m, h] = [1, 60, 3600].map(one => Math.floor(seconds / one));
	if (h < 48) return h ? `${h} h ${m % 60} m` : `${m} m ${s % 60} s`;
	return `${Math.floor(h / 24)} days`;
}

const SERIES = [
	"requests_per_second", "failed_per_second", "aborted_per_second",
	"p50_seconds", "p90_seconds", "p99_seconds",
];
const periods = new Map();
let data;

function receive(fresh) {
	const isDelta = fresh.is_delta && data;
	// Some that fit may be left out.
	if (fresh.exchanges_left_out) search();
	if (isDelta) {
		fresh.exchanges.push(...data.exchanges);
		fresh.exchanges_left_out += data.exchanges_left_out;
	}
	fresh.exchanges_left_out += fresh.exchanges.splice(KEPT).length;
	for (const name of ["statements", "failures", "referrers", "signals"]) {
		fresh[name] ??= data[name];
	}
	const { from, step, ...lines } = fresh.periods;
	if (!isDelta) periods.clear();
	lines.p50_seconds.forEach((_, i) =>
		periods.set(from + i * step, SERIES.map(name => lines[name][i])));
	const first = fresh.now - fresh.history_seconds;
	for (const at of periods.keys()) if (at < first) periods.delete(at);
	data = fresh;
}

function drawFigures() {
	const { total, workers, in_flight: open } = data;
	const [alive, { length: killed }] = ["alive", "killed"].map(state =>
		workers.filter(one => one.state === state));
	const busy = alive.filter(one => one.is_busy).length;
	const longest = open.find(one => !one.is_dead && !isWork(one));
	const all = name => `${count(total[`${name}_since_start`])} in all`;
	[
		[`${rate(total.requests_per_second)} /s`, all("requests")],
		[count(total.failed), `${share(total.failed_share)}, ${all("failed")}`],
		[count(total.aborted), all("aborted")],
		[count(total.in_flight), longest ? `longest ${time(longest.seconds)}` : ""],
		...SERIES.slice(3).map(name => [time(total[name])]),
		[count(alive.length), `${busy} busy${killed ? `, ${killed} killed` : ""}`],
	].forEach(([value, note], i) => {
		const [, figure, more] = $("figures").children[i].children;
		write(figure, value);
		if (note !== undefined) write(more, note);
		figure.className = i === 1 && total.failed ? "bad" : "";
	});
	write($("window"), `The last ${Math.round(total.window_seconds)} s`);
	write($("since"), data.since === null ? "nothing is recorded yet"
		: `counted since ${day(data.since)} (${time(data.now - data.since)})`);
}

const STYLES = [["solid"], ["dashed", [7, 3]], ["dotted", [2, 3]]];

/** Return what draws lines of {label: color}, by uPlot. */
function chart(id, lines, show, y, yAxis) {
	const place = $(id);
	const size = () => ({ width: place.clientWidth - 24, height: 168 });
	let columns, plot;

	function draw(latest) {
		columns = latest;
		if (plot) plot.setData(columns);
		else plot = build();
	}

	function build() {
		const style = getComputedStyle(place);
		const color = name => style.getPropertyValue(`--${name}`);
		const axis = {
			stroke: color("soft"),
			grid: { stroke: color("grid"), width: 1 },
			ticks: { show: false },
			font: "11px system-ui",
		};
		return new uPlot({
			...size(),
			padding: [10, 14, 0, 0],
			cursor: { y: false, drag: { x: false }, sync: { key: "live" } },
			legend: { markers: { dash: (_, i) => STYLES[i - 1][0] } },
			hooks: {
				// It is empty without a pointer.
				setLegend: [({ cursor, data: [ends], setLegend }) =>
					cursor.idx ?? setLegend({ idx: ends.length - 1 }, false)],
			},
			scales: {
				x: { range: () => [data.now - data.history_seconds, data.now] },
				y,
			},
			axes: [
				{ ...axis, size: 26, space: 70, incrs: [60, 120, 300],
					values: (_, ticks) => ticks.map(at => clock(at).slice(0, 5)) },
				{ ...axis, ...yAxis, size: 58,
					values: (_, ticks) => ticks.map(n => n === null ? "" : show(n)) },
			],
			series: [{}, ...Object.entries(lines).map(([label, name], i) => ({
				label,
				value: (_, n) => n == null ? "–" : show(n),
				stroke: color(name),
				dash: STYLES[i][1],
				fill: label === "all" ? `${color(name)}1c` : undefined,
				width: 1.75,
				spanGaps: true,
				points: { show: (u, n) => u.data[n].filter(y => y != null).length < 2 },
			}))],
		}, columns, place);
	}

	new ResizeObserver(() => plot?.setSize(size())).observe(place);
	matchMedia("(prefers-color-scheme: dark)").onchange = () => {
		plot?.destroy();
		plot = null;
		if (columns) draw(columns);
	};
	return draw;
}

const power = (n, round) => 10 ** round(Math.log10(n));
const charts = [chart("rate",
	{ all: "requests", errors: "bad", aborted: "warn" },
	n => n < 10 ? `${+n.toFixed(2)}` : rate(n).replace(".0", ""),
	{ range: (_, low, high) => [0, Math.max(1, high * 1.1)] },
), chart("time",
	{ p50: "p50", p90: "p90", p99: "p99" },
	n => time(n).replace(/\.0+ /, " "),
	{
		distr: 3, // logarithmic
		range: (_, low, high) =>
			[power(low || 0.001, Math.floor), power((high || 0.9) * 1.05, Math.ceil)],
	},
	{
		splits: (_, axis, low, high) =>
			// uPlot labels exact powers only.
			Array.from({ length: Math.log10(high / low) + 1.5 },
				(_, i) => +(low * 10 ** i).toPrecision(1)),
	},
)];

let library;

function loadCharts() {
	// uPlot fails with an invalid language, as "C".
	Object.defineProperty(navigator, "language", { value: "en" });
	library = $("uplot").content.firstChild.cloneNode();
	library.onload = drawCharts;
	library.onerror = () => { library = null; };
	document.head.append(library);
}

/** Draw the periods that are over: a rate of less would be too low. */
function drawCharts() {
	if (!window.uPlot) {
		if (!library && data.total.requests_since_start) loadCharts();
		return;
	}
	const { now, periods: { step } } = data;
	const over = [...periods].filter(([at]) => at + step <= now);
	const ends = over.map(([at]) => at + step);
	const lines = SERIES.map((_, i) => over.map(([, values]) => values[i]));
	charts.forEach((draw, i) => draw([ends, ...lines.slice(3 * i, 3 * i + 3)]));
}

function spark(place) {
	const bars = make("path");
	const box = { role: "img", viewBox: "0 0 59 20", preserveAspectRatio: "none" };
	const picture = place.appendChild(make("svg", box, bars));
	return counts => {
		const most = Math.max(1, ...counts);
		const bar = (n, i) => `M${i * 5} 20v${(-n / most) * 19 - 0.5}h4V20z`;
		bars.setAttribute("d", counts.map(bar).join(""));
		picture.ariaLabel = `Requests in each 5 seconds: ${counts.join(", ")}`;
	};
}

const took = row => row.response_seconds ?? row.duration_seconds;
const GET = {
	took,
	mean: row => row.total_seconds / (row.times ?? row.calls) || null,
};
const above0 = tone => n => n > 0 ? tone : "soft";
const often = n => n < REPEATED ? "soft" : "warn";
const isWhole = row => row.outcome === "complete";
const isWork = row => row.method === "WORK";
/** The text of a value, and its tone, each by the value and its row. */
const KINDS = {
	bad: [count, above0("bad")],
	warn: [count, above0("warn")],
	soft: [count, above0("")],
	rate: [rate],
	day: [day],
	file: [file],
	plain: [plain],
	took: [time, (_, row) => row.is_slow ? "warn" : ""],
	request: [(path, row) => `${row.method} ${path}`],
	raised: [(name, row) => name + (row.message ? `: ${row.message}` : "")],
	chart: [(_, row) => row.requests],
	event: [(name, row) => `${row.direction === "sent" ? "→" : "←"} ${name}`],
	fault: [([first]) => plain(first?.reason)],
	faults: [all => joined(...all.map(one =>
		`${one.times}× ${one.kind} until ${clock(one.last_at)}: ${plain(one.reason)}`,
	)) || "–"],
	state: [
		name => `${{ alive: "●", ended: "○" }[name] ?? "✕"} ${name}`,
		name => ({ alive: "good", killed: "bad" })[name] ?? "soft",
	],
	open: [
		(status, row) => row.is_dead ? "✕ its worker died"
			: status === null ? "no response yet" : `${status}, sending`,
		(_, row) => row.is_dead ? "bad" : "",
	],
	status: [
		(status, row) => plain(status) + (isWhole(row) ? "" : ` ${row.outcome}`),
		(_, row) => row.is_failed || row.outcome === "error" ? "bad"
			: isWhole(row) ? "" : "warn",
	],
	sql: [
		(n, { most_repeats: most }) =>
			most < REPEATED ? count(n) : `▲ ${most}× of ${n}`,
		(_, row) => often(row.most_repeats),
	],
	most: [n => `${n < REPEATED ? "" : "▲ "}${n}×`, often],
};
/** Read "label|width in rem|field|flags|kind"; the field's name can have the unit.
 *
 * Flags: n number, m not on a phone, w only if wide, x only in an open row, c code,
 * s small chart, d first order; each is a class, too.
 */
function column(line) {
	const [label, width, field, flags, kind] = line.split("|");
	const is = flag => flags.includes(flag);
	const [text, tone] = KINDS[kind] ?? [];
	return {
		label, width, is, tone,
		get: GET[field] ?? (row => row[field]),
		css: [...flags].join(" "),
		text: text ?? (/(^|_)at$/.test(field) ? clock
			: /seconds$|mean/.test(field) ? time
			: field.endsWith("bytes") ? bytes
			: is("n") ? count : plain),
	};
}

function shower({ is, get, text, tone }, node) {
	if (is("s")) {
		const change = spark(node);
		return row => change(get(row));
	}
	const target = node.appendChild(make(is("c") ? "code" : "span"));
	return row => {
		const value = get(row);
		write(target, text(value, row));
		if (is("c")) target.title = plain(value);
		if (tone) target.className = tone(value, row);
	};
}

const lists = { __proto__: null };
let chosen = "";

function followAddress() {
	chosen = location.hash.slice(1);
	// A link that has the token leads here, too.
	if (chosen.startsWith("token=")) history.replaceState(null, "", "./");
	redraw();
}

/** `id` names the list in the data, `key` the fields that identify its rows; without
 * a text for `empty`, an empty one is hidden. */
function list(id, label, key, empty, lines, more) {
	const columns = lines.trim().split("\n").map(column);
	const cells = columns.filter(one => !one.is("x"));
	const head = make("tr");
	const body = make("tbody");
	const none = make("p", { class: "empty" }, empty);
	const note = make("p", { class: "rest" });
	const size = make("small");
	const tab = button(label, () => goTo(id),
		{ role: "tab", id: `tab-${id}`, "aria-controls": id });
	const panel = make("section", { role: "tabpanel", id, "aria-labelledby": tab.id },
		make("table", { "aria-label": label }, make("thead", {}, head), body), none, note);
	const self = lists[id] = { tab, panel, openKey: null, read, draw, drawTab, body, ...more };
	let made = new Map();
	let sort = cells.find(one => one.is("d"));
	let isDown = sort.is("n");

	for (const one of cells) {
		one.head = make("th", { class: one.css }, button(one.label, () => {
			isDown = one === sort ? !isDown : one.is("n");
			sort = one;
			redraw();
		}));
		one.head.style.width = `${one.width}rem`;
		head.append(one.head);
	}
	tab.append(size);
	$("tabs").append(tab);
	$("panels").append(panel);

	/** Return rows, the number of others, and a note. */
	function read() {
		const all = data[id];
		if (!all.rows) return [all, data[`${id}_left_out`], ""];
		return [all.rows, all.left_out, joined(
			all.own >= 0 && `${count(all.requests)} requests, ${count(all.none)} without ` +
				`a referrer, ${count(all.own)} from own pages`, `as of ${clock(all.as_of)}`)];
	}

	function order(...rows) {
		const [x, y] = rows.map(row => {
			const value = sort.get(row);
			return sort.is("n") ? value ?? -1 : sort.text(value, row);
		});
		return (x < y ? -1 : +(x > y)) * (isDown ? -1 : 1);
	}

	function draw() {
		const [rows, left, more] = self.read();
		const nodes = [];
		const before = made;
		made = new Map();
		for (const one of rows.toSorted(order)) {
			const at = key.split(" ").map(name => one[name]).join(" ");
			if (made.has(at)) continue;
			const row = before.get(at) ?? newRow(at);
			made.set(at, row);
			row.update(one);
			nodes.push(row);
			if (at === self.openKey) nodes.push(row.open(one));
		}
		for (const one of cells) {
			one.head.ariaSort = one !== sort ? "none" : isDown ? "descending" : "ascending";
		}
		follow(nodes);
		none.hidden = rows.length > 0;
		write(note, joined(left && `${count(left)} more are not in this list`, more));
	}

	/** Make nodes the rows; what stays keeps its focus. */
	function follow(nodes) {
		const focused = document.activeElement;
		const at = [...body.children].findIndex(one => one.contains(focused));
		for (const node of [...body.children]) if (!nodes.includes(node)) node.remove();
		nodes.forEach((node, i) => {
			if (body.children[i] !== node) body.insertBefore(node, body.children[i]);
		});
		const next = nodes[Math.min(at, nodes.length - 1)]?.querySelector("button") ?? tab;
		if (at >= 0) (focused.isConnected ? focused : next).focus({ preventScroll: true });
	}

	function newRow(at) {
		const node = make("tr", { class: "row" });
		const opener = make("button", { class: "opener" });
		const updates = cells.map((one, i) => {
			const cell = node.appendChild(make("td", { class: one.css }));
			return shower(one, i ? cell : cell.appendChild(opener));
		});
		let last, detail, changes;
		const update = row => {
			const isOpen = at === self.openKey;
			node.classList.toggle("open", isOpen);
			opener.ariaExpanded = isOpen;
			if (!isOpen) detail = null;
			if (row !== last) updates.forEach(one => one(row));
			last = row;
		};
		const open = row => {
			if (!detail) {
				const facts = make("dl");
				const cell = make("td", {}, facts);
				detail = make("tr", { class: "detail" }, cell);
				changes = columns.map(one => {
					const value = make("dd");
					facts.append(make("div", {}, make("dt", {}, one.label), value));
					return shower(one, value);
				});
				self.detail?.(cell, row);
			}
			detail.firstChild.colSpan = cells.filter(one => one.head.offsetWidth).length;
			changes.forEach(one => one(row));
			return detail;
		};
		return Object.assign(node, { at, opener, update, open });
	}

	function toggle({ at, opener }) {
		self.openKey = self.openKey === at ? null : at;
		redraw();
		opener.focus();
	}

	body.onclick = ({ target }) => {
		const row = target.closest("tr");
		// In WebKit a click on a button leaves a selection.
		if (row.opener && (target.closest("button") || !`${getSelection()}`)) toggle(row);
	};

	body.onkeydown = event => {
		const line = event.target.closest("tr");
		const row = line.opener ? line : line.previousSibling;
		const all = [...body.querySelectorAll(".opener")];
		const at = all.indexOf(row.opener);
		const up = line === row ? at - 1 : at;
		const to = { ArrowDown: at + 1, ArrowUp: up, Home: 0, End: all.length - 1 };
		const key = keyOf(event);
		if (key === "Escape" && self.openKey === row.at) toggle(row);
		else if (event.target.matches("pre") || !(key in to)) return;
		else (all[to[key]] ?? row.opener).focus();
		event.preventDefault();
	};

	function drawTab() {
		const isChosen = id === chosen;
		tab.ariaSelected = isChosen;
		tab.tabIndex = isChosen ? 0 : -1;
		panel.hidden = !isChosen;
		if (!data) return;
		const [rows, left] = read();
		tab.hidden = !empty && !isChosen && !rows.length && !self.read()[2];
		const isAlarm = self.isAlarm?.(rows);
		size.className = isAlarm ? "bad" : "";
		write(size, count(rows.length + left) + (isAlarm ? " !" : ""));
	}
}

async function ask(query) {
	const signal = AbortSignal.timeout(PATIENCE_MS);
	const answer = await fetch(`data.json?${new URLSearchParams(query)}`, { signal });
	// The page to log in is at the same address.
	if (answer.status === 401) location.reload();
	// A server in between may answer by a page of its own.
	const body = await answer.json().catch(() => null);
	if (answer.ok && body) return body;
	throw Error(body?.error ?? `No data (status ${answer.status})`);
}

/** Show what a row has beyond its line, once it has come. */
async function later(cell, query, show) {
	const wait = cell.appendChild(make("p", { class: "soft" }, "Loading …"));
	try {
		show(await ask(query));
		wait.remove();
	} catch (error) {
		write(wait, `This cannot be shown: ${error.message}`);
	}
}

function eventRow({ kind, name, at_seconds: at, seconds, place, times, ...one }, whole) {
	const x = Math.min(99.4, (at / whole) * 100);
	const width = Math.min(100 - x, Math.max(0.6, (seconds / whole) * 100));
	const [y, height] = seconds === null ? [1, 18] : [4, 12];
	const code = make("code", { title: name, class: one.css ?? "" }, name);
	const what = make("div", {}, code);
	if (times > 1) what.append(make("b", { class: "warn" }, `${times}× in this request`));
	if (one.is_failed) what.append(make("b", { class: "bad" }, "failed"));
	if (place) what.append(make("small", {}, place));
	return make("div",
		{ class: `event ${one.is_failed ? "exception" : kind}`, role: "listitem" },
		make("div", {}, make("span", {}, kind), make("small", {}, `+${time(at)}`)),
		what,
		make("svg", { viewBox: "0 0 100 20", preserveAspectRatio: "none" },
			make("line", { x2: 100, y1: 10, y2: 10 }), make("rect", { x, y, width, height })),
		make("div", { class: "n" }, time(seconds)));
}

function showExchange(cell, { exchange }) {
	const { row, events, fingerprint, events_left_out: left } = exchange;
	const ends = events.map(one => one.at_seconds + one.seconds);
	const whole = Math.max(row.duration_seconds, ...ends, 1e-6);
	const shapes = Map.groupBy(events, one => one.name);
	for (const [{ times, place }, ...repeats] of shapes.values()) {
		for (const one of repeats) one.css = "short";
		if (times < REPEATED) continue;
		const text = `▲ One statement ran ${times} times, from ${plain(place)}`;
		cell.append(make("p", { class: "warn" }, text));
	}
	const begun = exchange.seconds_to_headers;
	if (begun !== null) events.push({
		kind: "response", name: `status ${row.status}`, at_seconds: begun, seconds: null,
	});
	events.sort((a, b) => a.at_seconds - b.at_seconds);
	cell.append(make("div",
		{ class: "events", role: "list", "aria-label": "What happened, in order" },
		...events.map(one => eventRow(one, whole))));
	cell.append(make("p", { class: "soft" }, joined(
		left && `${count(left)} more events are not kept`,
		!data.has_waterfall && "signals, templates and SQL are not recorded",
		exchange.referrer && `referrer ${exchange.referrer}`)));
	if (fingerprint) cell.append(
		button("Show its traceback", () => goTo("failures", fingerprint)));
}

function showRequests(cell, { route, name = route }) {
	if (name !== OTHER) cell.append(button("Show its requests", () => {
		goTo("exchanges");
		filters.reset();
		filters.route.value = name;
	}));
}

list("routes", "Routes", "route", "No request has been recorded yet.", `
Route||route|c
/s|4|requests_per_second|n|rate
Requests||requests|nmd|soft
Errors|4.8|failed|n|bad
Aborted||aborted|nw|warn
p50||p50_seconds|nm
p90||p90_seconds|n
p99||p99_seconds|nm
In all||requests_since_start|nw
Errors in all||failed_since_start|x
Aborted in all||aborted_since_start|x
Last minute|7|chart|sm|chart`, {
	detail: showRequests,
});

list("in_flight", "In flight", "worker started_at method path",
	"No request is in flight.", `
Request||path|c|request
State|9.5|status||open
Worker||pid|m
Started||started_at|nm
For||seconds|nd`);

list("exchanges", "Requests", "key", "No request that fits has been recorded.", `
Request||path|c|request
Time||at|nmd
Route|13|route|cw
Status|7|status||status
Took||took|n|took
SQL|6.8|sql_count|nm|sql
Id|10|request_id|cw
To the end||duration_seconds|x
SQL took||sql_seconds|x
Body||body_bytes|x
Worker||pid|x
Exception||exception|x`, {
	detail: (cell, { key }) =>
		later(cell, { exchange: key }, body => showExchange(cell, body)),
	read: readExchanges,
});

list("work", "Work", "name", "", `
Name||name|c
Last minute|6.4|done|nmd
In all||done_since_start|n
Failed|4.8|failed_since_start|n|bad
Aborted||aborted_since_start|nw|warn
Mean||mean_seconds|n
Slowest||longest_seconds|nm
Last||last_at|nm`, { detail: showRequests });

list("relay", "Relay", "direction party name", "", `
Event||name|c|event
Source or group|9.4|party|m
Last minute|6.4|events|nw
In all||events_since_start|nd
Failed|4.8|failed_since_start|n|bad
Retried||retried_since_start|nw|warn
Given up||given_up_since_start|n|bad
Took||mean_seconds|nw
Age||mean_age_seconds|nm
Last failure|14|faults|w|fault
In the last minute failed||failed|x
retried||retried|x
given up||given_up|x
Failures||faults|x|faults`, {
	read: () => [data.relay, data.relay_left_out, joined(...data.relay_queues.flatMap(one => [
		`${one.source}: ${count(one.waiting)} wait`,
		one.waiting && `the oldest for ${time(one.oldest_seconds)}, ${one.faults[0]?.reason}`,
		one.left_behind && `${count(one.left_behind)} lost in killed processes`,
	]))],
	isAlarm: rows => rows.some(row => row.failed || row.given_up),
});

list("statements", "SQL", "statement",
	"No statement is recorded; enable the receiver “sqlalchemy”.", `
Statement||statement|c
Times||times|n
Total||total_seconds|nd
Mean||mean|nw
Slowest||longest_seconds|nm
Failed|4.8|failed|nm|bad
In one request|7.6|most_in_exchange|nm|most`);

list("failures", "Failures", "fingerprint", "Nothing has failed.", `
Exception||exception|c|raised
Place|14|place|cw|file
Route|12|route|cw
Times|4.6|times|n
Last||last_at|nd
First||first_at|x|day
In the||where|x
Method||method|x
Fingerprint||fingerprint|x`, {
	detail: (cell, { fingerprint }) => later(cell, { failure: fingerprint },
		({ failure }) => cell.append(make("pre",
			{ tabindex: 0, role: "region", "aria-label": "Traceback" },
			failure.traceback.join("\n")))),
	isAlarm: rows => rows.some(row => data.now - row.last_at < 60),
});

list("referrers", "Referrers", "referrer", "No request came from another page.", `
Referrer||referrer|c
Requests||requests|nd
Too high by at most|9.5|at_most_too_high|nm|soft`);

list("signals", "Signals", "signal name connected_at sender", "No receiver is connected.", `
Receiver||name|c
Signal|12|signal|cmd
Connected at|14|connected_at|cw|file
Calls||calls|n
Failed|4.8|failures|n|bad
Mean||mean|nm
Sender||sender|x
Place||connected_at|x|plain
Workers||workers|x
Time in all||total_seconds|x`);

list("workers", "Workers", "worker", "No worker has recorded anything yet.", `
Process||pid|
State|5.4|state|d|state
In flight||in_flight|nm|soft
/s|4|requests_per_second|nm|rate
Requests||requests|n
Errors|4.8|failed|n|bad
Aborted||aborted|nw|warn
Work|4.6|work|nw
Events|4.8|events|nw
Started||started_at|nm
Last||last_at|nm
File||bytes|nw`, { isAlarm: rows => rows.some(row => row.state === "killed") });

const filters = $("filters");
const fresh = $("fresh");
let found = [], foundLeft = 0, asked, isNew;
// Rows, the number of others, and a note, while these stay.
let shown;

/** Return what is filtered by, in the words of data.json. */
const query = () => Object.fromEntries([...new FormData(filters)].filter(([, text]) => text));

const fits = ({ kind, route, status, outcome, id = "", slow_seconds: least = 0 }) => row =>
	(!kind || isWork(row) === (kind === "work")) &&
	(!route || (row.route ?? "<unmatched>") === route) &&
	(!status || `${row.status}`[0] === status[0]) &&
	(!outcome || row.outcome === outcome) &&
	(row.request_id ?? "").startsWith(id.trim()) && took(row) >= least;

/** Filter what is here; then add what only the files still hold. */
function filtersChanged() {
	found = [];
	foundLeft = 0;
	isNew = true;
	renew();
	search();
}

function search() {
	clearTimeout(asked);
	const mine = asked = setTimeout(async () => {
		if (!Object.keys(query()).length) return;
		// The poll shows if there is no answer.
		const body = await ask({ find: 1, ...query() }).catch(() => null);
		if (!body || mine !== asked) return;
		[found, foundLeft] = [body.exchanges, body.left_out];
		if (isNew) shown = null;
		isNew = false;
		redraw();
	}, 300);
}

function renew() {
	lists.exchanges.openKey = shown = null;
	redraw();
}

/** Return the newest that fit, the number of others, and a note. */
function fitting(wanted) {
	// The others are older.
	const oldest = foundLeft && found.at(-1).at;
	const rows = data.exchanges.filter(fits(wanted)).filter(row => row.at > oldest);
	const all = new Map(found.concat(rows).map(row => [row.key, row]));
	found = [...all.values()].sort((a, b) => b.at - a.at);
	foundLeft += found.splice(KEPT).length;
	return [found, foundLeft, `${count(found.length + foundLeft)} fit`];
}

function readExchanges() {
	const { route: select } = filters;
	const routes = [...data.routes, ...data.work].map(one => one.route ?? one.name);
	const names = new Set(routes.sort());
	names.delete(OTHER);
	for (const { value } of select.options) names.delete(value);
	for (const value of names) select.append(make("option", { value }, value));
	const wanted = query();
	const now = Object.keys(wanted).length ? fitting(wanted)
		: [data.exchanges, data.exchanges_left_out, ""];
	// A list in use must not move: new rows wait behind a button.
	if (!lists.exchanges.body.matches(":hover, :focus-within, :has(.open)")) shown = null;
	shown ??= now;
	const [rows] = shown;
	const oldest = rows.at(-1)?.at ?? 0;
	const { length: waiting } = now[0].filter(({ key, at }) =>
		at > oldest && !rows.some(one => one.key === key));
	fresh.ariaDisabled = !waiting;
	write(fresh, waiting ? `Show ${count(waiting)} new` : "Up to date");
	return shown;
}

filters.oninput = filtersChanged;
filters.onreset = () => setTimeout(filtersChanged);
fresh.onclick = () => fresh.ariaDisabled === "true" || renew();
lists.exchanges.panel.prepend(filters);

function goTo(id, key = lists[id].openKey) {
	chosen = id;
	lists[id].openKey = key;
	shown = null;
	history.replaceState(null, "", `#${id}`);
	redraw();
	lists[id].tab.focus();
}

$("tabs").onkeydown = event => {
	const ids = Object.keys(lists).filter(id => !lists[id].tab.hidden);
	const at = ids.indexOf(chosen);
	const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[keyOf(event)];
	if (to === undefined) return;
	event.preventDefault();
	goTo(ids.at(to % ids.length));
};

function drawFoot() {
	const { folder, quantile_error: error, files } = data;
	write($("foot"), `Quantiles are off by at most ${share(error)}. ${folder}: ` + joined(
		`${files.count} files of a fixed ${bytes(files.bytes_per_worker)}`,
		files.skipped && `${files.skipped} not read`,
		...files.skipped_files.map(one => `${one.name}: ${one.reason}`)));
}

function redraw() {
	if (!lists[chosen]) chosen = "routes";
	for (const id in lists) lists[id].drawTab();
	if (!data) return;
	drawFigures();
	drawCharts();
	lists[chosen].draw();
	drawFoot();
}

let timer = 0, turn = 0, misses = 0, isPaused = false;

function say(state, text) {
	$("state").className = state;
	write($("state"), text);
	write($("now"), data ? clock(data.now) : "the start");
}

/** Poll, but not while the page is paused or hidden. */
async function tick() {
	clearTimeout(timer);
	// An answer still to come is not taken.
	const mine = ++turn;
	if (isPaused || document.hidden) return;
	let problem = "";
	try {
		const fresh = await ask({ since: data?.cursor ?? "" });
		if (mine === turn) receive(fresh);
	} catch (error) {
		problem = error.name === "Error" ? error.message : "No answer";
	}
	if (mine !== turn) return;
	misses = problem ? misses + 1 : 0;
	timer = setTimeout(tick, (data?.poll_seconds ?? 2) * Math.min(1 + misses, 5) * 1000);
	if (problem) return say("gone", `${problem} since`);
	say("live", "Live, as of");
	redraw();
}

$("pause").onclick = ({ currentTarget: node }) => {
	isPaused = !isPaused;
	write(node, isPaused ? "Go on" : "Pause");
	if (isPaused) say("paused", "Paused at");
	tick();
};

document.onvisibilitychange = tick;
onhashchange = followAddress;
onresize = redraw;

followAddress();
tick();
