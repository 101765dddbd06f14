"""The bill of materials (CycloneDX 1.6): what an installed node consists of.

The packages are those of the lock files that serve, with the hashes of every file of the release;
the graph is the resolver's. Licences are what the installed packages say of themselves, so one that
is not installed here (CUDA's, beside a build of torch without it) has none. Libraries inside wheels
and the packages of the operating system are not listed.
"""

import argparse
import sys
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from daemon import __version__
from deploy.supply import licences, lock
from model.bundle_file import CARD_NAME, SHIPPED, Bundle

_LICENCES = LicenseFactory()


def bill() -> Bom:
    """Return the node as the root component, what it consists of, and what asks for what."""
    pins = lock.read(lock.SERVING)
    packages = {pin.name: _package(pin) for pin in pins}
    root = Component(
        type=ComponentType.APPLICATION,
        name="axnode",
        version=__version__,
        bom_ref="axnode",
        licenses=[_LICENCES.make_from_string("Apache-2.0")],
    )
    model = _model(Bundle.load(SHIPPED))
    bom = Bom(components=[*packages.values(), model])
    bom.metadata.component = root
    for name, component in {"axnode": root, **packages}.items():
        wanted = [packages[pin.name] for pin in pins if name in pin.wanted_by]
        bom.register_dependency(component, [*wanted, model] if component is root else wanted)
    bom.register_dependency(model)
    return bom


def _package(pin: lock.Pin) -> Component:
    purl = PackageURL("pypi", name=pin.name, version=pin.version)
    licence = licences.of(pin.name)
    released = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(f"https://pypi.org/project/{pin.name}/{pin.version}/#files"),
        comment="one hash for each file of the release",
        hashes=[_sha256(value) for value in pin.hashes],
    )
    return Component(
        type=ComponentType.LIBRARY,
        name=pin.name,
        version=pin.version,
        purl=purl,
        bom_ref=purl.to_string(),
        licenses=[_LICENCES.make_from_string(licence)] if licence else [],
        external_references=[released],
    )


def _model(bundle: Bundle) -> Component:
    """Return the model that ships; its hash is the bundle's digest, which holds the weights'."""
    weights = [
        Component(type=ComponentType.FILE, name=entry.file, hashes=[_sha256(entry.sha256)])
        for entry in bundle.weights
    ]
    card = ExternalReference(
        type=ExternalReferenceType.MODEL_CARD,
        url=XsUri("docs/model-card.md"),
        comment=f"in AxNode's repository; the component's hash is that of {CARD_NAME}",
    )
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=bundle.name,
        version=bundle.version,
        bom_ref=f"bundle:{bundle.digest}",
        description=bundle.intended_use,
        hashes=[_sha256(bundle.digest)],
        licenses=[_LICENCES.make_from_string(bundle.card.licence)],
        external_references=[card],
        components=weights,
    )


def _sha256(value: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=value)


def problem(text: str) -> str | None:
    """Return where a bill breaks the schema of CycloneDX 1.6; None: it does not."""
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return str(error) if error else None


def main(arguments: list[str] | None = None) -> int:
    """Write the bill as JSON; 70 where it does not follow the schema, which is an error of ours."""
    parser = argparse.ArgumentParser(prog="python -m deploy.supply.sbom", description=main.__doc__)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args(arguments).out
    text = JsonV1Dot6(bill()).output_as_string(indent=2)
    if wrong := problem(text):
        print(f"The bill of materials does not follow CycloneDX 1.6: {wrong}", file=sys.stderr)
        return 70
    out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
