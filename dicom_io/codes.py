"""Coded concepts of the result objects (PS3.16), and the private ones of this product."""

from dataclasses import dataclass
from functools import cache

from pydicom.dataset import Dataset

from dicom_io.findings import Evaluation, Reason


@dataclass(frozen=True)
class Code:
    """One coded concept (PS3.3 table 8.8-1)."""

    value: str  # SH, at most 16 characters
    scheme: str  # coding scheme designator
    meaning: str  # LO, at most 64 characters, ASCII

    def item(self) -> Dataset:
        """Return the concept as an item of a code sequence."""
        ds = Dataset()
        ds.CodeValue = self.value
        ds.CodingSchemeDesignator = self.scheme
        ds.CodeMeaning = self.meaning
        return ds

    def matches(self, ds: Dataset) -> bool:
        """Whether a code sequence's item names this concept; the meaning does not count."""
        return (ds.get("CodeValue"), ds.get("CodingSchemeDesignator")) == (self.value, self.scheme)

    def means(self, other: "Code") -> bool:
        """Whether two codes name one concept; the meaning's words do not count."""
        return (self.value, self.scheme) == (other.value, other.scheme)


KEYWORDS = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")  # in the order of Code's fields

PRIVATE_SCHEME = "99AXNODE"


def _private(value: str, meaning: str) -> Code:
    return Code(value, PRIVATE_SCHEME, meaning)


def scheme_identification() -> Dataset:
    """Return what 99AXNODE is (PS3.3 C.12.1.1.4.2), for CodingSchemeIdentificationSequence."""
    ds = Dataset()
    ds.CodingSchemeDesignator = PRIVATE_SCHEME
    ds.CodingSchemeName = "AxNode private codes"
    ds.CodingSchemeResponsibleOrganization = "AxNode"
    return ds


# Anatomy and findings
AXILLA = Code("91470000", "SCT", "Axilla")  # CID 4
AXILLARY_NODE = Code("68171009", "SCT", "Axillary lymph node")
LYMPH_NODE = Code("59441001", "SCT", "Lymph node")
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")  # CID 7150
LATERALITY = Code("272741003", "SCT", "Laterality")
SIDES = {"R": Code("24028007", "SCT", "Right"), "L": Code("7771000", "SCT", "Left")}  # CID 244

# Measurements
LONG_AXIS = Code("103339001", "SCT", "Long axis")
SHORT_AXIS = Code("103340004", "SCT", "Short axis")
AREA = Code("42798000", "SCT", "Area")
AXIS_RATIO = _private("AXIS_RATIO", "Long axis to short axis ratio")
CIRCULARITY = _private("CIRCULARITY", "Circularity")
MARGIN_SHARPNESS = _private("MARGIN_SHARPNESS", "Mean margin sharpness")
# No DICOM code stands for a model's score of nodal metastasis: 111047 Probability of cancer
# means another thing (CID 6048), and 122157 is generic.
SCORE = _private("SCORE", "AI score for axillary lymph node metastasis")
NODE_COUNT = _private("NODE_COUNT", "Lymph nodes the score rests on")

# Units (UCUM; {pixels} as in CID 7460 and 7461)
MM = Code("mm", "UCUM", "millimeter")
MM2 = Code("mm2", "UCUM", "square millimeter")
PIXELS = Code("{pixels}", "UCUM", "pixels")
RATIO = Code("1", "UCUM", "no units")
ZERO_TO_ONE = Code("{0:1}", "UCUM", "range: 0:1")
COUNT = Code("{nodes}", "UCUM", "nodes")
FRAMES = Code("{frames}", "UCUM", "frames")

# Qualitative evaluation of a side
METASTASIS = Code("111330", "DCM", "Metastatic disease to axillary node")
EVALUATIONS = {
    Evaluation.SUSPECTED: Code("415684004", "SCT", "Suspected"),
    Evaluation.NOT_SUSPECTED: Code("428263003", "SCT", "NOT suspected"),
    Evaluation.INDETERMINATE: Code("82334004", "SCT", "Indeterminate"),
}
SEGMENTATION_RESULT = _private("SEGM_RESULT", "Lymph node segmentation")
NONE_SEGMENTED = _private("NONE_SEGMENTED", "None segmented")
EVALUABILITY = _private("EVALUABILITY", "Why the study was not evaluable")

# Why an image was left out. CodeValue holds 16 characters, so the reasons have short names here.
REASON_VALUES = {
    Reason.NO_IMAGE: "NO_IMAGE",
    Reason.UNDECODABLE: "UNDECODABLE",
    Reason.UNSUPPORTED_SYNTAX: "UNSUPPORTED_TS",
    Reason.NO_B_MODE: "NO_B_MODE",
    Reason.COLOUR_OVERLAY: "COLOUR_OVERLAY",
    Reason.TOO_SMALL: "TOO_SMALL",
    Reason.NOT_ULTRASOUND: "NOT_ULTRASOUND",
    Reason.TOO_LARGE: "TOO_LARGE",
}


