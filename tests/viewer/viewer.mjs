// OHIF in a headless Chromium, steered by a test.
//
//   node viewer.mjs DIST CONFIGURATION ORTHANC CHROMIUM
//
// Reads one JSON object a line, {"call": NAME, "with": ARGUMENT}, where NAME is a function of
// page.mjs; answers each with {"result": …} or {"error": …} on a line. Ends with its input.
import readline from 'node:readline';
import { chromium } from 'playwright-core';
import * as calls from './page.mjs';
import { serve } from './serve.mjs';

// WebGL by software, and no sandbox because a test machine's user is often root
const SWITCHES = ['--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader',
  '--enable-unsafe-swiftshader', '--disable-background-networking'];
const WINDOW = { width: 1000, height: 620 };

const [dist, configuration, orthanc, executablePath] = process.argv.slice(2);
const address = await serve({ dist, configuration, orthanc });
const browser = await chromium.launch({ executablePath, headless: true, args: SWITCHES });
const context = await browser.newContext({ viewport: WINDOW });
const state = { address, context, page: null, troubles: [] };

async function answer(line) {
  const { call, with: argument } = JSON.parse(line);
  try {
    return { result: (await calls[call](state, argument)) ?? null };
  } catch (error) {
    return { error: `${call}: ${error.stack ?? error}`, troubles: state.troubles };
  }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(line))}\n`);
}
await browser.close();
process.exit(0);
