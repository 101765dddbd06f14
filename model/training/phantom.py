"""Synthetic axillary ultrasound: pictures, cines and cohorts of which the truth is known.

A picture depends on (seed, patient, image) alone: not on how many are made, nor in which order.
Features of the nodes follow a preset (see `phantom_features`), everything else is independent of
the pathology. This module is the door; the parts are in `phantom_*`.
"""

from model.training.phantom_cohort import CohortSummary, save_png, write_cohort
from model.training.phantom_features import GREY, PRESETS, bayes_auroc
from model.training.phantom_picture import generate, generate_cine, patient_of
from model.training.phantom_records import Features, PhantomImage, PhantomNode
from model.training.phantom_styles import HELD_OUT, STYLES, TRAINING

__all__ = [
    "GREY",
    "HELD_OUT",
    "PRESETS",
    "STYLES",
    "TRAINING",
    "CohortSummary",
    "Features",
    "PhantomImage",
    "PhantomNode",
    "bayes_auroc",
    "generate",
    "generate_cine",
    "patient_of",
    "save_png",
    "write_cohort",
]
