// Builds every page of src/ into dist/ (or the folder named on the command line): one script, one style, and what is copied.
// The gateway takes dist/ into its binary, so it is committed; tests/web.rs says when it is not what this makes.
import { build } from "esbuild";
import { cp, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";

const PAGES = ["admin", "panel"];
const here = import.meta.dirname;
const out = process.argv[2] ?? join(here, "dist");

for (const page of PAGES) {
	const [from, to] = [join(here, "src", page), join(out, page)];
	await rm(to, { recursive: true, force: true });
	await mkdir(to, { recursive: true });
	await build({
		entryPoints: { [page]: join(from, "main.ts") },
		outdir: to,
		absWorkingDir: here,
		bundle: true,
		minify: true,
		format: "iife",
		target: ["es2022", "chrome110", "firefox115", "safari16"],
		charset: "utf8",
		legalComments: "none",
		logLevel: "warning",
	});
	await build({
		entryPoints: { [page]: join(from, "style.css") },
		outdir: to,
		absWorkingDir: here,
		bundle: true,
		minify: true,
		target: ["chrome110", "firefox115", "safari16"],
		logLevel: "warning",
	});
	for (const file of ["index.html", "icon.svg"]) await cp(join(from, file), join(to, file));
}
