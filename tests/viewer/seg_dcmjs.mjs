// What dcmjs reads in a binary SEG: one line of JSON with its stored frames, bits unpacked.
//
//   node seg_dcmjs.mjs SEG
import fs from 'node:fs';
import dcmjs from 'dcmjs';

const { BitArray, DicomMessage, DicomMetaDictionary } = dcmjs.data;
dcmjs.log.setLevel('error');

const [path] = process.argv.slice(2);
// a copy: the buffer of a small file is shared with others
const file = DicomMessage.readFile(new Uint8Array(fs.readFileSync(path)).buffer);
const seg = DicomMetaDictionary.naturalizeDataset(file.dict);
const bits = BitArray.unpack(seg.PixelData[0]);
const size = seg.Rows * seg.Columns;

// dcmjs gives a sequence of one item as a list that also has the item's attributes
const frames = seg.PerFrameFunctionalGroupsSequence.map((group, index) => {
  const [source] = group.DerivationImageSequence[0].SourceImageSequence;
  const plane = bits.slice(index * size, (index + 1) * size).map((bit) => (bit ? 1 : 0));
  return {
    image: source.ReferencedSOPInstanceUID,
    frame: source.ReferencedFrameNumber ?? 1,
    segment: group.SegmentIdentificationSequence[0].ReferencedSegmentNumber,
    plane: Buffer.from(plane).toString('base64'),
  };
});
const labels = seg.SegmentSequence.map((segment) => segment.SegmentLabel);
console.log(JSON.stringify({ labels, rows: seg.Rows, columns: seg.Columns, frames }));
