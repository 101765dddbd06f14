"""Run PixelMed's DicomSRValidator on many reports in one Java virtual machine.

`python pixelmed.py REPORT...` prints one line of JSON: what it says of each. Its own command takes
one report and spends seconds on compiling its style sheets first.
"""

import json
import sys

import jpype

JAR = "/usr/share/java/pixelmed.jar"
# The style sheets of the templates are longer than Java allows one to be by default
_LIMITS = ("xpathExprGrpLimit", "xpathExprOpLimit", "xpathTotalOpLimit")


def main(paths: list[str]) -> None:
    """Print the verdicts on the reports named."""
    limits = [f"-Djdk.xml.{limit}=0" for limit in _LIMITS]
    # one thread collects garbage: two of these share two cores
    jpype.startJVM("-XX:+UseSerialGC", *limits, classpath=[JAR])
    validator = jpype.JClass("com.pixelmed.validate.DicomSRValidator")()
    print(json.dumps({path: str(validator.validate(path)) for path in paths}))


if __name__ == "__main__":
    main(sys.argv[1:])
