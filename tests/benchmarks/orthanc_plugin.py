"""What Orthanc loads: it finds the packages of the benchmark's own Python, and not Debian's."""

import importlib
import sys

sys.path[:] = [folder for folder in sys.path if "dist-packages" not in folder]
importlib.import_module("tests.benchmarks.orthanc_work").register()
