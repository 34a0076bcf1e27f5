/* The arithmetic of master/metrics/page.html, which is its first script: node tests/master/metrics/page.js master/metrics/page.html */
"use strict";
const assert = require("assert"), fs = require("fs"), vm = require("vm");

const html = fs.readFileSync(process.argv[2], "utf8");
const scripts = [...html.matchAll(/<script>([^]*?)<\/script>/g)].map(match => match[1]);
assert.equal(scripts.length, 2);
vm.runInThisContext(scripts[0], { filename: "page.html, first script" });
const { parse, read, compare, histogram, quantile, grown, is_replaced, show, span_text, ticks, decades, rows_of, path } = vm.runInThisContext(
	"({ parse, read, compare, histogram, quantile, grown, is_replaced, show, span_text, ticks, decades, rows_of, path })");
new vm.Script(scripts[1], { filename: "page.html, second script" });

let tests = 0;
function test(name, body) {
	try {
		body();
		tests++;
	} catch (error) {
		console.error(`${name}: ${error.stack}`);
		process.exitCode = 1;
	}
}
const lines = (...all) => all.join("\n") + "\n";
const near = (a, b) => assert(Math.abs(a - b) < 1e-9 * Math.max(1, Math.abs(b)), `${a} is not ${b}`);

test("lines of the text", () => {
	const found = parse(lines(
		"# HELP a what it is", "# TYPE a counter", "", "a 1", "a{} 2", 'a{x="1"} 3', 'a{x="1",y="2",} 4.5e3', "a 6 1700000000000",
		'a{x="q\\"b\\\\n\\nl}, 7"} 7', "  a   8  ", 'b:c{le="+Inf"} +Inf', "b:c -Inf", "b:c 0x10"));
	assert.deepEqual(found.get("a"), [[{}, 1], [{}, 2], [{ x: "1" }, 3], [{ x: "1", y: "2" }, 4500], [{}, 6],
		[{ x: 'q"b\\n\nl}, 7' }, 7], [{}, 8]]);
	assert.deepEqual(found.get("b:c"), [[{ le: "+Inf" }, Infinity], [{}, -Infinity], [{}, 16]]);
});

test("what can't be read is left out", () => {
	const found = parse(lines("a", "a b c", "1a 2", "a NaN", "a twelve", 'a{x="1" 2', "a}", "=", "\0", "a 1", "\r", "a 2\r") + "a 12");
	assert.deepEqual([...found], [["a", [[{}, 1], [{}, 2]]]]);
	assert.deepEqual([...parse("")], []);
	assert.deepEqual([...parse(lines("a 1", "b 1"), new Set(["b"]))], [["b", [[{}, 1]]]]);
});

test("labels of a hostile name harm no object", () => {
	const [[labels]] = parse(lines('a{__proto__="x",constructor="y"} 1')).get("a");
	assert.equal({}.x, undefined);
	assert.equal(Object.getPrototypeOf(labels), Object.prototype);
});

const bucket = (worker, le, n) => `weir_loop_lag_seconds_bucket{worker="${worker}",le="${le}"} ${n}`;

test("an answer by worker, in their order", () => {
	const answer = read(lines(
		'weir_connections{worker="10"} 3', 'weir_connections{worker="2"} 4', 'weir_nobody_knows{worker="11"} 1',
		'weir_connections_closed_total{worker="2",reason="eof"} 5', 'weir_connections_closed_total{worker="10",reason="eof"} 6',
		'weir_connections_closed_total{worker="2",reason="reset"} 1', 'weir_build_info{version="1.2",compiler="gcc"} 1',
		"weir_generation 3", bucket(2, "0.001", 7), bucket(2, "+Inf", 9)));
	assert.deepEqual([...answer.workers.keys()], ["2", "10"]);
	assert.equal(answer.workers.get("2").connections, 4);
	assert.equal(answer.workers.get("2").closed, 6);
	assert.equal(answer.workers.get("2").messages, undefined);
	assert.deepEqual([...answer.workers.get("2").lag], [[.001, 7], [Infinity, 9]]);
	assert.deepEqual([...answer.closes], [["eof", 11], ["reset", 1]]);
	assert.deepEqual(answer.server, { generation: 3, build: "1.2" });
	assert.equal(read("hello\n").any, false);
});

