"""A PACS that notes when results arrive, and studies to be analysed for it."""

import time
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

import sample_dicoms
from daemon.receiver import ReceivingPacs
from dicom_io.acceptor import StoreRequest
from dicom_io.syntaxes import RESULT_SOP_CLASSES

STILLS = ("5-both-sides-1.dcm", "5-both-sides-2.dcm", "5-both-sides-3.dcm", "1-benign-stills-1.dcm")


class TimingPacs(ReceivingPacs):
    """Notes the moment of each result object, by `time.monotonic`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.arrivals: list[float] = []

    def keep(self, request: StoreRequest, data: bytes) -> None:
        """File an instance."""
        super().keep(request, data)
        if request.sop_class_uid in RESULT_SOP_CLASSES:
            self.arrivals.append(time.monotonic())

    def wait_for(self, count: int, timeout_s: float = 600.0) -> float:
        """Wait until so many objects have arrived in all; return the moment of the last of them."""
        deadline = time.monotonic() + timeout_s
        while len(self.arrivals) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"{len(self.arrivals)} of {count} objects arrived")
            time.sleep(0.002)
        return self.arrivals[count - 1]


def study_of_stills(folder: Path) -> list[Path]:
    """Write four sample stills as one new study; a SEG and a report come of it."""
    folder.mkdir(parents=True)
    study, series, paths = generate_uid(), generate_uid(), []
    for name in STILLS:
        ds = pydicom.dcmread(Path(sample_dicoms.__file__).parent / name)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.PatientID = "BENCH"
        paths.append(folder / name)
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


RESULTS_OF_STILLS = 2  # a SEG and a report
