"""Exceptions of the model side.

ModelError
 ├─ BundleError      a bundle does not verify; says which file and why
 ├─ TrainingError    training cannot start or go on; says which row or setting
 │   └─ SettingError  a setting of a training run is wrong; says which
 └─ DeviceError      the device failed; `out_of_memory` says whether a smaller batch may help
"""


class ModelError(Exception):
    """Base of everything that `model` raises on purpose."""


class BundleError(ModelError):
    """A model bundle is missing, incomplete or altered."""


class TrainingError(ModelError):
    """Training or evaluation cannot start or go on."""


class SettingError(TrainingError):
    """A setting of a training run is wrong."""


class DeviceError(ModelError):
    """The computing device failed."""

    def __init__(self, message: str, *, out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.out_of_memory = out_of_memory