test("of the server's states, the one that is", () => {
	const state = (...pairs) => read(lines(...pairs.map(([name, value]) => `weir_state{state="${name}"} ${value}`))).server.state;
	assert.equal(state(["serving", 1]), "serving");
	assert.equal(state(["serving", 0], ["stopping", 1], ["starting", 0]), "stopping");
});

test("growth", () => {
	assert.equal(grown(3, 5), 2);
	assert.equal(grown(5, 5), 0);
	assert.equal(grown(5, 3), null);
	assert.equal(grown(undefined, 3), null);
	assert.equal(grown(3, undefined), null);
});

test("quantiles of what came between two histograms", () => {
	const before = new Map([[.001, 100], [.002, 100], [.004, 100], [Infinity, 100]]);
	const now = new Map([[Infinity, 210], [.001, 110], [.004, 200], [.002, 150]]);
	const buckets = histogram(before, now);
	assert.deepEqual(buckets, [[.001, 10], [.002, 50], [.004, 100], [Infinity, 110]]);
	near(quantile(buckets, .5), .002 + .002 * (55 - 50) / 50);
	near(quantile(buckets, 10 / 110), .001);
	near(quantile(buckets, 5 / 110), .0005);
	near(quantile(buckets, .99), .004); /* above all bounds: the highest bound */
	assert.equal(histogram(now, before), null);
	assert.equal(histogram(new Map(), now), null);
	assert.equal(quantile(histogram(now, now), .5), null); /* no values */
	assert.equal(quantile(null, .5), null);
	assert.equal(quantile([], .5), null);
});

const answer_of = (worker0, worker1) => read(lines(...[worker0, worker1].flatMap((worker, i) => !worker ? [] : [
	`weir_connections{worker="${i}"} ${worker[0]}`, `weir_received_bytes_total{worker="${i}"} ${worker[1]}`,
	bucket(i, "0.001", worker[2]), bucket(i, "0.002", worker[3]), bucket(i, "+Inf", worker[3]),
	`weir_connections_closed_total{worker="${i}",reason="eof"} ${worker[4]}`])));

test("a sample: rates, the sum and the worst", () => {
	const sample = compare(answer_of([1, 1000, 0, 0, 0], [2, 0, 0, 0, 10]), answer_of([3, 5000, 100, 100, 4], [4, 1000, 0, 100, 10]), 2);
	assert.equal(sample.rows.get("0").in, 2000);
	assert.equal(sample.rows.get("1").in, 500);
	near(sample.rows.get("0").p50, .0005);
	near(sample.rows.get("1").p50, .0015);
	near(sample.sum.p50, .001); /* of both workers' values together, not the mean of two medians */
	assert.equal(sample.sum.connections, 7);
	assert.equal(sample.sum.in, 2500);
	assert.deepEqual(sample.worst.in, { id: "0", value: 2000 });
	assert.deepEqual(sample.worst.connections, { id: "1", value: 4 });
	assert.deepEqual([...sample.closes], [["eof", { total: 14, rate: 2 }]]);
	assert.equal(sample.sum.messages, undefined);
});

test("the first answer has totals and no rates", () => {
	const sample = compare(null, answer_of([3, 5000, 100, 100, 4]), 0);
	assert.equal(sample.sum.connections, 3);
	assert.equal(sample.rows.get("0").in, null);
	assert.equal(sample.sum.in ?? null, null);
	assert.deepEqual([...sample.closes], [["eof", { total: 4, rate: null }]]);
});