def reason(why: Reason) -> Code:
    """Return the private code of a reason, its meaning in plain words."""
    return _private(REASON_VALUES[why], why.words)


# Private concept names of the report's own sections
FRAMES_SEGMENTED = _private("FRAMES_SEGM", "Frames the lymph node was segmented on")
OPERATING_POINT = _private("OPERATING_POINT", "Operating point")
RULE_IN = _private("RULE_IN", "Rule-in point: suspected from its threshold on")
RULE_OUT = _private("RULE_OUT", "Rule-out point: NOT suspected below its threshold")
THRESHOLD = _private("THRESHOLD", "Threshold of the score")
SENSITIVITY = _private("SENSITIVITY", "Sensitivity at the threshold")
SPECIFICITY = _private("SPECIFICITY", "Specificity at the threshold")
CI_LOWER = _private("CI95_LOWER", "95 percent confidence interval, lower limit")
CI_UPPER = _private("CI95_UPPER", "95 percent confidence interval, upper limit")
PREVALENCE = _private("PREVALENCE", "Prevalence in the training data")
LIMITS = _private("LIMITS", "Conditions and limits of this report")
LIMIT = _private("LIMIT", "Limit")
DEMONSTRATION = _private("DEMONSTRATION", "Demonstration")
INTENDED_USE = _private("INTENDED_USE", "Intended use and population")
IMAGE_NOTE = _private("IMAGE_NOTE", "Note on an image")
EXCLUSIONS = _private("EXCLUSIONS", "Images and frames left out")
EXCLUDED = _private("EXCLUDED", "Left out")

# TID 1500, 1600, 1602, 1410, 1501, 4019, 1002, 1004, 1204
REPORT = Code("126000", "DCM", "Imaging Measurement Report")
LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")
ENGLISH = Code("en-US", "RFC5646", "English (United States)")
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")  # CID 100
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
MODALITY = Code("121139", "DCM", "Modality")
ULTRASOUND = Code("US", "DCM", "Ultrasound")
OTHER_MODALITY = Code("OT", "DCM", "Other Modality")
IMAGE_LATERALITY = Code("111027", "DCM", "Image Laterality")
CONTENT_DATE = Code("111018", "DCM", "Content Date")
CONTENT_TIME = Code("111019", "DCM", "Content Time")
NUMBER_OF_FRAMES = Code("121140", "DCM", "Number of Frames")
ROWS = Code("110910", "DCM", "Pixel Data Rows")
COLUMNS = Code("110911", "DCM", "Pixel Data Columns")
HORIZONTAL_SPACING = Code("111026", "DCM", "Horizontal Pixel Spacing")
VERTICAL_SPACING = Code("111066", "DCM", "Vertical Pixel Spacing")
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
MEASUREMENT_GROUP = Code("125007", "DCM", "Measurement Group")
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")
FINDING = Code("121071", "DCM", "Finding")
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
IMAGE_REGION = Code("111030", "DCM", "Image Region")
SOURCE = Code("260753009", "SCT", "Source")
COMMENT = Code("121106", "DCM", "Comment")
OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")
DEVICE = Code("121007", "DCM", "Device")
DEVICE_UID = Code("121012", "DCM", "Device Observer UID")
DEVICE_NAME = Code("121013", "DCM", "Device Observer Name")
DEVICE_MANUFACTURER = Code("121014", "DCM", "Device Observer Manufacturer")
DEVICE_MODEL = Code("121015", "DCM", "Device Observer Model Name")
DEVICE_SERIAL = Code("121016", "DCM", "Device Observer Serial Number")
ALGORITHM_NAME = Code("111001", "DCM", "Algorithm Name")
ALGORITHM_VERSION = Code("111003", "DCM", "Algorithm Version")
ALGORITHM_MANUFACTURER = Code("122405", "DCM", "Algorithm Manufacturer")
ALGORITHM_PARAMETERS = Code("111002", "DCM", "Algorithm Parameters")
ALGORITHM_FAMILY = Code("111000", "DCM", "Algorithm Family")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")  # CID 7162

# Segmentation
SEGMENTATION = Code("113076", "DCM", "Segmentation")  # CID 7203
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")  # CID 7202
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")  # CID 7005


@cache
def known() -> frozenset[Code]:
    """Return every concept that is defined here."""
    values = list(globals().values())
    tables = [table for table in values if isinstance(table, dict)]
    found = [*values, *(value for table in tables for value in table.values())]
    return frozenset(code for code in found if isinstance(code, Code)) | {
        reason(why) for why in Reason
    }
