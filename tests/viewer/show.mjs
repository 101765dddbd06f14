// Serve OHIF over an archive's DICOMweb until standard input closes; says where.
//
//   node show.mjs OHIF-DIST APP-CONFIG ORTHANC-URL PORT
import { serve } from './serve.mjs';

const [dist, configuration, orthanc, port] = process.argv.slice(2);
console.log(await serve({ dist, configuration, orthanc, port: Number(port) }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