test("a worker that came has no rates yet, one that left is not there", () => {
	const sample = compare(answer_of([1, 1000, 0, 0, 0]), answer_of([1, 1500, 0, 0, 0], [1, 9000, 5, 5, 0]), 1);
	assert.equal(sample.rows.get("1").in, null);
	assert.equal(sample.rows.get("1").p50, null);
	assert.equal(sample.sum.in, 500);
	assert.equal(compare(answer_of([1, 1, 0, 0, 0], [1, 1, 0, 0, 0]), answer_of([1, 1, 0, 0, 0]), 1).rows.size, 1);
	assert.equal(sample.anew, false);
});

test("counters that go back give no rate at all", () => {
	/* The second worker's counters happen to have grown, but have no rate either. */
	const sample = compare(answer_of([1, 5000, 9, 9, 9], [1, 10, 0, 0, 0]), answer_of([1, 100, 1, 2, 1], [1, 50, 1, 1, 1]), 1);
	assert.equal(sample.anew, true);
	for (const row of sample.rows.values())
		for (const key of ["in", "closed", "p50", "p99"])
			assert.equal(row[key], null);
	assert.equal(sample.closes.get("eof").rate, null);
	assert.equal(sample.sum.connections, 2);
});

test("who is a worker, and who only has counters", () => {
	const at = bytes => read(lines(...["0", "1", "2", "master"].map(id => `weir_received_bytes_total{worker="${id}"} ${bytes}`),
		...["0", "1", "2"].map(id => `weir_worker_up{worker="${id}"} ${id === "0" ? 1 : 0}`),
		...["0", "1", "2"].map(id => `weir_worker_pid{worker="${id}"} ${id === "0" ? 42 : 0}`),
		'weir_worker_state{worker="0",state="ready"} 1', 'weir_worker_state{worker="1",state="resting"} 1',
		'weir_connections_closed_total{worker="master",reason="overload"} 5'));
	const sample = compare(at(100), at(200), 1);
	assert.deepEqual([...sample.rows.keys()], ["0", "1"]);
	assert.equal(sample.rows.get("1").state, "resting");
	assert.equal(sample.sum.in, 200);
	assert.equal(sample.closes.get("overload").total, 5);
	assert.equal(sample.sum.closed, 0);
});

test("a worker that makes no progress", () => {
	const worker = (harvests, asleep) => read(lines(`weir_loop_harvests_total{worker="0"} ${harvests}`, `weir_worker_asleep{worker="0"} ${asleep}`));
	const stuck = (...pair) => compare(...pair, 1).rows.get("0").stuck;
	assert.equal(stuck(worker(5, 0), worker(5, 0)), true);
	assert.equal(stuck(worker(5, 1), worker(5, 1)), false);
	assert.equal(stuck(worker(5, 0), worker(6, 0)), false);
	/* Between two answers in quick succession a worker may make no progress. */
	assert.equal(compare(worker(5, 0), worker(5, 0), .1).rows.get("0").stuck, false);
	const said = (up, state) => read(lines(`weir_worker_up{worker="0"} ${up}`, `weir_worker_state{worker="0",state="${state}"} 1`));
	assert.equal(stuck(said(1, "ready"), said(0, "ready")), true);
	assert.equal(stuck(said(1, "ready"), said(0, "stopped")), true);
	assert.equal(stuck(said(1, "ready"), said(0, "stuck")), true);
	assert.equal(stuck(said(1, "ready"), said(1, "ready")), false);
	assert.equal(stuck(said(1, "ready"), said(0, "draining")), false);
});

test("another process in a worker's place", () => {
	const row = { pid: 7, generation: 2, restarts: 0 };
	assert.equal(is_replaced(row, { ...row }), false);
	assert.equal(is_replaced(row, { ...row, restarts: 1 }), true);
	assert.equal(is_replaced(row, { ...row, pid: 8 }), true);
	assert.equal(is_replaced(row, { ...row, pid: 8, generation: 3 }), false);
	assert.equal(is_replaced(row, { ...row, pid: 0 }), false);
	assert.equal(is_replaced({}, { pid: 8 }), false);
});

