// What cornerstone's adapters make of a SEG over its images, as OHIF asks them to: one line of JSON
// with the label maps, layer by layer, one plane for each frame of each image.
//
//   node seg_adapters.mjs SEG IMAGE...
import fs from 'node:fs';
import { adaptersSEG } from '@cornerstonejs/adapters';
import { metaData } from '@cornerstonejs/core';
import dcmjs from 'dcmjs';

const { DicomMessage, DicomMetaDictionary } = dcmjs.data;
dcmjs.log.setLevel('error');
console.warn = () => {}; // the result goes to stdout alone

function read(path) {
  const { buffer } = new Uint8Array(fs.readFileSync(path)); // a small file's own is shared
  return { buffer, instance: DicomMetaDictionary.naturalizeDataset(DicomMessage.readFile(buffer).dict) };
}

// One imageId for each frame, of the form that DICOMweb gives.
function framesOf(instance) {
  const { StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, NumberOfFrames = 1 } = instance;
  const base = `studies/${StudyInstanceUID}/series/${SeriesInstanceUID}/instances/${SOPInstanceUID}`;
  return Array.from({ length: NumberOfFrames }, (_, index) => ({
    id: `wadors:${base}/frames/${index + 1}`,
    frame: index + 1,
    instance,
  }));
}

// What OHIF supplies for an image without geometry: an upright plane at the origin.
function describe(type, { instance }) {
  const { Rows: rows, Columns: columns } = instance;
  const modules = {
    instance,
    generalImageModule: { sopInstanceUID: instance.SOPInstanceUID },
    generalSeriesModule: { seriesInstanceUID: instance.SeriesInstanceUID },
    imagePixelModule: { rows, columns, bitsAllocated: 8 },
    imagePlaneModule: {
      rows,
      columns,
      rowCosines: [1, 0, 0],
      columnCosines: [0, 1, 0],
      imageOrientationPatient: [1, 0, 0, 0, 1, 0],
      imagePositionPatient: [0, 0, 0],
      pixelSpacing: [1, 1],
      rowPixelSpacing: 1,
      columnPixelSpacing: 1,
    },
  };
  return modules[type];
}

const [segPath, ...imagePaths] = process.argv.slice(2);
const frames = imagePaths.flatMap((path) => framesOf(read(path).instance));
const known = new Map(frames.map((frame) => [frame.id, frame]));
metaData.addProvider((type, id) => known.has(id) && describe(type, known.get(id)) || undefined);

const { labelMapImages, overlappingSegments, segMetadata } =
  await adaptersSEG.Cornerstone3D.Segmentation.createFromDICOMSegBuffer(
    frames.map(({ id }) => id),
    read(segPath).buffer,
    { metadataProvider: metaData },
  );

const layers = labelMapImages.map((images) =>
  images.map((image, index) => ({
    image: frames[index].instance.SOPInstanceUID,
    frame: frames[index].frame,
    plane: Buffer.from(image.getPixelData()).toString('base64'),
  })),
);
const labels = segMetadata.data.filter(Boolean).map((segment) => segment.SegmentLabel);
console.log(JSON.stringify({ labels, overlapping: overlappingSegments, layers }));
