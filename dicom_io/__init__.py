"""Everything DICOM, on the wire and in files: the only home of pydicom, pynetdicom and highdicom."""
