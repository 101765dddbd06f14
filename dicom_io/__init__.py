"""Everything DICOM, on the wire and in files: only home of pydicom, pynetdicom and highdicom."""
