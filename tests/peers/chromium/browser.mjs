// A browser that does what it is told on its terminal, a line a step: `{"do":"live","with":{…}}`; answers `done live` or `failed live: …`.
//
//   E911D_SHOTS=FOLDER CHROMIUM=PROGRAM node PAGE.mjs URL
//
// With E911D_WEB=FOLDER the page's files come from there and not from the gateway: to look at a change without compiling.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";

const require = createRequire(join(import.meta.dirname, "../../../web/package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(join(dirname(require.resolve("axe-core")), "axe.min.js"), "utf8");

const ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
export const url = process.argv[2];
const shots = process.env.E911D_SHOTS;

export class Browser {
	/** What went wrong in a page by itself: scripts that threw, what its policy has refused. */
	complaints = [];

	/** `args`: more of them; `context`: what every page of it has, permissions for example; `files`: the page's name. */
	constructor({ args = [], context = {}, files = "admin" } = {}) {
		[this.args, this.context, this.files] = [args, context, files];
	}

	async start() {
		this.program = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: [...ARGS, ...this.args] });
		this.page = await this.open();
	}

	/** A page with a session of its own, signed in by nobody. */
	async open(prepare = async () => {}, more = {}) {
		const context = await this.program.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-US", timezoneId: "UTC", colorScheme: "light", ...this.context, ...more });
		return this.tab(context, prepare);
	}

	/** One more page of the same session. */
	async tab(context, prepare = async () => {}) {
		const page = await context.newPage();
		page.setDefaultTimeout(15_000);
		page.on("pageerror", (error) => this.complaints.push(String(error)));
		page.on("console", (message) => {
			// A refusal of the API's is an answer, though the browser calls it an error.
			if (message.type() === "error" && !/Failed to load resource/.test(message.text())) this.complaints.push(message.text());
		});
		if (process.env.E911D_WEB) {
			await page.route((to) => to.pathname.split("/")[1] === this.files, async (route) => {
				const file = new URL(route.request().url()).pathname.split("/")[2] || "index.html";
				const answer = await route.fetch();
				await route.fulfill({ response: answer, body: readFileSync(join(process.env.E911D_WEB, this.files, file)) });
			});
		}
		await prepare(page);
		return page;
	}

	/** Looks at a state as everybody sees it: light and dark, wide, narrow and at 200 %; axe finds nothing in any of them. */
	async look(name, page = this.page) {
		for (const [kind, colorScheme, width, height] of [["light", "light", 1280, 800], ["dark", "dark", 1280, 800], ["zoomed", "light", 640, 400], ["narrow", "dark", 320, 640]]) {
			await page.emulateMedia({ colorScheme });
			await page.setViewportSize({ width, height });
			if (kind !== "zoomed" && shots) await page.screenshot({ path: join(shots, `${name}-${kind}.png`), fullPage: true });
			const wide = await page.evaluate(() => document.documentElement.scrollWidth);
			check(wide <= width, `${name}, ${kind}: ${wide} px wide where ${width} are`);
			await this.accessible(`${name}, ${kind}`, page);
		}
		await page.emulateMedia({ colorScheme: "light" });
		await page.setViewportSize({ width: 1280, height: 800 });
	}

	/** Everything that is pressed is as large as a finger (WCAG 2.5.5). */
	async largeEnough(name, page = this.page) {
		const small = await page.locator("button, select, input, a").evaluateAll((all) => all.map((e) => [e, e.getBoundingClientRect()]).filter(([, box]) => box.width > 0 && (box.width < 44 || box.height < 44)).map(([e, box]) => `${e.outerHTML} ${box.width}x${box.height}`));
		same(small, [], `${name}: targets under 44 px`);
	}

	async accessible(name, page) {
		await page.evaluate(axe);
		const { violations } = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
		const found = violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => `${n.html} (${n.failureSummary})`).join("; ")}`);
		check(found.length === 0, `${name}: axe finds ${found.join("\n")}`);
	}
}

export function check(holds, what) {
	if (!holds) throw new Error(what);
}

export function same(found, wanted, what) {
	check(JSON.stringify(found) === JSON.stringify(wanted), `${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
}

/** Asks the API as somebody else would. */
export async function api(token, method, path, body, headers = {}) {
	const text = body === undefined ? {} : { body: JSON.stringify(body) };
	const answer = await fetch(new URL(`/api/v1/${path}`, url), { method, ...text, headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json", ...headers } });
	check(answer.ok, `${method} ${path}: ${answer.status} ${await answer.clone().text()}`);
	return answer.status === 204 ? null : answer.json();
}

/** Does what the lines say until there are no more. */
export async function obey(browser, steps) {
	await browser.start();
	console.log("ready");
	for await (const line of createInterface({ input: process.stdin })) {
		const { do: step, with: given } = JSON.parse(line);
		try {
			await steps[step](browser, given ?? {});
			same(browser.complaints, [], "complaints of the page");
			console.log(`done ${step}`);
		} catch (error) {
			await browser.page.screenshot({ path: join(shots ?? ".", `failed-${step}.png`), fullPage: true }).catch(() => {});
			console.log(`failed ${step}: ${error.stack ?? error}`);
		}
	}
	await browser.program.close();
}
