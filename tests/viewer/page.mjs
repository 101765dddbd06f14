// What a test may do with the viewer's page: open a study, load a series, go to a frame, look.
const PATIENCE_MS = 60_000;
const PANE = '.cornerstone-canvas';
const REST_MS = 150; // between two looks at a pane that must be alike
const LOOKS = 3;

// Open a study and wait for its first picture.
export async function open(state, { study }) {
  await state.page?.close();
  state.troubles = [];
  state.page = await state.context.newPage();
  state.page.setDefaultTimeout(PATIENCE_MS);
  state.page.on('console', (message) => {
    if (message.type() === 'error') state.troubles.push(message.text().slice(0, 400));
  });
  state.page.on('pageerror', (error) => state.troubles.push(String(error.stack).slice(0, 400)));
  await state.page.goto(`${state.address}/viewer?StudyInstanceUIDs=${study}`);
  await picture(state);
}

// Wait until the active pane has drawn an image.
async function picture({ page }) {
  await page.waitForSelector(PANE);
  await page.waitForFunction(() => {
    const viewport = window.cornerstone?.getEnabledElements?.()[0]?.viewport;
    return viewport?.getImageIds?.().length > 0 && Boolean(viewport.getImageData?.());
  });
}

// Double-click the first series of a modality in the list of series, as a reader would.
export async function load({ page }, { modality }) {
  const series = page.locator('[data-cy^="study-browser-thumbnail"]').filter({ hasText: modality });
  await series.first().dblclick();
}

// Press a button by its words, once it is there.
export async function press({ page }, { button }) {
  await page.getByRole('button', { name: button, exact: true }).first().click();
}

// Wait until the active pane shows the image with as many segments over it as there are nodes.
export async function segments({ page }, { count }) {
  await page.waitForFunction((wanted) => {
    const { displaySetService, segmentationService, viewportGridService } = window.services;
    const { activeViewportId, viewports } = viewportGridService.getState();
    const shown = viewports.get(activeViewportId).displaySetInstanceUIDs;
    const asked = shown.some((uid) => displaySetService.getDisplaySetByUID(uid).Modality === 'SEG');
    const over = segmentationService.getSegmentationRepresentations(activeViewportId);
    return !asked && over.some(({ segments: held }) => Object.keys(held ?? {}).length === wanted);
  }, count);
}

// Wait until the viewer holds as many contours of a report as there are nodes, and shows their image.
export async function contours({ page }, { count }) {
  await page.waitForFunction((wanted) => {
    const { displaySetService } = window.services;
    const reports = displaySetService.getActiveDisplaySets().filter((set) => set.Modality === 'SR');
    const placed = reports.flatMap((set) => set.measurements ?? []).filter((one) => one.imageId);
    return placed.length === wanted && window.cornerstone.getEnabledElements().length > 0;
  }, count);
}

// Wait until the active pane shows a series of a modality.
export async function series({ page }, { modality }) {
  await page.waitForFunction((wanted) => {
    const { displaySetService, viewportGridService } = window.services;
    const { activeViewportId, viewports } = viewportGridService.getState();
    const shown = viewports.get(activeViewportId).displaySetInstanceUIDs;
    return shown.some((uid) => displaySetService.getDisplaySetByUID(uid).Modality === wanted);
  }, modality);
}

// Tell the modalities of the series that the viewer lists and says it cannot show.
export function unsupported({ page }) {
  return page.evaluate(() => {
    const sets = window.services.displaySetService.getActiveDisplaySets();
    return sets.filter((set) => set.unsupported).map((set) => set.Modality);
  });
}

// Wait until the viewer gives up, and tell what it says.
export async function failure({ page, troubles }) {
  await page.getByText('Something went wrong').first().waitFor();
  return troubles.join('\n');
}

// Go to a frame of the open stack, or stay where it is; tell what the pane shows once it no longer
// changes.
export async function show({ page }, { frame }) {
  const told = await page.waitForFunction(goTo, frame && frame - 1);
  return { ...(await told.jsonValue()), picture: (await settled(page)).toString('base64') };
}

// Tell nothing while the viewer is putting another pane in the place of this one.
async function goTo(index) {
  const viewport = window.cornerstone.getEnabledElements()[0]?.viewport;
  if (!viewport?.getImageData?.()) return null;
  const moved = index === null ? Promise.resolve(true) : viewport.setImageIdIndex(index);
  const slow = new Promise((resolve) => { setTimeout(resolve, 5000, null); });
  if ((await Promise.race([moved, slow])) === null) return null;
  // Cornerstone counts pixels from the centre of the first one, DICOM from its corner
  const { imageData } = viewport.getImageData();
  const at = (x, y) => viewport.worldToCanvas(imageData.indexToWorld([x - 0.5, y - 0.5, 0]));
  const [origin, right, down] = [at(0, 0), at(1, 0), at(0, 1)];
  return {
    affine: [0, 1].flatMap((i) => [right[i] - origin[i], down[i] - origin[i], origin[i]]),
    frame: viewport.getCurrentImageIdIndex() + 1,
    frames: viewport.getImageIds().length,
  };
}

async function settled(page) {
  let [last, alike] = [await pane(page), 1];
  for (const end = Date.now() + PATIENCE_MS; alike < LOOKS; ) {
    if (Date.now() > end) throw new Error('the pane does not come to rest');
    await page.waitForTimeout(REST_MS);
    const next = await pane(page);
    alike = next.equals(last) ? alike + 1 : 1;
    last = next;
  }
  return last;
}

// The canvas and whatever lies over it, such as contours.
function pane(page) {
  return page.locator(PANE).first().screenshot();
}

// The whole window as a PNG, its words, and what the page complained of.
export async function look({ page, troubles }) {
  const text = await page.evaluate(() => document.body.innerText);
  return { picture: (await page.screenshot()).toString('base64'), text, troubles };
}
