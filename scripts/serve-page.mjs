// Drives the page of itera-serve in a headless Chromium: types, streams, rates, corrects, learns, and
// sees the charts change; stops an answer and rates it, copies, forgets; looks at the hours. Run by scripts/serve-page.sh, which gives URL, KEY, CHROMIUM and PICTURES.

import puppeteer from "puppeteer-core";

const { URL: url, CHROMIUM, PICTURES, LEARNS, KEY } = process.env;
const check = (holds, what) => { if (!holds) throw new Error("failed: " + what); console.log("ok: " + what); };

const browser = await puppeteer.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
try {
  const page = await browser.newPage();
  await page.setViewport({ width: 1280, height: 1180 });
  const faults = [], outside = [];
  page.on("pageerror", error => faults.push(error.message));
  page.on("console", message => message.type() === "error" && faults.push(message.text()));
  page.on("request", request => { if (!request.url().startsWith(url) && !request.url().startsWith("data:")) outside.push(request.url()); });
  const text = selector => page.$eval(selector, node => node.textContent);
  const shape = id => page.$eval(id, svg => svg.innerHTML);
  const until = (test, ...args) => page.waitForFunction(test, { timeout: 300000 }, ...args);

  await browser.defaultBrowserContext().overridePermissions(url, ["clipboard-read", "clipboard-write", "clipboard-sanitized-write"]);
  const pause = ms => new Promise(done => setTimeout(done, ms));

  // Without the key the page says what is missing.
  await page.goto(url, { waitUntil: "load" });
  await until(() => document.getElementById("about").textContent.includes("Bearer"));
  check(true, "the page asks for the key");
  await page.type("#token", KEY);
  await page.$eval("#token", node => node.blur());
  await until(() => document.getElementById("about").textContent.includes("parameters"));
  check((await text("#about")).includes("micro-tinystories"), "the page names the model");
  await until(() => document.getElementById("model").options.length > 1);
  // The browser has noted the refusals of before.
  faults.length = 0;

  // Type and stream. Writing takes milliseconds, so the page counts the pieces that it got.
  await page.$eval("#prompt", node => { node.value = ""; });
  await page.type("#prompt", "Once upon a time there was a little");
  await page.$eval("#length", node => { node.value = "200"; });
  const before = { latency: await shape("#latency"), tokens: await shape("#tokens") };
  await page.click("#write");
  await until(() => document.getElementById("note").textContent.includes("seed"));
  check((await text("#answer")).startsWith("Once upon a time there was a little "), "the answer goes on from the prompt");
  check((await text("#answer")).length > 100, "the answer is a text");
  const pieces = Number(await page.$eval("#answer", node => node.dataset.pieces));
  check(pieces > 20, `the answer came in pieces: ${pieces}`);
  const colours = await page.$$eval("#answer .token", all => all.map(token => token.style.background));
  check(colours.length > 20 && new Set(colours).size > 5, `tokens are coloured by probability: ${colours.length}`);
  const shown = await text("#answer");
  await page.click("#colours");
  check((await page.$$eval("#answer .token", all => all.filter(token => token.style.background).length)) === 0, "or not");
  check(await text("#answer") === shown, "and the text is the same");
  await page.click("#colours");
  await page.click("#copy");
  await until(() => /^(copied|selected)/.test(document.getElementById("note").textContent));
  // Some browsers let no script write to the clipboard; then the text is selected.
  const copied = (await text("#note")) === "copied" ? () => navigator.clipboard.readText() : () => getSelection().toString();
  check((await page.evaluate(copied)).trim() === shown.trim(), "the answer can be copied: " + await text("#note"));
  await until(old => document.getElementById("latency").innerHTML !== old, before.latency);
  check(/polyline/.test(await shape("#latency")), "the latency chart has a line");

  // Rate and correct.
  await page.click("#star2");
  check(await page.$$eval("#stars .on", stars => stars.length) === 2, "two stars are lit");
  await page.type("#correction", " dog who lived by the sea and liked to swim with the fish.");
  await page.click("#send");
  await until(() => document.getElementById("said").textContent.startsWith("recorded"));
  check((await text("#said")).includes("1 of 50"), "the feedback counts");
  await page.click("#send");
  await until(() => document.getElementById("said").textContent.startsWith("updated"));
  check(true, "a second verdict takes the place of the first");

  check(await page.$$eval("#told tbody tr", rows => rows.length) === 1, "what was told is listed");

  // Fewer choices for each token, and a text that ends the answer.
  await page.$eval("#top-k", node => { node.value = "1"; });
  await page.$eval("#end", node => { node.value = "."; });
  const greedy = [];
  for (const topP of ["", "0.5"]) {
    await page.$eval("#top-p", (node, value) => { node.value = value; }, topP);
    await page.click("#write");
    await until(() => document.getElementById("note").textContent.includes("seed"));
    greedy.push(await text("#answer"));
  }
  check(greedy[0] === greedy[1], "one choice for each token gives one text");
  check(!greedy[0].includes("."), "the text ends before the stop");

  // Stop in the middle, and rate what was written so far. A fast server may be done before.
  for (const id of ["#top-k", "#top-p", "#end"]) await page.$eval(id, node => { node.value = ""; });
  await page.$eval("#temperature", node => { node.value = "2"; });
  await page.$eval("#length", node => { node.value = "16000"; });
  await page.evaluate(() => new MutationObserver(() => document.getElementById("stop").click()).observe(document.getElementById("answer"), { attributes: true }));
  for (let go = 0; go < 20; go++) {
    await page.click("#write");
    await until(() => /seed|stopped/.test(document.getElementById("note").textContent));
    if ((await text("#note")).startsWith("stopped")) break;
  }
  check((await text("#note")).startsWith("stopped"), "an answer can be stopped");
  await page.click("#star1");
  await page.click("#send");
  await until(() => document.getElementById("said").textContent.startsWith("recorded"));
  check(await page.$$eval("#told tbody tr", rows => rows.length) === 2, "what was written so far is rated");
  await page.click("#told tbody tr:nth-child(2) button");
  await until(() => document.getElementById("said").textContent === "forgotten");
  check(await page.$$eval("#told tbody tr", rows => rows.length) === 1, "an answer is forgotten");
  await page.$eval("#length", node => { node.value = "96"; });
  await page.$eval("#temperature", node => { node.value = "0.8"; });

  // A page that nobody sees asks for nothing.
  let asked = 0;
  page.on("request", () => { asked++; });
  await page.evaluate(() => Object.defineProperty(document, "hidden", { get: () => window.isHidden, configurable: true }));
  await page.evaluate(() => { window.isHidden = true; });
  await pause(300);
  asked = 0;
  await pause(2500);
  check(asked === 0, "a hidden page does not poll");
  await page.evaluate(() => { window.isHidden = false; document.dispatchEvent(new Event("visibilitychange")); });
  await pause(300);
  check(asked > 0, "it does when it is seen again");

  if (LEARNS === "1") {
    const loss = await shape("#loss"), versions = await page.$$eval("#versions tbody tr", rows => rows.length);
    await page.click("#learn");
    await until(() => /accepted|rejected|failed/.test(document.getElementById("said").textContent));
    check((await text("#said")).startsWith("accepted"), "it learns: " + await text("#said"));
    await until(old => document.getElementById("loss").innerHTML !== old, loss);
    check(/circle/.test(await shape("#loss")), "the loss chart has points");
    await until(count => document.querySelectorAll("#versions tbody tr").length > count, versions);
    check(true, "there is a new version");
    await page.screenshot({ path: PICTURES + "/page-learnt.png", fullPage: true });
    await page.focus("#versions tbody button");
    await pause(4500);
    check(await page.evaluate(() => document.activeElement.textContent) === "serve", "a button keeps the focus");
    await page.click("#versions tbody button");
    await until(() => document.getElementById("said").textContent.startsWith("serving"));
    check(true, "the first version is served again");
  }
  await page.screenshot({ path: PICTURES + "/page.png", fullPage: true });

  // The tab of the hours, to which a server adds once a minute.
  await page.click("#tab-quality");
  check(await page.$eval("#try", node => node.hidden), "the tab Quality takes the place of the other");
  const answers = () => page.$$eval("#totals b", nodes => Number(nodes[0]?.textContent));
  // Three answers ended; of those that were stopped only what the server had finished counts.
  for (let second = 0; second < 90 && !(await answers() >= 3); second++) {
    await pause(1000);
    await page.select("#days", second % 2 ? "7" : "1");
  }
  check(await answers() >= 3, "it counts the answers of the hour: " + await answers());
  check(/polyline/.test(await shape("#corrections")), "and how well the correction was predicted");
  await page.screenshot({ path: PICTURES + "/page-quality.png", fullPage: true });
  await page.click("#tab-try");

  // Narrow, as on a telephone: nothing is wider than the screen.
  await page.setViewport({ width: 390, height: 840 });
  await page.waitForFunction(() => document.documentElement.clientWidth === 390);
  check(await page.evaluate(() => document.documentElement.scrollWidth) <= 390, "it fits a narrow screen");
  await page.screenshot({ path: PICTURES + "/page-narrow.png" });

  await page.setViewport({ width: 1000, height: 900 });
  await page.goto(url + "/docs", { waitUntil: "load" });
  await until(() => document.querySelectorAll("details").length > 8);
  await page.$$eval("details", all => { all[0].open = true; });
  check((await page.$$eval("pre", all => all.map(p => p.textContent))).some(p => p.includes("/v1/completions") && p.includes("Once upon")), "the documents have examples");
  check((await page.$$eval("#codes code", all => all.map(c => c.textContent))).includes("queue_full"), "and the codes of problems");
  check((await page.$$eval("details code", all => all.map(c => c.textContent))).includes("/infer"), "the documents name /infer");
  await page.screenshot({ path: PICTURES + "/docs.png" });

  check(outside.length === 0, "nothing is loaded from elsewhere " + outside.join(" "));
  check(faults.length === 0, "no errors in the console " + faults.join("; "));
} finally {
  await browser.close();
}