test("numbers for people", () => {
	const known = [
		["count", 0, "0"], ["count", 12345, "12,345"], ["count", 2300000, "2.30 M"], ["number", 999.9, "1.00 K"], ["number", .25, "0.25"],
		["number", 12.34, "12.3"], ["number", 1234, "1.23 K"], ["number", 999999, "1.00 M"], ["bytes", 0, "0 B"], ["bytes", 64, "64 B"],
		["bytes", 1.5 * 2 ** 30, "1.50 GiB"], ["bytes", 835 * 1024, "835 KiB"], ["bytes", 1023, "1023 B"], ["share", .5, "50 %"], ["share", 1.234, "123 %"], ["share", 145, "145 cpu"], ["time", .00001234, "12.3 µs"], ["time", .0012, "1.20 ms"],
		["time", 2, "2 s"], ["time", 0, "0"], ["time", .9999, "1.00 s"], ["number", null, "-"], ["number", undefined, "-"], ["bytes", Infinity, "-"],
	];
	for (const [unit, value, text] of known)
		assert.equal(show(unit, value), text);
	const spans = [[0, "0 s"], [59.9, "59 s"], [60, "1 min"], [61, "1 min 1 s"], [3600, "1 h"], [5025, "1 h 23 min"], [90000, "1 d 1 h"], [-5, "0 s"]];
	for (const [seconds, text] of spans)
		assert.equal(span_text(seconds), text);
});

test("the steps of an axis", () => {
	assert.deepEqual(ticks(4), [0, 2, 4]);
	assert.deepEqual(ticks(1), [0, .5, 1]);
	assert.deepEqual(ticks(3), [0, 1, 2, 3]);
	for (let most = 1e-6; most < 1e10; most *= 1.37) {
		const steps = ticks(most);
		assert(steps.length >= 3 && steps.length <= 5, `${most}: ${steps}`);
		assert(steps[steps.length - 1] >= most * .999 && steps[steps.length - 2] < most, `${most}: ${steps}`);
	}
});

test("the steps of bytes are round in what they are shown in", () => {
	const texts = most => ticks(most, "bytes").map(value => show("bytes", value)).join();
	assert.equal(texts(1024), "0 B,512 B,1 KiB");
	assert.equal(texts(3e6), "0 B,1 MiB,2 MiB,3 MiB");
	assert.equal(texts(900 * 1024), "0 B,500 KiB,1000 KiB");
	assert.equal(texts(2 ** 52), "0 B,2000 TiB,4000 TiB,6000 TiB");
});

test("labels that would meet have rows of their own", () => {
	assert.deepEqual(rows_of([[50, 40], [30, 40], [20, 40], [90, 40], [0, 20]], 2), [0, 1, -1, 0, 0]);
	assert.deepEqual(rows_of([], 2), []);
});

test("the powers of ten around what is seen", () => {
	assert.deepEqual(decades(8e-6, 2e-5), [1e-6, 1e-5, 1e-4]);
	assert.deepEqual(decades(1e-5, 1e-3), [1e-5, 1e-4, 1e-3]);
	assert.deepEqual(decades(2e-5, .4), [1e-5, 1e-4, 1e-3, .01, .1, 1]);
});

test("a line, its gaps, and a point that stands alone", () => {
	assert.equal(path([[0, 1], [2, 3]]), "M0.0 1.0L2.0 3.0");
	assert.equal(path([[0, 1], [1, null], [2, 3]]), "M0.0 1.0h0M2.0 3.0h0");
	assert.equal(path([[0, null], [1, null]]), "");
});

console.log(`${tests} tests of the page's arithmetic passed`);
